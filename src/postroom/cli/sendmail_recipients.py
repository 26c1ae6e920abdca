"""Who gets a message: addresses in arguments and in a header's To, Cc and Bcc, as programs and people write them.

Read from the letters alone, without the `email` package: it takes longer to load than the rest of the command.
"""

import os
import re
from collections.abc import Iterable, Iterator

from postroom.cli.sendmail_ending import SendmailError

_MARK = re.compile(
    r"""
      \s+
    | =\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=      # an encoded word (RFC 2047): a comma in it separates nothing
    | "(?:\\.|[^"\\])*"
    | \[[^\]\s]*\]                        # an address literal: colons in it name no group
    | [()<>,:;]
    | [^\s"()<>,:;\[=]+ | [=\[]
    """,
    re.VERBOSE | re.DOTALL,
)
_ENCODED = re.compile(r"=\?\S*\?=")
_IN_COMMENT = re.compile(r"[()]|\\.|[^()\\]+", re.DOTALL)
_ROUTE = re.compile(r"@[^@:]*(?:,@[^@:]*)*:")
_SENDABLE = re.compile(r'(?:"(?:\\[\x20-\x7e]|[^"\\\x00-\x1f\x7f])*"|[^\s<>"\x00-\x1f\x7f])+')
_RESENT = "resent-"


def read_list(text: str, place: str) -> list[str]:
    """Each address of a list, in its order; names without `@` are users of this machine.

    `place` names where it stood. SendmailError with EX_DATAERR when it cannot be said who is meant.
    """
    addresses: list[str] = []
    words: list[str] = []
    bracketed: str | None = None
    marks = _marks(text, place)
    for mark in marks:
        if mark in ",;":
            addresses += _entry(words, bracketed, place)
            words, bracketed = [], None
        elif mark == ":":
            words = []  # the name of a group (RFC 5322 3.4)
        elif mark == "<":
            if bracketed is not None:
                raise _unclear(place, "two addresses stand without a comma between them")
            bracketed = _inside(marks, place)
        else:
            words.append(mark)
    return [*addresses, *_entry(words, bracketed, place)]


def recipients_of(fields: Iterable[tuple[str, str]]) -> list[str]:
    """Everybody whom a header names: To, Cc and Bcc, or, when it was sent on, only those to whom (RFC 5322 3.6.6).

    `fields` are names in small letters, and unfolded values.
    """
    known = list(fields)
    newest = _newest_resent(known)
    prefix = _RESENT if newest else ""
    recipients: list[str] = []
    for name, value in newest or known:
        if name in (f"{prefix}to", f"{prefix}cc", f"{prefix}bcc"):
            recipients += read_list(value, name.title())
    return recipients


def _newest_resent(fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Who sends on puts a block on top; where a name comes again, an older block begins."""
    newest: dict[str, str] = {}
    for name, value in fields:
        if not name.startswith(_RESENT):
            continue
        if name in newest:
            break
        newest[name] = value
    return list(newest.items())


def _marks(text: str, place: str) -> Iterator[str]:
    """Words, quoted strings and marks; comments are left out, white space is one blank."""
    depth = position = 0
    while position < len(text):
        found = (_IN_COMMENT if depth else _MARK).match(text, position)
        if found is None:
            raise _unclear(place, "a quotation mark is not closed")
        mark, position = found[0], found.end()
        depth += (mark == "(") - (mark == ")")
        if depth < 0:
            raise _unclear(place, "a bracket is closed that was not opened")
        if depth == 0 and mark != ")":
            yield " " if mark.isspace() else mark
    if depth:
        raise _unclear(place, "a comment is not closed")


def _inside(marks: Iterator[str], place: str) -> str:
    """What stands in angle brackets, without the route that old mail had (RFC 5322 4.4)."""
    inside: list[str] = []
    for mark in marks:
        if mark == ">":
            return _ROUTE.sub("", "".join(inside).strip(), count=1)
        inside.append(mark)
    raise _unclear(place, "an angle bracket is not closed")


def _entry(words: list[str], bracketed: str | None, place: str) -> list[str]:
    """What stood between two commas: at most one address."""
    # Blanks around the @ were allowed once (RFC 5322 4.4).
    address = re.sub(r" ?([@.]) ?", r"\1", "".join(words).strip()) if bracketed is None else bracketed
    if not address:
        return []
    if not _SENDABLE.fullmatch(address) or _ENCODED.fullmatch(address) or not _is_utf8(address):
        raise _unclear(place, f'"{ascii(address[:80])[1:-1]}" is no address')
    return [address]


def _is_utf8(text: str) -> bool:
    """Bytes that were not UTF-8 came in as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _unclear(place: str, why: str) -> SendmailError:
    return SendmailError(
        os.EX_DATAERR, f"It is not clear whom {place} names: {why}. Write name@example.com, or lists of it."
    )
