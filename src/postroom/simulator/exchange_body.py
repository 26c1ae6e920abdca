"""The bytes of a message as they arrive over DATA or BDAT, gathered once and never searched twice."""

from typing import Protocol

END_OF_DATA = b"\r\n.\r\n"


class Body(Protocol):
    """Takes what belongs to it off the front of `received`."""

    def feed(self, received: bytearray) -> bool:
        """True once the part that was announced (the message, or the chunk) is complete."""

    def content(self) -> bytes | None:
        """The message without dot-stuffing; None if it is larger than its limit."""


class DottedBody:
    """DATA: up to CRLF, dot, CRLF and nothing else (RFC 5321 4.1.1.4); far beyond its limit nothing is kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        # Dot-stuffing makes a message longer by a third at most.
        self._keep_bytes = 2 * limit_bytes
        # The line end before the first line lets the first line be the dot, and be unstuffed, like any.
        self._buffer = bytearray(b"\r\n")
        self._overflowed = False

    def feed(self, received: bytearray) -> bool:
        searched = max(0, len(self._buffer) - len(END_OF_DATA) + 1)
        self._buffer += received
        received.clear()
        end = self._buffer.find(END_OF_DATA, searched)
        if end >= 0:
            received += self._buffer[end + len(END_OF_DATA) :]
            del self._buffer[end + 2 :]
        elif len(self._buffer) > self._keep_bytes:
            self._overflowed = True
            del self._buffer[: -len(END_OF_DATA) + 1]
        return end >= 0

    def content(self) -> bytes | None:
        content = bytes(self._buffer.replace(b"\r\n.", b"\r\n")[2:])
        return None if self._overflowed or len(content) > self._limit_bytes else content


class ChunkedBody:
    """BDAT: as many octets as were announced (RFC 3030); beyond its limit they are only counted."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._total_bytes = 0
        self._missing_bytes = 0

    def expect(self, size_bytes: int) -> None:
        """Announce the next chunk."""
        self._missing_bytes = size_bytes

    def feed(self, received: bytearray) -> bool:
        taken = received[: self._missing_bytes]
        del received[: len(taken)]
        self._missing_bytes -= len(taken)
        self._total_bytes += len(taken)
        if self._total_bytes <= self._limit_bytes:
            self._buffer += taken
        return self._missing_bytes == 0

    def content(self) -> bytes | None:
        return bytes(self._buffer) if self._total_bytes <= self._limit_bytes else None
