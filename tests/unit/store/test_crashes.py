"""The machine stops at each named point: what was acknowledged is there, and what is not known is shown so."""

import asyncio
import os
from pathlib import Path

import pytest

from postroom.errors import PostroomError
from postroom.outcome import Sent, Unknown
from postroom.store.faults import Crash
from postroom.store.records import Lease
from tests.contract.kept_store import ENGINES, SENT, Engine, KeptStore

pytestmark = pytest.mark.anyio

POINTS = (
    "before_insert",
    "before_claim",
    "before_settle",
    "before_commit",
    "after_commit",
    "before_body_write",
    "before_body_sync",
    "after_body_sync",
)


class Countdown:
    """Stops the machine when a point is reached for the n-th time after it was armed."""

    def __init__(self, point: str, count: int) -> None:
        self._point = point
        self._left = count
        self.is_armed = False

    def __call__(self, point: str) -> None:
        if self.is_armed and point == self._point:
            self._left -= 1
            if self._left == 0:
                raise Crash


class Run:
    """Mail comes in and goes out until the machine stops; what the outside world saw is written down."""

    def __init__(self, kept: KeptStore) -> None:
        self.kept = kept
        self.acknowledged: set[int] = set()
        self.arrived: list[int] = []

    async def go(self) -> None:
        for _ in range(40):
            await asyncio.gather(self.keep_small(), self.keep_small(), self.keep_large(), self.send())

    async def keep_small(self) -> None:
        self.acknowledged.add(await self.kept.keep("a@x.example", "b@x.example"))

    async def keep_large(self) -> None:
        writer = self.kept.store.bodies.spool()
        try:
            await writer.write(os.urandom(70_000))
            new = self.kept.message(body=await writer.finish())
            await self.kept.store.outbox.keep(new)
            self.acknowledged.add(new.message_id)
        finally:
            await writer.discard()

    async def send(self) -> None:
        leases = await self.kept.store.outbox.lease_due(2)
        for lease in leases:
            self.arrived.append(lease.message_id)
            await self.kept.settle(lease, SENT)
        self.kept.clock.advance(5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("point", POINTS)
async def test_nothing_acknowledged_is_lost(tmp_path: Path, point: str, count: int, engine: Engine) -> None:
    kept = KeptStore(tmp_path / "data", engine)
    countdown = Countdown(point, count)
    await kept.open_set_up(countdown)
    countdown.is_armed = True
    run = Run(kept)
    results = await asyncio.gather(run.go(), return_exceptions=True)
    assert isinstance(results[0], Crash), "the machine did not stop"
    store = await kept.open()
    known: set[int] = set()
    for message_id in run.acknowledged | set(run.arrived):
        detail = await store.messages.find(message_id)
        assert detail is not None, "an acknowledged message is lost"
        known.add(message_id)
        assert detail.body is not None
        content = b"".join([chunk async for chunk in store.bodies.read(detail.body)])
        assert len(content) == detail.row.size_bytes
        assert detail.row.state in ("queued", "sent")
        outcomes = [outcome for attempt in detail.attempts for _, outcome in attempt.outcomes]
        if message_id in run.arrived:
            assert outcomes, "what was sent was attempted on record first"
        assert all(isinstance(outcome, Sent | Unknown) for outcome in outcomes)
        if detail.row.state == "sent":
            assert message_id in run.arrived, "nothing is called sent that did not arrive"
    assert known >= run.acknowledged
    await drain(kept, run)
    assert set(run.arrived) >= run.acknowledged
    duplicates = len(run.arrived) - len(set(run.arrived))
    assert duplicates <= 2, "at most one for each open delivery"
    await kept.close()


async def drain(kept: KeptStore, run: Run) -> None:
    while True:
        kept.clock.advance(61)
        leases: list[Lease] = await kept.store.outbox.lease_due(2)
        if not leases and await kept.store.outbox.next_due_at_us() is None:
            return
        for lease in leases:
            run.arrived.append(lease.message_id)
            await kept.settle(lease, SENT)


async def test_a_crash_is_not_swallowed(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    countdown = Countdown("before_commit", 1)
    await kept.open_set_up(countdown)
    countdown.is_armed = True
    with pytest.raises(Crash):
        await kept.keep()
    assert not issubclass(Crash, PostroomError | Exception)
    with pytest.raises(Crash):
        await kept.keep()
    await kept.close()
