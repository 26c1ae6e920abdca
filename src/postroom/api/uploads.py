"""Files that are uploaded before the message that takes them: kept for a day, each app its own."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from postroom.api.problems import ApiError, invalid
from postroom.clock import DAY_US, Clock
from postroom.store.database import as_disk_error

PREFIX = "att_"
CHUNK_BYTES = 57 * 1024
FILE_LIMIT = 200
TOTAL_FACTOR = 10
"""So many of the largest messages may wait to be sent: an app must not fill the disk with files."""


class Upload(msgspec.Struct, frozen=True):
    """What is known of an uploaded file."""

    attachment_id: str
    app_id: int
    filename: str
    content_type: str
    size_bytes: int
    expires_at_us: int


class Uploads:
    """A folder with two files for each upload: its bytes, and what is known of it."""

    def __init__(self, folder: Path, clock: Clock, size_limit_bytes: int) -> None:
        self._folder = folder
        self._clock = clock
        self._size_limit_bytes = size_limit_bytes

    def folder(self) -> Path:
        """Also where files of requests that run are put. StoreFullError, StoreUnavailableError."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as trouble:
            raise as_disk_error(trouble) from trouble
        return self._folder

    async def keep(self, app_id: int, filename: str, content_type: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Write the bytes as they come. ApiError when they are too many; StoreFullError, StoreUnavailableError."""
        folder = self.folder()
        self.sweep()
        room = self._room_of(app_id)
        upload_id = PREFIX + secrets.token_hex(16)
        try:
            size_bytes = await self._write(folder / upload_id, chunks, room)
            expires_at_us = self._clock.now_us() + DAY_US
            upload = Upload(upload_id, app_id, filename, content_type, size_bytes, expires_at_us)
            (folder / f"{upload_id}.json").write_bytes(msgspec.json.encode(upload))
        except OSError as trouble:
            (folder / upload_id).unlink(missing_ok=True)
            raise as_disk_error(trouble) from trouble
        except BaseException:
            (folder / upload_id).unlink(missing_ok=True)
            raise
        return upload

    async def _write(self, path: Path, chunks: AsyncIterator[bytes], room: int) -> int:
        """On the disk before anybody is told its id: after a power failure half a file must not pass for one."""
        size_bytes = 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            async for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > min(room, self._size_limit_bytes):
                    raise self._too_large(size_bytes)
                await asyncio.to_thread(_write_all, descriptor, chunk)
            await asyncio.to_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        return size_bytes

    def _room_of(self, app_id: int) -> int:
        """How many bytes the app may still upload. ApiError when its files are too many."""
        kept = [upload for upload in map(self._read_description, self._ids()) if upload and upload.app_id == app_id]
        if len(kept) >= FILE_LIMIT:
            raise ApiError(
                "upload_limit_reached",
                f"An app may have {FILE_LIMIT} uploaded files at a time.",
                "Wait until some of them expire, a day after they came; or send files with their message.",
            )
        return self._size_limit_bytes * TOTAL_FACTOR - sum(upload.size_bytes for upload in kept)

    def _too_large(self, size_bytes: int) -> ApiError:
        limit = self._size_limit_bytes
        if size_bytes > limit:
            return ApiError("message_too_large", f"A file may have {limit:,} bytes.", "Send a link to it.")
        return ApiError(
            "upload_limit_reached",
            f"An app's uploaded files may have {limit * TOTAL_FACTOR:,} bytes together.",
            "Wait until some of them expire, a day after they came; or send files with their message.",
        )

    def find(self, app_id: int, attachment_id: str, field: str) -> Upload:
        """ApiError when it is not there, has expired, or is another app's."""
        name = attachment_id.removeprefix(PREFIX)
        upload = None
        if attachment_id.startswith(PREFIX) and len(name) == 32 and set(name) <= set("0123456789abcdef"):
            upload = self._read_description(attachment_id)
        if upload is None or upload.app_id != app_id or upload.expires_at_us <= self._clock.now_us():
            text = "there is no such upload, or it has expired; upload the file again"
            raise invalid(field, text, "invalid_attachment")
        return upload

    def read(self, upload: Upload) -> Iterator[bytes]:
        with open(self._folder / upload.attachment_id, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def sweep(self) -> None:
        """Remove what has expired, and what a crash left without a description. Two may sweep at a time."""
        for upload_id in self._ids():
            upload = self._read_description(upload_id)
            path = self._folder / upload_id
            try:
                expires_at_us = upload.expires_at_us if upload else path.stat().st_mtime_ns // 1000 + DAY_US
            except FileNotFoundError:
                continue
            if expires_at_us <= self._clock.now_us():
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)

    def _ids(self) -> list[str]:
        return [path.name for path in self._folder.glob(f"{PREFIX}*") if path.suffix != ".json"]

    def _read_description(self, upload_id: str) -> Upload | None:
        try:
            return msgspec.json.decode((self._folder / f"{upload_id}.json").read_bytes(), type=Upload)
        except (OSError, msgspec.DecodeError):
            return None


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
