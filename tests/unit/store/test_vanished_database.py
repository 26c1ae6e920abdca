"""A database that is moved, replaced or locked loses nothing and says so; and back it goes on."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroom.errors import StoreUnavailableError
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[KeptStore]:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    yield kept
    await kept.close()


@pytest.mark.parametrize("name", ["postroom.sqlite3", "postroom.sqlite3-wal"])
async def test_nothing_is_acknowledged_into_a_file_without_a_name(ready: KeptStore, name: str) -> None:
    await ready.keep()
    path, aside = ready.folder / name, ready.folder / "aside"
    path.rename(aside)
    with pytest.raises(StoreUnavailableError, match=r"cannot be found: No such file or directory\. Put it back"):
        await ready.keep()
    aside.rename(path)
    await ready.keep()
    assert len((await ready.store.messages.search(""))[0]) == 2


async def test_a_file_put_in_its_place_is_not_written(ready: KeptStore) -> None:
    path = ready.folder / "postroom.sqlite3"
    path.rename(ready.folder / "aside")
    path.write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match=r"was replaced while Postroom runs\. Restart Postroom"):
        await ready.keep()
    path.unlink()
    (ready.folder / "aside").rename(path)


async def test_a_program_that_holds_the_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from postroom.store import opening

    monkeypatch.setattr(opening, "BUSY_SECONDS", 0)
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    other = sqlite3.connect(kept.folder / "postroom.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match=r"database is locked\. Another program holds the file; close it"):
        await kept.keep()
    other.execute("ROLLBACK")
    await kept.keep()
    other.close()
    await kept.close()
