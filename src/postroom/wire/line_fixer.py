"""Lines put right as they pass by, for old devices that are named for it: ends, NUL, and lines that are too long.

What comes out has only CR LF at its lines' ends and at most 998 bytes between them, however it came in chunks.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

from postroom.wire.lines import LINE_LIMIT_BYTES, LineError

_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_ANY_END = re.compile(rb"\r\n|\r|\n")
_SIGNED_TEXT = re.compile(rb"[\r\n]-----BEGIN PGP SIGNED MESSAGE-----")
_SIGNED_TEXT_BYTES = 35

_SENTENCES = {
    "bare_lf": ("Ended one line with CR LF that had only LF.", "Ended {} lines with CR LF that had only LF."),
    "bare_cr": ("Ended one line with CR LF that had only CR.", "Ended {} lines with CR LF that had only CR."),
    "nul": ("Removed one NUL character.", "Removed {} NUL characters."),
    "long_line": ("Broke one line that was longer than 998 bytes.", "Broke {} lines that were longer than 998 bytes."),
}


class LineFixer:
    """Feed it a message's bytes; `forbid` when the rest must stay as it is."""

    def __init__(self) -> None:
        self.fixes: Counter[str] = Counter()
        """What was put right, by the kind of LineError that it would have been."""
        self.why_not = ""
        """Why nothing may be changed any more, as half a sentence; empty while it may."""
        self._held = b""
        """The line that has not ended yet: whether it is too long, and where it breaks, must not depend on chunks."""
        self._holds_cr = False
        self._is_head = True
        self._is_long_counted = False
        self._ended_lines = 0
        self._seen = b"\n"
        """The body's last bytes, in which the beginning of a signed text may stand."""
        self._ends_with_mark = False

    def forbid(self, why: str) -> None:
        """From now on a line that would have to be put right raises LineError."""
        self.why_not = self.why_not or why

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The next bytes, put right. The head ends with a piece of its own: `forbid` may be called behind it."""
        chunk, nuls = _take_nuls_out((b"\r" if self._holds_cr else b"") + chunk)
        self._holds_cr = chunk.endswith(b"\r")  # the next chunk says whether its LF follows
        if self._holds_cr:
            chunk = chunk[:-1]
        position = 0
        while self._is_head and (found := _LINE.match(chunk, position)):
            self._count_nuls(nuls, chunk, position, found.end())
            yield self._pass_on(found[0])
            position = found.end()
        while position < len(chunk):
            end = self._find_piece(chunk, position)
            self._count_nuls(nuls, chunk, position, end)
            yield self._pass_on(chunk[position:end])
            if self._ends_with_mark:
                self.forbid("it holds a text signed with PGP")
            position = end
        self._count_nuls(nuls, chunk, position, len(chunk) + 2)

    def finish(self) -> bytes:
        """What was held back; a last line without an end keeps lacking it."""
        last = self._pass_on(b"\r") if self._holds_cr else b""
        held, self._held, self._holds_cr = self._held, b"", False
        return last + held

    def describe_fixes(self) -> tuple[str, ...]:
        """A sentence for each kind of change."""
        return tuple(
            one if self.fixes[kind] == 1 else many.format(self.fixes[kind])
            for kind, (one, many) in _SENTENCES.items()
            if self.fixes[kind]
        )

    def _find_piece(self, chunk: bytes, position: int) -> int:
        """A signed text in the body (RFC 9580 7.) forbids all changes behind its first line: a piece ends there."""
        self._ends_with_mark = False
        if self.why_not:
            return len(chunk)
        seen = self._seen + chunk[position:]
        found = _SIGNED_TEXT.search(seen)
        if found is None:
            self._seen = seen[-_SIGNED_TEXT_BYTES:]
            return len(chunk)
        self._ends_with_mark = True
        return position + found.end() - len(self._seen)

    def _count_nuls(self, nuls: list[int], chunk: bytes, start: int, end: int) -> None:
        """Of the places, those before `end`: what may be changed is decided piece by piece."""
        amount = bisect_left(nuls, end)
        if amount:
            self._note("nul", chunk[start:end], nuls[0] - start, amount)
            del nuls[:amount]

    def _pass_on(self, chunk: bytes) -> bytes:
        """The lines that are complete now; the last one is held back until its end comes."""
        text = self._held + self._with_line_ends(chunk)
        end = text.rfind(b"\r\n") + 2 if b"\r\n" in text else 0
        passed, rest = text[:end], text[end:]
        if passed == b"\r\n" and self._is_head:
            self._is_head = False
        if _has_long_line(passed):
            passed = b"".join(self._break_line(line) + b"\r\n" for line in passed[:-2].split(b"\r\n"))
        if passed:
            self._is_long_counted = False
        self._ended_lines += passed.count(b"\r\n")
        pieces = [passed]
        while len(rest) > LINE_LIMIT_BYTES:
            piece, rest = self._cut(rest)
            pieces.append(piece + b"\r\n")
        self._held = rest
        return b"".join(pieces)

    def _with_line_ends(self, chunk: bytes) -> bytes:
        pairs = chunk.count(b"\r\n")
        bare = {"bare_lf": chunk.count(b"\n") - pairs, "bare_cr": chunk.count(b"\r") - pairs}
        if not any(bare.values()):
            return chunk
        hidden = chunk.replace(b"\r\n", b"\x01\x01")
        places = {kind: hidden.find(letter) for kind, letter in (("bare_lf", b"\n"), ("bare_cr", b"\r"))}
        for kind in sorted(bare, key=places.__getitem__):  # what is told is the first of them, however chunks are cut
            if bare[kind]:
                self._note(kind, chunk, places[kind], bare[kind])
        return _ANY_END.sub(b"\r\n", chunk)

    def _break_line(self, line: bytes) -> bytes:
        pieces = []
        while len(line) > LINE_LIMIT_BYTES:
            piece, line = self._cut(line)
            pieces.append(piece)
        self._is_long_counted = False
        return b"\r\n".join([*pieces, line])

    def _cut(self, line: bytes) -> tuple[bytes, bytes]:
        """At a blank where there is one; in the head the next line must begin with it (RFC 5322 2.2.3)."""
        if not self._is_long_counted:
            self._note("long_line", line, 0, 1)
            self._is_long_counted = True
        if self._is_head:
            cut = max(line.rfind(b" ", 1, LINE_LIMIT_BYTES + 1), line.rfind(b"\t", 1, LINE_LIMIT_BYTES + 1))
            if cut > 0 and line[:cut].strip():
                return line[:cut], line[cut:]
            cut = _between_letters(line, LINE_LIMIT_BYTES)
            return line[:cut], b" " + line[cut:]
        cut = line.rfind(b" ", 0, LINE_LIMIT_BYTES) + 1 or _between_letters(line, LINE_LIMIT_BYTES)
        return line[:cut], line[cut:]

    def _note(self, kind: str, chunk: bytes, position: int, amount: int) -> None:
        if self.why_not:
            raise LineError(kind, self._ended_lines + chunk.count(b"\n", 0, position) + 1)
        self.fixes[kind] += amount


def _take_nuls_out(chunk: bytes) -> tuple[bytes, list[int]]:
    """Without them, and before which of the bytes that stay each of them stood."""
    if b"\0" not in chunk:
        return chunk, []
    *parts, last = chunk.split(b"\0")
    return b"".join([*parts, last]), list(accumulate(len(part) for part in parts))


def _has_long_line(text: bytes) -> bool:
    """Jumps from the last line end within reach to the next: about one step for each 998 bytes."""
    start = 0
    while len(text) - start > LINE_LIMIT_BYTES + 2:
        end = text.rfind(b"\r\n", start, start + LINE_LIMIT_BYTES + 2)
        if end < 0:
            return True
        start = end + 2
    return False


def _between_letters(line: bytes, cut: int) -> int:
    """Not inside a letter of UTF-8, if the line is that."""
    for back in range(4):
        if line[cut - back] & 0xC0 != 0x80:
            return cut - back
    return cut
