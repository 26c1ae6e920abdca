"""A message as it arrives after DATA: its end found and its dots taken back, chunk by chunk (RFC 5321 4.5.2)."""

_END = b"\r\n.\r\n"


class DataReader:
    """Takes the bytes after `354`; gives the message's own.

    Only CR LF dot CR LF ends a message. A bare CR or LF is passed on as it came, for the checks to refuse: it never
    ends a line, so that what follows it cannot become a second message (CVE-2023-51764).
    """

    def __init__(self) -> None:
        # The line before the first began with the reply to DATA: a dot may be the very first byte.
        self._held = b"\r\n"
        self._is_first = True
        self.is_complete = False
        self.rest = b""
        """What came after the end: the next commands of a client that pipelines."""

    def feed(self, chunk: bytes) -> bytes:
        """The message's bytes that are certain by now; up to four more stay held back."""
        chunk = self._held + chunk
        end = chunk.find(_END)
        if end >= 0:
            self.is_complete = True
            self.rest = chunk[end + len(_END) :]
            self._held = b""
            return self._unstuff(chunk[: end + 2])
        kept = len(chunk) - _possible_end(chunk)
        self._held = chunk[kept:]
        return self._unstuff(chunk[:kept])

    def _unstuff(self, chunk: bytes) -> bytes:
        # No CR LF dot is ever split over two calls, since the first of them is held back.
        clear = chunk.replace(b"\r\n.", b"\r\n")
        if self._is_first and clear:
            self._is_first = False
            return clear[2:]
        return clear


def _possible_end(chunk: bytes) -> int:
    """How many of the last bytes could be the beginning of the end."""
    for length in range(len(_END) - 1, 0, -1):
        if chunk.endswith(_END[:length]):
            return length
    return 0
