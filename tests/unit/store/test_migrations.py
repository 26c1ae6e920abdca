from pathlib import Path

import pytest

from postroom.clock import ManualClock
from postroom.errors import DataFolderError
from postroom.store.database import check_sqlite_version, open_reader, open_writer
from postroom.store.migrations import migrate
from postroom.store.statements import Migration, load_migrations
from tests.unit.store.open_connection import migrated


def tables(folder: Path) -> set[str]:
    with migrated(folder) as connection:
        rows = connection.raw.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {row["name"] for row in rows}


def test_what_fails_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    good = Migration(1, "good", "CREATE TABLE good (a INTEGER) STRICT;")
    bad = Migration(2, "bad", "CREATE TABLE also_good (a INTEGER) STRICT;\nCREATE TABLE good (a INTEGER) STRICT;")
    connection = open_writer(tmp_path / "x.sqlite3", {}, ManualClock(), busy_seconds=0)
    with pytest.raises(DataFolderError, match="left as it was: table good already exists"):
        migrate(connection, [good, bad])
    assert connection.raw.execute("SELECT name FROM sqlite_schema").fetchall() == []
    migrate(connection, [good])
    assert [row["name"] for row in connection.raw.execute("SELECT name FROM sqlite_schema WHERE name = 'good'")]
    connection.close()


def test_a_second_start_applies_nothing(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        migrate(connection)
        rows = connection.raw.execute("SELECT number FROM migrations").fetchall()
    assert [row["number"] for row in rows] == [migration.number for migration in load_migrations()]


def test_a_later_migration_is_added(tmp_path: Path) -> None:
    later = Migration(len(load_migrations()) + 1, "later", "CREATE TABLE later (a INTEGER) STRICT;")
    with migrated(tmp_path) as connection:
        migrate(connection, [*load_migrations(), later])
        assert connection.raw.execute("SELECT count(*) FROM later").fetchone()[0] == 0


def test_a_database_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    first = load_migrations()[:1]
    connection = open_writer(tmp_path / "postroom.sqlite3", {}, ManualClock(), busy_seconds=0)
    migrate(connection, first)
    connection.raw.execute("INSERT INTO apps (app_id, name, login) VALUES (7, 'HP', 'hp')")
    migrate(connection)
    row = connection.raw.execute("SELECT sender_policy, needs_sign_in, addresses FROM apps WHERE app_id = 7").fetchone()
    assert tuple(row) == ("refuse", 1, "[]")
    connection.close()


def test_every_table_is_strict(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        rows = connection.raw.execute("PRAGMA table_list").fetchall()
    loose = [row["name"] for row in rows if not row["strict"] and not row["name"].startswith("sqlite_")]
    assert loose == []


def test_the_file_is_set_up_before_its_first_table(tmp_path: Path) -> None:
    wanted = {
        "page_size": 4096,
        "auto_vacuum": 2,  # incremental
        "journal_mode": "wal",
        "synchronous": 2,  # full
        "wal_autocheckpoint": 0,
        "foreign_keys": 1,
    }
    with migrated(tmp_path) as connection:
        found = {name: connection.raw.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
    assert found == wanted


def test_every_reference_holds(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        assert connection.raw.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    import sqlite3

    with migrated(tmp_path):
        reader = open_reader(tmp_path / "postroom.sqlite3", {}, ManualClock())
        with pytest.raises(sqlite3.OperationalError, match="readonly database"):
            reader.raw.execute("INSERT INTO audit VALUES (1, 1, '', '', '', '', '', '')")
        reader.close()


def test_an_old_sqlite_is_named() -> None:
    with pytest.raises(DataFolderError, match=r"linked with SQLite 3\.34\.1; Postroom needs 3\.40\.0 or newer"):
        check_sqlite_version((3, 34, 1))


def test_the_first_start_makes_what_is_always_there(tmp_path: Path) -> None:
    assert {"messages", "recipients", "deliveries", "attempts", "migrations"} <= tables(tmp_path)
