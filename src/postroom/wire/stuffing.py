"""Dot-stuffing as the bytes pass by (RFC 5321 4.5.2), for messages that have CRLF line ends only."""

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


def _require_line_ends(chunk: bytes) -> None:
    line_ends = chunk.count(b"\r\n")
    if chunk.count(b"\n") != line_ends:
        raise BareLineEndError("The message contains a bare LF.")
    if chunk.count(b"\r") != line_ends:
        raise BareLineEndError("The message contains a bare CR.")
