"""A real process is killed with SIGKILL at every named point of the store, while mail comes in and goes out."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from postroom.clock import ManualClock, SystemClock
from postroom.outcome import Sent, Unknown
from postroom.store import Store
from postroom.store.records import MessageDetail, Settlement
from postroom.vault import Vault

pytestmark = pytest.mark.anyio

CHILD = Path(__file__).with_name("store_child.py")
IN_FLIGHT = 8
POINTS = (
    "before_insert",
    "before_claim",
    "before_settle",
    "before_commit",
    "after_commit",
    "before_checkpoint",
    "before_body_write",
    "before_body_sync",
    "after_body_sync",
)


class Seen:
    """What the outside world saw before the kill."""

    def __init__(self, output: str) -> None:
        lines = [line.split() for line in output.splitlines()]
        self.acknowledged = {int(number) for word, number in lines if word == "kept"}
        self.arrived = Counter(int(number) for word, number in lines if word == "arrived")


def run_until_killed(folder: Path, key: bytes, point: str, count: int) -> Seen:
    child = subprocess.run(
        [sys.executable, str(CHILD), str(folder), key.hex(), point, str(count)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    return Seen(child.stdout)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_loses_nothing(tmp_path: Path, point: str) -> None:
    key, folder = os.urandom(32), tmp_path / "data"
    seen = run_until_killed(folder, key, point, 3 if point == "before_checkpoint" else 25)
    assert len(seen.acknowledged) > 10, "mail must have been flowing"
    clock = ManualClock(SystemClock().now_us())
    store = await Store.open(folder, clock, Vault(key))
    try:
        await judge(store, seen)
        await drain(store, clock, seen)
    finally:
        await store.close()
    assert set(seen.arrived) >= seen.acknowledged, "lost"
    duplicates = seen.arrived.total() - len(seen.arrived)
    assert duplicates <= IN_FLIGHT, "at most one for each delivery that was open"
    check_integrity(folder)


async def judge(store: Store, seen: Seen) -> None:
    for message_id in seen.acknowledged | set(seen.arrived):
        detail = await store.messages.find(message_id)
        assert detail is not None, "an acknowledged message is lost"
        assert detail.row.state in ("queued", "sent")
        assert detail.body is not None
        assert sum([len(chunk) async for chunk in store.bodies.read(detail.body)]) == detail.row.size_bytes
        judge_attempts(detail, seen)


def judge_attempts(detail: MessageDetail, seen: Seen) -> None:
    outcomes = [outcome for attempt in detail.attempts for _, outcome in attempt.outcomes]
    assert all(attempt.ended_at_us is not None for attempt in detail.attempts), "an attempt was left open"
    if detail.row.message_id in seen.arrived:
        assert outcomes, "it left without an attempt on record"
    if detail.row.state == "sent":
        assert detail.row.message_id in seen.arrived, "called sent without having arrived"
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
    elif outcomes:
        assert all(isinstance(outcome, Unknown) for outcome in outcomes)


async def drain(store: Store, clock: ManualClock, seen: Seen) -> None:
    """Send what is left, as the next boot would."""
    clock.advance(61)
    while leases := await store.outbox.lease_due(1000):
        for lease in leases:
            seen.arrived[lease.message_id] += 1
            outcomes = {recipient.recipient_id: Sent("250 2.0.0 OK") for recipient in lease.recipients}
            await store.outbox.settle(lease, Settlement(dict(outcomes)))
        clock.advance(1)
    assert await store.outbox.next_due_at_us() is None


def check_integrity(folder: Path) -> None:
    connection = sqlite3.connect(folder / "postroom.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    counted = dict(connection.execute("SELECT state, recipients FROM recipient_counts WHERE recipients > 0"))
    real = dict(connection.execute("SELECT state, count(*) FROM recipients GROUP BY state"))
    assert counted == real
    connection.close()
