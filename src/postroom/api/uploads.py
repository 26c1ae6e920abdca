"""Files that are uploaded before the message that takes them: kept for a day, each app its own."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from postroom.api.problems import ApiError, invalid
from postroom.clock import DAY_US, Clock

PREFIX = "att_"
CHUNK_BYTES = 57 * 1024


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

    async def keep(self, app_id: int, filename: str, content_type: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Write the bytes as they come. ApiError when they are too many."""
        self.sweep()
        upload_id = PREFIX + secrets.token_hex(16)
        descriptor = self._create(upload_id)
        size_bytes = 0
        try:
            try:
                async for chunk in chunks:
                    size_bytes += len(chunk)
                    if size_bytes > self._size_limit_bytes:
                        raise ApiError(
                            "message_too_large",
                            f"A file may have {self._size_limit_bytes:,} bytes.",
                            "Send a smaller file, or a link to it.",
                        )
                    _write_all(descriptor, chunk)
            finally:
                os.close(descriptor)
        except BaseException:
            self._remove(upload_id)
            raise
        upload = Upload(upload_id, app_id, filename, content_type, size_bytes, self._clock.now_us() + DAY_US)
        self._describe(upload)
        return upload

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
        """Remove what has expired, and what a crash left without a description."""
        if not self._folder.exists():
            return
        for path in self._folder.glob(f"{PREFIX}*"):
            upload = self._read_description(path.name.removesuffix(".json"))
            age_us = self._clock.now_us() - path.stat().st_mtime_ns // 1000
            if (upload is None and age_us > DAY_US) or (upload and upload.expires_at_us <= self._clock.now_us()):
                path.unlink(missing_ok=True)

    def _create(self, upload_id: str) -> int:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return os.open(self._folder / upload_id, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _describe(self, upload: Upload) -> None:
        (self._folder / f"{upload.attachment_id}.json").write_bytes(msgspec.json.encode(upload))

    def _read_description(self, upload_id: str) -> Upload | None:
        try:
            return msgspec.json.decode((self._folder / f"{upload_id}.json").read_bytes(), type=Upload)
        except (OSError, msgspec.DecodeError):
            return None

    def _remove(self, upload_id: str) -> None:
        (self._folder / upload_id).unlink(missing_ok=True)


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
