import os
from pathlib import Path

import pytest

from postroom.clock import HOUR_US
from postroom.errors import DataFolderError, VaultKeyError
from postroom.store import Store
from postroom.vault import Vault
from tests.contract.kept_store import MAILBOX_ID, KeptStore

pytestmark = pytest.mark.anyio


async def test_a_folder_belongs_to_one_at_a_time(ready: KeptStore) -> None:
    with pytest.raises(DataFolderError, match=rf"in use by another Postroom \(process {os.getpid()}\)\. Stop that one"):
        await Store.open(ready.folder, ready.clock, ready.vault, writer=ready.engine)
    await ready.keep()
    await ready.open()


async def test_another_key_is_refused_and_destroys_nothing(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.close()
    before = {path: path.read_bytes() for path in ready.folder.iterdir() if path.is_file()}
    with pytest.raises(VaultKeyError, match=r"does not belong to the data folder .* nothing was changed"):
        await Store.open(ready.folder, ready.clock, Vault(os.urandom(32)), writer=ready.engine)
    assert {path: path.read_bytes() for path in ready.folder.iterdir() if path.is_file()} == before
    store = await ready.open()
    assert await store.messages.find(message_id) is not None
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).refresh_token == "the refresh token"


async def test_a_newer_database_is_refused_with_a_sentence(ready: KeptStore) -> None:
    await ready.write("INSERT INTO migrations VALUES (9999, 'from the future', '', 0)")
    await ready.close()
    with pytest.raises(DataFolderError, match=r"newer Postroom \(schema 9999; this one knows \d+\)"):
        await ready.open()


async def test_a_changed_migration_is_refused(ready: KeptStore) -> None:
    await ready.write("UPDATE migrations SET checksum = 'another' WHERE number = 1")
    await ready.close()
    with pytest.raises(DataFolderError, match=r"another text of migration 1 \(first\)"):
        await ready.open()


async def test_another_programs_database_is_left_alone(kept: KeptStore) -> None:
    import sqlite3

    kept.folder.mkdir()
    path = kept.folder / "postroom.sqlite3"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE accounts (id)")
    other.close()
    with pytest.raises(DataFolderError, match="is a database of another program"):
        await kept.open()


async def test_a_damaged_database_is_named(kept: KeptStore) -> None:
    kept.folder.mkdir()
    (kept.folder / "postroom.sqlite3").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(DataFolderError, match=r"cannot be used.*damaged: stop Postroom and restore it"):
        await kept.open()


async def test_a_path_that_is_no_folder_is_named(kept: KeptStore, tmp_path: Path) -> None:
    kept.folder.write_text("a file")
    with pytest.raises(DataFolderError, match=r"The data folder .* cannot be used"):
        await kept.open()


async def test_a_folder_may_have_any_name(kept: KeptStore, tmp_path: Path) -> None:
    kept.folder = tmp_path / "a b%20#?ä"
    await kept.open_set_up()
    message_id = await kept.keep()
    await kept.open()
    assert await kept.store.messages.find(message_id) is not None
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "bodies",
        "lock",
        "postroom.sqlite3",
        "postroom.sqlite3-shm",
        "postroom.sqlite3-wal",
    ]


async def test_closing_leaves_one_whole_file(ready: KeptStore) -> None:
    await ready.keep()
    await ready.close()
    assert sorted(path.name for path in ready.folder.iterdir()) == ["bodies", "lock", "postroom.sqlite3"]


async def test_closing_twice_is_harmless(ready: KeptStore) -> None:
    store = ready.store
    await store.close()
    await store.close()


async def test_every_start_is_a_new_owner(kept: KeptStore) -> None:
    owners = [(await kept.open()).owner for _ in range(3)]
    assert owners == ["node0.1", "node0.2", "node0.3"]


async def test_the_last_sign_of_life_is_known_at_the_next_start(ready: KeptStore) -> None:
    ready.clock.advance(HOUR_US / 1e6)
    await ready.keep()
    alive_us = ready.clock.now_us()
    await ready.close()
    ready.clock.advance(7 * 3600)
    assert (await ready.open()).last_heartbeat_us == alive_us


async def test_ids_grow_over_a_restart_with_a_clock_that_was_set_back(ready: KeptStore) -> None:
    before = await ready.keep()
    ready.clock.advance(-86_400)
    await ready.open()
    after = await ready.keep()
    assert after > before
    rows, _ = await ready.store.messages.search("")
    assert [row.message_id for row in rows] == [after, before]


async def test_the_data_folder_is_for_its_user_only(ready: KeptStore) -> None:
    assert ready.folder.stat().st_mode & 0o777 == 0o700
