"""The message on standard input, made ready for the wire: CR LF line ends, a header of its own."""

import io
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Protocol

from postroom.cli.sendmail_ending import SendmailError

MEMORY_LIMIT_BYTES = 1024 * 1024
"""More is kept in a file while it comes in: a program may write for hours."""
INPUT_LIMIT_BYTES = 256 * 1024 * 1024
"""More than any mail server takes: a program that never stops must not fill the disk."""
CHUNK_BYTES = 64 * 1024
HEAD_LIMIT_BYTES = 256 * 1024
"""The server reads no more of a header either, and refuses the message with a reason."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_MAILBOX_LINE = re.compile(rb">?From ")


class Source(Protocol):
    """What standard input is to us."""

    def readline(self, limit: int, /) -> bytes: ...

    def read(self, size: int, /) -> bytes: ...


class Message(NamedTuple):
    """A message that is complete; dots are not doubled yet."""

    file: BinaryIO
    size_bytes: int
    fields: tuple[tuple[str, str], ...]
    """Names in small letters, values unfolded; bytes that are not UTF-8 are lone surrogates."""
    is_eight_bit: bool

    def has(self, name: str) -> bool:
        return any(field == name for field, _ in self.fields)

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk


def read_message(source: Source, *, ends_at_dot: bool) -> Message:
    """Read to the end, or to a line with only a dot. SendmailError: EX_NOINPUT, EX_DATAERR, EX_IOERR."""
    reader = _MessageReader(source, ends_at_dot)
    try:
        return reader.read()
    except SendmailError:
        raise
    except OSError as trouble:
        if reader.is_reading:
            raise SendmailError(os.EX_NOINPUT, f"The message cannot be read: {trouble.strerror}.") from None
        text = f"The message cannot be kept while it comes in: {trouble.strerror}. Make room where TMPDIR points."
        raise SendmailError(os.EX_IOERR, text) from None


class _MessageReader:
    def __init__(self, source: Source, ends_at_dot: bool) -> None:
        self._source = source
        self._ends_at_dot = ends_at_dot
        self._begins_line = True
        self._file: BinaryIO = io.BytesIO()
        self._size_bytes = 0
        self._ends_with = b"\n"
        self._fields: list[bytes] = []
        self._is_eight_bit = False
        self.is_reading = False

    def read(self) -> Message:
        if self._read_head():
            while piece := self._next_line() if self._ends_at_dot else self._read(self._source.read):
                self._keep(piece)
        if self._ends_with != b"\n":
            self._keep(b"\n" if self._ends_with == b"\r" else b"\r\n")
        return Message(self._file, self._size_bytes, tuple(map(_unfold, self._fields)), self._is_eight_bit)

    def _read_head(self) -> bool:
        """Whether a body follows."""
        line = self._next_line()
        while _MAILBOX_LINE.match(line):
            line = self._next_line()  # what begins a message in a mailbox file is none of its header
        begins = True
        while line and self._size_bytes <= HEAD_LIMIT_BYTES:
            if not begins or (line[0] in b" \t" and self._fields):
                self._fields[-1] += line
            elif _FIELD.match(line):
                self._fields.append(line)
            else:
                # What is neither a field nor the empty line begins the body, as everywhere on Unix.
                self._keep(line if line in (b"\n", b"\r\n") else b"\r\n" + line)
                return True
            self._keep(line)
            begins = self._begins_line
            line = self._next_line()
        if line:
            self._keep(line)
        return bool(line)

    def _next_line(self) -> bytes:
        """A line, or a part of a very long one; nothing at the end."""
        begins = self._begins_line
        line = self._read(self._source.readline)
        self._begins_line = line.endswith(b"\n")
        return b"" if begins and self._ends_at_dot and line in (b".", b".\n", b".\r\n") else line

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        self.is_reading = True
        piece = read(CHUNK_BYTES)
        self.is_reading = False
        return piece

    def _keep(self, piece: bytes) -> None:
        rest_of_end = b"\n" if self._ends_with == b"\r" and piece.startswith(b"\n") else b""
        content = rest_of_end + _BARE_LF.sub(b"\r\n", piece[len(rest_of_end) :])
        self._ends_with = content[-1:]
        self._is_eight_bit = self._is_eight_bit or not content.isascii()
        self._size_bytes += len(content)
        if self._size_bytes > INPUT_LIMIT_BYTES:
            raise SendmailError(
                os.EX_DATAERR, f"The message is larger than {INPUT_LIMIT_BYTES >> 20} MB; it was not sent."
            )
        if self._size_bytes > MEMORY_LIMIT_BYTES and isinstance(self._file, io.BytesIO):
            self._file = _move_to_disk(self._file)
        self._file.write(content)


def _move_to_disk(held: io.BytesIO) -> BinaryIO:
    import tempfile  # only for large messages

    file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the message
    file.write(held.getvalue())
    return file


def _unfold(field: bytes) -> tuple[str, str]:
    name, _, value = field.partition(b":")
    text = value.replace(b"\r", b"").replace(b"\n", b"").strip()
    return name.strip().lower().decode("ascii", "replace"), text.decode("utf-8", "surrogateescape")
