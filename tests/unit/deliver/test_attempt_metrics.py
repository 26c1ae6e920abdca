"""Attempts as monitors count them: each once, and never in the way of the mail."""

import asyncio
import random

import pytest
from prometheus_client import CollectorRegistry

from postroom.clock import ManualClock
from postroom.deliver.attempt_metrics import AttemptMetrics
from postroom.deliver.worker import Worker
from postroom.ids import IdMaker, made_at_us
from postroom.metrics import Metrics
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.records import Lease
from tests.contract.kept_store import KeptStore
from tests.unit.deliver.test_worker import SENT, TestTransport, always, ready  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio

BUSY = TryLater(Failure(FailureClass.THROTTLE, "server_busy", "432 Slow down", "server_busy"))
LATER = TryLater(Failure(FailureClass.RECIPIENT, "greylisted", "451 Later", "greylisted"))
REFUSED = Refused(Failure(FailureClass.RECIPIENT, "recipient_unknown", "550 No such user", "recipient_unknown"))
STOPPED = Stopped(Failure(FailureClass.IDENTITY, "sign_in_ended", "535", "sign_in_again"), StopCause.SIGN_IN)
LOST = Unknown(Failure(FailureClass.UNKNOWN, "connection_broke", "It broke", "unknown_outcome"))


@pytest.mark.parametrize(
    ("outcomes", "counted"),
    [
        ((SENT,), ("sent", "", "")),
        ((SENT, SENT), ("sent", "", "")),
        ((SENT, LATER, REFUSED), ("refused", "recipient", "recipient_unknown")),
        ((LATER, SENT), ("later", "recipient", "greylisted")),
        ((REFUSED, LOST), ("unknown", "unknown", "connection_broke")),
        ((STOPPED, STOPPED), ("stopped", "identity", "sign_in_ended")),
    ],
)
async def test_an_attempt_counts_once_as_its_worst_recipient(
    ready: KeptStore,  # noqa: F811
    outcomes: tuple[Outcome, ...],
    counted: tuple[str, str, str],
) -> None:
    await ready.keep(*(f"{number}@fabrikam.com" for number in range(len(outcomes))))
    metrics = Metrics(CollectorRegistry())
    AttemptMetrics(metrics, ready.clock).note(await ready.lease_one(), outcomes, 0.3)
    [family] = [it for it in metrics.registry.collect() if it.name == "postroom_delivery_attempts"]
    assert [(*it.labels.values(), it.value) for it in family.samples] == [(*counted, 1)]
    durations = metrics.registry.get_sample_value("postroom_delivery_duration_seconds_count")
    assert durations == (1 if Sent in map(type, outcomes) else 0)
    slowed = metrics.registry.get_sample_value("postroom_mailbox_slowed_total", {"mailbox": "0000000000001"})
    assert slowed is None


async def test_a_wish_to_slow_down_is_counted_by_its_mailbox(ready: KeptStore) -> None:  # noqa: F811
    await ready.keep()
    metrics = Metrics(CollectorRegistry())
    AttemptMetrics(metrics, ready.clock).note(await ready.lease_one(), (BUSY,), 0.3)
    assert metrics.registry.get_sample_value("postroom_mailbox_slowed_total", {"mailbox": "0000000000001"}) == 1


async def test_trouble_with_counting_is_not_the_mails(ready: KeptStore) -> None:  # noqa: F811
    def fall(_lease: Lease, _outcomes: tuple[Outcome, ...], _seconds: float) -> None:
        raise RuntimeError("counting failed")

    message_ids = [await ready.keep() for _ in range(3)]
    transport = TestTransport(always(SENT))
    worker = Worker(ready.store, transport.transport_for, ready.clock, random.Random(1), note_attempt=fall)
    running = asyncio.create_task(worker.run())
    while [await ready.states(message_id) for message_id in message_ids] != [["sent"]] * 3:
        assert not running.done(), "the worker has ended"
        await asyncio.sleep(0)
    await worker.stop(5)
    await running


def test_an_id_tells_when_it_was_made() -> None:
    clock = ManualClock(1_790_000_000_123_456)
    assert made_at_us(IdMaker(clock, node=7).make_id()) == 1_790_000_000_123_000
