"""From what a program asked for to what is composed and handed in."""

import binascii
from binascii import a2b_base64
from collections.abc import Callable, Iterator

import msgspec

from postroom.accept.message_fields import (
    Attachment,
    FieldError,
    MessageFields,
    NamedAddress,
    check_fields,
    parse_named_address,
)
from postroom.accept.policy import AppRules
from postroom.accept.submission import SubmissionOptions
from postroom.api.problems import invalid, invalid_field
from postroom.api.shapes import Address, AnyAddress, AnyAddresses, AttachedFile, NewMessage, lane_of, microseconds_of
from postroom.api.uploads import Uploads
from postroom.clock import DAY_US
from postroom.message import RecipientDsn
from postroom.store.records import IdempotencyKey

FURTHEST_US = 366 * DAY_US
DEFAULT_CONTENT_TYPE = "application/octet-stream"


class Draft(msgspec.Struct, frozen=True):
    """A message that is ready to be handed in."""

    fields: MessageFields
    envelope_sender: str
    recipients: tuple[str, ...]
    dsn: RecipientDsn | None
    options: SubmissionOptions


def draft_message(
    asked: NewMessage,
    rules: AppRules,
    uploads: Uploads,
    now_us: int,
    *,
    files: tuple[Attachment, ...] = (),
    idempotency: IdempotencyKey | None = None,
) -> Draft:
    """ApiError names the first field that cannot be used. `files` came as parts of their own."""
    sender = _sender(asked.sender, rules)
    to, cc, bcc = (_addresses(name, getattr(asked, name)) for name in ("to", "cc", "bcc"))
    if not (to or cc or bcc):
        raise invalid("to", "the message has no recipient; give to, cc or bcc")
    fields = MessageFields(
        sender=sender,
        to=to,
        cc=cc,
        reply_to=_addresses("reply_to", asked.reply_to),
        subject=asked.subject,
        text=asked.text or "",
        html=asked.html or "",
        headers=tuple(asked.headers.items()),
        attachments=(*(_attachment(i, file, rules, uploads) for i, file in enumerate(asked.attachments)), *files),
    )
    try:
        check_fields(fields)
    except FieldError as trouble:
        raise invalid_field(trouble) from None
    notify = tuple(wish.upper() for wish in asked.envelope.notify)
    if "NEVER" in notify and len(notify) > 1:
        raise invalid("envelope.notify", "never stands alone")
    return Draft(
        fields=fields,
        envelope_sender=_envelope_sender(asked, sender),
        recipients=tuple(dict.fromkeys(person.address for person in (*to, *cc, *bcc))),
        dsn=RecipientDsn(tuple(dict.fromkeys(notify))) if notify else None,
        options=_options(asked, now_us, idempotency),
    )


def _sender(asked: AnyAddress | None, rules: AppRules) -> NamedAddress:
    if asked is not None:
        return _address("from", asked)
    plain = [sender for sender in rules.app.senders if not sender.startswith("@")]
    if rules.fallback_sender and (len(plain) == 1 or not rules.app.senders):
        return NamedAddress(rules.fallback_sender)
    raise invalid("from", f"“{rules.name}” has several senders, so the message must name one")


def _envelope_sender(asked: NewMessage, sender: NamedAddress) -> str:
    chosen = asked.envelope.sender
    if chosen is None:
        return sender.address
    return _address("envelope.sender", chosen).address if chosen else ""


def _addresses(field: str, asked: AnyAddresses) -> tuple[NamedAddress, ...]:
    several = asked if isinstance(asked, list) else [asked]
    return tuple(
        _address(f"{field}.{number}" if isinstance(asked, list) else field, each) for number, each in enumerate(several)
    )


def _address(field: str, asked: AnyAddress) -> NamedAddress:
    try:
        if isinstance(asked, Address):
            return parse_named_address(f"<{asked.email}>", asked.name)
        return parse_named_address(asked)
    except ValueError as trouble:
        raise invalid(field, str(trouble)) from None


def _attachment(number: int, file: AttachedFile, rules: AppRules, uploads: Uploads) -> Attachment:
    field = f"attachments.{number}"
    if bool(file.content) == bool(file.attachment_id):
        text = "give its bytes as content in base64, or the attachment_id of an upload; addresses are not fetched"
        raise invalid(field, text, "invalid_attachment")
    if file.attachment_id:
        upload = uploads.find(rules.app.app_id, file.attachment_id, f"{field}.attachment_id")
        name, kind = file.filename or upload.filename, file.content_type or upload.content_type
        return Attachment(name, kind, lambda: uploads.read(upload), file.content_id or "", file.inline)
    try:
        content = a2b_base64(file.content, strict_mode=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{field}.content", "it is not valid base64", "invalid_attachment") from None
    kind = file.content_type or DEFAULT_CONTENT_TYPE
    return Attachment(file.filename, kind, read_bytes(content), file.content_id or "", file.inline)


def read_bytes(content: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((content,))


def _options(asked: NewMessage, now_us: int, idempotency: IdempotencyKey | None) -> SubmissionOptions:
    send_at_us = microseconds_of(asked.send_at) if asked.send_at is not None else None
    expires_at_us = microseconds_of(asked.expires_at) if asked.expires_at is not None else None
    check_times(send_at_us, expires_at_us, now_us)
    return SubmissionOptions(
        lane=lane_of(asked.lane),
        send_at_us=send_at_us,
        expires_at_us=expires_at_us,
        tags=tuple(dict.fromkeys(asked.tags)),
        metadata=asked.metadata,
        idempotency=idempotency,
    )


def check_times(send_at_us: int | None, expires_at_us: int | None, now_us: int) -> None:
    """ApiError."""
    if send_at_us is not None and send_at_us > now_us + FURTHEST_US:
        raise invalid("send_at", "it is more than a year ahead")
    if expires_at_us is not None and expires_at_us <= max(now_us, send_at_us or 0):
        raise invalid("expires_at", "it is over before the message could be sent")
