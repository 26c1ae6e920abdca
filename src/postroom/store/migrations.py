"""Bring the schema up to date: numbered files, applied in one transaction, each with its checksum."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence

from postroom.errors import DataFolderError
from postroom.store.database import Connection
from postroom.store.statements import Migration, load_migrations

_LEDGER = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at_us INTEGER NOT NULL
) STRICT
"""


def migrate(connection: Connection, migrations: Sequence[Migration] | None = None) -> None:
    """Apply what is missing. Errors: DataFolderError for a newer database or a migration that was changed."""
    wanted = load_migrations() if migrations is None else migrations
    # A table that others refer to can only be made anew without them (https://sqlite.org/lang_altertable.html).
    connection.raw.execute("PRAGMA foreign_keys = OFF")
    try:
        connection.begin(writes=True)
        connection.raw.execute(_LEDGER)
        applied = dict(connection.raw.execute("SELECT number, checksum FROM migrations").fetchall())
        _check_history(wanted, applied)
        for migration in wanted:
            if migration.number not in applied:
                _apply(connection, migration)
        _check_references(connection)
        connection.commit()
    except sqlite3.Error as trouble:
        raise DataFolderError(
            f"The database could not be brought up to date, and was left as it was: {trouble}."
        ) from trouble
    finally:
        connection.roll_back()
        connection.raw.execute("PRAGMA foreign_keys = ON")


def checksum(migration: Migration) -> str:
    return hashlib.sha256(migration.text.encode()).hexdigest()


def split_script(text: str) -> Iterator[str]:
    """One complete statement at a time; a trigger's inner semicolons do not end it."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def _check_history(wanted: Sequence[Migration], applied: dict[int, str]) -> None:
    newest = max((migration.number for migration in wanted), default=0)
    if applied and max(applied) > newest:
        raise DataFolderError(
            f"The database comes from a newer Postroom (schema {max(applied)}; this one knows {newest}). "
            "Start the newer version, or restore a backup from before the upgrade."
        )
    for migration in wanted:
        if applied.get(migration.number, checksum(migration)) != checksum(migration):
            raise DataFolderError(
                f"The database was made with another text of migration {migration.number} ({migration.name}): "
                "this is not a released version of Postroom."
            )


def _check_references(connection: Connection) -> None:
    if broken := connection.raw.execute("PRAGMA foreign_key_check").fetchall():
        tables = ", ".join(sorted({row[0] for row in broken}))
        raise DataFolderError(f"The database could not be brought up to date: rows of {tables} refer to nothing.")


def _apply(connection: Connection, migration: Migration) -> None:
    for statement in split_script(migration.text):
        connection.raw.execute(statement)
    connection.raw.execute(
        "INSERT INTO migrations (number, name, checksum, applied_at_us) VALUES (?, ?, ?, ?)",
        (migration.number, migration.name, checksum(migration), connection.now_us),
    )
