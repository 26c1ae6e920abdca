"""Each scenario sounds as its data says, over the socket and over HTTP, and what cannot be told apart sounds alike."""

import re
from collections.abc import AsyncIterator, Iterator
from itertools import permutations
from typing import NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import admin_center
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.scenario_changes import CHANGES
from postroom.simulator.scenarios import Scenario, Scenarios, Way, read_scenarios
from postroom.simulator.service import Simulator
from postroom.simulator.tenant import OperationError, Tenant, empty_tenant
from tests.unit.simulator.scenario_program import Evidence, Program

SCENARIOS = read_scenarios()
NORMAL: dict[Way, Evidence] = {
    "delegated": Evidence("250 2.0.0 OK <id> [Hostname=host]", "scp SMTP.Send"),
    "application": Evidence("250 2.0.0 OK <id> [Hostname=host]", "roles SMTP.SendAsApp"),
    "password": Evidence("250 2.0.0 OK <id> [Hostname=host]"),
    "graph": Evidence("202", "scp Mail.Send"),
}


class Rehearsal(NamedTuple):
    simulator: Simulator
    program: Program

    @property
    def scenarios(self) -> Scenarios:
        return self.simulator.scenarios


@pytest.fixture
async def rehearsal() -> AsyncIterator[Rehearsal]:
    """An empty tenant in which everything was set up by one operation, and a program that sends."""
    simulator = await Simulator.start(tenant=empty_tenant(SimulatorClock()))
    program = Program(simulator, simulator.scenarios.set_up_everything())
    yield Rehearsal(simulator, program)
    await program.https.aclose()
    await simulator.stop()


def expected(scenario: Scenario) -> Evidence:
    reply = scenario.reply.replace("{mailbox}", "scanner@contoso.com").replace("{sender}", "noreply@contoso.com")
    return Evidence(reply, scenario.granted)


@pytest.mark.anyio
async def test_each_scenario_sounds_as_its_data_says_and_is_undone(rehearsal: Rehearsal) -> None:
    observed, afterwards = {}, {}
    for name, scenario in SCENARIOS.items():
        rehearsal.scenarios.apply(name)
        observed[name] = await rehearsal.program.send(scenario)
        rehearsal.scenarios.back_to_normal()
        afterwards[name] = await rehearsal.program.send(scenario)
    assert observed == {name: expected(scenario) for name, scenario in SCENARIOS.items()}
    assert afterwards == {name: NORMAL[scenario.way] for name, scenario in SCENARIOS.items()}
    # What the wire and the granted permissions show decides who looks alike, not what the data wishes.
    alike = {
        (one, other)
        for one, other in permutations(SCENARIOS, 2)
        if SCENARIOS[one].way == SCENARIOS[other].way and observed[one] == observed[other]
    }
    assert alike == {(one, other) for one, scenario in SCENARIOS.items() for other in scenario.looks_alike}


@pytest.mark.anyio
async def test_one_scenario_takes_the_place_of_another(rehearsal: Rehearsal) -> None:
    rehearsal.scenarios.apply("secret-expired")
    scenario = rehearsal.scenarios.apply("smtp-auth-off-tenant")
    assert await rehearsal.program.send(scenario) == expected(scenario)
    assert rehearsal.scenarios.applied == "smtp-auth-off-tenant"
    rehearsal.scenarios.back_to_normal()
    assert await rehearsal.program.send(scenario) == NORMAL["delegated"]
    assert rehearsal.scenarios.applied == ""


@pytest.mark.anyio
async def test_the_remedy_helps_and_stays(rehearsal: Rehearsal) -> None:
    scenario = rehearsal.scenarios.apply("secret-expired")
    tenant, client_id = rehearsal.simulator.tenant, rehearsal.program.set_up.client_id
    rehearsal.program.secret = tenant.add_secret(client_id).value
    assert await rehearsal.program.send(scenario) == NORMAL["delegated"]
    rehearsal.scenarios.back_to_normal()
    assert len(tenant.app(client_id).secrets) == 2
    assert await rehearsal.program.send(scenario) == NORMAL["delegated"]


