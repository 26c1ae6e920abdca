"""A second way out, set up and used in the browser: beside the first, as its alternative, and by a rule."""

import pytest
from playwright.async_api import expect

from postroom.store.routing import RuleKind
from tests.journeys.person import Person
from tests.journeys.prepared import OPS, set_up_mail_server, simulator_of, until
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio

CHECKS = ("DNS", "HTTPS", "Token", "Sign in", "Sender", "Recipient")


async def open_all(person: Person) -> None:
    await person.link("Mail Server").click()
    await person.page.get_by_role("link", name="All mail servers").click()
    await expect(person.heading("All mail servers")).to_be_visible()


async def test_graph_beside_smtp_with_the_same_mailbox(person: Person) -> None:
    await set_up_mail_server(person.server)
    store, tenant = person.server.store, simulator_of(person.server).tenant
    client_id = (await store.mail_servers.draft_from_live()).client_id
    tenant.add_permission(client_id, "Mail.Send")
    tenant.grant_admin_consent(client_id)
    await person.sign_in_as_administrator()

    await open_all(person)
    await person.page.get_by_label("It signs in with").select_option(label="the mailbox of smtp.office365.com")
    await person.button("Set it up").click()
    await person.page.get_by_label("Name (optional)").fill("Graph")
    await person.field("Email Type").select_option(label="Microsoft Graph")
    await person.button("Continue").click()
    await person.page.goto(f"{person.server.console_url}/admin/mail-server/check")
    await person.check(CHECKS)
    await person.save()
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")
    await until(lambda: len(tenant.messages) == 1, "the test mail has arrived")
    assert tenant.messages[0].came_by == "Graph", "it went the way that is tested"

    await open_all(person)
    first = person.page.get_by_role("region", name="smtp.office365.com")
    await first.get_by_text("When it cannot send").click()
    await first.get_by_label("First alternative").select_option(label="Graph")
    await first.get_by_role("button", name="Save the alternatives").click()
    await person.sees("Saved. It holds for mail that comes from now on")
    graph = next(server for server in await store.mail_servers.all() if server.name == "Graph")
    assert (await store.mail_servers.default()).alternatives == (graph.mail_server_id,)

    await person.page.get_by_label("When", exact=True).select_option(label="The sender is at the domain")
    await person.page.get_by_label("this value").fill("contoso.com")
    await person.page.get_by_label("it goes through").select_option(label="Graph")
    await person.button("Add the rule").click()
    [rule] = await store.ways.rules()
    assert (rule.kind, rule.value, rule.mail_server_id) == (
        RuleKind.SENDER_DOMAIN,
        "contoso.com",
        graph.mail_server_id,
    )
    login, password = await person.make_app("HP 2nd floor")
    await person.hand_in(login, password, "Scan 1")
    await person.open_message("Scan 1")
    await person.sees("Goes through Graph, because its sender is at contoso.com.")
    await person.sees("Sent: accepted by Microsoft 365")
    assert tenant.messages[-1].recipients == (OPS,)


async def test_what_cannot_be_is_said_and_limits_are_kept(person: Person, watched: Watched) -> None:
    watched.allow(r"/limits.*status of 422|status of 422.*/limits")
    await set_up_mail_server(person.server)
    await person.sign_in_as_administrator()
    await open_all(person)
    await person.page.get_by_text("Limits of its mailbox").click()
    await person.page.get_by_label("Messages in any 60 seconds").fill("100")
    await person.button("Save the limits").click()
    await person.sees("Microsoft 365 takes 30 messages a minute of a mailbox at most: choose that or less.")
    await person.page.get_by_text("Limits of its mailbox").click()
    await person.page.get_by_label("Messages in any 60 seconds").fill("10")
    await person.button("Save the limits").click()
    await person.sees("10 messages a minute, 2 connections")
    await person.button("Pause").click()
    await expect(person.page.get_by_text("stopped: paused")).to_be_visible()
    await person.button("It is solved: try again now").click()
    await expect(person.page.get_by_text("ready", exact=True)).to_be_visible()
