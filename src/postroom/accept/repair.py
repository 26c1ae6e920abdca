"""What we change in a message: the head only, and only what RFC 6409 8. lets a submission server change. No I/O."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from postroom.accept.addresses import AddressFieldError, read_addresses
from postroom.accept.head import Field, Head
from postroom.accept.readable import readable_text
from postroom.accept.refusals import head_not_readable
from postroom.ids import public_id
from postroom.message import Reception

_REMOVED = {b"bcc": "Bcc", b"resent-bcc": "Resent-Bcc", b"return-path": "Return-Path"}
_REASONS = {
    b"bcc": "its addresses are nobody else's business",
    b"resent-bcc": "its addresses are nobody else's business",
    b"return-path": "it is written where a message arrives",
}
_ONCE = (b"from", b"sender", b"subject")
_READ = frozenset({*_ONCE, b"message-id", b"date"})
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._\-]{0,253}[A-Za-z0-9])?|\[[0-9A-Za-z.:]{2,60}\]")
_MESSAGE_ID_LIMIT_BYTES = 998


class HeadFacts(msgspec.Struct, frozen=True):
    """What policy and pages need to know of a head."""

    from_addresses: tuple[str, ...]
    sender_addresses: tuple[str, ...]
    subject: str
    message_id: str
    """Empty when it is missing."""
    has_date: bool
    received: tuple[bytes, ...]
    idempotency_key: str = ""
    why_body_must_stay: str = ""


class RepairPlan(msgspec.Struct, frozen=True):
    """What is to be changed, as policy and circumstances say."""

    message_id: int
    host_name: str
    now_us: int
    received: str
    recipients: tuple[str, ...] = ()
    """The envelope's."""
    new_sender: str = ""
    """Takes the place of what From says; empty when that may stay."""
    default_domain: str = ""


class RepairedHead(msgspec.Struct, frozen=True):
    content: bytes
    message_id: str
    from_addresses: tuple[str, ...]
    repairs: tuple[str, ...]
    """One sentence for each change."""


def read_facts(head: Head, default_domain: str = "") -> HeadFacts:
    """Refusal when From is missing, or when it cannot be said with certainty who the sender is."""
    fields: dict[bytes, list[Field]] = {}
    for field in head.fields:
        fields.setdefault(field.name, []).append(field)
    values = {name: head.value(found[0]) for name, found in fields.items() if name in _READ}
    for name in _ONCE:
        if len(fields.get(name, ())) > 1:
            raise head_not_readable(f"it has more than one {name.decode().capitalize()} field")
    from_addresses = _addresses(values, b"from")
    return HeadFacts(
        from_addresses=from_addresses,
        sender_addresses=_addresses(values, b"sender"),
        subject=readable_text(values.get(b"subject", b"")),
        message_id=values.get(b"message-id", b"")[:_MESSAGE_ID_LIMIT_BYTES].decode("ascii", "replace"),
        has_date=bool(values.get(b"date")),
        received=tuple(head.raw(field) for field in fields.get(b"received", ())),
    )


def _addresses(values: Mapping[bytes, bytes], name: bytes) -> tuple[str, ...]:
    try:
        return read_addresses(values[name]) if name in values else ()
    except AddressFieldError as trouble:
        raise head_not_readable(f"in its {name.decode().capitalize()} field {trouble}") from None


def repair_head(head: Head, facts: HeadFacts, plan: RepairPlan) -> RepairedHead:
    """Our `received` on top, Message-ID and Date where they are missing, Bcc and Return-Path gone."""
    repairs: list[str] = []
    added: list[bytes] = []
    removed = _unwanted_fields(head, facts, repairs)
    internet_message_id = facts.message_id
    if not internet_message_id:
        internet_message_id = f"<{public_id(plan.message_id).lower()}@{plan.host_name}>"
        added.append(f"Message-ID: {internet_message_id}\r\n".encode())
        repairs.append(f"Added Message-ID {internet_message_id}, because there was none.")
    if not facts.has_date:
        added.append(f"Date: {format_date(plan.now_us)}\r\n".encode())
        repairs.append("Added Date, because there was none.")
    content = plan.received.encode() + b"".join([*added, *_kept_parts(head, removed)])
    return RepairedHead(content, internet_message_id, facts.from_addresses, tuple(repairs))


def _unwanted_fields(head: Head, facts: HeadFacts, repairs: list[str]) -> list[Field]:
    unwanted = [field for field in head.fields if field.name in _REMOVED or _is_empty_twin(head, field, facts)]
    for name in dict.fromkeys(field.name for field in unwanted if field.name in _REMOVED):
        repairs.append(f"Removed {_REMOVED[name]}, because {_REASONS[name]}.")
    return unwanted


def _is_empty_twin(head: Head, field: Field, facts: HeadFacts) -> bool:
    """An empty Message-ID or Date would stand beside the one that we add."""
    is_replaced = (field.name == b"message-id" and not facts.message_id) or (
        field.name == b"date" and not facts.has_date
    )
    return is_replaced and not head.value(field)


def _kept_parts(head: Head, removed: Iterable[Field]) -> list[bytes]:
    """Everything else, byte for byte."""
    parts = []
    position = 0
    for field in removed:
        parts.append(head.content[position : field.start])
        position = field.end
    return [*parts, head.content[position:]]


def format_received(
    reception: Reception, *, message_id: int, host_name: str, now_us: int, uses_smtputf8: bool = False
) -> str:
    """Our trace field (RFC 5321 4.4) with the protocol's name of RFC 3848."""
    origin = ""
    if reception.peer_address:
        helo = reception.helo or ""
        name = helo if _HOST.fullmatch(helo) else "unknown"
        origin = f"from {name} ({_address_literal(reception.peer_address)})\r\n\t"
    with_what = f" with {_protocol_name(reception, uses_smtputf8)}" if reception.way == "smtp" else ""
    tls = f" ({reception.tls_version})" if reception.tls_version else ""
    return (
        f"Received: {origin}by {host_name} {own_comment(host_name)}{with_what}{tls}\r\n"
        f"\tid {public_id(message_id)}; {format_date(now_us)}\r\n"
    )


def own_comment(host_name: str) -> str:
    """By this we know our own Received fields again."""
    return f"(Postroom at {host_name})"


def _protocol_name(reception: Reception, uses_smtputf8: bool) -> str:
    extended = "UTF8SMTP" if uses_smtputf8 else "ESMTP"
    return extended + ("S" if reception.tls_version else "") + ("A" if reception.login else "")


def _address_literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def format_date(now_us: int) -> str:
    """RFC 5322 3.3, in UTC, whatever the machine's language."""
    now = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return (
        f"{_DAYS[now.weekday()]}, {now.day:02} {_MONTHS[now.month - 1]} {now.year} "
        f"{now.hour:02}:{now.minute:02}:{now.second:02} +0000"
    )
