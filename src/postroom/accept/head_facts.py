"""What a head says: everything that policy, repair and pages need to know of it. No I/O."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from postroom.accept.readable import readable_text
from postroom.accept.refusals import group_in_from, head_not_readable, several_senders
from postroom.wire.address_fields import AddressEntry, AddressFieldError, holds_group, read_entries
from postroom.wire.head import Field, Head
from postroom.wire.signatures import Signature, find_signatures, why_body_must_stay

IDEMPOTENCY_FIELD = b"x-idempotency-key"
IDEMPOTENCY_KEY_LIMIT = 256

_ONCE = {b"sender": "Sender", b"subject": "Subject", IDEMPOTENCY_FIELD: "X-Idempotency-Key"}
_READ = frozenset({*_ONCE, b"from", b"message-id", b"date", b"to", b"cc", b"reply-to", b"mime-version"})
_MESSAGE_ID_LIMIT_BYTES = 998


class HeadFacts(msgspec.Struct, frozen=True):
    """The facts of one head."""

    senders: tuple[AddressEntry, ...]
    """From's one entry; none when it is missing or holds no address."""
    sender_addresses: tuple[str, ...]
    """Sender's."""
    subject: str
    message_id: str
    """Empty when it is missing."""
    date: bytes
    """Empty when it is missing."""
    incomplete: dict[bytes, tuple[AddressEntry, ...]]
    """The entries of To and Cc, where not one of them has a domain; with the default one."""
    named_recipients: tuple[str, ...] | None
    """To's and Cc's addresses; None when they cannot be read with certainty."""
    names: frozenset[bytes]
    """Of those of recipients, replies and parts that are there and not empty, in lower case."""
    received: tuple[bytes, ...]
    idempotency_key: str
    signatures: tuple[Signature, ...]
    why_body_must_stay: str
    """Half a sentence when not a byte of the body may change; empty when it may."""

    @property
    def from_addresses(self) -> tuple[str, ...]:
        return tuple(sender.address for sender in self.senders)


def read_facts(head: Head, default_domain: str = "") -> HeadFacts:
    """Refusal when it cannot be said with certainty who the sender is."""
    fields: dict[bytes, list[Field]] = {}
    for field in head.fields:
        fields.setdefault(field.name, []).append(field)
    author = _read_author([head.value(field) for field in fields.get(b"from", ())], default_domain)
    for name, shown in _ONCE.items():
        if len(fields.get(name, ())) > 1:
            raise head_not_readable(f"it has more than one {shown} field")
    values = {
        name: head.value(found[0])
        for name, found in fields.items()
        if name in _READ or name.startswith(b"content-")  # what nobody asks for is not looked into
    }
    signatures = find_signatures(head)
    return HeadFacts(
        senders=author,
        sender_addresses=tuple(it.address for it in _entries_of(values, b"sender", default_domain)),
        subject=readable_text(values.get(b"subject", b"")),
        message_id=values.get(b"message-id", b"")[:_MESSAGE_ID_LIMIT_BYTES].decode("ascii", "replace"),
        date=values.get(b"date", b""),
        incomplete=_incomplete(values, default_domain),
        named_recipients=_named_recipients(fields, head, default_domain),
        names=frozenset(name for name, value in values.items() if value),
        received=tuple(head.raw(field) for field in fields.get(b"received", ())),
        idempotency_key=_idempotency_key(values.get(IDEMPOTENCY_FIELD, b"")),
        signatures=signatures,
        why_body_must_stay=why_body_must_stay(values.get(b"content-type", b""), signatures),
    )


def _read_author(values: Sequence[bytes], default_domain: str) -> tuple[AddressEntry, ...]:
    """From's one entry, if any: Exchange takes no more, and that is better said here than after all the data."""
    authors: list[AddressEntry] = []
    for value in values:
        try:
            authors += _without_words(read_entries(value, default_domain))
            is_group = holds_group(value)
        except AddressFieldError as trouble:
            raise head_not_readable(f"in its From field {trouble}") from None
        if is_group:
            raise group_in_from()
    if len(values) > 1 or len(authors) > 1:
        raise several_senders(tuple(author.address for author in authors))
    return tuple(authors)


def _without_words(entries: Sequence[AddressEntry]) -> Sequence[AddressEntry]:
    """`Smith, John <john@example.com>`, as old devices write it, is one author."""
    words = [entry for entry in entries if not entry.name and not entry.has_own_domain]
    return [entry for entry in entries if entry not in words] or entries


def _entries_of(values: Mapping[bytes, bytes], name: bytes, default_domain: str) -> tuple[AddressEntry, ...]:
    try:
        return read_entries(values[name], default_domain) if name in values else ()
    except AddressFieldError as trouble:
        raise head_not_readable(f"in its {name.decode().title()} field {trouble}") from None


def _named_recipients(fields: Mapping[bytes, list[Field]], head: Head, default_domain: str) -> tuple[str, ...] | None:
    try:
        return tuple(
            entry.address
            for name in (b"to", b"cc")
            for field in fields.get(name, ())
            for entry in read_entries(head.value(field), default_domain)
        )
    except AddressFieldError:
        return None


def _incomplete(values: Mapping[bytes, bytes], default_domain: str) -> dict[bytes, tuple[AddressEntry, ...]]:
    found = {}
    for name in (b"to", b"cc"):
        value = values.get(name, b"")
        if default_domain and value and b"@" not in value and b":" not in value:  # a group needs none
            with suppress(AddressFieldError):
                found[name] = read_entries(value, default_domain)
    return found


def _idempotency_key(value: bytes) -> str:
    """As a program wrote it, with or without quotation marks (RFC 8941 3.3.3)."""
    key = value.decode("ascii", "replace")
    key = key[1:-1] if len(key) >= 2 and key[0] == key[-1] == '"' else key
    if len(key) > IDEMPOTENCY_KEY_LIMIT or not key.isprintable() or "\ufffd" in key:
        raise head_not_readable(f"its X-Idempotency-Key is not printable ASCII of at most {IDEMPOTENCY_KEY_LIMIT}")
    return key
