"""Trouble with signing in stops the mailbox and never fails the mail: it waits, says for what, and drains by itself."""

import pytest
from playwright.async_api import expect

from postroom.message import MailboxState
from postroom.outcome import StopCause
from tests.journeys.person import Person
from tests.journeys.prepared import SCANNER, make_app, set_up_mail_server, simulator_of
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio


@pytest.fixture
async def credentials(person: Person) -> tuple[str, str]:
    """Everything is set up, nothing was sent yet; the person is in the console."""
    await set_up_mail_server(person.server)
    app, password = await make_app(person.server)
    await person.sign_in_as_administrator()
    await expect(person.pill).to_contain_text("Sending normally")
    return app.login, password


async def test_the_sign_in_is_revoked(person: Person, credentials: tuple[str, str]) -> None:
    await person.hand_in(*credentials, "Scan 0")
    await person.open_message("Scan 0")
    await person.sees("Sent: accepted by Microsoft 365")
    await person.open_user(SCANNER)
    await person.microsoft.get_by_role("button", name="Sign out of all sessions").click()
    await person.come_back()
    # Microsoft does not look at a connection again that has signed in; the next one is refused.
    await close_connections(person)

    await person.hand_in(*credentials, "Scan 1")
    await person.open_message("Scan 1")
    await person.sees(f"Queued: waiting until someone signs in again as {SCANNER}")
    await person.page.reload()
    await expect(person.pill).to_contain_text("Not sending")
    await person.link("Overview").click()
    await person.sees("1 recipient: waiting until someone signs in again")
    await person.sees("No mail leaves through")
    [mailbox] = await person.server.store.mailboxes.all()
    assert (mailbox.state, mailbox.cause) == (MailboxState.STOPPED, StopCause.SIGN_IN)

    await person.button("Sign in again").click()
    await person.button("Sign in again").first.click()
    await person.sign_in()
    await person.button("Go on to the checks").click()
    await person.check()
    await person.save()
    await person.open_message("Scan 1")
    await person.sees("Sent: accepted by Microsoft 365")
    await expect(person.pill).to_contain_text("Sending normally")


async def test_the_client_secret_expires(person: Person, credentials: tuple[str, str], watched: Watched) -> None:
    watched.allow(r"/secret.*status of 422|status of 422.*/secret")
    await person.open_microsoft("App registrations")
    await person.microsoft.get_by_role("link", name="Postroom").click()
    await person.microsoft.get_by_role("link", name="Certificates & secrets").click()
    await person.microsoft.get_by_role("button", name="Let expire now").click()
    await person.come_back()

    await person.hand_in(*credentials, "Scan 2")
    await person.open_message("Scan 2")
    await person.sees("Queued: waiting for a new client secret")
    await person.link("Overview").click()
    await expect(person.heading("The client secret has expired")).to_be_visible()
    await expect(person.pill).to_contain_text("Not sending")

    await person.microsoft.bring_to_front()
    client_secret = await person.make_client_secret()
    await person.come_back()
    await person.button("Renew secret").click()
    await person.page.get_by_label("New Client Secret").fill("wrong~secret")
    await person.button("Try it, and use it").click()
    await person.sees("The client secret is wrong")
    await person.sees("Nothing was changed")
    await person.page.get_by_label("New Client Secret").fill(client_secret)
    await person.button("Try it, and use it").click()
    await person.sees("Microsoft accepts the new secret")
    await person.open_message("Scan 2")
    await person.sees("Sent: accepted by Microsoft 365")


async def test_smtp_auth_is_off_for_the_mailbox(person: Person, credentials: tuple[str, str]) -> None:
    await switch_smtp_auth(person, is_on=False)
    await person.hand_in(*credentials, "Scan 3")
    await person.open_message("Scan 3")
    await person.sees(f"Queued: waiting until SMTP AUTH is turned on for {SCANNER}")
    await person.sees("5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox")

    await switch_smtp_auth(person, is_on=True)
    await person.link("Mail Server").click()
    await expect(person.pill).to_contain_text("Not sending")
    await person.button("It is solved: try again now").click()
    await person.sees("The mailbox tries again now.")
    await person.open_message("Scan 3")
    await person.sees("Sent: accepted by Microsoft 365")


async def close_connections(person: Person) -> None:
    exchange = simulator_of(person.server).exchange
    port = exchange.port
    await exchange.stop()
    await exchange.start(port=port)


async def switch_smtp_auth(person: Person, *, is_on: bool) -> None:
    """Users > Active users > the mailbox > Mail > Email apps > Manage email apps > Authenticated SMTP."""
    await person.open_mailbox(SCANNER)
    tab = person.microsoft
    await tab.get_by_role("link", name="Manage email apps").click()
    await tab.get_by_label("Authenticated SMTP").set_checked(is_on)
    await tab.get_by_role("button", name="Save changes").click()
    await expect(tab.get_by_label("Authenticated SMTP")).to_be_checked(checked=is_on)
    await expect(tab.get_by_text("on" if is_on else "off", exact=True).first).to_be_visible()
    await person.come_back()
