"""What leaves: the stored message as it is, or, by the right Send on Behalf, with one `Sender:` of the user name.

The head is edited by bytes and the rest streams by. Nothing else of a message is ever changed on its way out.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

import msgspec

from postroom.deliver.transport import Parcel
from postroom.store.records import Lease, SendRight, StoredBody

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


async def make_parcel(
    lease: Lease, read_body: ReadBody, *, may_finish: Callable[[], bool], is_moving: Callable[[], None]
) -> Parcel:
    """The lease's message for its open recipients. Raises what reading the body raises."""
    new_head = None
    if lease.mail_server.send_right is SendRight.SEND_ON_BEHALF:
        new_head = name_sender(await _read_head(read_body(lease.body)), lease.mailbox.username)
    head_is_ascii = new_head is None or new_head.head.isascii()
    growth = len(new_head.head) - new_head.replaces_bytes if new_head else 0
    return Parcel(
        # A mail server may refuse a client that submits with the null path; microsoft365.md 12.
        envelope_sender=lease.envelope_sender or lease.mail_server.sender,
        recipients=tuple(recipient.address for recipient in lease.recipients),
        size_bytes=lease.body.size_bytes + growth,
        open_body=partial(_open_body, read_body, lease.body, new_head),
        is_eight_bit=lease.is_eight_bit or not head_is_ascii,
        needs_smtputf8=lease.needs_smtputf8 or not head_is_ascii,
        dsn=lease.dsn,
        may_finish=may_finish,
        is_moving=is_moving,
    )


def name_sender(head: bytes, username: str) -> NewHead:
    """The head (up to its blank line) with exactly one `Sender:`, put before `From:`; no other field changes."""
    kept = _SENDER_FIELD.sub(b"", head)
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
