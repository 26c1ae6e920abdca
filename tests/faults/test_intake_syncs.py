"""Promises 2 and 4 at the way in: nothing is acknowledged before a sync that succeeded, as strace sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.serving import ALL_LISTENERS, Postroom, postroom_in, witness_in
from tests.faults.tracing import (
    Call,
    needs_strace,
    read_calls,
    syncs_before_each_acknowledgement,
    trace_command,
    traced,
)
from tests.faults.ways import Answer, Ways

pytestmark = [pytest.mark.anyio, needs_strace]

LOG = "postroom.sqlite3-wal"
TO = ("ops@witness.test",)
SMALL, LARGE = b"A line.\r\n", b"A line of a scan, as they go on and on.\r\n" * 5000
CLIENTS, MESSAGES = 6, 5

Send = Callable[[str, tuple[str, ...], bytes], Awaitable[Answer]]


@pytest.fixture
def postroom(tmp_path: Path) -> Iterator[Postroom]:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        yield postroom


async def start(postroom: Postroom) -> tuple[int, Ways]:
    """A server whose mail server is away, so that only the way in syncs."""
    with witness_in(postroom.folder) as witness:
        await postroom.set_up(witness.port)
    serving = postroom.start(**ALL_LISTENERS)
    return serving.pid, Ways(postroom, await asyncio.to_thread(serving.wait_until_ready))


@pytest.mark.parametrize("way", ["local", "raw", "sendmail"])
async def test_each_acknowledgement_follows_a_sync(postroom: Postroom, way: str) -> None:
    """Also in a group commit: the sync began after this message's last byte had come, and ended before its reply."""
    pid, ways = await start(postroom)
    send: Send = getattr(ways, way)
    with traced(pid, postroom.folder / "trace") as trace:
        answers = await asyncio.gather(*(send_some(send, f"{way}.{number}") for number in range(CLIENTS)))
    calls = trace.calls()
    counts = syncs_before_each_acknowledgement(calls, LOG)
    syncs = sum(call.is_good_sync and LOG in call.target for call in calls)
    print(f"{way}: {len(counts)} acknowledgements, {syncs} syncs of the log")
    assert all(answer.is_acknowledged for each in answers for answer in each), answers
    assert len(counts) == CLIENTS * MESSAGES
    assert min(counts) >= 1


async def send_some(send: Send, name: str) -> list[Answer]:
    return [await send(f"<{name}.{number}@witness.test>", TO, SMALL) for number in range(MESSAGES)]


@pytest.mark.parametrize("way", ["local", "raw"])
async def test_a_large_message_is_synced_before_the_row_that_names_it(postroom: Postroom, way: str) -> None:
    """The file, then its name in the folder, then the row in the log, then the reply."""
    pid, ways = await start(postroom)
    with traced(pid, postroom.folder / "trace") as trace:
        answer = await getattr(ways, way)("<large@witness.test>", TO, LARGE)
    assert answer.is_acknowledged
    calls = trace.calls()
    written = [call for call in calls if "/bodies/" in call.target and call.name == "write"]
    file = next(call for call in calls if call.is_good_sync and "/bodies/" in call.target)
    folder = next(call for call in calls if call.is_good_sync and call.target.endswith("/bodies"))
    row = next(call for call in calls if call.is_good_sync and LOG in call.target and call.began > folder.ended)
    [reply] = [call for call in calls if call.is_acknowledgement]
    assert written[-1].ended < file.began
    assert file.ended < folder.began
    assert row.ended < reply.began


