"""Every refusal of graph.toml can be met at the simulated Microsoft Graph, over HTTPS, word for word."""

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from postroom.deliver.graph_answers import RULES, GraphAnswer, outcome_of_answer, outcome_of_step
from postroom.outcome import Refused, Sent, Stopped, TryLater, Unknown
from postroom.remedies import remedy
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.graph_error_table import KNOWN_ERRORS
from postroom.simulator.tenant import contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from tests.unit.simulator.graph_client import GraphClient, start_graph
from tests.unit.simulator.graph_troubles import TROUBLES

OUTCOMES = {TryLater: "try_later", Stopped: "stopped", Refused: "refused", Unknown: "unknown"}
ENTRIES: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("graph.toml").read_text())["error"]


@pytest.fixture(scope="module")
def signing_key() -> RSAKey:
    return make_signing_key()


@pytest.fixture
async def graph(signing_key: RSAKey) -> AsyncIterator[GraphClient]:
    tenant = contoso(SimulatorClock())
    async with start_graph(tenant, Tokens(tenant, signing_key)) as client:
        yield client


@pytest.mark.anyio
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["id"]))
async def test_an_error_is_met_as_the_reference_has_it(graph: GraphClient, entry: dict[str, Any]) -> None:
    answer = await TROUBLES[entry["id"]](graph)
    error = answer.json()["error"]
    found = {"status": answer.status_code, "code": error["code"], "message": error["message"]}
    assert found == {name: entry[name] for name in found}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["id"]))
def test_an_error_means_for_the_mail_what_the_reference_says(entry: dict[str, Any]) -> None:
    answer = GraphAnswer(entry["status"], entry["code"], entry["message"])
    outcome = outcome_of_answer(answer, server="graph.microsoft.com", now_us=0)
    assert not isinstance(outcome, Sent)
    found = {
        "outcome": OUTCOMES[type(outcome)],
        "cause": outcome.cause.value if isinstance(outcome, Stopped) else None,
        "failure": outcome.failure.code,
        "remedy": outcome.failure.remedy_id,
    }
    assert found == {name: entry.get(name) for name in found}
    assert remedy(entry["remedy"])


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if "before_sending" in entry], ids=lambda entry: str(entry["id"])
)
def test_before_a_large_message_is_sent_an_error_means_what_the_reference_says(entry: dict[str, Any]) -> None:
    answer, expected = GraphAnswer(entry["status"], entry["code"], entry["message"]), dict(entry["before_sending"])
    is_upload = expected.pop("step") == "upload"
    outcome = outcome_of_step(answer, server="graph.microsoft.com", now_us=0, command="POST", is_upload=is_upload)
    found = {
        "outcome": OUTCOMES[type(outcome)],
        "failure": outcome.failure.code,
        "remedy": outcome.failure.remedy_id,
        **({"cause": outcome.cause.value} if isinstance(outcome, Stopped) else {}),
    }
    assert found == expected
    assert remedy(expected["remedy"])


def test_every_rule_is_met_by_some_answer() -> None:
    answers = [GraphAnswer(entry["status"], entry["code"], entry["message"]) for entry in ENTRIES]
    met = {next((rule for rule in RULES if rule.fits(answer)), None) for answer in answers}
    assert [rule.code for rule in RULES if rule not in met and not rule.statuses] == []


def test_the_simulator_is_as_sure_as_the_reference() -> None:
    """What is not confirmed here is called so there, and nothing is missing on either side."""
    assert {known.name: known.confidence for known in KNOWN_ERRORS} == {
        entry["id"]: entry["confidence"] for entry in ENTRIES
    }


def test_each_entry_has_a_name_of_its_own_and_a_source() -> None:
    assert len({entry["id"] for entry in ENTRIES}) == len(ENTRIES)
    assert [entry["id"] for entry in ENTRIES if not entry["source"]] == []
    assert [entry["id"] for entry in ENTRIES if entry["source"] == "none" and entry["confidence"] != "C"] == []
