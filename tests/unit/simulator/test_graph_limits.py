"""Four at once, ten thousand in ten minutes, 150 MB in five: for one application and mailbox (3.3)."""

import pytest

from postroom.simulator.graph_errors import GraphError
from postroom.simulator.graph_gate import Gate
from postroom.simulator.graph_switches import GraphSwitches
from postroom.simulator.operation_error import OperationError
from postroom.simulator.tenant import Tenant
from tests.unit.simulator.graph_client import NOREPLY, SEND, GraphClient

KEY = ("client", "mailbox")


@pytest.fixture
def gate(tenant: Tenant) -> Gate:
    return Gate(tenant)


@pytest.mark.anyio
async def test_the_fifth_at_once_is_refused_and_the_places_come_back(graph: GraphClient) -> None:
    async with graph.hold_requests(3, graph.token(*SEND)):
        assert (await graph.send_mime()).status_code == 202
    async with graph.hold_requests(4, graph.token(*SEND)):
        refused = await graph.send_mime()
        assert refused.json()["error"]["message"] == "Application is over its MailboxConcurrency limit."
        # Another mailbox has places of its own, and the directory has no such limit.
        assert (await graph.send_json(token=graph.token(*SEND, user=NOREPLY))).status_code == 202
        assert (await graph.call("GET", "/me", graph.token("User.Read"))).status_code == 200


@pytest.mark.anyio
async def test_another_application_has_places_of_its_own(graph: GraphClient) -> None:
    async with graph.hold_requests(4, graph.token(*SEND)):
        graph.app = graph.tenant.register_app("Another")
        assert (await graph.send_mime()).status_code == 202


def test_a_request_that_fails_gives_its_place_back(gate: Gate) -> None:
    def fail_inside() -> None:
        with gate.admit(KEY):
            assert gate.under_way(KEY) == 1
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail_inside()
    assert gate.under_way(KEY) == 0


def test_the_window_of_ten_minutes_slides(gate: Gate, tenant: Tenant) -> None:
    for _ in range(10_000):
        with gate.admit(KEY):
            pass
    tenant.clock.advance(300)
    with pytest.raises(GraphError, match="RequestCount") as refused, gate.admit(KEY):
        pass
    assert refused.value.retry_after_seconds in (299, 300)
    with gate.admit(("client", "another mailbox")):
        pass
    tenant.clock.advance(301)
    with gate.admit(KEY):
        pass


def test_each_try_counts_so_that_hammering_never_ends_it(gate: Gate, tenant: Tenant) -> None:
    tenant.graph.requests_per_window = 2
    for _ in range(2):
        with gate.admit(KEY):
            pass
    for _ in range(5):
        tenant.clock.advance(200)
        with pytest.raises(GraphError, match="RequestCount"), gate.admit(KEY):
            pass
    tenant.clock.advance(601)
    with gate.admit(KEY):
        pass


def test_what_is_uploaded_counts_for_five_minutes(gate: Gate, tenant: Tenant) -> None:
    gate.count_upload(KEY, 100_000_000)
    gate.count_upload(KEY, 50_000_000)
    tenant.clock.advance(100)
    with pytest.raises(GraphError, match="UploadVolume") as refused:
        gate.count_upload(KEY, 1)
    assert refused.value.retry_after_seconds in (199, 200)
    tenant.clock.advance(201)
    gate.count_upload(KEY, 150_000_000)


@pytest.mark.parametrize(
    ("fault", "times", "retry_after_seconds", "sentence"),
    [
        ("418", None, 30, "Microsoft Graph can answer 429, 503 or 504, not “418”."),
        ("429", 0, 30, "The fault must meet at least one request."),
        ("429", None, -1, "Retry-After is 0 to 86,400 seconds, not -1."),
    ],
)
def test_a_switch_says_what_it_cannot_do(
    fault: str, times: int | None, retry_after_seconds: int, sentence: str
) -> None:
    switches = GraphSwitches()
    with pytest.raises(OperationError, match=sentence):
        switches.break_graph(fault, times=times, retry_after_seconds=retry_after_seconds)  # type: ignore[arg-type]
    assert switches.take_fault() is None


def test_a_restriction_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(OperationError, match="no application access policy for client"):
        GraphSwitches().remove_restriction("client")