@pytest.mark.anyio
async def test_a_change_arrives_within_the_hour(rehearsal: Rehearsal) -> None:
    scenario = rehearsal.scenarios.apply("change-under-way")
    assert await rehearsal.program.send(scenario) == expected(scenario)
    rehearsal.simulator.clock.advance(3601)
    assert await rehearsal.program.send(scenario) == NORMAL["application"]


@pytest.mark.anyio
async def test_a_day_that_is_used_up_passes(rehearsal: Rehearsal) -> None:
    scenario = rehearsal.scenarios.apply("day-used-up")
    assert await rehearsal.program.send(scenario) == expected(scenario)
    rehearsal.simulator.clock.advance(86_401)
    assert await rehearsal.program.send(scenario) == NORMAL["delegated"]


def test_the_data_and_the_changes_have_the_same_names() -> None:
    assert list(CHANGES) == list(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_data_holds_together(name: str) -> None:
    scenario = SCENARIOS[name]
    assert scenario.told_by
    assert scenario.remedy
    for other in scenario.looks_alike:
        assert SCENARIOS[other].way == scenario.way
        assert name in SCENARIOS[other].looks_alike
    if scenario.confidence == "C":
        assert "unconfirmed" in scenario.meaning
    no_program_can_tell = bool(scenario.looks_alike) or scenario.shows_at == "nowhere"
    assert no_program_can_tell == (scenario.told_by.startswith(("Only", "Entra's page")))


@pytest.fixture
def scenarios() -> Scenarios:
    return Scenarios(empty_tenant(SimulatorClock()))


def test_without_a_set_up_a_scenario_says_what_it_needs(scenarios: Scenarios) -> None:
    with pytest.raises(OperationError, match="press “Set up everything”"):
        scenarios.apply("secret-expired")
    assert scenarios.applied == ""
    with pytest.raises(OperationError, match="There is no scenario “weather”"):
        scenarios.apply("weather")


def test_the_chosen_mailbox_goes_wrong(scenarios: Scenarios) -> None:
    set_up = scenarios.set_up_everything()
    scenarios.choose(set_up.client_id, set_up.sender_id)
    scenarios.apply("smtp-auth-off-mailbox")
    tenant = scenarios.tenant
    assert tenant.user(set_up.sender_id).smtp_auth is False
    assert tenant.user(set_up.mailbox_id).smtp_auth is True
    with pytest.raises(OperationError, match="no user with the object id"):
        scenarios.choose("", "nobody")


def test_setting_up_twice_makes_nothing_twice(scenarios: Scenarios) -> None:
    assert scenarios.set_up_everything() == scenarios.set_up_everything()
    assert (len(scenarios.tenant.users), len(scenarios.tenant.apps)) == (2, 1)
    [app] = scenarios.tenant.apps.values()
    assert len(app.secrets) == 1


def test_what_is_gone_needs_no_undoing(scenarios: Scenarios) -> None:
    set_up = scenarios.set_up_everything()
    scenarios.apply("no-licence")
    del scenarios.tenant.users[set_up.mailbox_id]
    scenarios.back_to_normal()
    assert scenarios.applied == ""


# Its pages


@pytest.fixture
def tenant() -> Tenant:
    return empty_tenant(SimulatorClock())


@pytest.fixture
def browser(tenant: Tenant) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=admin_center.routes(tenant)), "http://localhost") as client:
        yield client


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_page_applies_its_scenario_and_leads_to_the_remedy(browser: TestClient, tenant: Tenant, name: str) -> None:
    browser.post("/scenarios/set-up")
    shown = browser.post(f"/scenarios/{name}")
    assert shown.status_code == 200
    assert "<strong>In force</strong>" in shown.text
    page = shown.text.partition('">Open the page')[0].rpartition('<a href="')[2]
    assert browser.get(page).status_code == 200
    assert re.findall(r"\{[a-z_]+\}", shown.text) == []
    assert "Back to normal" in browser.get("/scenarios").text
    assert "Back to normal" not in browser.post("/scenarios/back-to-normal").text


def test_a_fresh_start_forgets_the_scenario(browser: TestClient) -> None:
    browser.post("/scenarios/set-up")
    browser.post("/scenarios/wrong-password")
    browser.post("/reset", data={"empty": "1"})
    assert "In force" not in browser.get("/scenarios").text
    answer = browser.post("/scenarios/wrong-password")
    assert answer.status_code == 400
    assert "Set up everything" in answer.text
