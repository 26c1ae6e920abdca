"""Whom a message may come from: what Exchange Online checks once it has the whole message.

The header decides, not the envelope (microsoft365.md 6.1). Whether a real tenant accepts Send on
Behalf over SMTP is not known; `Tenant.strict_send_on_behalf` is the other reading (12).
"""

from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from email.utils import getaddresses

from postroom.simulator import exchange_replies as replies
from postroom.simulator.tenant import Tenant, User

MAX_HEAD_BYTES = 262_144


def read_head(content: bytes) -> Message | None:
    """The header fields of a message, the body untouched; None if they pass `MAX_HEAD_BYTES`."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0 and len(content) > MAX_HEAD_BYTES:
        return None
    head = content[:end] if end >= 0 else content
    return HeaderParser().parsestr(head.decode("utf-8", "replace"), headersonly=True)


def check_originators(tenant: Tenant, mailbox: User, head: Message) -> str | None:
    """The refusal for a message that `mailbox` submits, or None if it may go.

    Exactly one From with addresses (RFC 5322 3.6.2). Each is the mailbox's own or has Send As for
    it, and so is Sender where there is one; or each has Send on Behalf for the mailbox, and exactly
    one Sender names the mailbox.
    """
    authors = _addresses(head, "From")
    if len(head.get_all("From", [])) != 1 or not authors or not all("@" in author for author in authors):
        return replies.ORIGINATOR_NEEDED
    foreign = [author for author in authors if not tenant.may_send_as(mailbox, author)]
    senders = _addresses(head, "Sender")
    denied = foreign or [sender for sender in senders if not tenant.may_send_as(mailbox, sender)]
    if not denied or _may_stand_behind(tenant, mailbox, foreign, senders):
        return None
    return replies.send_as_denied(mailbox.mail, denied[0])


def _may_stand_behind(tenant: Tenant, mailbox: User, authors: list[str], senders: list[str]) -> bool:
    if tenant.strict_send_on_behalf or not authors:
        return False
    signs_itself = len(senders) == 1 and senders[0].lower() in mailbox.addresses
    return signs_itself and all(tenant.may_send_on_behalf(mailbox, author) for author in authors)


def _addresses(head: Message, name: str) -> list[str]:
    values: Iterable[str] = (str(value) for value in head.get_all(name, []))
    return [address for _, address in getaddresses(list(values)) if address]
