"""Reads a form (multipart/form-data, RFC 7578) as it comes: files go to the disk, a form without its end is refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from postroom.api.problems import ApiError, invalid
from postroom.store.database import as_disk_error

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_LIMIT = 100
HELD_BYTES = 64 * 1024
"""Of a file that stays in memory; a larger one goes to the data folder, where it has no name and ends with us."""
READ_BYTES = 57 * 1024
_HEADER_LIMIT_BYTES = 8 * 1024


class FormPart:
    """One part: a field's text, or a file."""

    def __init__(self, folder: Path) -> None:
        self.name = self.filename = self.content_id = ""
        self.content_type = "application/octet-stream"
        self.size_bytes = 0
        self.has_filename = False
        self._file = SpooledTemporaryFile(max_size=HELD_BYTES, dir=str(folder))  # noqa: SIM115

    async def write(self, chunk: bytes) -> None:
        """StoreFullError, StoreUnavailableError."""
        self.size_bytes += len(chunk)
        try:
            if self.size_bytes > HELD_BYTES:
                await asyncio.to_thread(self._file.write, chunk)
            else:
                self._file.write(chunk)
        except OSError as trouble:
            raise as_disk_error(trouble) from trouble

    def read(self) -> Iterator[bytes]:
        """From its start, in chunks."""
        self._file.seek(0)
        while chunk := self._file.read(READ_BYTES):
            yield chunk

    def close(self) -> None:
        self._file.close()


class FormReader:
    """Use it as a context: at its end the files are gone."""

    def __init__(self, content_type: str, folder: Path, *, size_limit_bytes: int, text_limit_bytes: int) -> None:
        """ApiError when the content type names no boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise invalid("", "The form's Content-Type names no boundary; let your HTTP library write that header.")
        self._folder = folder
        self._size_limit_bytes = size_limit_bytes
        self._text_limit_bytes = text_limit_bytes
        self._events: list[tuple[str, bytes]] = []
        try:
            self._parser = MultipartParser(boundary, self._callbacks(), max_header_size=_HEADER_LIMIT_BYTES)
        except FormParserError:
            raise _unreadable() from None
        self._header = b""
        self._value = b""
        self.parts: list[FormPart] = []

    def __enter__(self) -> "FormReader":
        return self

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.close()

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """All of it. ApiError when it is too large, no form, or ends too early; StoreFullError."""
        received = 0
        has_ended = False
        async for chunk in chunks:
            received += len(chunk)
            if received > self._size_limit_bytes:
                raise too_large(self._size_limit_bytes)
            if not chunk:
                continue
            try:
                self._parser.write(chunk)
            except FormParserError:
                raise _unreadable() from None
            has_ended = await self._follow() or has_ended
        if not has_ended:
            raise invalid("", "The form ends before its last part does; send it again.")

    async def _follow(self) -> bool:
        """What the parser met in the last chunk; whether the form's end was among it."""
        has_ended = False
        for kind, content in self._events:
            match kind:
                case "begin":
                    self._begin()
                case "header":
                    self._header += content
                case "value":
                    self._value += content
                case "header_end":
                    self._end_header()
                case "headers":
                    self._check_part(self.parts[-1])
                case "data":
                    await self._take(self.parts[-1], content)
                case "end":
                    has_ended = True
        self._events.clear()
        return has_ended

    def _begin(self) -> None:
        if len(self.parts) > FILE_LIMIT:
            raise invalid("attachments", f"a message may have {FILE_LIMIT} attachments")
        self.parts.append(FormPart(self._folder))

    def _end_header(self) -> None:
        part, name, value = self.parts[-1], self._header.lower(), self._value
        self._header = self._value = b""
        if name == b"content-disposition":
            _, options = parse_options_header(value)
            part.name = _decoded(options.get(b"name", b""))
            part.has_filename = b"filename" in options
            part.filename = _decoded(options.get(b"filename", b""))
        elif name == b"content-type":
            part.content_type = _decoded(value).strip()
        elif name == b"content-id":
            part.content_id = _decoded(value).strip().removeprefix("<").removesuffix(">")
        elif name == b"content-transfer-encoding" and value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
            raise invalid(part.name, "parts of a form are sent as they are, not encoded")  # RFC 7578 4.7

    def _check_part(self, part: FormPart) -> None:
        if part.name == "message":
            if sum(each.name == "message" for each in self.parts) > 1:
                raise invalid("message", "the form has more than one part of this name")
        elif not part.has_filename:
            text = "there is no such field: a form has the JSON of the message as message, all others are files"
            raise invalid(part.name[:80], text)

    async def _take(self, part: FormPart, content: bytes) -> None:
        if part.name == "message" and part.size_bytes + len(content) > self._text_limit_bytes:
            raise invalid("message", f"it may have {self._text_limit_bytes // 1_048_576} MB; send files as parts")
        await part.write(content)

    def _callbacks(self) -> "MultipartCallbacks":
        def note(kind: str) -> Callable[[], None]:
            return lambda: self._events.append((kind, b""))

        def note_bytes(kind: str) -> Callable[[bytes, int, int], None]:
            return lambda data, start, end: self._events.append((kind, data[start:end]))

        return {
            "on_part_begin": note("begin"),
            "on_part_data": note_bytes("data"),
            "on_header_field": note_bytes("header"),
            "on_header_value": note_bytes("value"),
            "on_header_end": note("header_end"),
            "on_headers_finished": note("headers"),
            "on_end": note("end"),
        }


def too_large(limit_bytes: int) -> ApiError:
    text = f"The request may have {limit_bytes:,} bytes."
    return ApiError("message_too_large", text, "Send less, or a link to the files.")


def _unreadable() -> ApiError:
    return invalid("", "The form cannot be read as multipart/form-data; let your HTTP library write it.")


def _decoded(value: bytes) -> str:
    """UTF-8, as browsers and programs write names today; what is none is read as Latin-1."""
    with contextlib.suppress(UnicodeDecodeError):
        return value.decode()
    return value.decode("latin-1")
