"""Group commit: many requests, one transaction, one sync.

`Committer` owns the one connection that writes and checkpoints. It knows no threads; a writer calls it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import structlog

from postroom.clock import MINUTE_US
from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.store.database import PAGE_BYTES, Connection, as_store_error, file_identity, is_busy
from postroom.store.faults import Crash, FaultPoints

CHECKPOINT_FROM_BYTES = 16 * 1024 * 1024
RESTART_FROM_BYTES = 256 * 1024 * 1024
PAGES_GIVEN_BACK = 1024
PAGES_A_BATCH = 12  # what a commit dirties besides what it carries, roughly; each checkpoint puts the estimate right

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_log = structlog.stdlib.get_logger("postroom.store")


@dataclass(frozen=True)
class Work(Generic[Asked, Answered]):
    """A kind of request that is done for many at once, with few statements.

    `perform` runs inside a transaction and gives one answer a request, in order. An answer that is an exception
    fails that request alone, and promises that nothing was written for it. An exception that is raised rolls the
    whole batch back; each request is then tried by itself. So it may run twice, and must change nothing but rows.
    """

    name: str
    perform: Callable[[Connection, Sequence[Asked]], Sequence[Answered | Exception]]
    wakes: bool = False
    """Whether mail may have become due by it."""


def _perform_each(connection: Connection, steps: Sequence[Callable[[Connection], Any]]) -> list[Any]:
    return [step(connection) for step in steps]


SINGLE: Work[Callable[[Connection], Any], Any] = Work("single", _perform_each)
SINGLE_WAKING: Work[Callable[[Connection], Any], Any] = Work("single, waking", _perform_each, wakes=True)


@dataclass(eq=False)
class Request:
    """One caller's request, and the future in which it waits."""

    work: Work[Any, Any]
    asked: Any
    size_bytes: int
    future: "asyncio.Future[Any]"


class Answer(NamedTuple):
    request: Request
    answered: Any
    error: BaseException | None = None


class Committer:
    """Runs batches on the one writing connection, and checkpoints between them."""

    def __init__(self, connection: Connection, path: Path, faults: FaultPoints) -> None:
        self.connection = connection
        self._path = path
        self._faults = faults
        self._identities = {path: file_identity(path)}
        self._log_bytes = 0
        self._heartbeat_at_us = 0

    def commit(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer every request after its commit has reached the disk. Raises Crash only."""
        try:
            answers = self._commit_together(requests)
        except Exception as trouble:
            if len(requests) == 1 or _is_nobodys_fault(trouble):
                error = as_store_error(trouble)
                if isinstance(error, StoreFullError | StoreUnavailableError):
                    _log.warning("not stored", requests=len(requests), reason=str(error))
                return [Answer(request, None, error) for request in requests]
            return [answer for request in requests for answer in self.commit([request])]
        self._faults.reach("after_commit")
        self._log_bytes += PAGES_A_BATCH * PAGE_BYTES + sum(request.size_bytes for request in requests)
        return answers

    def _commit_together(self, requests: Sequence[Request]) -> list[Answer]:
        self._check_files()
        connection = self.connection
        connection.roll_back()  # only where an earlier roll-back failed
        connection.begin(writes=True)
        try:
            answers = []
            for work, group in _by_work(requests):
                results = work.perform(connection, [request.asked for request in group])
                answers += [_answer(request, result) for request, result in zip(group, results, strict=True)]
            self._beat()
            self._faults.reach("before_commit")
            connection.commit()
        except Crash:
            raise
        except BaseException:
            self._roll_back()
            raise
        return answers

    def _roll_back(self) -> None:
        try:
            self.connection.roll_back()
        except sqlite3.Error as trouble:
            _log.warning("roll-back failed", error=str(trouble))

    def _beat(self) -> None:
        """Note that we live, once a minute, in a commit that is asked for anyway."""
        if self.connection.now_us - self._heartbeat_at_us < MINUTE_US:
            return
        self.connection.change("beat", now_us=self.connection.now_us)
        self._heartbeat_at_us = self.connection.now_us

    def _check_files(self) -> None:
        """Never acknowledge into a file that has no name any more: it would be gone at the next start."""
        for path, identity in self._identities.items():
            try:
                found = file_identity(path)
            except OSError as trouble:
                raise StoreUnavailableError(
                    f"The database's file {path} cannot be found: {trouble.strerror}. Put it back where it was."
                ) from None
            if found != identity:
                raise StoreUnavailableError(
                    f"The database's file {path} was replaced while Postroom runs. Restart Postroom to use the new one."
                )
        log_path = self._path.with_name(self._path.name + "-wal")
        if log_path not in self._identities and log_path.exists():
            self._identities[log_path] = file_identity(log_path)

    def tidy(self, from_bytes: int | None = None) -> None:
        """Copy the log into the database when it has grown: between batches, off every caller's path."""
        if self.connection.has_freed_pages:
            self._give_back_pages()
        if self._log_bytes < (CHECKPOINT_FROM_BYTES if from_bytes is None else from_bytes):
            return
        try:
            self._faults.reach("before_checkpoint")
            if self._checkpoint("PASSIVE") >= RESTART_FROM_BYTES:
                self._checkpoint("RESTART")
        except (sqlite3.Error, OSError) as trouble:
            # The log stays whole and is copied next time; nothing is lost by it.
            _log.warning("checkpoint failed", error=str(trouble))
            self._log_bytes = 0

    def _checkpoint(self, mode: str) -> int:
        """Bytes in the log that are not in the database yet; the log itself when it could not be restarted."""
        busy, log_pages, done_pages = self.connection.raw.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._log_bytes = max(0, log_pages - done_pages) * PAGE_BYTES
        return max(0, log_pages) * PAGE_BYTES if busy or self._log_bytes else 0

    def _give_back_pages(self) -> None:
        """Shrink the file by what was pruned, a little at a time."""
        self.connection.has_freed_pages = False
        try:
            self.connection.raw.execute(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})").fetchall()
        except sqlite3.Error as trouble:
            _log.warning("the file could not be made smaller", error=str(trouble))

    def close(self) -> None:
        if not self._faults.has_crashed:
            self.tidy(from_bytes=1)
        self.connection.close()


def _is_nobodys_fault(trouble: Exception) -> bool:
    """Nothing was tried yet: each request by itself would only wait as long again."""
    is_locked = isinstance(trouble, sqlite3.Error) and is_busy(trouble)
    return is_locked or isinstance(trouble, StoreUnavailableError)


def _by_work(requests: Sequence[Request]) -> list[tuple[Work[Any, Any], list[Request]]]:
    groups: dict[int, tuple[Work[Any, Any], list[Request]]] = {}
    for request in requests:
        groups.setdefault(id(request.work), (request.work, []))[1].append(request)
    return list(groups.values())


def _answer(request: Request, result: Any) -> Answer:
    if isinstance(result, Exception):
        return Answer(request, None, result)
    return Answer(request, result)
