"""SMTP replies, read from bytes as they arrive (RFC 5321 4.2, enhanced codes of RFC 2034 and RFC 3463).

The reader is bounded: a reply that never ends is an error long before it fills memory. Line ends are read
leniently (a bare LF ends a line too); everything else that is not a reply is an error, because after it nobody
can tell which reply answers which command.
"""

import re

import msgspec

MAX_REPLY_BYTES = 64 * 1024
"""Of one reply with all its lines. RFC 5321 4.5.3.1.5 allows 512 octets a line; Exchange's diagnostics take 2 KiB."""
MAX_REPLY_LINES = 512

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s+|$)")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


class ReplyError(ValueError):
    """What arrived is no SMTP reply, or one without end; the text says which."""


class Reply(msgspec.Struct, frozen=True):
    """One reply, of one line or several."""

    code: int
    lines: tuple[str, ...]
    """The text of each line after the code, enhanced codes taken off, control characters replaced."""
    enhanced: str = ""
    """`5.7.3`, or empty where the server gave none."""

    @property
    def text(self) -> str:
        """The server's words, its lines joined by spaces."""
        return " ".join(line for line in self.lines if line)

    @property
    def words(self) -> str:
        """All that stands behind the code: enhanced code and text."""
        return f"{self.enhanced} {self.text}".strip()

    def __str__(self) -> str:
        return f"{self.code} {self.words}".strip()


class ReplyReader:
    """Turns arriving bytes into replies. Feed it no more than it is asked to hold: see `is_full`."""

    def __init__(self) -> None:
        self._input = bytearray()
        self._searched = 0  # bytes of the input known to hold no line end
        self._code = b""
        self._texts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, octets: bytes) -> None:
        self._input += octets

    @property
    def is_empty(self) -> bool:
        """Nothing has arrived that was not read."""
        return not self._input and not self._texts

    @property
    def is_full(self) -> bool:
        """More waits here than one reply may have: stop reading from the socket."""
        return len(self._input) > MAX_REPLY_BYTES

    def next_reply(self) -> Reply | None:
        """The next complete reply; None while it is still arriving. ReplyError when it is none."""
        while (line := self._take_line()) is not None:
            if self._take_text(line):
                return self._finish()
        return None

    def _take_line(self) -> bytes | None:
        end = self._input.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._input)
            self._bound(self._size_bytes + len(self._input))
            return None
        line = bytes(self._input[:end])
        del self._input[: end + 1]
        self._searched = 0
        self._size_bytes += end + 1
        self._bound(self._size_bytes)
        return line.removesuffix(b"\r")

    def _bound(self, size_bytes: int) -> None:
        if size_bytes > MAX_REPLY_BYTES:
            raise ReplyError(f"The reply is longer than {MAX_REPLY_BYTES // 1024} KiB.")
        if len(self._texts) >= MAX_REPLY_LINES:
            raise ReplyError(f"The reply has more than {MAX_REPLY_LINES} lines.")

    def _take_text(self, line: bytes) -> bool:
        """Take a line in; whether it was the reply's last."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise ReplyError(f"This is no SMTP reply: {_readable(line[:80])!r}.")
        code, sign, text = match.groups()
        if self._texts and code != self._code:
            raise ReplyError(f"The lines of one reply begin with {self._code.decode()} and {code.decode()}.")
        self._code = code
        self._texts.append(text or b"")
        return bool(sign != b"-")

    def _finish(self) -> Reply:
        reply = make_reply(int(self._code), [_readable(text) for text in self._texts])
        self._texts = []
        self._size_bytes = 0
        return reply


def make_reply(code: int, texts: list[str]) -> Reply:
    """A reply from its lines without their codes: the enhanced code is read from the first that has one."""
    found = [_ENHANCED.match(text) for text in texts]
    enhanced = next((match[1] for match in found if match), "")
    lines = tuple(text[match.end() :] if match else text for match, text in zip(found, texts, strict=True))
    return Reply(code, lines, enhanced)


def parse_reply(text: str) -> Reply:
    """A whole reply from text, as logs and reference data have it. ReplyError when it is none."""
    reader = ReplyReader()
    reader.feed(text.strip().encode() + b"\n")
    reply = reader.next_reply()
    if reply is None or not reader.is_empty:
        raise ReplyError("The text is not exactly one reply.")
    return reply


def _readable(text: bytes) -> str:
    if text.isascii() and (plain := text.decode("ascii")).isprintable():
        return plain.strip()
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.decode("utf-8", "replace").strip())
