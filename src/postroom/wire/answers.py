"""What a server says: replies as bytes, safe whatever stands in their words (RFC 5321 4.2)."""

import unicodedata
from collections.abc import Sequence

LINE_LIMIT_BYTES = 512
"""A reply line with its CRLF (RFC 5321 4.5.3.1.5)."""

_TYPOGRAPHIC = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "..."})


def format_answer(code: int, enhanced: str, text: str) -> bytes:
    """One reply with its enhanced status code (RFC 2034); a long sentence becomes several lines."""
    head = f"{enhanced} " if enhanced else ""
    room = LINE_LIMIT_BYTES - len(f"{code}-{head}\r\n")
    return format_lines(code, [head + part for part in _fold(plain_text(text), room)])


def format_lines(code: int, lines: Sequence[str]) -> bytes:
    """A reply of several lines, such as the one to EHLO."""
    written = [f"{code}-{line}\r\n" for line in lines[:-1]]
    return "".join([*written, f"{code} {lines[-1]}\r\n"]).encode("ascii")


def plain_text(text: str) -> str:
    """The text in printable ASCII: what came from outside can neither end a line nor move a terminal's cursor."""
    letters = unicodedata.normalize("NFKD", text.translate(_TYPOGRAPHIC))
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return "".join(letter if " " <= letter <= "~" else "?" for letter in kept)


def _fold(text: str, room: int) -> list[str]:
    parts = []
    while len(text) > room:
        cut = text.rfind(" ", 1, room)
        cut = cut if cut > 0 else room
        parts.append(text[:cut])
        text = text[cut:].lstrip(" ")
    return [*parts, text]
