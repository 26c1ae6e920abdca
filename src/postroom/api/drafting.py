"""From what a program asked for to what is composed and handed in."""

import binascii
from binascii import a2b_base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

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
from postroom.api.problems import ApiError, invalid, invalid_field, together
from postroom.api.shapes import Address, AnyAddress, AnyAddresses, AttachedFile, NewMessage, lane_of, microseconds_of
from postroom.api.uploads import Uploads
from postroom.clock import DAY_US, HOUR_US
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
    """ApiError names every field that cannot be used. `files` came as parts of their own."""
    troubles: list[ApiError] = []
    sender = _sender(asked.sender, rules, troubles)
    to, cc, bcc, reply_to = (
        _addresses(name, getattr(asked, name), troubles) for name in ("to", "cc", "bcc", "reply_to")
    )
    if not (asked.to or asked.cc or asked.bcc):
        troubles.append(invalid("to", "the message has no recipient; give to, cc or bcc"))
    attached = (_attachment(i, file, rules, uploads, troubles) for i, file in enumerate(asked.attachments))
    fields = MessageFields(
        sender=sender,
        to=to,
        cc=cc,
        reply_to=reply_to,
        subject=asked.subject,
        text=asked.text or "",
        html=asked.html or "",
        headers=tuple(asked.headers.items()),
        attachments=(*filter(None, attached), *files),
    )
    dsn = _dsn(asked, troubles)
    envelope_sender = _envelope_sender(asked, sender, troubles)
    options = _options(asked, now_us, idempotency, troubles)
    if not troubles:  # else numbers of attachments would no longer be those of the request
        _note(troubles, check_fields, fields)
    if troubles:
        raise together(troubles)
    return Draft(
        fields=fields,
        envelope_sender=envelope_sender,
        recipients=tuple(dict.fromkeys(person.address for person in (*to, *cc, *bcc))),
        dsn=dsn,
        options=options,
    )


_NOBODY = NamedAddress("")
"""In the place of what could not be read: the request is refused in the end."""

Read = TypeVar("Read")


def _note(troubles: list[ApiError], read: Callable[..., Read], *arguments: object) -> Read | None:
    """What `read` gives; what is wrong joins the rest."""
    try:
        return read(*arguments)
    except ApiError as trouble:
        troubles.append(trouble)
    except FieldError as trouble:
        troubles.append(invalid_field(trouble))
    return None


def _sender(asked: AnyAddress | None, rules: AppRules, troubles: list[ApiError]) -> NamedAddress:
    if asked is not None:
        return _note(troubles, _address, "from", asked) or _NOBODY
    plain = [sender for sender in rules.app.senders if not sender.startswith("@")]
    if rules.fallback_sender and (len(plain) == 1 or not rules.app.senders):
        return NamedAddress(rules.fallback_sender)
    troubles.append(invalid("from", f"“{rules.name}” has several senders, so the message must name one"))
    return _NOBODY


def _envelope_sender(asked: NewMessage, sender: NamedAddress, troubles: list[ApiError]) -> str:
    chosen = asked.envelope.sender
    if chosen is None:
        return sender.address
    return (_note(troubles, _address, "envelope.sender", chosen) or _NOBODY).address if chosen else ""


def _dsn(asked: NewMessage, troubles: list[ApiError]) -> RecipientDsn | None:
    notify = tuple(dict.fromkeys(wish.upper() for wish in asked.envelope.notify))
    if "NEVER" in notify and len(notify) > 1:
        troubles.append(invalid("envelope.notify", "never stands alone"))
    return RecipientDsn(notify) if notify else None


def _addresses(field: str, asked: AnyAddresses, troubles: list[ApiError]) -> tuple[NamedAddress, ...]:
    named = (
        [(f"{field}.{number}", it) for number, it in enumerate(asked)] if isinstance(asked, list) else [(field, asked)]
    )
    return tuple(filter(None, (_note(troubles, _address, where, each) for where, each in named)))


def _address(field: str, asked: AnyAddress) -> NamedAddress:
    try:
        if isinstance(asked, Address):
            return parse_named_address(f"<{asked.email}>", asked.name)
        return parse_named_address(asked)
    except ValueError as trouble:
        raise invalid(field, str(trouble)) from None


def _attachment(
    number: int, file: AttachedFile, rules: AppRules, uploads: Uploads, troubles: list[ApiError]
) -> Attachment | None:
    field = f"attachments.{number}"
    if bool(file.content) == bool(file.attachment_id):
        text = "give its bytes as content in base64, or the attachment_id of an upload; addresses are not fetched"
        troubles.append(invalid(field, text, "invalid_attachment"))
        return None
    if file.attachment_id:
        upload = _note(troubles, uploads.find, rules.app.app_id, file.attachment_id, f"{field}.attachment_id")
        if upload is None:
            return None
        name, kind = file.filename or upload.filename, file.content_type or upload.content_type
        return Attachment(name, kind, partial(uploads.read, upload), file.content_id or "", file.inline)
    try:
        content = a2b_base64(file.content, strict_mode=True)
    except (binascii.Error, ValueError):
        troubles.append(invalid(f"{field}.content", "it is not valid base64", "invalid_attachment"))
        return None
    kind = file.content_type or DEFAULT_CONTENT_TYPE
    return Attachment(file.filename, kind, read_bytes(content), file.content_id or "", file.inline)


def read_bytes(content: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((content,))


def _options(
    asked: NewMessage, now_us: int, idempotency: IdempotencyKey | None, troubles: list[ApiError]
) -> SubmissionOptions:
    send_at_us = microseconds_of(asked.send_at) if asked.send_at is not None else None
    expires_at_us = microseconds_of(asked.expires_at) if asked.expires_at is not None else None
    _note(troubles, check_times, send_at_us, expires_at_us, now_us)
    return SubmissionOptions(
        lane=lane_of(asked.lane),
        send_at_us=send_at_us,
        expires_at_us=expires_at_us,
        lifetime_us=lifetime_of(asked.lifetime_hours),
        tags=tuple(dict.fromkeys(asked.tags)),
        metadata=asked.metadata,
        idempotency=idempotency,
    )


def lifetime_of(hours: int | None) -> int | None:
    return hours * HOUR_US if hours is not None else None


def check_times(send_at_us: int | None, expires_at_us: int | None, now_us: int) -> None:
    """ApiError."""
    if send_at_us is not None and send_at_us > now_us + FURTHEST_US:
        raise invalid("send_at", "it is more than a year ahead")
    if expires_at_us is not None and expires_at_us <= max(now_us, send_at_us or 0):
        raise invalid("expires_at", "it is over before the message could be sent")
    if expires_at_us is not None and expires_at_us > now_us + 2 * FURTHEST_US:
        raise invalid("expires_at", "it is more than two years ahead; leave it out")
