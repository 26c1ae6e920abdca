"""How a message that is too large for one request of Graph's goes in several: a draft, and files put to it. Pure.

What leaves the draft are attachments, the largest first, until the rest fits into one request; nothing else may, so
that a text stays what it is. What is signed or encrypted as a whole is never taken apart. Source: Microsoft Learn,
"Attach large files to Outlook messages or events" (microsoft365.md 3.3, 3.4).
"""

import mimetypes
from collections.abc import Iterator, Sequence

import msgspec

from postroom.deliver.mime_parts import MessageParts, Part
from postroom.store.pace import GRAPH_MESSAGE_LIMIT_BYTES
from postroom.wire.head import HeadError, read_head

ATTACHMENT_LIMIT_BYTES = 150_000_000
POSTED_LIMIT_BYTES = 3_140_000
"""A smaller file goes in one request: its base64 fits into the 4 MB."""
_TAKEN_FROM = frozenset({"multipart/mixed", "multipart/related"})
_NEVER_TAKEN = frozenset({
    "application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted", "application/ms-tnef",
})  # fmt: skip
_EMPTY_TEXT = b"Content-Type: text/plain; charset=us-ascii\r\n\r\n"
_HEAD_GROWTH_BYTES = 100_000
"""Room for Bcc."""
_NAME_LIMIT = 255


class LargeMailError(ValueError):
    """This message cannot be taken apart; the text is a whole sentence."""


class Attachment(msgspec.Struct, frozen=True):
    """A part that is put to the draft as a file."""

    part: Part
    name: str
    content_type: str
    is_inline: bool
    content_id: str

    @property
    def size_bytes(self) -> int:
        return self.part.content_bytes

    @property
    def is_posted(self) -> bool:
        """In one request; a larger one goes to an upload session."""
        return self.size_bytes < POSTED_LIMIT_BYTES


class Cut(msgspec.Struct, frozen=True):
    """Bytes of the message that are not in the draft, and what stands there instead."""

    start: int
    end: int
    instead: bytes = b""


class LargePlan(msgspec.Struct, frozen=True):
    """How one message goes."""

    attachments: tuple[Attachment, ...]
    """In the order of the message."""
    cuts: tuple[Cut, ...]


def plan_large_mail(message: MessageParts, limit_bytes: int = GRAPH_MESSAGE_LIMIT_BYTES) -> LargePlan:
    """LargeMailError when the rest would still be too large, or a file is."""
    candidates = [part for part in message.parts if _may_be_taken(message, part)]
    taken: list[Part] = []
    rest_bytes = message.size_bytes
    for part in sorted(candidates, key=lambda part: part.body_end - part.start, reverse=True):
        if rest_bytes <= limit_bytes - _HEAD_GROWTH_BYTES:
            break
        taken.append(part)
        rest_bytes -= part.body_end - part.start
    if rest_bytes > limit_bytes - _HEAD_GROWTH_BYTES:
        raise LargeMailError(_why_not(message, rest_bytes))
    taken.sort(key=lambda part: part.start)
    attachments = tuple(_attachment_of(part, number) for number, part in enumerate(taken, 1))
    for attachment in attachments:
        if attachment.size_bytes > ATTACHMENT_LIMIT_BYTES:
            raise LargeMailError(f"Its attachment {attachment.name} is larger than the 150 MB that Graph takes.")
    return LargePlan(attachments, tuple(_cuts(message, taken)))


def describe_large_changes(plan: LargePlan, head: bytes) -> tuple[str, ...]:
    """What comes of it that a recipient may notice."""
    count = len(plan.attachments)
    files = "one attachment is" if count == 1 else f"{count} attachments are"
    changes = [
        f"It is too large for one request, so it goes as a draft to which {files} uploaded; Microsoft puts it together "
        "anew: attachments stand last and keep their name, type and content ID only."
    ]
    try:
        names = {field.name for field in read_head(head).fields}
    except HeadError:
        names = set()
    if b"dkim-signature" in names:
        changes.append("Its DKIM signature does not hold after that.")
    return tuple(changes)


def draft_head(head: bytes, plan: LargePlan) -> bytes:
    """The head of the draft. A message that is itself a file gets an empty text in its place."""
    if not plan.cuts or plan.cuts[0].start > 0:
        return head
    fields = [field for field in read_head(head).fields if not field.name.startswith(b"content-")]
    return b"".join(head[field.start : field.end] for field in fields) + _EMPTY_TEXT


def _may_be_taken(message: MessageParts, part: Part) -> bool:
    fields = part.fields
    kind = fields.content_type.partition("/")[0]
    if part.trouble or part.content_bytes == 0 or kind == "message" or fields.content_type in _NEVER_TAKEN:
        return False
    is_file = bool(fields.file_name) or fields.disposition == "attachment" or kind != "text"
    return is_file and all(around in _TAKEN_FROM for around in _around(message, part))


def _around(message: MessageParts, part: Part) -> Iterator[str]:
    place = part.parent
    while place is not None:
        yield message.multiparts[place].content_type
        place = message.multiparts[place].parent


def _why_not(message: MessageParts, rest_bytes: int) -> str:
    around = {multipart.content_type for multipart in message.multiparts}
    types = around | {part.fields.content_type for part in message.parts}
    if types & {"multipart/signed", "multipart/encrypted", *_NEVER_TAKEN}:
        return "It is signed or encrypted as a whole, and Microsoft Graph takes so large a message only in pieces."
    if trouble := next((part.trouble for part in message.parts if part.trouble), ""):
        return f"An attachment cannot be uploaded, because {trouble}."
    return f"Without its attachments it still has {rest_bytes:,} bytes; Microsoft Graph takes 3,000,000 at most."


def _cuts(message: MessageParts, taken: Sequence[Part]) -> Iterator[Cut]:
    emptied: dict[int, int] = {}
    for part in taken:
        if part.parent is None:
            # The message itself is the file: its head is made anew, its body goes.
            yield Cut(0, message.size_bytes)
            return
        emptied[part.parent] = emptied.get(part.parent, 0) + 1
    for part in taken:
        assert part.parent is not None
        around = message.multiparts[part.parent]
        is_empty = emptied.pop(part.parent, 0) == around.children
        yield Cut(part.start, part.body_end, b"\r\n--" + around.boundary + b"\r\n" + _EMPTY_TEXT if is_empty else b"")


def _attachment_of(part: Part, number: int) -> Attachment:
    fields = part.fields
    name = " ".join(fields.file_name.split())[:_NAME_LIMIT]
    extension = mimetypes.guess_extension(fields.content_type) or ".bin"
    is_inline = bool(fields.content_id) and fields.disposition != "attachment"
    return Attachment(
        part, name or f"attachment-{number}{extension}", fields.content_type, is_inline, fields.content_id
    )
