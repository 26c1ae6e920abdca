"""The lines of a message, judged chunk by chunk: only CR LF ends one, and none is too long (RFC 5322 2.1.1, 2.3)."""

LINE_LIMIT_BYTES = 998
"""Without its CRLF (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6)."""

_LINE_WITH_END = LINE_LIMIT_BYTES + 2
_FORBIDDEN = ((b"\n", "bare_lf"), (b"\r", "bare_cr"), (b"\0", "nul"))


class LineError(ValueError):
    """A line that no message may have."""

    def __init__(self, kind: str, line: int) -> None:
        super().__init__(f"{kind} in line {line}")
        self.kind = kind
        """`bare_cr`, `bare_lf`, `nul` or `long_line`."""
        self.line = line
        """Counted from 1, with the head's."""


class LineScanner:
    """Reads a message's unstuffed bytes; all work per byte is the standard library's `find` and `replace`."""

    def __init__(self) -> None:
        self._ended_lines = 0
        self._open_bytes = 0
        self._held_cr = b""
        """A CR at the end of a chunk: the next one says whether its LF follows."""
        self.is_eight_bit = False

    @property
    def ends_with_line_end(self) -> bool:
        return self._open_bytes == 0 and not self._held_cr

    def scan(self, chunk: bytes) -> None:
        """Raises LineError at the first chunk with a line that is not allowed."""
        if self._held_cr:
            chunk = self._held_cr + chunk
        self._held_cr = b"\r" if chunk.endswith(b"\r") else b""
        if self._held_cr:
            chunk = chunk[:-1]
        text = chunk.replace(b"\r\n", b"")
        self._check_bytes(chunk, text)
        self._check_lengths(chunk)
        self._ended_lines += (len(chunk) - len(text)) // 2
        self.is_eight_bit = self.is_eight_bit or not text.isascii()

    def finish(self) -> None:
        """A message that ends with CR alone has a bare CR."""
        if self._held_cr:
            raise LineError("bare_cr", self._ended_lines + 1)

    def _check_bytes(self, chunk: bytes, text: bytes) -> None:
        for letter, kind in _FORBIDDEN:
            if letter in text:
                # The line ends are hidden, so that the letter is found where it stands alone.
                position = chunk.replace(b"\r\n", b"\x01\x01").index(letter)
                raise LineError(kind, self._line_at(chunk, position))

    def _check_lengths(self, chunk: bytes) -> None:
        """Jumps from the last line end within reach to the next: about one step for each 998 bytes."""
        start = 0
        reach = _LINE_WITH_END - self._open_bytes
        while len(chunk) - start > reach:
            end = chunk.rfind(b"\r\n", start, start + reach)
            if end < 0:
                raise LineError("long_line", self._line_at(chunk, start))
            start, reach = end + 2, _LINE_WITH_END
        end = chunk.rfind(b"\r\n", start)
        if end >= 0:
            start = end + 2
        self._open_bytes = (0 if start else self._open_bytes) + len(chunk) - start
        if self._open_bytes > LINE_LIMIT_BYTES:
            raise LineError("long_line", self._line_at(chunk, len(chunk)))

    def _line_at(self, chunk: bytes, position: int) -> int:
        return self._ended_lines + chunk.count(b"\r\n", 0, position) + 1
