"""Every refusal of Graph over HTTPS: its words, its shape, and what it carries for the caller."""

import pytest

from postroom.simulator.graph_error_table import KNOWN_ERRORS, KnownError
from tests.unit.simulator.graph_client import GraphClient
from tests.unit.simulator.graph_troubles import TROUBLES

pytestmark = pytest.mark.anyio


WAITS = {"concurrency": "1", "throttled": "30", "unavailable": "30", "too many requests": "600", "upload limit": "300"}


@pytest.mark.parametrize("known", KNOWN_ERRORS, ids=lambda known: str(known.name))
async def test_each_error_can_be_met(graph: GraphClient, known: KnownError) -> None:
    answer = await TROUBLES[known.name](graph)
    error = answer.json()["error"]
    first_words = known.message.partition("{")[0]
    assert (answer.status_code, error["code"]) == (known.status, known.code)
    assert error["message"].startswith(first_words)
    assert "{" not in error["message"]

    inner = error["innerError"]
    assert set(inner) == {"date", "request-id", "client-request-id"}
    assert answer.headers["request-id"] == inner["request-id"]
    assert answer.headers["client-request-id"] == inner["client-request-id"]
    assert ("www-authenticate" in answer.headers) == (known.status == 401)
    assert answer.headers.get("retry-after") == WAITS.get(known.name)


def test_the_table_and_the_ways_to_it_are_the_same() -> None:
    names = [known.name for known in KNOWN_ERRORS]
    assert len(set(names)) == len(names)
    assert set(names) == set(TROUBLES)


async def test_the_clients_own_request_id_comes_back(graph: GraphClient) -> None:
    answer = await graph.call("GET", "/me", headers={"client-request-id": "our-trace-17"})
    inner = answer.json()["error"]["innerError"]
    assert inner["client-request-id"] == answer.headers["client-request-id"] == "our-trace-17"
    assert inner["request-id"] != "our-trace-17"


async def test_an_answer_without_error_has_its_ids_too(graph: GraphClient) -> None:
    answer = await graph.call("GET", "/me", graph.token("User.Read"), headers={"client-request-id": "our-trace-18"})
    assert answer.status_code == 200
    assert answer.headers["client-request-id"] == "our-trace-18"
    assert answer.headers["request-id"]


async def test_a_fault_for_two_requests_ends_by_itself(graph: GraphClient) -> None:
    graph.tenant.graph.break_graph("503", times=2, retry_after_seconds=7)
    answers = [await graph.send_mime() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 202]
    assert answers[0].headers["retry-after"] == "7"


async def test_a_fault_without_end_is_mended(graph: GraphClient) -> None:
    graph.tenant.graph.break_graph("504")
    assert (await graph.send_mime()).status_code == 504
    assert (await graph.call("GET", "/me", graph.token("User.Read"))).status_code == 504
    graph.tenant.graph.mend_graph()
    assert (await graph.send_mime()).status_code == 202