@pytest.mark.parametrize("way", ["local", "raw"])
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
async def test_a_sync_that_fails_is_never_acknowledged(postroom: Postroom, way: str, body: bytes) -> None:
    """Every sync fails with EIO: each message is put off. The disk is well again: the same server takes mail."""
    pid, ways = await start(postroom)
    send: Send = getattr(ways, way)
    assert (await send("<before@witness.test>", TO, body)).is_acknowledged
    with traced(pid, postroom.folder / "trace", "-e", "inject=fsync,fdatasync:error=EIO") as trace:
        answers = await asyncio.gather(*(send(f"<n{number}@witness.test>", TO, body) for number in range(4)))
    assert any(call.is_failed_sync for call in trace.calls()), "no sync was tried"
    assert [answer for answer in answers if not answer.is_temporary] == []
    assert {answer.code for answer in answers} <= {451, 503}
    assert (await send("<after@witness.test>", TO, body)).is_acknowledged
    assert "The disk failed" in postroom.runs[-1].said or "disk I/O error" in postroom.runs[-1].said
    assert await kept(postroom) >= {"<before@witness.test>", "<after@witness.test>"}


async def test_a_sync_that_fails_now_and_then_is_never_acknowledged(postroom: Postroom) -> None:
    """Each third sync fails: what is acknowledged all the same was tried again, and that sync succeeded."""
    pid, ways = await start(postroom)
    with traced(pid, postroom.folder / "trace", "-e", "inject=fsync,fdatasync:error=EIO:when=2+3") as trace:
        answers = await asyncio.gather(*(send_some(ways.local, f"c{number}") for number in range(CLIENTS)))
    calls = trace.calls()
    acknowledged = sum(answer.is_acknowledged for each in answers for answer in each)
    print(f"{acknowledged} of {CLIENTS * MESSAGES} acknowledged, {count_failed(calls)} syncs failed")
    assert count_failed(calls) > 0
    assert acknowledged > 0
    assert all(answer.is_acknowledged or answer.is_temporary for each in answers for answer in each)
    counts = syncs_before_each_acknowledgement(calls, LOG)
    assert len(counts) == acknowledged
    assert min(counts) >= 1


async def test_sendmail_drops_what_the_server_cannot_sync(postroom: Postroom) -> None:
    """Its exit code of 0 stands for a file that `sendmail` synced itself, and that is picked up later."""
    pid, ways = await start(postroom)
    with traced(pid, postroom.folder / "trace", "-e", "inject=fsync,fdatasync:error=EIO"):
        answers = [await ways.sendmail(f"<n{number}@witness.test>", TO, LARGE) for number in range(2)]
        dropped = [path.read_text() for path in postroom.drop_folder.glob("*.mail")]
    assert all(answer.is_acknowledged for answer in answers)
    found = {f"<n{number}@witness.test>" for number in range(2) if any(f"<n{number}@" in text for text in dropped)}
    assert found | await kept(postroom) == {"<n0@witness.test>", "<n1@witness.test>"}


@pytest.mark.parametrize("fails", [False, True], ids=["the disk is well", "the disk fails"])
async def test_a_drop_is_acknowledged_after_its_syncs_only(postroom: Postroom, fails: bool) -> None:
    """Without a server: file, new name, folder; and when one of the syncs fails, nothing stays and cron hears of it."""
    postroom.drop_folder.mkdir(parents=True)
    path = postroom.folder / "trace"
    words = ("-e", "inject=fsync:error=EIO") if fails else ()
    strace = trace_command(path, *words)
    answer = await Ways(postroom, {}).sendmail("<d@witness.test>", TO, SMALL, under=strace)
    left = [each.name for each in postroom.drop_folder.iterdir()]
    syncs = [call for call in read_calls(path) if call.is_good_sync]
    if fails:
        assert (answer.code, left, syncs) == (451, [], [])
    else:
        assert answer.is_acknowledged
        assert len(left) == 1
        assert [call.target for call in syncs][-1] == str(postroom.drop_folder)
        assert len(syncs) >= 2


def count_failed(calls: list[Call]) -> int:
    return sum(call.is_failed_sync for call in calls)


async def kept(postroom: Postroom) -> set[str]:
    """The Message-IDs on the disk, after the server was killed."""
    postroom.end()
    store = await postroom.open_store()
    rows, _ = await store.messages.search("", limit=200)
    details = [await store.messages.find(row.message_id) for row in rows]
    await store.close()
    return {detail.internet_message_id for detail in details if detail is not None}
