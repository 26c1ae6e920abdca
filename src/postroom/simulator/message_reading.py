"""A message as a person reads it: its text, its HTML kept apart, its attachments by name.

Broken mail is shown as far as it goes.
"""

from collections.abc import Callable
from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser

import msgspec

SHOWN_CHARACTERS = 100_000


class Attachment(msgspec.Struct, frozen=True):
    name: str
    content_type: str
    size_bytes: int


class Reading(msgspec.Struct, frozen=True):
    """What a person reads of a message; `note` says why `text` is not all of it."""

    head: str
    text: str
    note: str = ""
    attachments: tuple[Attachment, ...] = ()
    has_html: bool = False


def read_message(content: bytes) -> Reading:
    """The head as it came, the plain text, and the attachments by name. Broken mail is shown as far as it goes."""
    end = content.find(b"\r\n\r\n")
    head = (content if end < 0 else content[:end]).decode("utf-8", "replace")
    leaves = _leaves_of(content)
    body = next((leaf for leaf in leaves if _is_text(leaf, "plain")), None)
    html = next((leaf for leaf in leaves if _is_text(leaf, "html")), None)
    note = ""
    if body is None:
        body = html
        note = "There is no plain text in this message; this is the source of its HTML." if body else ""
    text = _text_of(body) if body else ""
    if len(text) > SHOWN_CHARACTERS:
        text, note = text[:SHOWN_CHARACTERS], f"{note} Only its beginning is shown.".strip()
    attachments = tuple(_describe(leaf) for leaf in leaves if leaf is not body and _is_attached(leaf))
    return Reading(head[:SHOWN_CHARACTERS], text, note, attachments, html is not None)


def read_html(content: bytes) -> str:
    """The first HTML body, as it came; empty if there is none."""
    html = next((leaf for leaf in _leaves_of(content) if _is_text(leaf, "html")), None)
    return _text_of(html) if html else ""


def decode_field(written: str) -> str:
    """A header field with its encoded words decoded."""
    try:
        return str(make_header(decode_header(written)))
    except (MessageError, LookupError, ValueError):
        return written


def _leaves_of(content: bytes) -> list[Message]:
    # The older parser: the newer one raises on headers that are broken badly enough.
    message = BytesParser(policy=policy.compat32).parsebytes(content)
    return [part for part in message.walk() if not part.is_multipart()]


def _is_text(leaf: Message, subtype: str) -> bool:
    return leaf.get_content_type() == f"text/{subtype}" and not _is_named(leaf)


def _is_named(leaf: Message) -> bool:
    return leaf.get_content_disposition() == "attachment" or bool(_parameter(leaf.get_filename))


def _is_attached(leaf: Message) -> bool:
    return _is_named(leaf) or leaf.get_content_maintype() != "text"


def _parameter(read: Callable[[], str | None]) -> str:
    """A parameter of a header; nothing where the email package trips over a broken one."""
    try:
        return read() or ""
    except (LookupError, TypeError, ValueError):
        return ""


def _payload_of(leaf: Message) -> bytes:
    payload = leaf.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text_of(leaf: Message) -> str:
    charset = _parameter(leaf.get_content_charset)
    try:
        return _payload_of(leaf).decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return _payload_of(leaf).decode("latin-1")


def _describe(leaf: Message) -> Attachment:
    name = decode_field(_parameter(leaf.get_filename)) or "(without a name)"
    return Attachment(name, leaf.get_content_type(), len(_payload_of(leaf)))
