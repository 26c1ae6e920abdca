"""What arrives while a commit runs goes into the next one, and everybody waits for their own."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.store import writer as writer_module
from postroom.store.committer import Committer, Work
from postroom.store.database import Connection
from postroom.store.faults import Crash, FaultPoints
from postroom.store.writer import InlineWriter, ThreadWriter, Writer
from tests.contract.kept_store import KeptStore
from tests.unit.store.open_connection import migrated

pytestmark = pytest.mark.anyio


class Recorder:
    """A kind of work that notes its batches in the audit table."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.work: Work[str, str] = Work("record", self._perform, wakes=True)

    def _perform(self, connection: Connection, words: Sequence[str]) -> list[str | Exception]:
        self.batches.append(list(words))
        if "broken" in words:
            raise sqlite3.OperationalError("a broken request")
        for word in words:
            connection.raw.execute("INSERT INTO audit VALUES (NULL, 0, ?, '', '', '', '', '')", (word,))
        return [LookupError(word) if word == "missing" else word.upper() for word in words]


class Gate:
    """Holds the first commit until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.is_armed = False
        self.commits = 0

    def __call__(self, point: str) -> None:
        if point != "before_commit":
            return
        self.commits += 1
        if self.is_armed:
            self.is_armed = False
            self.reached.set()
            assert self.opened.wait(10)


async def start_threaded(folder: Path, faults: FaultPoints, **limits: int) -> tuple[ThreadWriter, Recorder]:
    from postroom.clock import ManualClock
    from postroom.store.database import open_writer
    from postroom.store.migrations import migrate
    from postroom.store.statements import load_statements

    def open_committer() -> Committer:
        path = folder / "postroom.sqlite3"
        connection = open_writer(path, load_statements(), ManualClock(), busy_seconds=0)
        migrate(connection)
        return Committer(connection, path, faults)

    writer = ThreadWriter(lambda: None, **limits)
    await writer.start(open_committer)
    return writer, Recorder()


async def test_what_arrives_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    gate = Gate()
    writer, recorder = await start_threaded(tmp_path, FaultPoints(gate))
    gate.is_armed = True
    first = asyncio.create_task(writer.perform(recorder.work, "first"))
    await asyncio.to_thread(gate.reached.wait, 10)
    others = [asyncio.create_task(writer.perform(recorder.work, f"n{number}")) for number in range(50)]
    await asyncio.sleep(0)
    assert not first.done(), "nobody is told before the commit"
    gate.opened.set()
    assert await first == "FIRST"
    assert await asyncio.gather(*others) == [f"N{number}" for number in range(50)]
    assert recorder.batches == [["first"], [f"n{number}" for number in range(50)]]
    assert gate.commits == 2
    await writer.close()


@pytest.fixture
async def inline(tmp_path: Path) -> AsyncIterator[tuple[Writer, Recorder, Connection]]:
    with migrated(tmp_path) as connection:
        committer = Committer(connection, tmp_path / "postroom.sqlite3", FaultPoints())
        yield InlineWriter(lambda: None, committer), Recorder(), connection


Parts = tuple[Writer, Recorder, Connection]


async def test_the_inline_writer_makes_the_same_batches(inline: Parts) -> None:
    writer, recorder, _ = inline
    await asyncio.gather(*(writer.perform(recorder.work, word) for word in "abc"))
    assert recorder.batches == [["a", "b", "c"]]


async def test_a_failed_batch_is_tried_singly_so_that_one_fails_alone(inline: Parts) -> None:
    writer, recorder, connection = inline
    results = await asyncio.gather(
        *(writer.perform(recorder.work, word) for word in ("a", "broken", "c")), return_exceptions=True
    )
    assert (results[0], results[2]) == ("A", "C")
    assert isinstance(results[1], StoreUnavailableError)
    assert "a broken request" in str(results[1])
    assert recorder.batches == [["a", "broken", "c"], ["a"], ["broken"], ["c"]]
    assert [row["who"] for row in connection.raw.execute("SELECT who FROM audit ORDER BY audit_id")] == ["a", "c"]


async def test_an_answer_that_is_an_error_leaves_the_batch_whole(inline: Parts) -> None:
    writer, recorder, _ = inline
    results = await asyncio.gather(
        *(writer.perform(recorder.work, word) for word in ("a", "missing", "c")), return_exceptions=True
    )
    assert (results[0], results[2]) == ("A", "C")
    assert isinstance(results[1], LookupError)
    assert len(recorder.batches) == 1


async def test_a_caller_that_was_cancelled_before_its_turn_is_left_out(inline: Parts) -> None:
    writer, recorder, _ = inline
    cancelled = asyncio.create_task(writer.perform(recorder.work, "cancelled"))
    other = asyncio.create_task(writer.perform(recorder.work, "other"))
    await asyncio.sleep(0)
    # Both wait for the end of this turn; the first gives up before it.
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await other == "OTHER"
    assert recorder.batches == [["other"]]


async def test_the_queue_is_bounded_in_bytes(tmp_path: Path) -> None:
    gate = Gate()
    writer, recorder = await start_threaded(tmp_path, FaultPoints(gate), queue_limit_bytes=10_000)
    gate.is_armed = True
    first = asyncio.create_task(writer.perform(recorder.work, "first", 5_000))
    await asyncio.to_thread(gate.reached.wait, 10)
    second = asyncio.create_task(writer.perform(recorder.work, "second", 8_000))
    await asyncio.sleep(0)
    with pytest.raises(StoreFullError, match="Too much mail is being stored at this moment"):
        await writer.perform(recorder.work, "third", 8_000)
    settling = asyncio.create_task(writer.perform(recorder.work, "a settlement"))
    await asyncio.sleep(0)
    assert not settling.done(), "what ends work is always let in"
    gate.opened.set()
    assert list(await asyncio.gather(first, second, settling)) == ["FIRST", "SECOND", "A SETTLEMENT"]
    assert await writer.perform(recorder.work, "third", 8_000) == "THIRD"
    await writer.close()


async def test_a_batch_is_bounded_in_bytes_too(inline: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BATCH_LIMIT_BYTES", 10_000)
    writer, recorder, _ = inline
    await asyncio.gather(*(writer.perform(recorder.work, word, 6_000) for word in "abcde"))
    assert recorder.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_crash_ends_the_writer_and_tells_nobody_a_success(tmp_path: Path) -> None:
    def crash(point: str) -> None:
        if point == "after_commit":
            raise Crash

    writer, recorder = await start_threaded(tmp_path, FaultPoints(crash))
    with pytest.raises(Crash):
        await writer.perform(recorder.work, "first")
    with pytest.raises(Crash):
        await writer.perform(recorder.work, "second")
    await writer.close()
    assert recorder.batches == [["first"]]


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    writer, recorder = await start_threaded(tmp_path, FaultPoints())
    waiting = [asyncio.create_task(writer.perform(recorder.work, word)) for word in "abc"]
    await asyncio.sleep(0)
    await writer.close()
    assert await asyncio.gather(*waiting) == ["A", "B", "C"]
    with pytest.raises(StoreUnavailableError, match="closed"):
        await writer.perform(recorder.work, "late")


class CountingConnection:
    """Notes what is executed; SQLite's own trace would also tell of triggers."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw
        self.statements: list[str] = []

    def execute(self, text: str, *values: Any) -> sqlite3.Cursor:
        self.statements.append(text)
        return self._raw.execute(text, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


async def test_fifty_messages_are_a_few_statements(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    store = await kept.open_set_up()
    connection = store._writer._committer.connection  # type: ignore[attr-defined]
    connection.raw = counting = CountingConnection(connection.raw)
    await asyncio.gather(*(store.outbox.keep(kept.message("a@x.example", "b@x.example")) for _ in range(50)))
    inserts = [text for text in counting.statements if text.startswith("INSERT INTO")]
    # 50 rows go as 16 + 16 + 16 + 1 + 1, 100 recipients as 64 + 16 + 16 + 4, their turns as one: never one a row.
    assert len(inserts) == 4 * 5 + 4 + 1
    assert counting.statements[0] == "BEGIN IMMEDIATE"
    assert counting.statements.count("COMMIT") == 1
    await kept.close()


async def test_the_log_is_copied_back_and_stays_bounded(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    store = await kept.open_set_up()
    log = kept.folder / "postroom.sqlite3-wal"
    content = os.urandom(60_000)
    greatest = 0
    for _ in range(20):
        from postroom.store.records import StoredBody

        body = StoredBody(len(content), content=content)
        await asyncio.gather(*(store.outbox.keep(kept.message(body=body)) for _ in range(50)))
        greatest = max(greatest, log.stat().st_size)
    assert 12 * 2**20 < greatest < 40 * 2**20, "60 MB went through it"
    await kept.close()


async def test_a_checkpoint_that_fails_fails_nobody(tmp_path: Path) -> None:
    def fault(point: str) -> None:
        if point == "before_checkpoint":
            raise OSError(5, "Input/output error")

    with migrated(tmp_path) as connection:
        committer = Committer(connection, tmp_path / "postroom.sqlite3", FaultPoints(fault))
        writer, recorder = InlineWriter(lambda: None, committer), Recorder()
        assert await writer.perform(recorder.work, "large", 20_000_000) == "LARGE"
        assert await writer.perform(recorder.work, "next") == "NEXT"


async def test_a_log_that_cannot_be_copied_is_restarted_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postroom.store import committer as committer_module
    from postroom.store.database import open_reader

    monkeypatch.setattr(committer_module, "CHECKPOINT_FROM_BYTES", 1)
    monkeypatch.setattr(committer_module, "RESTART_FROM_BYTES", 4096)
    path = tmp_path / "postroom.sqlite3"
    with migrated(tmp_path) as connection:
        committer = Committer(connection, path, FaultPoints())
        reader = open_reader(path, {}, connection._clock)
        reader.begin(writes=False)
        reader.raw.execute("SELECT count(*) FROM audit").fetchone()
        writer, recorder = InlineWriter(lambda: None, committer), Recorder()
        await writer.perform(recorder.work, "while somebody reads")
        statements: list[str] = []
        connection.raw.set_trace_callback(statements.append)
        await writer.perform(recorder.work, "again")
        assert "PRAGMA wal_checkpoint(RESTART)" in statements
        reader.roll_back()
        await writer.perform(recorder.work, "alone")
        connection.raw.set_trace_callback(None)
        assert committer._log_bytes == 0
        reader.close()
