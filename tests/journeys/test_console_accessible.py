"""Every page of the console in a real browser, light and dark: axe finds nothing, and 320 pixels are wide enough."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from axe_playwright_python.async_playwright import Axe
from msgspec.structs import replace
from playwright.async_api import Browser, Page

from postroom.accept.canary_mail import hand_in_canary
from postroom.console.listener import ConsoleListener, bind_console
from postroom.ids import public_id
from postroom.message import Reception
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, TryLater
from postroom.store.records import NEW, Authentication, DialogueLine, MailServerDraft, RefusedAttempt, Settlement
from postroom.store.routing import RuleKind
from postroom.store.sending_settings import SendingSettings
from postroom.store.ways import NewRule
from tests.journeys.watched import Watched, open_chromium
from tests.unit.console.visitor import EMAIL, PASSPHRASE, House, full_draft, open_house

pytestmark = pytest.mark.anyio

DENIED = Failure(
    FailureClass.PERMISSION,
    "send_as_denied",
    "554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as noreply@contoso.com; "
    "STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
    "send_as_denied",
    smtp_code=554,
    enhanced="5.2.252",
    command="DATA",
    server="smtp.office365.com:587",
    trace="[AM0PR04CA0001.eurprd04.prod.outlook.com 2026-11-23T05:12:41.000Z 08DE]",
)
BUSY = Failure(FailureClass.THROTTLE, "too_many_connections", "432 4.3.2 thread limit exceeded", "too_many_connections")
ENDED = Failure(FailureClass.IDENTITY, "sign_in_ended", "AADSTS50173: the grant was revoked", "sign_in_ended")
ACCEPTED = Sent("250 2.0.0 OK <abc@contoso.com> [Hostname=AM0PR04MB0001.eurprd04.prod.outlook.com]")
DIALOGUE = (DialogueLine(0, "C", "EHLO mail.example.lan"), DialogueLine(31, "S", "250-AM0PR04CA0001 Hello [10.2.3.14]"))
WIDTHS = (320, 1280)
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@dataclass
class Console:
    """The console behind a real port, and a page of a browser to look at it with."""

    house: House
    page: Page
    url: str
    watched: Watched

    async def sign_in(self) -> None:
        token = await self.house.store.people.make_setup_link_token()
        await self.page.goto(f"{self.url}/setup#token={token}")
        await self.page.get_by_label("Your name").fill("Anna Berg")
        await self.page.get_by_label("E-mail address").fill(EMAIL)
        await self.page.get_by_label("Passphrase").fill(PASSPHRASE)
        await self.page.get_by_role("button", name="Continue").click()
        await self.page.get_by_text("You are the first administrator").wait_for()

    async def judge(self, path: str) -> None:
        """Open the page and let axe and a ruler judge it, in both colours and both widths."""
        await self.page.goto(self.url + path)
        await self.judge_this(path)

    async def judge_this(self, name: str) -> None:
        colours: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for colour in colours:
            await self.page.emulate_media(color_scheme=colour, reduced_motion="reduce")
            for width in WIDTHS:
                await self.page.set_viewport_size({"width": width, "height": 800})
                await self.judge_once(f"{name} ({colour}, {width} px)")

    async def judge_once(self, name: str) -> None:
        needed = await self.page.evaluate("document.documentElement.scrollWidth")
        shown = await self.page.evaluate("document.documentElement.clientWidth")
        assert needed <= shown, f"{name} scrolls sideways: {needed} px wide"
        found = await Axe().run(self.page, options=AXE_RULES)
        troubles = [
            f"{violation['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for violation in found.response["violations"]
            for node in violation["nodes"]
        ]
        assert troubles == [], f"{name}: {troubles}"


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    async with open_chromium() as browser, _served(tmp_path, browser) as console:
        yield console
        assert console.watched.unexpected() == []


@contextlib.asynccontextmanager
async def _served(folder: Path, browser: Browser) -> AsyncIterator[Console]:
    bound = bind_console("127.0.0.1", 0)
    url = f"http://localhost:{bound.getsockname()[1]}"
    async with open_house(folder / "data", public_url=url, is_rehearsal=True) as house:
        listener = ConsoleListener(house.app, bound)
        watched = Watched(browser)
        context = await watched.open_context()
        try:
            yield Console(house, await context.new_page(), url, watched)
        finally:
            await context.close()
            house.rooms.shutdown.set()
            await listener.stop()


async def hand_in(house: House, *recipients: str, subject: str = "Scan from HP 2nd floor") -> int:
    app = await house.store.apps.internal()
    reception = Reception("smtp", "10.2.3.14", "HPA1B2", "TLSv1.2", "LOGIN", "hp-2nd-floor")
    submission = await house.rooms.intake.open(app, "scanner@contoso.com", reception)
    for recipient in recipients:
        await submission.add_recipient(recipient)
    await submission.write(f"From: scanner@contoso.com\r\nTo: x\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode())
    return await submission.commit()


async def attempt(house: House, *outcomes: Outcome) -> None:
    [lease] = await house.store.outbox.lease_due(1)
    settled = dict(zip([recipient.recipient_id for recipient in lease.recipients], outcomes, strict=True))
    await house.store.outbox.settle(lease, Settlement(settled, DIALOGUE, "smtp.office365.com:587"))


async def test_getting_in(console: Console) -> None:
    await console.judge("/setup")
    await console.page.get_by_role("button", name="Continue").click()
    console.watched.allow("status of 422")
    await console.page.get_by_text("things need your attention").wait_for()
    await console.judge_this("the set-up with mistakes")
    await console.sign_in()
    await console.judge("/")
    await console.page.get_by_role("button", name="Sign out").click()
    await console.judge("/sign-in")
    await console.judge("/setup")


async def test_the_steps_of_the_mail_server(console: Console) -> None:
    mail_servers = console.house.store.mail_servers
    await console.sign_in()
    await console.judge("/admin/mail-server")
    await mail_servers.keep_draft(replace(full_draft(), sender="noreply@contoso.com"))
    for step in ("server", "addresses", "method", "app", "sign-in", "check", "test"):
        await console.judge(f"/admin/mail-server/{step}")
    await mail_servers.keep_draft(MailServerDraft(authentication=Authentication.BASIC))
    await console.judge("/admin/mail-server/password")
    await _sign_in_elsewhere(console)


async def _sign_in_elsewhere(console: Console) -> None:
    """Pasting, and the page of a colleague: each once, where there is least room."""
    draft = replace(full_draft(), refresh_token="", user=None, secret_ends_on=date(2029, 1, 31))
    await console.house.store.mail_servers.keep_draft(draft)
    await console.page.set_viewport_size({"width": WIDTHS[0], "height": 800})
    await console.page.goto(f"{console.url}/admin/mail-server/sign-in")
    await console.page.get_by_text("Sign in on another computer").click()
    await console.page.get_by_role("button", name="Show the address to open").click()
    await console.page.get_by_role("button", name="Finish the sign-in").wait_for()
    await console.judge_once("pasting")
    await console.page.get_by_role("button", name="Make a link").click()
    link = await console.page.locator("#colleague-link").inner_text()
    await console.page.goto(link)
    await console.page.get_by_role("button", name="Continue").click()
    await console.page.get_by_text("asks you to sign in").wait_for()
    await console.judge_once("colleague")


async def test_checks_that_are_watched(console: Console) -> None:
    from tests.unit.console.test_mail_server_pages import FAILING

    await console.sign_in()
    house = console.house
    await house.store.mail_servers.keep_draft(replace(full_draft(), secret_ends_on=date(2028, 11, 22)))
    await console.page.goto(f"{console.url}/admin/mail-server/check")
    await console.page.get_by_role("button", name="Run the checks").click()
    await console.page.get_by_text("Everything that can be checked").wait_for()
    await console.judge_this("checks that passed")
    house.checks.failing = FAILING
    await console.page.goto(f"{console.url}/admin/mail-server/addresses")
    await console.page.get_by_label("Test Email Address").fill("other@fabrikam.com")
    await console.page.get_by_role("button", name="Continue").click()
    await console.page.goto(f"{console.url}/admin/mail-server/check")
    await console.page.get_by_role("button", name="Run the checks").click()
    await console.page.get_by_role("button", name="Check again").wait_for()
    await console.page.get_by_text("Show what the server said").click()
    await console.judge_this("checks that failed")


async def test_what_is_set_up_and_what_stops_it(console: Console) -> None:
    house = console.house
    await console.sign_in()
    await house.set_up(secret_ends_on=date(2026, 10, 1))
    await console.judge("/admin/mail-server")
    live = await house.store.mail_servers.default()
    await house.store.mailboxes.stop(live.mailbox_id, ENDED, StopCause.SIGN_IN, None)
    await console.judge("/admin/mail-server")
    await console.judge("/admin/mail-servers/default/secret")
    await hand_in(house, "ops@contoso.com")
    house.clock.advance(2 * 3600)
    await house.store.mailboxes.resume(live.mailbox_id, "anna")
    await console.judge("/choices")
    await console.judge("/")


async def test_messages(console: Console) -> None:
    house = console.house
    await console.sign_in()
    await console.judge("/deliveries")
    await house.set_up()
    sent = await hand_in(house, "ops@contoso.com")
    await attempt(house, ACCEPTED)
    partly = await hand_in(house, "a.very.long.address.of.somebody@a-rather-long-domain.example.com", "b@contoso.com")
    await attempt(house, Refused(DENIED), ACCEPTED)
    later = await hand_in(house, "c@contoso.com", subject="A subject that is so long that it must wrap " * 3)
    await attempt(house, TryLater(BUSY, house.clock.now_us() + 240_000_000))
    await console.judge("/deliveries")
    for message_id in (sent, partly, later):
        await console.page.goto(f"{console.url}/deliveries/{public_id(message_id)}")
        await console.page.get_by_text("Show the conversation").first.click()
        await console.judge_this(f"message {public_id(message_id)}")
    await console.judge(f"/admin/mail-server/test?message={public_id(sent)}")


async def test_the_settings_of_sending(console: Console) -> None:
    await console.sign_in()
    await console.judge("/admin/sending")
    await console.house.set_up()
    await console.house.store.sending_settings.save(SendingSettings(canary_is_on=True), "anna")
    await hand_in_canary(console.house.rooms.intake, "Postroom", "you@fabrikam.com", 1 << 60)
    console.house.clock.advance(3 * 3600)
    await console.judge("/")
    await console.judge("/admin/sending")
    await console.page.get_by_label("Lifetime, in days").fill("soon")
    await console.page.get_by_role("button", name="Save").click()
    console.watched.allow("status of 422")
    await console.page.get_by_text("One thing needs your attention").wait_for()
    await console.judge_this("the settings of sending with a mistake")


async def test_all_mail_servers(console: Console) -> None:
    await console.sign_in()
    await console.house.set_up()
    store = console.house.store
    live = await store.mail_servers.draft_from_live()
    other = await store.mail_servers.save(msgspec.structs.replace(live, mail_server_id=NEW, name="Branch"), "anna")
    await store.ways.set_alternatives(1, [other.mail_server_id], "anna")
    await store.ways.replace_rules([NewRule(RuleKind.SIZE, "3000000", other.mail_server_id)], "anna")
    await store.mailboxes.pause(other.mailbox_id, "anna")
    await console.page.goto(f"{console.url}/admin/mail-servers")
    for closed in await console.page.locator("summary").all():
        await closed.click()
    await console.judge_this("all mail servers")


async def test_apps(console: Console) -> None:
    console.watched.allow("status of 404")
    await console.sign_in()
    await console.house.set_up()
    await console.judge("/apps")
    await console.judge("/apps/new")
    await console.page.get_by_label("Name", exact=True).fill("HP 2nd floor")
    await console.page.get_by_role("button", name="Add it, and show what to enter").click()
    await console.page.get_by_text("This password is shown once").wait_for()
    await console.judge_this("the password")
    await console.judge("/apps")
    refused = RefusedAttempt("10.2.3.77", "device", "RNP002673", "", "unknown_device", "It is not a known device.", 1)
    await console.house.store.refused_clients.note([refused])
    await console.judge("/apps")
    [app] = await console.house.store.apps.list()
    await console.house.store.api_keys.create(app.app_id, "CI", ("send",), None, "test")
    await console.judge(f"/apps/{public_id(app.app_id)}")
    await console.judge("/nothing-here")
