"""Addresses in a From, To or like field, read by bytes with bounded work (RFC 5322 3.4, groups as in RFC 6854).

Old programs' names are tolerated (an `@` or a comma without quotes), because an address counts only where it stands in
angle brackets or alone. What two readers could read as two different addresses is refused.
"""

import re
from collections.abc import Iterator

import msgspec

VALUE_LIMIT_BYTES = 16_384

_MARK = re.compile(r'\s+|"(?:\\.|[^"\\])*"|[()<>,:;]|\\.|[^\s"()<>,:;\\]+', re.DOTALL)
_USER = re.compile(r"[A-Za-z0-9._+\-]{1,64}")
_ROUTE = re.compile(r"@[^@,\s]+(?:\s*,\s*@[^@,\s]+)*")
_IN_COMMENT = re.compile(r"[()]|\\.|[^()\\]+", re.DOTALL)  # a quotation mark means nothing there


class AddressEntry(msgspec.Struct, frozen=True):
    """One entry of an address field."""

    name: str
    """The words before the address as they stand there, quoted or encoded; may be empty."""
    address: str
    has_own_domain: bool = True
    """Whether the domain stood in the field, and is not the default one."""


class AddressFieldError(ValueError):
    """The field cannot be read with certainty; the text is half a sentence."""


def read_addresses(value: bytes) -> tuple[str, ...]:
    """Every address of an unfolded field, in its order; none when only names stand there."""
    return tuple(entry.address for entry in read_entries(value))


def read_entries(value: bytes, default_domain: str = "") -> tuple[AddressEntry, ...]:
    """The same with the names; `root` and `Cron <root>` get the default domain where there is one."""
    if len(value) > VALUE_LIMIT_BYTES:
        raise AddressFieldError(f"it is longer than {VALUE_LIMIT_BYTES} bytes")
    entries: list[AddressEntry] = []
    for words, bracketed in _entries(_marks(value.decode(errors="surrogateescape"))):
        address = bracketed if bracketed is not None else _bare_address(words, is_name_enough=bool(default_domain))
        if not address:
            continue
        has_own_domain = "@" in address or not default_domain
        name = "".join(words).strip() if bracketed is not None else ""
        entries.append(AddressEntry(name, address if has_own_domain else f"{address}@{default_domain}", has_own_domain))
    return tuple(entries)


def holds_group(value: bytes) -> bool:
    """Whether a group (RFC 6854), even an empty one, stands in a field that can be read."""
    marks = _marks(value.decode(errors="surrogateescape"))
    for mark in marks:
        if mark == "<":
            _read_bracketed(marks)
        elif mark == ":":
            return True
    return False


def _marks(text: str) -> Iterator[str]:
    """Words, quoted strings and marks; comments are left out, white space is one blank."""
    depth = position = 0
    while position < len(text):
        found = (_IN_COMMENT if depth else _MARK).match(text, position)
        if found is None:
            raise AddressFieldError("it ends inside a quotation")
        mark, position = found[0], found.end()
        depth += (mark == "(") - (mark == ")")
        if depth < 0:
            raise AddressFieldError("a bracket is closed that was not opened")
        if depth == 0 and mark[0] == "\\":
            raise AddressFieldError("a backslash stands outside of quotation marks")
        if depth == 0 and mark != ")":
            yield " " if mark.isspace() else mark
    if depth:
        raise AddressFieldError("a comment is not closed")


def _entries(marks: Iterator[str]) -> Iterator[tuple[list[str], str | None]]:
    """What stands between commas: its words, and the inside of its angle brackets."""
    words: list[str] = []
    bracketed: str | None = None
    for mark in marks:
        if mark == "<":
            if bracketed is not None:
                raise AddressFieldError("two addresses in angle brackets stand without a comma between them")
            bracketed = _read_bracketed(marks)
            if not bracketed and any("@" in word for word in words):
                raise AddressFieldError("an address stands before empty angle brackets")
        elif mark in ",;":
            yield words, bracketed
            words, bracketed = [], None
        elif mark == ":":
            words = []  # they were the name of a group
        elif bracketed is not None and mark != " ":
            raise AddressFieldError("something stands after the angle brackets")
        else:
            words.append(mark)
    yield words, bracketed


def _read_bracketed(marks: Iterator[str]) -> str:
    inside: list[str] = []
    for mark in marks:
        if mark == ">":
            return "".join(inside).strip()
        if mark == "<":
            raise AddressFieldError("angle brackets stand inside angle brackets")
        if mark == ":":
            if not _ROUTE.fullmatch("".join(inside).strip()):
                raise AddressFieldError("a colon stands in an address")
            inside = []  # a source route (RFC 5322 4.4) is ignored
        else:
            inside.append(mark)
    raise AddressFieldError("an angle bracket is not closed")


def _bare_address(words: list[str], *, is_name_enough: bool) -> str | None:
    """`name@example.com` without brackets; None for words that are a name only."""
    text = "".join(words).strip()
    if "@" not in text:
        return text if is_name_enough and _USER.fullmatch(text) else None
    if " " in re.sub(r'"(?:\\.|[^"\\])*"', "", text):
        raise AddressFieldError("an address stands beside other words without angle brackets")
    return text
