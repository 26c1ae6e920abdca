"""The lines of a message, judged chunk by chunk: only CR LF ends one, and none is too long (RFC 5322 2.1.1, 2.3)."""

LINE_LIMIT_BYTES = 998
"""Without its CRLF (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6)."""

_LINE_WITH_END = LINE_LIMIT_BYTES + 2


class LineError(ValueError):
    """A line that no message may have."""

    def __init__(self, kind: str, line: int) -> None:
        super().__init__(f"{kind} in line {line}")
        self.kind = kind
        """`bare_cr`, `bare_lf`, `nul` or `long_line`."""
        self.line = line
        """Counted from 1, with the head's."""


class LineScanner:
    """Reads a message's unstuffed bytes; work per byte is `bytes.find` and `bytes.count` only."""

    def __init__(self) -> None:
        self._ended_lines = 0
        self._open_bytes = 0
        self._ends_with_cr = False
        self.is_eight_bit = False

    @property
    def ends_with_line_end(self) -> bool:
        return self._open_bytes == 0

    def scan(self, chunk: bytes) -> None:
        """Raises LineError at the first chunk with a line that is not allowed."""
        if self._ends_with_cr:
            chunk = b"\r" + chunk
            self._ends_with_cr = False
            self._open_bytes -= 1
        elif not chunk:
            return
        if chunk.endswith(b"\r"):
            self._ends_with_cr = True
        self._check_bytes(chunk)
        self._check_lengths(chunk)

    def finish(self) -> None:
        """A message that ends with CR alone has a bare CR."""
        if self._ends_with_cr:
            raise LineError("bare_cr", self._ended_lines + 1)

    def _check_bytes(self, chunk: bytes) -> None:
        ends = chunk.count(b"\r\n")
        if chunk.count(b"\n") != ends:
            raise LineError("bare_lf", self._line_of_bare(chunk, b"\n"))
        if chunk.count(b"\r") != ends + self._ends_with_cr:
            raise LineError("bare_cr", self._line_of_bare(chunk, b"\r"))
        if b"\0" in chunk:
            raise LineError("nul", self._line_at(chunk, chunk.index(b"\0")))
        self.is_eight_bit = self.is_eight_bit or not chunk.isascii()

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
        self._open_bytes = len(chunk) - end - 2 if end >= 0 else self._open_bytes * (start == 0) + len(chunk) - start
        self._ended_lines += chunk.count(b"\r\n")
        # An open line may have 998 bytes and the CR of its end; one more byte can only be too many.
        if self._open_bytes - self._ends_with_cr > LINE_LIMIT_BYTES:
            raise LineError("long_line", self._ended_lines + 1)

    def _line_at(self, chunk: bytes, position: int) -> int:
        return self._ended_lines + chunk.count(b"\r\n", 0, position) + 1

    def _line_of_bare(self, chunk: bytes, letter: bytes) -> int:
        """Only ever called once, for a message that is refused."""
        hidden = chunk.replace(b"\r\n", b"\x01\x01")
        return self._line_at(chunk, hidden.index(letter))
