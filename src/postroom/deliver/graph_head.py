"""What Graph makes of a head: without an envelope, To, Cc and Bcc say who gets it (microsoft365.md 3.4). Pure."""

from collections.abc import Collection, Sequence

import msgspec

from postroom.wire.address_fields import AddressFieldError, read_addresses
from postroom.wire.head import Field, Head, HeadError, read_head

_RECIPIENT_FIELDS = frozenset({b"to", b"cc", b"bcc"})
_KEPT_FIELDS = frozenset({
    b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"subject", b"message-id", b"in-reply-to", b"references",
    b"mime-version", b"importance", b"received", b"date",
})  # fmt: skip
_SHOWN_FIELDS = 5


class GraphFitError(ValueError):
    """This message cannot go without an envelope; the text is the whole sentence."""


class GraphHead(msgspec.Struct, frozen=True):
    """The head as it is handed over."""

    content: bytes
    """With its blank line, and with `Bcc:` for recipients that no field names."""
    changes: tuple[str, ...]
    """What Graph will make of it, in sentences."""


def make_graph_head(content: bytes, recipients: Sequence[str], mailbox_addresses: Collection[str]) -> GraphHead:
    """`content` is the head with its blank line. GraphFitError when somebody else would get the message, too."""
    try:
        head = read_head(content)
        named = {address.lower() for field in head.fields for address in _addresses(head, field)}
    except (HeadError, AddressFieldError) as trouble:
        raise GraphFitError(
            f"Microsoft Graph sends to whom the header names, and it cannot be read: {trouble}."
        ) from None
    open_recipients = {recipient.lower() for recipient in recipients}
    if others := sorted(named - open_recipients):
        raise GraphFitError(
            f"Microsoft Graph would send the message also to {others[0]}, who stands in its header and is not among "
            "the recipients that are still open."
        )
    hidden = [recipient for recipient in recipients if recipient.lower() not in named]
    return GraphHead(_with_bcc(content, hidden), _describe_changes(head, mailbox_addresses))


def _addresses(head: Head, field: Field) -> tuple[str, ...]:
    return read_addresses(head.value(field)) if field.name in _RECIPIENT_FIELDS else ()


def _with_bcc(content: bytes, hidden: Sequence[str]) -> bytes:
    if not hidden:
        return content
    field = b"Bcc: " + b",\r\n ".join(recipient.encode() for recipient in hidden) + b"\r\n"
    end = len(content) - 2 if content.endswith(b"\r\n\r\n") or content == b"\r\n" else len(content)
    return content[:end] + field + content[end:]


def _describe_changes(head: Head, mailbox_addresses: Collection[str]) -> tuple[str, ...]:
    """As seen on the wire; Microsoft documents none of it."""
    names = [field.name for field in head.fields]
    changes = ["Graph puts the time of sending in place of Date."] if b"date" in names else []
    dropped = sorted({name.decode("ascii", "replace") for name in names if not _is_kept(name)})
    if dropped:
        shown = ", ".join(dropped[:_SHOWN_FIELDS]) + (", …" if len(dropped) > _SHOWN_FIELDS else "")
        changes.append(f"Graph may drop these fields: {shown}.")
    for field in head.fields:
        if field.name == b"from":
            changes += _describe_from(head.value(field), mailbox_addresses)
    return tuple(changes)


def _is_kept(name: bytes) -> bool:
    return name in _KEPT_FIELDS or name.startswith(b"content-")


def _describe_from(value: bytes, mailbox_addresses: Collection[str]) -> list[str]:
    changes = ["Graph puts the mailbox's own name in place of the one in From."] if b"<" in value else []
    try:
        addresses = read_addresses(value)
    except AddressFieldError:
        return changes
    primary = next(iter(mailbox_addresses), "")
    if addresses and addresses[0].lower() != primary.lower() and addresses[0].lower() in mailbox_addresses:
        changes.append(f"Graph puts {primary} in place of its alias {addresses[0]} in From.")
    return changes
