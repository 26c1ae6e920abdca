"""The bytes of messages: small ones travel with their rows, large ones stream to files that are synced first.

A file stands in `bodies/` from its first byte. It belongs to its writer until the writer discards it or a row names
it; one that is left over by a crash has neither, and is swept by age.
"""

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from postroom.clock import HOUR_US, Clock
from postroom.errors import StoreUnavailableError
from postroom.store.calls import Calls
from postroom.store.data_folder import sync_folder
from postroom.store.database import Connection, as_disk_error, to_json
from postroom.store.faults import FaultPoints
from postroom.store.reader import Reader
from postroom.store.records import StoredBody

INLINE_LIMIT_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
WRITE_BYTES = 256 * 1024  # collected before a thread is asked to write
ORPHAN_AGE_US = HOUR_US

T = TypeVar("T")

_log = structlog.stdlib.get_logger("postroom.store")


class BodyFiles:
    """The folder of large bodies, and which of its files are still being written or kept."""

    def __init__(self, folder: Path, calls: Calls, faults: FaultPoints) -> None:
        self.folder = folder
        self.calls = calls
        self.faults = faults
        self.in_writing: set[str] = set()
        """Files whose writer lives and that no committed row names yet."""
        self.handed_over: set[str] = set()
        """Files of messages that are being kept at this moment: their writer may not discard them any more."""
        self._unwanted: set[str] = set()
        """Discarded by their writer while they were being kept."""

    def path(self, name: str) -> Path:
        return self.folder / name

    def hand_over(self, body: StoredBody) -> None:
        """The body's message is being kept: from now on only the outcome of that decides about the file."""
        if body.file_name is not None:
            self.in_writing.discard(body.file_name)
            self.handed_over.add(body.file_name)

    def take_back(self, body: StoredBody) -> None:
        """The message was certainly not kept; its writer may discard the file again, or did so already."""
        name = body.file_name
        if name is None:
            return
        self.handed_over.discard(name)
        if name in self._unwanted:
            self._unwanted.discard(name)
            self.remove(name)
        else:
            self.in_writing.add(name)

    def belongs_to_row(self, body: StoredBody) -> None:
        """A committed row names the file now."""
        if body.file_name is not None:
            self.handed_over.discard(body.file_name)
            self._unwanted.discard(body.file_name)

    def drop(self, name: str) -> bool:
        """Its writer does not want it any more; whether it is to be removed now."""
        if name in self.handed_over:
            self._unwanted.add(name)
        is_ours = name in self.in_writing
        self.in_writing.discard(name)
        return is_ours

    def remove(self, name: str) -> None:
        if self.faults.has_crashed:
            return  # a machine that has stopped removes nothing
        try:
            self.path(name).unlink(missing_ok=True)
        except OSError:
            return  # swept later

    def older_than(self, now_us: int) -> list[str]:
        """Names of files that nobody writes and that are old enough to be orphans."""
        found = []
        for entry in os.scandir(self.folder):
            if entry.name in self.in_writing or entry.name in self.handed_over:
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and now_us - status.st_mtime_ns // 1000 >= ORPHAN_AGE_US:
                found.append(entry.name)
        return found


