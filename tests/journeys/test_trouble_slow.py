"""What is slow is watched while it happens, and never holds up the end."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from playwright.async_api import Route, expect

from postroom.server import Server
from postroom.store.records import Authentication, MailServerDraft
from tests.journeys.person import Person
from tests.journeys.prepared import OPS, SCANNER, SCANNER_PASSWORD, set_up_mail_server
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio

STOP_SECONDS = 5
REASON_OF_END = """new Promise((tell) => document.addEventListener(
    "htmx:sse:close", (event) => tell(event.detail.reason)))"""


class SlowMailServer:
    """Takes the connection and greets when it is told to; then it offers nothing."""

    def __init__(self) -> None:
        self.may_greet = asyncio.Event()
        self.was_called = asyncio.Event()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.was_called.set()
        await self.may_greet.wait()
        writer.write(b"220 slow.example ESMTP at last\r\n")
        while await reader.readline():
            writer.write(b"250 slow.example\r\n")
        writer.close()


@pytest.fixture
async def slow(running_server: Server) -> AsyncIterator[SlowMailServer]:
    """Entered in the stepper up to the checks, as a mail server on this machine."""
    mail_server = SlowMailServer()
    listening = await asyncio.start_server(mail_server.converse, "127.0.0.1", 0)
    await running_server.store.mail_servers.keep_draft(
        MailServerDraft(
            host="127.0.0.1",
            port=listening.sockets[0].getsockname()[1],
            use_tls=False,
            sender=SCANNER,
            username=SCANNER,
            test_address=OPS,
            authentication=Authentication.BASIC,
            password=SCANNER_PASSWORD,
        )
    )
    yield mail_server
    mail_server.may_greet.set()
    listening.close()
    await listening.wait_closed()


async def run_checks(person: Person) -> None:
    await person.page.goto(f"{person.server.console_url}/admin/mail-server/check")
    await person.button("Run the checks").click()
    await expect(person.finding("DNS")).to_be_visible()
    await expect(person.checks.get_by_text("Checking …")).to_be_visible()


async def test_checks_are_watched_live(person: Person, slow: SlowMailServer) -> None:
    await person.sign_in_as_administrator()
    await run_checks(person)
    await slow.was_called.wait()
    await person.page.evaluate("window.isTheSamePage = true")
    slow.may_greet.set()
    await expect(person.finding("Greeting")).to_contain_text("220 slow.example ESMTP at last")
    await expect(person.finding("Sign in")).to_contain_text("failed:")
    await expect(person.button("Check again")).to_be_visible()
    assert await person.page.evaluate("window.isTheSamePage")


async def test_checks_are_watched_when_a_script_comes_late(person: Person) -> None:
    """htmx must not begin before its extension for event streams is there."""

    async def come_late(route: Route) -> None:
        await person.page.wait_for_function("performance.now() > 100")  # unlike evaluate(), outlives a next page
        await route.continue_()

    await set_up_mail_server(person.server)
    await person.sign_in_as_administrator()
    await person.page.route("**/vendor/hx-sse-*", come_late)
    await person.link("Mail Server").click()
    await person.button("Run checks").click()
    await expect(person.button("Save and go on to the test mail")).to_be_visible()


async def test_an_open_stream_does_not_hold_up_the_stop(person: Person, slow: SlowMailServer, watched: Watched) -> None:
    """It is ended in words, not cut off after a grace, so that the page does not try to connect again."""
    watched.allow(r"/static/icon\.svg")  # browsers fetch it when they find the time
    await person.sign_in_as_administrator()
    await run_checks(person)
    await slow.was_called.wait()
    ended = asyncio.create_task(person.page.evaluate(REASON_OF_END))
    await person.page.evaluate("0")  # the page listens by now: it answers in order
    with anyio.fail_after(STOP_SECONDS):
        await person.server.stop()
        assert await ended == "message"
