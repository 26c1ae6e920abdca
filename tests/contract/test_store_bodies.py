import asyncio
import os
from pathlib import Path

import pytest

from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.store.bodies import BodyWriter
from postroom.store.records import StoredBody
from tests.contract.kept_store import SENT, KeptStore

pytestmark = pytest.mark.anyio

LARGE = os.urandom(1_500_000)


def files(kept: KeptStore) -> list[Path]:
    return sorted((kept.folder / "bodies").iterdir())


async def spool(kept: KeptStore, content: bytes, step: int = 60_000) -> StoredBody:
    writer = kept.store.bodies.spool()
    for start in range(0, len(content), step):
        await writer.write(content[start : start + step])
    assert writer.size_bytes == len(content)
    return await writer.finish()


async def write_whole(writer: BodyWriter, content: bytes) -> StoredBody:
    await writer.write(content)
    return await writer.finish()


async def read(kept: KeptStore, body: StoredBody) -> bytes:
    return b"".join([chunk async for chunk in kept.store.bodies.read(body)])


@pytest.mark.parametrize("size", [0, 1, 65_536])
async def test_a_small_body_stays_in_memory_until_its_row(ready: KeptStore, size: int) -> None:
    body = await spool(ready, LARGE[:size])
    assert body == StoredBody(size, content=LARGE[:size])
    assert files(ready) == []
    assert await read(ready, body) == LARGE[:size]


@pytest.mark.parametrize("size", [65_537, 400_000, 1_500_000])
async def test_a_large_body_is_a_file(ready: KeptStore, size: int) -> None:
    body = await spool(ready, LARGE[:size])
    assert body.content is None
    assert [path.name for path in files(ready)] == [body.file_name]
    assert files(ready)[0].stat().st_mode & 0o777 == 0o600
    assert await read(ready, body) == LARGE[:size]


async def test_a_large_body_is_read_in_small_chunks(ready: KeptStore) -> None:
    body = await spool(ready, LARGE)
    sizes = [len(chunk) async for chunk in ready.store.bodies.read(body)]
    assert max(sizes) <= 65_536
    assert sum(sizes) == len(LARGE)


async def test_a_large_message_goes_through_the_outbox(ready: KeptStore) -> None:
    new = ready.message(body=await spool(ready, LARGE))
    await ready.store.outbox.keep(new)
    await ready.open()
    lease = await ready.lease_one()
    assert lease.body == new.body
    assert await read(ready, lease.body) == LARGE


async def test_discarding_leaves_nothing(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    assert len(files(ready)) == 1
    await writer.discard()
    await writer.discard()
    assert files(ready) == []


async def test_discarding_a_finished_body_that_was_not_kept_leaves_nothing(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    await writer.finish()
    await writer.discard()
    assert files(ready) == []


async def test_discarding_after_keeping_takes_nothing_away(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    new = ready.message(body=await writer.finish())
    await ready.store.outbox.keep(new)
    await writer.discard()
    assert await read(ready, new.body) == LARGE


async def test_discarding_while_it_is_being_kept_takes_nothing_away(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    new = ready.message(body=await writer.finish())
    keeping = asyncio.create_task(ready.store.outbox.keep(new))
    await asyncio.sleep(0)
    await writer.discard()
    await keeping
    assert await read(ready, new.body) == LARGE


async def test_what_could_not_be_kept_is_gone_after_its_discard(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    new = ready.message(body=await writer.finish(), app_id=4711)
    keeping = asyncio.create_task(ready.store.outbox.keep(new))
    await asyncio.sleep(0)
    await writer.discard()  # its client has gone while the commit ran
    with pytest.raises(StoreUnavailableError):
        await keeping
    assert files(ready) == []


@pytest.mark.parametrize("point", ["before_body_write", "before_body_sync"])
async def test_a_full_disk_ends_the_body_and_leaves_nothing(kept: KeptStore, point: str) -> None:
    def fault(reached: str) -> None:
        if reached == point:
            raise OSError(28, "No space left on device")

    store = await kept.open_set_up(fault)
    writer = store.bodies.spool()
    with pytest.raises(StoreFullError, match="The disk is full"):
        await write_whole(writer, LARGE)
    assert files(kept) == []
    await writer.discard()


async def test_a_missing_file_is_named(ready: KeptStore) -> None:
    body = await spool(ready, LARGE)
    files(ready)[0].unlink()
    with pytest.raises(StoreUnavailableError, match="cannot be read: No such file"):
        await read(ready, body)


async def test_a_reader_that_stops_early_closes_its_file(ready: KeptStore) -> None:
    body = await spool(ready, LARGE)
    chunks = ready.store.bodies.read(body)
    assert await anext(chunks) == LARGE[:65_536]
    await chunks.aclose()  # type: ignore[attr-defined]
    assert not any(str(ready.folder / "bodies") in os.readlink(link) for link in open_files())


def open_files() -> list[Path]:
    return [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


async def test_orphans_are_swept_by_age_at_start(ready: KeptStore) -> None:
    kept_body = await spool(ready, LARGE)
    await ready.store.outbox.keep(ready.message(body=kept_body))
    old, young = ready.folder / "bodies" / "old", ready.folder / "bodies" / "young"
    now = ready.clock.now_us() / 1_000_000
    for path, age in ((old, 3601), (young, 3599), (ready.folder / "bodies" / str(kept_body.file_name), 9999)):
        path.touch()
        os.utime(path, (now - age, now - age))
    await ready.open()
    assert [path.name for path in files(ready)] == sorted(["young", str(kept_body.file_name)])


async def test_a_body_that_is_being_written_is_never_swept(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(LARGE)
    now = ready.clock.now_us() / 1_000_000
    os.utime(files(ready)[0], (now - 99_999, now - 99_999))
    assert await ready.store.bodies.sweep() == 0
    body = await writer.finish()
    os.utime(files(ready)[0], (now - 99_999, now - 99_999))
    assert await ready.store.bodies.sweep() == 0
    assert await read(ready, body) == LARGE
    await writer.discard()


async def test_pruning_removes_the_file_after_the_row(ready: KeptStore) -> None:
    new = ready.message(body=await spool(ready, LARGE))
    await ready.store.outbox.keep(new)
    assert await ready.store.outbox.prune(0, 0) == 0, "nothing that still waits is pruned"
    await ready.settle(await ready.lease_one(), SENT)
    ready.clock.advance(6 * 86_400)
    assert await ready.store.outbox.prune(7, 90) == 0
    ready.clock.advance(86_400)
    assert await ready.store.outbox.prune(7, 90) == 1
    assert files(ready) == []
    detail = await ready.store.messages.find(new.message_id)
    assert detail is not None
    assert detail.body is None
    assert detail.timeline[-1].kind == "pruned"
