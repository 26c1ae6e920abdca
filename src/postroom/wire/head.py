"""The head of a message, read by bytes: where it ends, its fields, and nothing of what they mean (RFC 5322 2.2)."""

import re

import msgspec

HEAD_LIMIT_BYTES = 256 * 1024
FIELD_LIMIT = 2_000  # keeps the work for one head below a few milliseconds

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:[^\r]*(?:\r\n[ \t][^\r]*)*(?:\r\n|\Z)")


class HeadError(ValueError):
    """The head is not one; the text is half a sentence that names the line."""


class Field(msgspec.Struct, frozen=True):
    """One field with its folded lines."""

    name: bytes
    """In lower case."""
    start: int
    value_start: int
    end: int
    """After its last CRLF."""


class Head(msgspec.Struct, frozen=True):
    """The bytes up to and with the empty line, if there is one, and the fields in them."""

    content: bytes
    fields: tuple[Field, ...]

    def raw(self, field: Field) -> bytes:
        """The value as it stands there, folds and all."""
        return self.content[field.value_start : field.end]

    def value(self, field: Field) -> bytes:
        """The value unfolded, white space around it taken off."""
        return self.raw(field).replace(b"\r\n", b"").strip(b" \t")


def find_head_end(content: bytes | bytearray, start: int = 0) -> int | None:
    """Where the body begins; None while the empty line has not come. `start` is what was searched already."""
    if content.startswith(b"\r\n"):
        return 2
    end = content.find(b"\r\n\r\n", max(0, start - 3))
    return end + 4 if end >= 0 else None


def read_head(content: bytes) -> Head:
    """Split a head whose lines all end with CRLF. HeadError names the first line that is no field.

    Every line is read or refused, so that no other reader sees a field which we did not.
    """
    fields: list[Field] = []
    position = 0
    limit = len(content) - 2 if content.endswith(b"\r\n\r\n") or content == b"\r\n" else len(content)
    while position < limit:
        found = _FIELD.match(content, position, limit)
        if found is None:
            raise HeadError(_describe(content, position))
        if len(fields) == FIELD_LIMIT:
            raise HeadError(f"it has more than {FIELD_LIMIT} fields")
        colon = content.index(b":", found.end(1))
        fields.append(Field(found[1].lower(), position, colon + 1, found.end()))
        position = found.end()
    return Head(content, tuple(fields))


def _describe(content: bytes, position: int) -> str:
    line = content.count(b"\r\n", 0, position) + 1
    text = content[position : position + 60].split(b"\r\n")[0].decode("ascii", "replace")
    return f'line {line} is no field such as "Subject: Hello": "{text}"'
