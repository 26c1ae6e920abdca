"""Every refusal of graph.toml can be met at the simulated Microsoft Graph, over HTTPS, word for word."""

import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.graph_error_table import KNOWN_ERRORS
from postroom.simulator.tenant import contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from tests.unit.simulator.graph_client import GraphClient, start_graph
from tests.unit.simulator.graph_troubles import TROUBLES

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


def test_the_simulator_is_as_sure_as_the_reference() -> None:
    """What is not confirmed here is called so there, and nothing is missing on either side."""
    assert {known.name: known.confidence for known in KNOWN_ERRORS} == {
        entry["id"]: entry["confidence"] for entry in ENTRIES
    }


def test_each_entry_has_a_name_of_its_own_and_a_source() -> None:
    assert len({entry["id"] for entry in ENTRIES}) == len(ENTRIES)
    assert [entry["id"] for entry in ENTRIES if not entry["source"]] == []
    assert [entry["id"] for entry in ENTRIES if entry["source"] == "none" and entry["confidence"] != "C"] == []
