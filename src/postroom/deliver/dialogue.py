"""What was said in a conversation, for the timeline: bounded, timed, and without secrets."""

import re
from collections import deque
from collections.abc import Callable, Iterable

from postroom.store.records import DialogueLine

HIDDEN = "(hidden)"
MAX_LETTERS = 500
FIRST_LINES = 150
"""A conversation of many recipients is long; its beginning and its end tell what happened."""
LAST_LINES = 50

# Long enough that ordinary words are none, short enough that no useful piece of a token passes.
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9+/=_\-.~]{12,}")


class Dialogue:
    """Records lines with their distance in milliseconds from the first."""

    def __init__(self, now_seconds: Callable[[], float]) -> None:
        self._now_seconds = now_seconds
        self._secrets: tuple[str, ...] = ()
        self.begin()

    def begin(self) -> None:
        """Start anew: the conversation goes on, another message is talked about."""
        self._started = self._now_seconds()
        # When, who, what: lines are made when they are asked for.
        self._first: list[tuple[float, str, str]] = []
        self._last: deque[tuple[float, str, str]] = deque(maxlen=LAST_LINES)
        self._left_out = 0

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on these never appear, neither whole nor in pieces of some length; empty forgets them."""
        self._secrets = tuple(secret for secret in secrets if secret)

    def redact(self, text: str) -> str:
        """The text without the secrets that are being hidden."""
        if not self._secrets:
            return text
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _TOKEN_LIKE.sub(self._hide_piece, text)

    def we_say(self, text: str) -> None:
        self._add("C", text)

    def they_say(self, text: str) -> None:
        self._add("S", text)

    def remark(self, text: str) -> None:
        self._add("-", text)

    @property
    def is_hiding(self) -> bool:
        return bool(self._secrets)

    @property
    def lines(self) -> tuple[DialogueLine, ...]:
        said = [*self._first, *self._last]
        if self._left_out:
            said.insert(len(self._first), (self._last[0][0], "-", f"{self._left_out} lines left out"))
        return tuple(DialogueLine(round((at - self._started) * 1000), who, text) for at, who, text in said)

    def _add(self, who: str, text: str) -> None:
        line = (self._now_seconds(), who, self.redact(text)[:MAX_LETTERS])
        if len(self._first) < FIRST_LINES:
            self._first.append(line)
            return
        self._left_out += len(self._last) == LAST_LINES
        self._last.append(line)

    def _hide_piece(self, piece: re.Match[str]) -> str:
        return HIDDEN if any(piece[0] in secret for secret in self._secrets) else piece[0]
