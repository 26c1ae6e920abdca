"""The two forms in which a message's body goes onto the wire: after DATA, or as one chunk."""

from typing import Protocol

from postroom.wire.stuffing import DotStuffer, LineEndJudge


class BodyForm(Protocol):
    """Shapes one body, chunk by chunk. Both shapes raise BareLineEndError."""

    @property
    def announcement(self) -> tuple[str, ...]:
        """What is said with the envelope, and answered before the body may come."""
        ...

    def opening(self, size_bytes: int) -> tuple[str, ...]:
        """What is said right before the body, and not answered by itself."""
        ...

    def piece(self, chunk: bytes) -> bytes: ...

    def last(self, chunk: bytes) -> bytes:
        """The last chunk, with what ends the body."""
        ...

    def describe(self, size_bytes: int) -> str:
        """For the dialogue."""
        ...


class DataForm:
    """DATA (RFC 5321 4.1.1.4): dots stuffed, a dot at the end."""

    announcement = ("DATA",)

    def __init__(self) -> None:
        self._stuffer = DotStuffer()

    def opening(self, size_bytes: int) -> tuple[str, ...]:
        return ()

    def piece(self, chunk: bytes) -> bytes:
        return self._stuffer.stuff(chunk)

    def last(self, chunk: bytes) -> bytes:
        return self._stuffer.stuff(chunk) + self._stuffer.end()

    def describe(self, size_bytes: int) -> str:
        return f"The message, {size_bytes:,} bytes, and the final dot"


class ChunkForm:
    """BDAT (RFC 3030): counted, as it is."""

    announcement = ()

    def __init__(self) -> None:
        self._judge = LineEndJudge()

    def opening(self, size_bytes: int) -> tuple[str, ...]:
        return (f"BDAT {size_bytes} LAST",)

    def piece(self, chunk: bytes) -> bytes:
        return self._judge.judge(chunk)

    def last(self, chunk: bytes) -> bytes:
        self._judge.judge(chunk)
        self._judge.end()
        return chunk

    def describe(self, size_bytes: int) -> str:
        return f"The message, {size_bytes:,} bytes"
