"""The SQLite file: how it is opened, and one connection that runs named statements.

Exactly one connection writes and checkpoints (SQLite before 3.51.3 can corrupt a WAL that two connections
checkpoint, https://sqlite.org/wal.html#walresetbug); all others are opened read-only.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from postroom.clock import Clock
from postroom.errors import DataFolderError, PostroomError, StoreFullError, StoreUnavailableError
from postroom.ids import IdMaker

FILE_NAME = "postroom.sqlite3"
APPLICATION_ID = 0x506F7374
PAGE_BYTES = 4096
OLDEST_SQLITE = (3, 40, 0)  # UPDATE FROM, STRICT, ->> and RETURNING; Debian 12 has 3.40.1
BUSY_SECONDS = 5  # for an administrator who looks at the file with the sqlite3 shell
MULTI_ROW_SIZES = (64, 16, 4, 1)  # few different statements, so that each stays prepared

Row = sqlite3.Row


class Connection:
    """A connection with the statements of sql/ and the time of its transaction."""

    def __init__(self, raw: sqlite3.Connection, statements: Mapping[str, str], clock: Clock) -> None:
        self.raw = raw
        self._statements = statements
        self._clock = clock
        self.now_us = clock.now_us()
        """When the transaction began: one time for all its rows."""
        self.has_freed_pages = False
        """Something was pruned: the file can be made smaller between transactions."""
        self.ids = IdMaker(clock)
        """For rows that are made inside a transaction; on the writing connection only."""

    def begin(self, *, writes: bool) -> None:
        self.raw.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        self.now_us = self._clock.now_us()

    def commit(self) -> None:
        self.raw.execute("COMMIT")

    def roll_back(self) -> None:
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def rows(self, name: str, /, **values: Any) -> list[Row]:
        return self.raw.execute(self._statements[name], values).fetchall()

    def row(self, name: str, /, **values: Any) -> Row | None:
        row: Row | None = self.raw.execute(self._statements[name], values).fetchone()
        return row

    def only_row(self, name: str, /, **values: Any) -> Row:
        row = self.row(name, **values)
        if row is None:
            raise LookupError(f"{name}: there is no row for {values}")
        return row

    def change(self, name: str, /, **values: Any) -> int:
        """Run a statement that writes; how many rows it changed."""
        return self.raw.execute(self._statements[name], values).rowcount

    def insert_rows(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows with few statements; the named one ends at VALUES."""
        start = 0
        for size in MULTI_ROW_SIZES:
            while len(rows) - start >= size:
                part = rows[start : start + size]
                marks = ", ".join(["(" + ", ".join("?" * len(part[0])) + ")"] * size)
                self.raw.execute(f"{self._statements[name]} {marks}", [value for row in part for value in row])
                start += size

    def statement(self, name: str) -> str:
        return self._statements[name]

    def query(self, text: str, values: Iterable[Any]) -> list[Row]:
        """A statement that was put together, such as a search."""
        return self.raw.execute(text, tuple(values)).fetchall()

    def close(self) -> None:
        self.raw.close()


def open_writer(path: Path, statements: Mapping[str, str], clock: Clock, *, busy_seconds: float) -> Connection:
    """The one connection that writes. Errors: DataFolderError."""
    check_sqlite_version(sqlite3.sqlite_version_info)
    _make_private(path)
    try:
        raw = _connect(path, "rwc", busy_seconds)
        try:
            _set_up_writer(raw, path)
        except BaseException:
            raw.close()
            raise
    except sqlite3.Error as trouble:
        raise DataFolderError(f"The database {path} cannot be used: {trouble}. {advice(trouble)}") from trouble
    return Connection(raw, statements, clock)


def _make_private(path: Path) -> None:
    """A new database is its owner's alone, whatever the folder allows; its log gets the same mode from SQLite."""
    with contextlib.suppress(OSError):  # it is there already, or SQLite says better why it cannot be
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_reader(path: Path, statements: Mapping[str, str], clock: Clock) -> Connection:
    raw = _connect(path, "ro", BUSY_SECONDS)
    raw.execute("PRAGMA query_only = ON")
    return Connection(raw, statements, clock)


def check_sqlite_version(version: tuple[int, ...]) -> None:
    if version < OLDEST_SQLITE:
        found, needed = (".".join(map(str, numbers)) for numbers in (version, OLDEST_SQLITE))
        raise DataFolderError(f"Python is linked with SQLite {found}; Postroom needs {needed} or newer.")


def _connect(path: Path, mode: str, busy_seconds: float) -> sqlite3.Connection:
    raw = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=busy_seconds,
        cached_statements=512,
    )
    raw.row_factory = sqlite3.Row
    return raw


def _set_up_writer(raw: sqlite3.Connection, path: Path) -> None:
    is_new = raw.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    application_id = raw.execute("PRAGMA application_id").fetchone()[0]
    if not is_new and application_id != APPLICATION_ID:
        raise DataFolderError(f"{path} is a database of another program. Set data_folder to a folder of its own.")
    if is_new:
        # Both stand in the file's first page, so they must be set before the first table.
        raw.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        raw.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise DataFolderError(
            f"The folder of {path} cannot hold a write-ahead log (a network drive?): use a local disk."
        )
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA wal_autocheckpoint = 0")
    raw.execute("PRAGMA foreign_keys = ON")
    raw.execute("PRAGMA trusted_schema = OFF")
    raw.execute("PRAGMA secure_delete = FAST")
    raw.execute("PRAGMA temp_store = MEMORY")
    raw.execute("PRAGMA cache_size = -16384")


def file_identity(path: Path) -> tuple[int, int]:
    """Device and inode: they change when the file is replaced."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def as_store_error(trouble: Exception) -> Exception:
    """What callers see of a failed commit: an error of ours with a sentence; other errors stay."""
    if isinstance(trouble, PostroomError | ValueError | LookupError):
        return trouble
    if isinstance(trouble, sqlite3.Error):
        code = getattr(trouble, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return _full(trouble)
        return StoreUnavailableError(f"The database could not be written: {trouble}. {advice(trouble)}")
    if isinstance(trouble, OSError):
        return as_disk_error(trouble)
    return trouble


def as_disk_error(trouble: OSError) -> PostroomError:
    """StoreFullError when the disk or a quota is full, else StoreUnavailableError."""
    if trouble.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(trouble)
    return StoreUnavailableError(f"The disk failed: {trouble.strerror or trouble}. Nothing was acknowledged.")


def _full(trouble: Exception) -> StoreFullError:
    return StoreFullError(f"The disk is full ({trouble}). Free some space; mail is taken again by itself.")


def advice(trouble: sqlite3.Error) -> str:
    """What a person can do about an error of SQLite."""
    code = getattr(trouble, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "The file is damaged: stop Postroom and restore it from a backup."
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return "Let the user that runs Postroom write to the folder and to the file."
    if is_busy(trouble):
        return "Another program holds the file; close it."
    return "Nothing was acknowledged; what is stored stays."


def is_busy(trouble: sqlite3.Error) -> bool:
    """Somebody else holds the lock for writing, for longer than we wait."""
    return getattr(trouble, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
