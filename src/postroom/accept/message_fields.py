"""The fields of a message that a program asks for, and what each may hold: nothing that could become another field."""

import re
from collections.abc import Callable, Iterator

import msgspec

from postroom.accept.policy import ascii_domain
from postroom.accept.readable import readable_text
from postroom.wire.address_fields import AddressFieldError, holds_group, read_entries
from postroom.wire.paths import AddressError, check_address

SUBJECT_LIMIT = 2_000
NAME_LIMIT = 255
HEADER_LIMIT = 100
HEADER_VALUE_LIMIT = 8_000
ATTACHMENT_LIMIT = 100
FILENAME_LIMIT = 255

_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_TOKEN = r"[A-Za-z0-9!#$&^_.+\-]{1,127}"  # noqa: S105 - the grammar of RFC 6838 4.2
_CONTENT_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[^"\\\x00-\x1f\x7f-\uffff]*"))*')
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@\-]{1,200}")
_OWN_WAY = {
    **dict.fromkeys(("from", "sender"), "from"),
    **{name: name for name in ("to", "cc", "bcc", "subject")},
    "reply-to": "reply_to",
    "return-path": "envelope.sender",
    "disposition-notification-to": "envelope.notify",
    "x-idempotency-key": "the header Idempotency-Key of the request",
}
"""Fields of a message that the request has fields of its own for."""
_OURS = re.compile(
    r"date|message-id|mime-version|received|dkim-signature|arc-.*|authentication-results|resent-.*|content-.*"
    r"|x-original-.*|domainkey-signature|errors-to"
)
"""Fields that say how a message travelled or is built: we write them, or nobody does."""


class FieldError(ValueError):
    """A field that cannot be used: where it stands in the request, a code, and a sentence."""

    def __init__(self, field: str, code: str, text: str) -> None:
        super().__init__(text)
        self.field = field
        self.code = code
        self.text = text


class NamedAddress(msgspec.Struct, frozen=True):
    """A mail address and the name that is shown with it."""

    address: str
    name: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """A file that goes with the message; `read` gives its bytes, in chunks, and may be asked for once."""

    filename: str
    content_type: str
    read: Callable[[], Iterator[bytes]]
    content_id: str = ""
    is_inline: bool = False


class MessageFields(msgspec.Struct, frozen=True):
    """What a message is composed of. Bcc is no field of a message: those are recipients of the envelope only."""

    sender: NamedAddress
    to: tuple[NamedAddress, ...] = ()
    cc: tuple[NamedAddress, ...] = ()
    reply_to: tuple[NamedAddress, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address in the header has letters beyond ASCII (RFC 6532)."""
        return not all(each.address.isascii() for each in (self.sender, *self.to, *self.cc, *self.reply_to))


def parse_named_address(text: str, name: str = "") -> NamedAddress:
    """`Backup <a@b.example>`, or an address alone with its `name` beside it. ValueError with half a sentence."""
    if _has_control(text) or _has_control(name):
        raise ValueError("it holds a control character, such as a line end")
    try:
        entries = read_entries(text.encode())
        is_group = holds_group(text.encode())
    except (AddressFieldError, UnicodeEncodeError) as trouble:
        raise ValueError(str(trouble)) from None
    if len(entries) != 1 or is_group:
        raise ValueError("it is not one address, such as name@example.com or Name <name@example.com>")
    address = _with_ascii_domain(entries[0].address)
    try:
        check_address(address)
    except AddressError as trouble:
        raise ValueError(str(trouble)) from None
    shown = name or _unquoted(entries[0].name)
    if len(shown) > NAME_LIMIT:
        raise ValueError(f"its name has more than {NAME_LIMIT} characters")
    return NamedAddress(address, shown.strip())


def check_fields(fields: MessageFields) -> None:
    """Everything but the addresses, which were parsed. FieldError names the first field that cannot be used."""
    _check_text("subject", fields.subject, SUBJECT_LIMIT)
    if not (fields.text or fields.html or fields.attachments):
        raise FieldError("text", "missing", "A message needs text, html or an attachment")
    for name, content in (("text", fields.text), ("html", fields.html)):
        if "\0" in content or not _is_unicode(content):
            raise FieldError(name, "invalid", f"{name} holds NUL or half a letter, which no message may hold")
    if len(fields.headers) > HEADER_LIMIT:
        raise FieldError("headers", "too_many", f"A message may have {HEADER_LIMIT} headers of its own")
    for name, value in fields.headers:
        _check_header(name, value)
    if len(fields.attachments) > ATTACHMENT_LIMIT:
        raise FieldError("attachments", "too_many", f"A message may have {ATTACHMENT_LIMIT} attachments")
    for number, attachment in enumerate(fields.attachments):
        check_attachment(f"attachments.{number}", attachment)


def check_attachment(field: str, attachment: Attachment) -> None:
    """FieldError. `field` is where it stands in the request."""
    name = attachment.filename
    _check_text(f"{field}.filename", name, FILENAME_LIMIT)
    if not name.strip() or "/" in name or "\\" in name or name in (".", ".."):
        text = "A file name is a name alone, such as report.pdf: no folder, and not empty"
        raise FieldError(f"{field}.filename", "invalid", text)
    kind = attachment.content_type
    if not _CONTENT_TYPE.fullmatch(kind):
        raise FieldError(f"{field}.content_type", "invalid", "A content type is written application/pdf")
    if kind.lower().startswith(("multipart/", "message/")):
        text = f"{kind} is no file: send the message itself as message/rfc822, or name it application/octet-stream"
        raise FieldError(f"{field}.content_type", "not_allowed", text)
    if attachment.content_id and not _CONTENT_ID.fullmatch(attachment.content_id):
        text = "A content id has letters, digits and . _ - @ only; write it without angle brackets"
        raise FieldError(f"{field}.content_id", "invalid", text)


def _check_header(name: str, value: str) -> None:
    field = f"headers.{name[:76]}"
    if not _FIELD_NAME.fullmatch(name):
        raise FieldError("headers", "invalid", f"{name[:76]!r} is no name of a header: ASCII without blanks and colons")
    lower = name.lower()
    if lower in _OWN_WAY:
        raise FieldError(field, "not_allowed", f"{name} has a field of its own: use {_OWN_WAY[lower]}")
    if _OURS.fullmatch(lower):
        raise FieldError(field, "not_allowed", f"{name} is written by mail servers and cannot be chosen")
    _check_text(field, value, HEADER_VALUE_LIMIT)
    if not value.strip():
        raise FieldError(field, "invalid", f"{name} is empty; leave it out")


def _check_text(field: str, text: str, limit: int) -> None:
    if _has_control(text):
        raise FieldError(field, "invalid", f"{field} holds a control character, such as a line end")
    if not _is_unicode(text):
        raise FieldError(field, "invalid", f"{field} holds half a letter (a lone surrogate)")
    if len(text) > limit:
        raise FieldError(field, "too_long", f"{field} has more than {limit} characters")


def _has_control(text: str) -> bool:
    """Also what Unicode takes for a line end: some reader may do so, too."""
    return any(letter < " " or "\x7f" <= letter <= "\x9f" or letter in "\u2028\u2029" for letter in text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _with_ascii_domain(address: str) -> str:
    local_part, at, domain = address.rpartition("@")
    return local_part + at + ascii_domain(domain)


def _unquoted(phrase: str) -> str:
    """The words of a name as a person wrote them."""
    parts = re.findall(r'"((?:\\.|[^"\\])*)"|([^"]+)', phrase)
    joined = "".join(re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for quoted, plain in parts)
    return readable_text(joined.encode())
