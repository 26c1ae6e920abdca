"""A message in Graph's JSON, and the MIME that is made of it (Microsoft Learn, resource type "message")."""

import base64
import binascii
import re
from collections.abc import Iterable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, TypeVar

import msgspec

from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_mime import Person, is_address

MAX_CUSTOM_HEADERS = 5
_CUSTOM_NAME = re.compile(r"[xX]-[!-9;-~]+")
_PRIORITIES = {"high": "1", "low": "5"}


class EmailAddress(msgspec.Struct, frozen=True):
    address: str = ""
    name: str | None = None


class Recipient(msgspec.Struct, frozen=True, rename="camel"):
    email_address: EmailAddress = EmailAddress()


class ItemBody(msgspec.Struct, frozen=True, rename="camel"):
    content_type: str = "text"
    content: str = ""


class InternetHeader(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class FileAttachment(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """As it is posted, or as a draft keeps it; `content_bytes` is base64."""

    name: str
    content_bytes: str = ""
    content_type: str | None = None
    is_inline: bool = False
    content_id: str | None = None
    size: int | None = None
    odata_type: str = msgspec.field(name="@odata.type", default="#microsoft.graph.fileAttachment")

    def content(self) -> bytes:
        """GraphError 400 if it is no base64."""
        try:
            return base64.b64decode(self.content_bytes, validate=True)
        except binascii.Error:
            raise refusal("json property", detail="Cannot convert a value to target type 'Edm.Binary'.") from None


class JsonMessage(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a program sets. The fields of type Any are known to Graph and make no difference here."""

    subject: str | None = None
    body: ItemBody | None = None
    from_: Recipient | None = msgspec.field(name="from", default=None)
    sender: Recipient | None = None
    to_recipients: tuple[Recipient, ...] = ()
    cc_recipients: tuple[Recipient, ...] = ()
    bcc_recipients: tuple[Recipient, ...] = ()
    reply_to: tuple[Recipient, ...] = ()
    internet_message_id: str | None = None
    internet_message_headers: tuple[InternetHeader, ...] = ()
    attachments: tuple[FileAttachment, ...] = ()
    importance: str = "normal"
    is_delivery_receipt_requested: bool | None = None
    is_read_receipt_requested: bool | None = None
    categories: Any = None
    flag: Any = None
    has_attachments: Any = None
    inference_classification: Any = None
    is_draft: Any = None
    is_read: Any = None
    single_value_extended_properties: Any = None
    multi_value_extended_properties: Any = None
    odata_type: Any = msgspec.field(name="@odata.type", default=None)


class SendMail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of sendMail; documents write them with and without a capital."""

    message: JsonMessage | None = None
    capital_message: JsonMessage | None = msgspec.field(name="Message", default=None)
    save: bool = msgspec.field(name="saveToSentItems", default=True)
    capital_save: bool = msgspec.field(name="SaveToSentItems", default=True)

    def wanted(self) -> tuple[JsonMessage, bool]:
        """The message, and whether Sent Items keeps it. GraphError 400 without a message."""
        message = self.message or self.capital_message
        if message is None:
            raise refusal("message missing")
        return message, self.save and self.capital_save


class AttachmentItem(msgspec.Struct, frozen=True, rename="camel"):
    """What an upload session is asked for."""

    attachment_type: str
    name: str
    size: int
    content_type: str | None = None
    is_inline: bool = False
    content_id: str | None = None


class UploadRequest(msgspec.Struct, frozen=True):
    item: AttachmentItem = msgspec.field(name="AttachmentItem")


Shape = TypeVar("Shape", bound=msgspec.Struct)


def decode_json(body: bytes, shape: type[Shape]) -> Shape:
    """GraphError 400 for what is no JSON, or has another shape. Text counts as truth: "saveToSentItems": "false"."""
    try:
        return msgspec.json.decode(body, type=shape, strict=False)
    except msgspec.ValidationError as problem:
        unknown = re.search(r"unknown field `([^`]+)`", str(problem))
        raise refusal("json property", detail=_explain_unknown(unknown[1]) if unknown else str(problem)) from None
    except msgspec.DecodeError:
        raise refusal("json unreadable") from None


def _explain_unknown(name: str) -> str:
    return (
        f"The property '{name}' does not exist on type 'microsoft.graph.message'. "
        "Make sure to only use property names that are defined by the type."
    )


def compose(message: JsonMessage, extra: Iterable[FileAttachment] = ()) -> bytes:
    """The MIME of a message in JSON, `Bcc` included. GraphError 400 for what Graph refuses in it."""
    written = {name: ", ".join(map(_format_person, people)) for name, people in _addressed(message) if people}
    needs_utf8 = not all(value.isascii() for value in written.values())
    mail = EmailMessage(policy.SMTPUTF8 if needs_utf8 else policy.SMTP)
    for name, value in written.items():
        mail[name] = value
    mail["Subject"] = " ".join((message.subject or "").split())
    if message.internet_message_id:
        mail["Message-ID"] = " ".join(message.internet_message_id.split())
    _add_wishes(mail, message)
    _add_headers(mail, message.internet_message_headers)
    body = message.body or ItemBody()
    mail.set_content(body.content, subtype="html" if body.content_type.lower() == "html" else "plain")
    for attachment in (*message.attachments, *extra):
        attach(mail, attachment)
    return mail.as_bytes()


def attach(mail: EmailMessage, attachment: FileAttachment) -> None:
    maintype, _, subtype = (attachment.content_type or "application/octet-stream").partition("/")
    if maintype in {"multipart", "message"} or not subtype:
        maintype, subtype = "application", "octet-stream"
    mail.add_attachment(
        attachment.content(),
        maintype=maintype,
        subtype=subtype,
        filename=" ".join(attachment.name.split()),
        disposition="inline" if attachment.is_inline else "attachment",
        cid=f"<{attachment.content_id}>" if attachment.content_id else None,
    )


def attach_to_mime(content: bytes, attachments: Iterable[FileAttachment]) -> bytes:
    """A MIME message with files added; without any it stays byte for byte what it was."""
    added = list(attachments)
    if not added:
        return content
    mail = BytesParser(EmailMessage, policy=policy.SMTP).parsebytes(content)
    for attachment in added:
        attach(mail, attachment)
    return mail.as_bytes()


def _addressed(message: JsonMessage) -> list[tuple[str, tuple[Recipient, ...]]]:
    """Graph sets Sender by itself, whatever `sender` says (6)."""
    return [
        ("From", (message.from_,) if message.from_ else ()),
        ("To", message.to_recipients),
        ("Cc", message.cc_recipients),
        ("Bcc", message.bcc_recipients),
        ("Reply-To", message.reply_to),
    ]


def _format_person(recipient: Recipient) -> str:
    entry = recipient.email_address
    if not is_address(entry.address):
        raise refusal("recipient invalid", name=entry.address or entry.name or "")
    return str(Person(" ".join((entry.name or "").split()), entry.address))


def _add_wishes(mail: EmailMessage, message: JsonMessage) -> None:
    priority = _PRIORITIES.get(message.importance.lower())
    if priority:
        mail["Importance"] = message.importance.lower()
        mail["X-Priority"] = priority
    asks_for = message.from_.email_address.address if message.from_ else ""
    if message.is_read_receipt_requested and is_address(asks_for):
        mail["Disposition-Notification-To"] = asks_for
    if message.is_delivery_receipt_requested and is_address(asks_for):
        mail["Return-Receipt-To"] = asks_for


def _add_headers(mail: EmailMessage, headers: tuple[InternetHeader, ...]) -> None:
    if len(headers) > MAX_CUSTOM_HEADERS:
        raise refusal("header count")
    for header in headers:
        if not _CUSTOM_NAME.fullmatch(header.name):
            raise refusal("header name", name=header.name)
        mail[header.name] = " ".join(header.value.split())
