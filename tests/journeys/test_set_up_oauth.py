"""The whole set-up with OAuth in a real browser, from the one-time link to a device's message in the inbox."""

from email import message_from_bytes
from email.message import Message
from email.utils import getaddresses

import pytest
from playwright.async_api import expect

from tests.journeys.person import Person
from tests.journeys.prepared import ANNA, ANNA_PASSWORD, NO_REPLY, OPS, SCANNER, simulator_of
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio


async def test_the_sender_is_the_username(person: Person) -> None:
    await person.open_setup_link()
    await person.become_administrator()
    await person.sees("You are the first administrator")
    await expect(person.pill).to_contain_text("Not sending")
    await person.set_up_with_oauth(pastes=True)
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")
    await expect(person.pill).to_contain_text("Sending normally")

    await person.button("Connect your first device").click()
    login, password = await person.make_app("HP 2nd floor")
    await person.hand_in(login, password, "Scan 0815")
    await person.open_message("Scan 0815")
    await person.sees("Sent: accepted by Microsoft 365")
    await person.sees("Attempt 1")

    arrived = await person.open_arrived("Scan 0815")
    assert f"Signed in as\n{SCANNER}" in arrived
    assert f"Envelope recipients\n{OPS}" in arrived
    assert "AUTH XOAUTH2" in arrived


async def test_another_sender_with_send_on_behalf(person: Person) -> None:
    await grant_send_on_behalf(person)
    await person.open_setup_link()
    await person.become_administrator()
    await person.set_up_with_oauth(sender=NO_REPLY, on_behalf=True)
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")

    login, password = await person.make_app("Ticket system")
    await person.hand_in(login, password, "Ticket 4711", sender=NO_REPLY)
    await person.open_message("Ticket 4711")
    await person.sees("Sent: accepted by Microsoft 365")
    await person.open_arrived("Ticket 4711")
    [message] = arrived(person, "Ticket 4711")
    assert [getaddresses([field]) for field in message.get_all("From", [])] == [[("", NO_REPLY)]]
    assert [getaddresses([field]) for field in message.get_all("Sender", [])] == [[("", SCANNER)]]


async def test_another_sender_that_is_refused(person: Person) -> None:
    await person.open_setup_link()
    await person.become_administrator()
    await person.set_up_with_oauth(sender=NO_REPLY, on_behalf=True)  # said to be granted, and is not
    await person.send_test_mail()
    await person.sees("Failed: refused for good")
    card = person.page.get_by_role("region", name=f"{SCANNER} may not send as {NO_REPLY}")
    await expect(card).to_contain_text(f'Set-Mailbox -Identity {NO_REPLY} -GrantSendOnBehalfTo @{{Add="{SCANNER}"}}')
    await expect(card).to_contain_text("Who can do it: Exchange administrator")
    await card.get_by_text("Show what the server said").click()
    words = card.get_by_role("definition").filter(has_text="SendAsDenied")
    await expect(words).to_contain_text(f"{SCANNER} not allowed to send as {NO_REPLY}")
    await expect(card.get_by_role("definition").filter(has_text="554 5.2.252")).to_be_visible()
    assert simulator_of(person.server).tenant.messages == []


async def test_another_account_is_refused(person: Person, watched: Watched) -> None:
    watched.allow(r"/oauth/callback\?.*status of 422|status of 422.*/oauth/callback\?")
    await person.open_setup_link()
    await person.become_administrator()
    await person.begin_set_up()
    await person.enter_addresses()
    await person.choose_method("OAuth")
    await person.enter_app(await person.register_app())
    await person.button(f"Sign in to Microsoft as {SCANNER}").click()
    await person.sign_in_to_microsoft(ANNA, ANNA_PASSWORD)

    card = person.page.get_by_role("region").filter(has=person.page.get_by_text("Show what the server said"))
    await expect(card).to_contain_text(ANNA)
    await expect(card).to_contain_text(SCANNER)
    await expect(card).to_contain_text("Nothing was saved")
    await expect(person.heading("Connected as")).to_have_count(0)
    mail_servers = person.server.store.mail_servers
    draft = await mail_servers.load_draft()
    assert draft is not None
    assert (draft.username, draft.user, draft.refresh_token, draft.scopes) == (SCANNER, None, "", ())
    assert not (await mail_servers.default()).is_set_up

    await person.button(f"Try again as {SCANNER}").click()
    await person.use_another_account()
    await person.sign_in_to_microsoft()
    await expect(person.heading(f"Connected as {SCANNER}")).to_be_visible()


async def grant_send_on_behalf(person: Person) -> None:
    """In the admin center, on the page of the mailbox that is sent for."""
    await person.open_mailbox(NO_REPLY)
    tab = person.microsoft
    await tab.get_by_label("Send on behalf: add").select_option(label=SCANNER)
    await tab.get_by_role("button", name="Add Send on behalf permissions").click()
    await expect(tab.get_by_role("button", name=f"Remove Send on behalf permissions from {SCANNER}")).to_be_visible()
    await person.come_back()


def arrived(person: Person, subject: str) -> list[Message]:
    read = [message_from_bytes(message.content) for message in simulator_of(person.server).tenant.messages]
    return [message for message in read if message["Subject"] == subject]
