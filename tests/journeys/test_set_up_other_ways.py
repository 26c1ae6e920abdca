"""The set-up with a password, without JavaScript, and by two people at once."""

import asyncio

import pytest
from playwright.async_api import expect

from postroom.server import Server
from tests.journeys.person import PASSPHRASE, Person
from tests.journeys.prepared import SCANNER, SCANNER_PASSWORD, simulator_of
from tests.journeys.watched import Watched

pytestmark = pytest.mark.anyio


async def test_basic_authentication(person: Person) -> None:
    await person.open_setup_link()
    await person.become_administrator()
    await person.begin_set_up()
    await person.enter_addresses()
    await expect(person.page.get_by_text("being retired")).to_be_visible()
    await person.choose_method("Basic")
    await person.sees("Basic authentication is being retired")
    await person.field("Password").fill(SCANNER_PASSWORD)
    await person.button("Continue").click()
    await person.check()
    await person.save()
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")
    assert simulator_of(person.server).tenant.messages[0].signed_in_as == SCANNER
    assert "AUTH LOGIN" in await person.open_arrived("Postroom: test mail")


async def test_without_scripts(running_server: Server, watched: Watched) -> None:
    person = await Person.arrive(running_server, await watched.open_context(runs_scripts=False))
    await person.open_setup_link()
    await person.become_administrator()
    await person.set_up_with_oauth()
    await person.send_test_mail()
    await person.sees("Sent: accepted by Microsoft 365")

    login, password = await person.make_app("Old browser")
    await person.hand_in(login, password, "Scan without scripts")
    await person.open_message("Scan without scripts")
    await person.open_arrived("Scan without scripts")
    await person.come_back()
    await person.page.reload()
    await person.sees("Sent: accepted by Microsoft 365")


async def test_two_people_with_the_same_link(running_server: Server, watched: Watched) -> None:
    watched.allow(r"/setup.*status of 409|status of 409.*/setup")
    people = [await Person.arrive(running_server, await watched.open_context()) for _ in range(2)]
    for person in people:
        await person.open_setup_link()
    await asyncio.gather(
        people[0].become_administrator("Anna Admin", "anna@contoso.com"),
        people[1].become_administrator("Bob Backup", "bob@contoso.com"),
    )
    headings = [person.page.get_by_role("heading", level=1) for person in people]
    for heading in headings:
        await expect(heading).not_to_have_text("Create the first administrator")
    said = [await heading.inner_text() for heading in headings]
    assert sorted(said) == ["Overview", "The first administrator exists already"]
    loser = people[said.index("The first administrator exists already")]
    winner = ("Anna Admin", "Bob Backup")[said.index("Overview")]
    await loser.sees(winner)

    emails = ("anna@contoso.com", "bob@contoso.com")
    made = [await running_server.store.people.authenticate(email, PASSPHRASE) for email in emails]
    assert [person.name for person in made if person is not None] == [winner]
