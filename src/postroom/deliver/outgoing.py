"""What leaves: the stored message as it is, but for its `Sender:`, which must fit the right by which it is sent.

By Send on Behalf it is the user name, by Send As there is none. By its own right a mailbox of Microsoft's may name
itself only: Exchange checks Sender as it checks From, after all the data, and would refuse the message for what the
program put there (microsoft365.md 2.2, 6). A DKIM signature over Sender goes with it: a broken one is worse than none.
The head is edited by bytes and the rest streams by. Nothing else of a message is ever changed on its way out.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

import msgspec

from postroom.deliver.microsoft_hosts import is_microsoft
from postroom.deliver.transport import Parcel
from postroom.store.records import EmailType, Lease, MailServer, SendRight, StoredBody
from postroom.wire.address_fields import AddressFieldError, read_addresses
from postroom.wire.head import HeadError, read_head
from postroom.wire.signatures import broken_fields, find_signatures

MAX_HEAD_BYTES = 1024 * 1024
"""Far beyond what any mail server takes."""

_END_OF_HEAD = b"\r\n\r\n"
# A field with its folded lines (RFC 5322 2.2.3), at the start of a line.
_SENDER_FIELD = re.compile(rb"^sender[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE | re.MULTILINE)
_FROM_FIELD = re.compile(rb"^from[ \t]*:", re.IGNORECASE | re.MULTILINE)

ReadBody = Callable[[StoredBody], AsyncIterator[bytes]]


class NewHead(msgspec.Struct, frozen=True):
    """What stands in place of the first bytes of a message."""

    replaces_bytes: int
    head: bytes


def _sender_of_notices(mail_server: MailServer) -> str:
    """For mail with the null sender: many a mail server refuses it from a client (microsoft365.md 12)."""
    return "" if mail_server.takes_null_sender else mail_server.sender


async def make_parcel(
    lease: Lease, read_body: ReadBody, *, may_finish: Callable[[], bool], is_moving: Callable[[], None]
) -> Parcel:
    """The lease's message for its open recipients. Raises what reading the body raises."""
    new_head = await _make_new_head(lease, read_body)
    head_is_ascii = new_head is None or new_head.head.isascii()
    growth = len(new_head.head) - new_head.replaces_bytes if new_head else 0
    return Parcel(
        envelope_sender=lease.envelope_sender or _sender_of_notices(lease.mail_server),
        recipients=tuple(recipient.address for recipient in lease.recipients),
        size_bytes=lease.body.size_bytes + growth,
        open_body=partial(_open_body, read_body, lease.body, new_head),
        is_eight_bit=lease.is_eight_bit or not head_is_ascii,
        needs_smtputf8=lease.needs_smtputf8 or not head_is_ascii,
        dsn=lease.dsn,
        may_finish=may_finish,
        is_moving=is_moving,
    )


async def _make_new_head(lease: Lease, read_body: ReadBody) -> NewHead | None:
    server = lease.mail_server
    is_checked = is_microsoft(server.host) or server.email_type is EmailType.GRAPH
    if server.send_right is SendRight.OWN and not is_checked:
        return None
    head = await _read_head(read_body(lease.body))
    if server.send_right is SendRight.SEND_ON_BEHALF:
        return name_sender(head, lease.mailbox.username)
    return remove_sender(head, own_addresses(lease) if server.send_right is SendRight.OWN else frozenset())


def own_addresses(lease: Lease) -> frozenset[str]:
    """By which the mailbox may name itself, aliases included; in lower case."""
    mailbox = lease.mailbox
    aliases = mailbox.user.addresses if mailbox.user is not None else ()
    return frozenset(it.lower() for it in (lease.mail_server.sender, mailbox.username, mailbox.address, *aliases) if it)


def remove_sender(head: bytes, own: frozenset[str]) -> NewHead | None:
    """The head without its `Sender:`; None when there is none, or it is one of these."""
    fields = _SENDER_FIELD.findall(head)
    if not fields or (len(fields) == 1 and _names_one_of(fields[0], own)):
        return None
    return NewHead(len(head), _SENDER_FIELD.sub(b"", without_broken_signatures(head)))


def without_broken_signatures(head: bytes) -> bytes:
    """Without those that cover Sender, which changes. What cannot be read is left alone."""
    try:
        fields = read_head(head)
    except HeadError:
        return head
    for field in reversed(broken_fields(fields, find_signatures(fields), (b"sender",))):
        head = head[: field.start] + head[field.end :]
    return head


def _names_one_of(field: bytes, own: frozenset[str]) -> bool:
    try:
        addresses = read_addresses(field.partition(b":")[2].replace(b"\r\n", b""))
    except AddressFieldError:
        return False
    return len(addresses) == 1 and addresses[0].lower() in own


def name_sender(head: bytes, username: str) -> NewHead:
    """The head (up to its blank line) with exactly one `Sender:`, put before `From:`; no other field changes."""
    kept = _SENDER_FIELD.sub(b"", without_broken_signatures(head))
    found = _FROM_FIELD.search(kept)
    place = found.start() if found else 0
    field = b"Sender: <" + username.encode() + b">\r\n"
    return NewHead(len(head), kept[:place] + field + kept[place:])


async def _read_head(body: AsyncIterator[bytes]) -> bytes:
    """The header fields, each with its line end; without the blank line behind them."""
    octets = b""
    try:
        async for chunk in body:
            octets += chunk
            if octets.startswith(b"\r\n"):
                return b""
            end = octets.find(_END_OF_HEAD)
            if end >= 0:
                return octets[: end + 2]
            if len(octets) > MAX_HEAD_BYTES:
                break
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()
    return octets[: octets.rfind(b"\r\n") + 2] if b"\r\n" in octets else b""


async def _open_body(read_body: ReadBody, body: StoredBody, new_head: NewHead | None) -> AsyncIterator[bytes]:
    to_skip = new_head.replaces_bytes if new_head else 0
    to_prepend = new_head.head if new_head else b""
    stored = read_body(body)
    try:
        async for chunk in stored:
            if to_skip >= len(chunk) > 0:
                to_skip -= len(chunk)
                continue
            yield to_prepend + chunk[to_skip:]
            to_skip, to_prepend = 0, b""
        if to_prepend:
            yield to_prepend
    finally:
        if isinstance(stored, AsyncGenerator):
            await stored.aclose()
