"""Where the parts of a message lie, found while it streams by (RFC 2046 5.1). Pure.

Only heads, positions and sizes are kept, so that memory does not grow with the message.
"""

import email
import email.policy
from email.header import decode_header, make_header
from email.message import Message

import msgspec

from postroom.deliver.part_decoding import DecodingError, PartDecoder, make_decoder
from postroom.wire.head import find_head_end

PART_LIMIT = 300
"""Exchange takes 250 attachments (microsoft365.md 3.1)."""
DEPTH_LIMIT = 20
HEAD_LIMIT_BYTES = 1024 * 1024
PART_HEAD_LIMIT_BYTES = 16 * 1024
_DELIMITER = b"\r\n--"
_LONGEST_DELIMITER = 200
"""A boundary has 70 characters at most (RFC 2046 5.1.1), white space may follow."""
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)


class PartsError(ValueError):
    """The structure cannot be read with certainty; the text is half a sentence."""


class PartFields(msgspec.Struct, frozen=True):
    """What a part's head says of its content."""

    content_type: str
    encoding: str = ""
    disposition: str = ""
    file_name: str = ""
    content_id: str = ""


class Multipart(msgspec.Struct):
    """One that holds others; `parent` is its place in the list of them."""

    content_type: str
    boundary: bytes
    parent: int | None
    children: int = 0


class Part(msgspec.Struct):
    """One that holds none. Positions count the bytes of the whole message."""

    fields: PartFields
    parent: int | None
    start: int
    """Of the line that begins it, CRLF before it included; of the message itself 0."""
    body_start: int
    body_end: int = 0
    content_bytes: int = 0
    """Decoded."""
    trouble: str = ""
    """Why it cannot be decoded."""


class MessageParts(msgspec.Struct, frozen=True):
    """A whole message."""

    head: bytes
    size_bytes: int
    multiparts: tuple[Multipart, ...]
    parts: tuple[Part, ...]


def read_part_fields(head: bytes) -> tuple[PartFields, str]:
    """What the head says, and the boundary of a multipart. PartsError when it cannot be read."""
    try:
        said = email.message_from_bytes(head, policy=email.policy.compat32)
        fields = PartFields(
            content_type=said.get_content_type(),
            encoding=str(said.get("content-transfer-encoding", "")).strip(),
            disposition=said.get_content_disposition() or "",
            file_name=_file_name_of(said),
            content_id=str(said.get("content-id", "")).strip().strip("<>"),
        )
        boundary = (said.get_boundary() or "") if fields.content_type.startswith("multipart/") else ""
    except _UNREADABLE:
        raise PartsError("the head of a part cannot be read") from None
    return fields, boundary


def _file_name_of(said: Message) -> str:
    name = str(said.get_filename() or "")
    try:
        name = str(make_header(decode_header(name)))  # forbidden by RFC 2047 5, and common
    except _UNREADABLE:
        return name
    return name


