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
        if any(letter in text for letter, _ in _FORBIDDEN) or self._has_long_line(chunk):
            raise self._first_trouble(chunk)
        self._ended_lines += (len(chunk) - len(text)) // 2
        self.is_eight_bit = self.is_eight_bit or not text.isascii()

    def finish(self) -> None:
        """A message that ends with CR alone has a bare CR."""
        if self._held_cr:
            raise LineError("bare_cr", self._ended_lines + 1)

    def _has_long_line(self, chunk: bytes) -> bool:
        """Jumps from the last line end within reach to the next: about one step for each 998 bytes.

        Afterwards it is known how much of the last line has come.
        """
        start = 0
        reach = _LINE_WITH_END - self._open_bytes
        while len(chunk) - start > reach:
            end = chunk.rfind(b"\r\n", start, start + reach)
            if end < 0:
                return True
            start, reach = end + 2, _LINE_WITH_END
        end = chunk.rfind(b"\r\n", start)
        if end >= 0:
            start = end + 2
        open_bytes = (0 if start else self._open_bytes) + len(chunk) - start
        if open_bytes > LINE_LIMIT_BYTES:
            return True
        self._open_bytes = open_bytes
        return False

    def _first_trouble(self, chunk: bytes) -> LineError:
        """The one that comes first, so that it does not depend on the chunks which is told."""
        number, open_bytes = self._ended_lines + 1, self._open_bytes
        for line in chunk.split(b"\r\n"):
            places = [(line.find(letter), kind) for letter, kind in _FORBIDDEN if letter in line]
            if open_bytes + len(line) > LINE_LIMIT_BYTES:
                places.append((LINE_LIMIT_BYTES - open_bytes, "long_line"))
            if places:
                return LineError(min(places)[1], number)
            number, open_bytes = number + 1, 0
        raise AssertionError("there is a trouble, or this is not called")
