"""A writing connection with the schema, without the store around it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postroom.clock import ManualClock
from postroom.store.database import Connection, open_writer
from postroom.store.migrations import migrate
from postroom.store.statements import load_statements


@contextmanager
def migrated(folder: Path, clock: ManualClock | None = None) -> Iterator[Connection]:
    connection = open_writer(folder / "postroom.sqlite3", load_statements(), clock or ManualClock(), busy_seconds=0)
    try:
        migrate(connection)
        yield connection
    finally:
        connection.close()
