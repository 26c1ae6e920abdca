"""SQLite itself says that it is full: a temporary matter, and never an acknowledgement."""

import asyncio
import os
from pathlib import Path

import pytest

from postroom.errors import StoreFullError
from postroom.store.outbox import OutboxLimits
from postroom.store.records import StoredBody
from tests.contract.kept_store import ENGINES, SENT, Engine, KeptStore

pytestmark = pytest.mark.anyio


async def limit_pages(kept: KeptStore, spare: int) -> None:
    def limit(connection: object) -> None:
        raw = connection.raw  # type: ignore[attr-defined]
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
        raw.execute(f"PRAGMA max_page_count = {pages + spare}")

    await kept.store._writer.run(limit)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_full_database_takes_small_mail_and_refuses_large_until_there_is_room(
    tmp_path: Path, engine: Engine
) -> None:
    kept = KeptStore(tmp_path / "data", engine)
    await kept.open_set_up()
    await limit_pages(kept, 8)
    content = os.urandom(60_000)
    large = kept.message(body=StoredBody(len(content), content=content))
    results = await asyncio.gather(kept.keep(), kept.store.outbox.keep(large), return_exceptions=True)
    assert isinstance(results[0], int), "what still fits is kept, though the batch failed"
    assert isinstance(results[1], StoreFullError)
    assert "Free some space; mail is taken again by itself" in str(results[1])
    await limit_pages(kept, 1000)
    await kept.store.outbox.keep(large)
    rows, _ = await kept.store.messages.search("")
    assert {row.message_id for row in rows} == {results[0], large.message_id}
    await kept.close()


async def test_room_is_left_for_settling(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up(limits=OutboxLimits(reserved_bytes=1 << 62))
    assert not await kept.store.outbox.has_room()
    await kept.close()


async def test_only_so_many_recipients_may_wait_and_room_comes_back_by_itself(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up(limits=OutboxLimits(recipient_limit=2))
    await kept.keep("a@fabrikam.com")
    assert await kept.store.outbox.has_room()
    await kept.keep("b@fabrikam.com")
    kept.clock.advance(1)
    assert not await kept.store.outbox.has_room()
    await kept.settle(await kept.lease_one(), SENT)
    kept.clock.advance(1)
    assert await kept.store.outbox.has_room()
    await kept.close()