class _Steps:
    """Blocking steps on one file, one at a time; a cancelled caller does not pull the file from under a thread."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._running: asyncio.Future[Any] | None = None

    async def run(self, step: Callable[[], T]) -> T:
        running = self._running = asyncio.ensure_future(self._calls.call(step))
        return await asyncio.shield(running)

    async def rest(self) -> None:
        """Wait until no thread works on the file."""
        if self._running is not None and not self._running.cancelled():
            await asyncio.wait([self._running])
            self._running.exception()  # its caller was told, or was cancelled


class _OpenFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        return os.read(self._descriptor, CHUNK_BYTES)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class BodyWriter:
    """Takes one body in chunks, in memory up to 64 KiB and in a file beyond. Errors: StoreFullError."""

    def __init__(self, files: BodyFiles) -> None:
        self._files = files
        self._pending = bytearray()
        self._descriptor = -1
        self._name = ""
        self._steps = _Steps(files.calls)
        self._is_over = False
        self.size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; returns when there is room for more."""
        assert not self._is_over, "the body is finished or discarded"
        self._pending += chunk
        self.size_bytes += len(chunk)
        if self.size_bytes <= INLINE_LIMIT_BYTES or (self._descriptor >= 0 and len(self._pending) < WRITE_BYTES):
            return
        await self._run_on_disk(self._flush)

    async def finish(self) -> StoredBody:
        """The complete body; a file is on the disk, with its name, when this returns."""
        assert not self._is_over, "the body is finished or discarded"
        if self._descriptor < 0:
            self._is_over = True
            return StoredBody(self.size_bytes, content=bytes(self._pending))
        await self._run_on_disk(self._sync)
        self._is_over = True
        return StoredBody(self.size_bytes, file_name=self._name)

    async def discard(self) -> None:
        """Give the bytes up, unless a message that was or is being kept owns them. May be called at any time."""
        self._is_over = True
        await self._steps.rest()
        self._pending = bytearray()
        self._close()
        if self._files.drop(self._name):
            await self._files.calls.call(self._files.remove, self._name)

    async def _run_on_disk(self, step: Callable[[], None]) -> None:
        try:
            await self._steps.run(step)
        except OSError as trouble:
            await self.discard()
            error = as_disk_error(trouble)
            _log.warning("not stored", reason=str(error))
            raise error from trouble

    def _flush(self) -> None:
        self._files.faults.reach("before_body_write")
        if self._descriptor < 0:
            self._create()
        rest = memoryview(bytes(self._pending))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._pending = bytearray()

    def _create(self) -> None:
        self._name = secrets.token_hex(16)
        self._files.in_writing.add(self._name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(self._files.path(self._name), flags, 0o600)

    def _sync(self) -> None:
        self._flush()
        self._files.faults.reach("before_body_sync")
        os.fsync(self._descriptor)
        self._close()
        sync_folder(self._files.folder)
        self._files.faults.reach("after_body_sync")

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Bodies:
    """Where bodies are written and read."""

    def __init__(self, files: BodyFiles, reader: Reader, clock: Clock) -> None:
        self._files = files
        self._reader = reader
        self._clock = clock

    def spool(self) -> BodyWriter:
        """A writer for one body."""
        return BodyWriter(self._files)

    async def read(self, body: StoredBody) -> AsyncIterator[bytes]:
        """The body in chunks of at most 64 KiB. Errors: StoreUnavailableError."""
        if body.content is not None:
            for start in range(0, len(body.content), CHUNK_BYTES):
                yield body.content[start : start + CHUNK_BYTES]
            return
        assert body.file_name is not None, "a stored body has content or a file"
        file = _OpenFile(self._files.path(body.file_name))
        steps = _Steps(self._files.calls)
        try:
            await steps.run(file.open)
            while chunk := await steps.run(file.read):
                yield chunk
        except OSError as trouble:
            raise StoreUnavailableError(
                f"The message's content {self._files.path(body.file_name)} cannot be read: {trouble.strerror}. "
                "Restore the file from a backup, or cancel the message."
            ) from trouble
        finally:
            await steps.rest()
            file.close()

    async def remove(self, names: Sequence[str]) -> None:
        """Remove the files of rows that are gone."""
        for name in names:
            await self._files.calls.call(self._files.remove, name)

    async def sweep(self) -> int:
        """Remove files that a crash left over: old enough, without a writer and without a row."""
        candidates = await self._files.calls.call(self._files.older_than, self._clock.now_us())
        orphans: list[str] = []
        if candidates:
            orphans = await self._reader.read(lambda connection: _without_row(connection, candidates))
        await self.remove(orphans)
        return len(orphans)


def _without_row(connection: Connection, names: Sequence[str]) -> list[str]:
    return [row["name"] for row in connection.rows("file_names_without_row", names=to_json(names))]