class PartFinder:
    """Takes a message in chunks. PartsError from any step."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._position = 0
        """Of the first pending byte."""
        self._head = b""
        self._part_start = 0
        self._open: list[int] = []
        """The multiparts around, outermost first."""
        self._multiparts: list[Multipart] = []
        self._parts: list[Part] = []
        self._part: Part | None = None
        self._decoder: PartDecoder | None = None
        self._is_in_head = True

    def feed(self, chunk: bytes) -> None:
        self._pending += chunk
        while self._take_head() if self._is_in_head else self._take_body():
            pass

    def end(self) -> MessageParts:
        if self._is_in_head:
            raise PartsError("it ends within a head")
        self._consume(len(self._pending))
        self._end_part()
        return MessageParts(self._head, self._position, tuple(self._multiparts), tuple(self._parts))

    # Heads

    def _take_head(self) -> bool:
        end = find_head_end(self._pending)
        limit = PART_HEAD_LIMIT_BYTES if self._head else HEAD_LIMIT_BYTES
        if (end or len(self._pending)) > limit:
            raise PartsError("the head of a part is too long")
        if end is None:
            return False
        head = bytes(self._pending[:end])
        if any(_DELIMITER + boundary in head for boundary in self._boundaries()):
            raise PartsError("a part has no empty line after its head")
        self._head = self._head or head
        # Its last CRLF stays: that may begin a delimiter.
        self._drop(end - 2)
        self._is_in_head = False
        self._begin(*read_part_fields(head), body_start=self._position + 2)
        return True

    def _begin(self, fields: PartFields, boundary: str, body_start: int) -> None:
        parent = self._open[-1] if self._open else None
        if parent is not None:
            self._multiparts[parent].children += 1
        if fields.content_type.startswith("multipart/"):
            if not boundary or len(self._open) >= DEPTH_LIMIT:
                raise PartsError("a part with others in it has no boundary, or they lie too deep")
            self._open.append(len(self._multiparts))
            self._multiparts.append(Multipart(fields.content_type, boundary.encode("latin-1", "replace"), parent))
        else:
            self._part = Part(fields, parent, self._part_start, body_start)
            self._parts.append(self._part)
            self._begin_decoding(self._part)
        if len(self._parts) + len(self._multiparts) > PART_LIMIT:
            raise PartsError(f"it has more than {PART_LIMIT} parts")

    def _begin_decoding(self, part: Part) -> None:
        try:
            self._decoder = make_decoder(part.fields.encoding)
        except DecodingError as trouble:
            part.trouble, self._decoder = str(trouble), None

    # Bodies

    def _take_body(self) -> bool:
        """Up to the next delimiter; False when more must come first."""
        found = self._pending.find(_DELIMITER) if self._open else -1
        while found >= 0:
            end = self._pending.find(b"\r\n", found + 4, found + _LONGEST_DELIMITER)
            if end < 0 and len(self._pending) < found + _LONGEST_DELIMITER:
                self._consume(found)
                return False
            if end >= 0 and self._take_delimiter(found, end):
                return True
            found = self._pending.find(_DELIMITER, found + 2)
        self._consume(max(0, len(self._pending) - 3))
        return False

    def _take_delimiter(self, start: int, end: int) -> bool:
        line = bytes(self._pending[start + 4 : end]).rstrip(b" \t")
        for depth in reversed(range(len(self._open))):
            boundary = self._multiparts[self._open[depth]].boundary
            if line not in (boundary, boundary + b"--"):
                continue
            is_last = line != boundary
            del self._open[depth if is_last else depth + 1 :]
            self._consume(start)
            self._end_part()
            self._part_start = self._position
            self._drop(end - start + (0 if is_last else 2))
            self._is_in_head = not is_last
            return True
        return False

    def _boundaries(self) -> list[bytes]:
        return [self._multiparts[place].boundary for place in self._open]

    def _consume(self, size_bytes: int) -> None:
        """So many pending bytes are content, of the part that is open if there is one."""
        part = self._part
        if part is not None and self._decoder is not None:
            skipped = max(0, part.body_start - self._position)
            self._decode(part, bytes(self._pending[skipped:size_bytes]))
        self._drop(size_bytes)

    def _decode(self, part: Part, content: bytes) -> None:
        assert self._decoder is not None
        try:
            part.content_bytes += len(self._decoder.feed(content))
        except DecodingError as trouble:
            part.trouble, self._decoder = str(trouble), None

    def _end_part(self) -> None:
        part = self._part
        if part is None:
            return
        part.body_end = max(self._position, part.body_start)
        if self._decoder is not None:
            try:
                part.content_bytes += len(self._decoder.end())
            except DecodingError as trouble:
                part.trouble = str(trouble)
        self._part, self._decoder = None, None

    def _drop(self, size_bytes: int) -> None:
        del self._pending[:size_bytes]
        self._position += size_bytes
