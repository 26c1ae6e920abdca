"""Microsoft Graph as the e-mail type: set up in the browser, and as the way that takes over for SMTP."""

import msgspec
import pytest
from playwright.async_api import expect

from postroom.message import MailboxState, RecipientState
from postroom.outcome import StopCause
from postroom.server import Server
from postroom.store.records import NEW, EmailType, MailServer
from tests.journeys.person import Person
from tests.journeys.prepared import (
    OPS,
    SCANNER,
    compose_mail,
    hand_in,
    make_app,
    set_up_mail_server,
    simulator_of,
    until,
)

pytestmark = pytest.mark.anyio

PERMISSIONS = ("Mail.Send", "Mail.ReadWrite", "offline_access")
CHECKS = ("DNS", "HTTPS", "Token", "Sign in", "Sender", "Recipient")


async def test_the_whole_set_up(person: Person) -> None:
    await person.open_setup_link()
    await person.become_administrator()
    await person.link("Mail Server").click()
    await person.button("Set up the mail server").click()
    by_draft = person.field("Also send large messages by Microsoft Graph")
    await expect(by_draft).not_to_be_visible()
    await person.field("Email Type").select_option(label="Microsoft Graph")
    await by_draft.check()
    await person.button("Continue").click()
    await person.enter_addresses()
    await person.choose_method("OAuth")
    await person.enter_app(await person.register_app(PERMISSIONS))
    await person.sign_in()
    await person.button("Go on to the checks").click()
    await person.check(CHECKS)
    await person.save()
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")
    [message] = simulator_of(person.server).tenant.messages
    assert (message.came_by, message.recipients) == ("Graph", (OPS,))

    login, password = await person.make_app("HP 2nd floor")
    await person.hand_in(login, password, "Scan 0815")
    await person.open_message("Scan 0815")
    await person.sees("Sent: accepted by Microsoft 365")
    await person.page.get_by_text("Show the conversation").click()
    await person.sees("Graph puts the time of sending in place of Date.")
    await expect(person.pill).to_contain_text("Sending normally")

    tenant = simulator_of(person.server).tenant
    large = compose_mail(SCANNER, (OPS,), "Large")
    large.add_attachment(bytes(4_000_000), maintype="application", subtype="pdf", filename="a.pdf")
    await hand_in(person.server, login, password, large)
    await until(lambda: len(tenant.messages) == 3, "the large message has arrived")
    assert len(tenant.messages[-1].content) > 4_000_000


async def add_graph(server: Server) -> MailServer:
    """Beside the first mail server, with its mailbox, as its alternative."""
    store, tenant = server.store, simulator_of(server).tenant
    first = await store.mail_servers.draft_from_live()
    tenant.add_permission(first.client_id, "Mail.Send")
    tenant.grant_admin_consent(first.client_id)
    draft = msgspec.structs.replace(
        first, mail_server_id=NEW, mailbox_id=1, name="Graph", host="graph.microsoft.com", port=443,
        email_type=EmailType.GRAPH,
    )  # fmt: skip
    graph = await store.mail_servers.save(draft, "test")
    await store.ways.set_alternatives(1, [graph.mail_server_id], "test")
    return graph


async def test_graph_takes_over_when_smtp_auth_is_switched_off(running_server: Server) -> None:
    await set_up_mail_server(running_server)
    await add_graph(running_server)
    app, password = await make_app(running_server)
    simulator = simulator_of(running_server)
    user = simulator.tenant.user_by_upn(SCANNER)
    assert user is not None
    simulator.tenant.exchange.set_smtp_auth(user.object_id, False)

    for number in range(3):
        await hand_in(running_server, app.login, password, compose_mail(SCANNER, (OPS,), f"Scan {number}"))
    await until(lambda: len(simulator.tenant.messages) == 3, "all of them have arrived")
    assert {message.came_by for message in simulator.tenant.messages} == {"Graph"}
    store = running_server.store
    assert (await store.mail_servers.find(1)).cause is StopCause.SMTP_AUTH_OFF
    assert (await store.mailboxes.find(1)).state is MailboxState.READY
    rows, _ = await store.messages.search("", limit=10)
    while not all(row.state is RecipientState.SENT for row in rows):
        rows, _ = await store.messages.search("", limit=10)
    detail = await store.messages.find(rows[-1].message_id)
    assert detail is not None
    assert [entry.text for entry in detail.timeline if entry.kind == "rerouted"] == [
        "Goes through Graph, because smtp.office365.com cannot send: SMTP AUTH off."
    ]
