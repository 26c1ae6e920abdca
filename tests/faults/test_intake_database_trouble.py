"""Promise 5: a database that is locked, read-only, unreadable, damaged or gone loses nothing, says so, and mail is
taken again by itself, or after a start where a start is what the sentence asks for."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.crowd import ALL_WAYS, Crowd
from tests.faults.oracle import judge
from tests.faults.serving import ALL_LISTENERS, Postroom, WitnessProcess, postroom_in, witness_in
from tests.faults.small_disk import SmallDisk, small_disk_at
from tests.faults.tracing import needs_strace, traced

pytestmark = pytest.mark.anyio

CLIENTS = 8
WAYS_THAT_ANSWER = {"smtp", "local", "raw", "json"}
ON_A_SMALL_DISK = {**ALL_LISTENERS, "POSTROOM_OUTBOX_RESERVED_BYTES": "1000000"}
DATABASE, LOG = "postroom.sqlite3", "postroom.sqlite3-wal"

Trouble = Callable[[Postroom], AbstractContextManager[object]]


@contextmanager
def locked(postroom: Postroom) -> Iterator[None]:
    """Another program holds the lock for writing, longer than we wait for it."""
    with closing(sqlite3.connect(postroom.data / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def failing(postroom: Postroom, call: str, error: str) -> Iterator[None]:
    """The kernel answers a call on the database and its log with an error."""
    paths = (word for name in (DATABASE, LOG) for word in ("-P", str(postroom.data / name)))
    words = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}", *paths)
    with traced(postroom.runs[-1].pid, postroom.folder / "trace", *words):
        yield


def read_only(postroom: Postroom) -> AbstractContextManager[None]:
    """As after the kernel has remounted a disk with errors read-only."""
    return failing(postroom, "pwrite64", "EROFS")


def unreadable(postroom: Postroom) -> AbstractContextManager[None]:
    return failing(postroom, "pread64", "EIO")


@contextmanager
def vanished(postroom: Postroom) -> Iterator[None]:
    """Somebody moved it away. What is written into a file without a name would be gone."""
    away = postroom.folder / "away"
    away.mkdir()
    for name in (DATABASE, LOG):
        (postroom.data / name).rename(away / name)
    yield
    for name in (DATABASE, LOG):
        (away / name).rename(postroom.data / name)


@needs_strace
@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (locked, "Another program holds the file; close it"),
        (read_only, "The database could not be written"),
        (unreadable, "The database could not be read"),
        (vanished, "cannot be found: No such file or directory. Put it back where it was"),
    ],
    ids=["locked", "read-only", "unreadable", "vanished"],
)
async def test_a_database_in_trouble_loses_nothing_and_says_so(tmp_path: Path, trouble: Trouble, sentence: str) -> None:
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        serving = postroom.start(**ALL_LISTENERS)
        async with Crowd(postroom, random.Random(11), CLIENTS, ALL_WAYS) as crowd:
            crowd.go_to(await asyncio.to_thread(serving.wait_until_ready))
            await crowd.wait_until_acknowledged(2 * CLIENTS)
            with trouble(postroom):
                while not {way for way, _ in crowd.note.refused} >= WAYS_THAT_ANSWER:
                    await crowd.wait_until_answered()
            before = dict(crowd.note.by_way)
            while any(crowd.note.by_way[way] == before[way] for way in WAYS_THAT_ANSWER):
                await crowd.wait_until_acknowledged(1)
        print(dict(crowd.note.refused), dict(crowd.note.by_way))
        assert {code for _, code in crowd.note.refused} <= {421, 451, 454, 503}, crowd.note.refusals
        assert sentence in serving.said
        assert "Traceback" not in serving.said
        await end_and_judge(postroom, witness, crowd)


async def end_and_judge(postroom: Postroom, witness: WitnessProcess, crowd: Crowd) -> None:
    assert await asyncio.to_thread(postroom.runs[-1].terminate) == 0, postroom.runs[-1].said
    store = await postroom.open_store()
    verdict = await judge(store, crowd.note, witness.arrivals(), postroom.dropped())
    unknown = (await store.messages.overview(0)).unknown
    await store.close()
    print(verdict)
    assert (verdict.trouble, verdict.lost) == ([], 0)
    assert verdict.duplicates <= unknown


@contextmanager
def damaged(postroom: Postroom, disk: SmallDisk) -> Iterator[None]:
    path = postroom.data / DATABASE
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    yield
    assert path.read_bytes() == bytes(len(whole)), "what is damaged is left as it is"
    path.write_bytes(whole)


@contextmanager
def remounted_read_only(postroom: Postroom, disk: SmallDisk) -> Iterator[None]:
    disk.set_read_only(True)
    yield
    disk.set_read_only(False)


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (damaged, "stop Postroom and restore it from a backup"),
        (remounted_read_only, "must be able to write to it"),
    ],
    ids=["damaged", "read-only"],
)
async def test_a_start_with_a_database_in_trouble_ends_with_a_sentence(
    tmp_path: Path, trouble: Callable[[Postroom, SmallDisk], AbstractContextManager[None]], sentence: str
) -> None:
    """Nothing is made anew in its place, and once it is back all that was acknowledged is there."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk_at(tmp_path / "data", 32 * 1024 * 1024))
        witness = stack.enter_context(witness_in(tmp_path))
        postroom = stack.enter_context(postroom_in(tmp_path))
        postroom.init()
        await postroom.set_up(witness.port)
        serving = postroom.start(**ON_A_SMALL_DISK)
        async with Crowd(postroom, random.Random(12), CLIENTS, ALL_WAYS) as crowd:
            crowd.go_to(await asyncio.to_thread(serving.wait_until_ready))
            await crowd.wait_until_acknowledged(2 * CLIENTS)
        assert await asyncio.to_thread(serving.terminate) == 0
        with trouble(postroom, disk):
            refused = postroom.start(**ON_A_SMALL_DISK)
            assert await asyncio.to_thread(refused.wait_until_ready_or_gone) is None
            assert refused.wait_until_gone() == 1
            assert sentence in refused.said
            assert "Traceback" not in refused.said
        postroom.start(**ON_A_SMALL_DISK).wait_until_ready()
        await end_and_judge(postroom, witness, crowd)
