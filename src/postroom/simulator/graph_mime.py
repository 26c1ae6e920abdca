"""A message as bytes, by its header fields: who stands in it, and what Graph makes of its head.

What Graph rewrites is microsoft365.md 3.4: seen by one project at Outlook.com [B]; that Microsoft 365
does the same is not confirmed [C]. The body is never touched.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email import policy
from email.errors import MessageError
from email.headerregistry import AddressHeader
from email.utils import format_datetime, formataddr
from typing import cast

import msgspec

from postroom.simulator.graph_errors import refusal

_FIELD_NAME = re.compile(rb"[!-9;-~]+(?=[ \t]*:)")
_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)+"|[^\s"@<>(),;:\\]+)@[^\s@<>(),;:\\]+')

# Fields that a message keeps on its way through Graph. [B] for the threading ones, [C] for the rest.
_KEPT = frozenset(
    {
        "to", "cc", "subject", "reply-to", "message-id", "in-reply-to", "references", "mime-version", "importance",
        "x-priority", "priority", "sensitivity", "disposition-notification-to", "return-receipt-to",
        "list-unsubscribe", "list-unsubscribe-post", "thread-topic", "thread-index", "accept-language",
    }
)  # fmt: skip
# Replaced, or said otherwise: nothing of the message is lost when these go.
_REPLACED = frozenset({"from", "sender", "date", "bcc"})


class HeaderField(msgspec.Struct, frozen=True):
    """`name` in lower case; `raw` is the whole field with its folding and line ends."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        text = self.raw.partition(b":")[2].decode("utf-8", "replace")
        return re.sub(r"\r?\n", "", text).strip()


class Person(msgspec.Struct, frozen=True):
    """A name and an address, as one entry of From, To, Cc or Bcc."""

    name: str
    address: str

    def __str__(self) -> str:
        """As it stands in a field; `formataddr` does not take addresses that are not ASCII."""
        if self.address.isascii():
            return formataddr((self.name, self.address))
        return f"{quote_name(self.name)} <{self.address}>" if self.name else self.address


class Mime(msgspec.Struct, frozen=True):
    fields: tuple[HeaderField, ...]
    body: bytes

    def value(self, name: str) -> str:
        return next((field.value for field in self.fields if field.name == name), "")

    def people(self, name: str) -> list[Person]:
        """Everybody in every field of that name. GraphError 400 for what cannot be read as addresses."""
        return [person for field in self.fields if field.name == name for person in read_people(field.value)]


class Rewritten(msgspec.Struct, frozen=True):
    """The message as it is delivered; `notes` say what was changed, and how sure that is."""

    content: bytes
    notes: tuple[str, ...]


def parse_mime(content: bytes) -> Mime:
    """Header fields and body; line ends become CRLF. GraphError 400 where there is no header."""
    content = re.sub(rb"\r?\n", b"\r\n", content)
    head, _, body = content.partition(b"\r\n\r\n")
    fields: list[HeaderField] = []
    for line in head.split(b"\r\n"):
        name = _FIELD_NAME.match(line)
        if line[:1] in (b" ", b"\t") and fields:
            last = fields.pop()
            fields.append(HeaderField(last.name, last.raw + line + b"\r\n"))
        elif name:
            fields.append(HeaderField(name[0].decode().lower(), line + b"\r\n"))
        else:
            raise refusal("mime invalid")
    return Mime(tuple(fields), body)


def read_people(value: str) -> list[Person]:
    """The entries of an address field, those inside groups too."""
    try:
        header = cast(AddressHeader, policy.default.header_factory("To", value))
        return [Person(entry.display_name, entry.addr_spec) for entry in header.addresses]
    except (MessageError, ValueError, IndexError, AttributeError):
        raise refusal("recipient invalid", name=value) from None


def check_recipients(people: Iterable[Person]) -> tuple[str, ...]:
    """The addresses, each once. GraphError 400 for one that is none, or when there is nobody."""
    found: dict[str, str] = {}
    for person in people:
        if not is_address(person.address):
            raise refusal("recipient invalid", name=person.address or person.name)
        found.setdefault(person.address.lower(), person.address)
    if not found:
        raise refusal("no recipients")
    return tuple(found.values())


def quote_name(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def rewrite_head(
    mime: Mime, *, author: Person, sender: Person | None, now: float, message_id: str, keeps_x_headers: bool
) -> Rewritten:
    """The message with Graph's own From, Sender and Date, without Bcc and without what Graph drops."""
    notes = []
    kept: list[bytes] = []
    for field in mime.fields:
        if _is_kept(field.name, keeps_x_headers=keeps_x_headers):
            kept.append(field.raw)
        elif field.name not in _REPLACED:
            notes.append(f"{field.raw.partition(b':')[0].decode('ascii', 'replace')} was dropped [B]")
    first = [("From", str(author))]
    first += [("Sender", str(sender))] if sender else []
    first += [("Date", format_datetime(datetime.fromtimestamp(now, UTC)))]
    first += [] if mime.value("message-id") else [("Message-ID", message_id)]
    notes += _notes_on(mime, dict(first))
    head = b"".join([*(f"{name}: {value}\r\n".encode() for name, value in first), *kept])
    return Rewritten(head + b"\r\n" + mime.body, tuple(notes))


def _is_kept(name: str, *, keeps_x_headers: bool) -> bool:
    return name in _KEPT or name.startswith("content-") or (keeps_x_headers and name.startswith("x-"))


def _notes_on(mime: Mime, first: dict[str, str]) -> list[str]:
    notes = []
    if mime.value("from") and mime.value("from") != first["From"]:
        notes.append(f"From became {first['From']} [B]")
    if "Sender" in first:
        notes.append(f"Sender became {first['Sender']} [A]")
    if mime.value("date"):
        notes.append("Date was replaced [B]")
    if mime.value("bcc"):
        notes.append("Bcc was taken out of what is delivered [A]")
    return notes
