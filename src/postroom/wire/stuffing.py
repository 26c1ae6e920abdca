"""How the bytes of a message leave: dot-stuffed (RFC 5321 4.5.2) or as they are, but with CRLF line ends only."""

_END_OF_DATA = b".\r\n"


class BareLineEndError(ValueError):
    """A CR without LF or an LF without CR: such a message must not leave, since it could smuggle another out."""


class DotStuffer:
    """Doubles the dot at the start of each line, over any division into chunks; then ends the data."""

    def __init__(self) -> None:
        self._is_line_start = True
        self._held = b""  # a CR whose LF comes with the next chunk

    def stuff(self, chunk: bytes) -> bytes:
        """The chunk as it goes onto the wire. BareLineEndError."""
        if self._held:
            chunk = self._held + chunk
            self._held = b""
        if chunk.endswith(b"\r"):
            self._held = b"\r"
            chunk = chunk[:-1]
        if not chunk:
            return b""
        _require_line_ends(chunk)
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if self._is_line_start and chunk.startswith(b"."):
            stuffed = b"." + stuffed
        self._is_line_start = chunk.endswith(b"\r\n")
        return stuffed

    def end(self) -> bytes:
        """What closes the data: the final dot, on a line of its own. BareLineEndError."""
        if self._held:
            raise BareLineEndError("The message ends in a bare CR.")
        return _END_OF_DATA if self._is_line_start else b"\r\n" + _END_OF_DATA


class LineEndJudge:
    """Lets a message pass as it is, for BDAT (RFC 3030): over any division into chunks."""

    def __init__(self) -> None:
        self._ends_with_cr = False

    def judge(self, chunk: bytes) -> bytes:
        """The same chunk. BareLineEndError."""
        if not chunk:
            return chunk
        whole = b"\r" + chunk if self._ends_with_cr else chunk
        self._ends_with_cr = chunk.endswith(b"\r")
        _require_line_ends(whole[:-1] if self._ends_with_cr else whole)
        return chunk

    def end(self) -> None:
        """Nothing more comes. BareLineEndError."""
        if self._ends_with_cr:
            raise BareLineEndError("The message ends in a bare CR.")


def _require_line_ends(chunk: bytes) -> None:
    line_ends = chunk.count(b"\r\n")
    if chunk.count(b"\n") != line_ends:
        raise BareLineEndError("The message contains a bare LF.")
    if chunk.count(b"\r") != line_ends:
        raise BareLineEndError("The message contains a bare CR.")
