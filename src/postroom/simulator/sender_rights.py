"""Whom a message may come from: what Exchange Online checks once it has the whole message.

The header decides, not the envelope (microsoft365.md 6.1). Whether a real tenant accepts Send on
Behalf over SMTP is not known; `Tenant.strict_send_on_behalf` is the other reading (12).
"""

import re
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from email.utils import getaddresses

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_sign_in import Admission
from postroom.simulator.organisation_settings import Right
from postroom.simulator.tenant import Tenant, User

MAX_HEAD_BYTES = 262_144
_FROM_FIELD = re.compile(rb"^from[ \t]*:.*(?:\r\n[ \t].*)*", re.IGNORECASE | re.MULTILINE)


def read_head(content: bytes) -> Message | None:
    """The header fields of a message, the body untouched; None if they pass `MAX_HEAD_BYTES`."""
    end = _end_of_head(content)
    if end < 0 and len(content) > MAX_HEAD_BYTES:
        return None
    head = content[:end] if end >= 0 else content
    return HeaderParser().parsestr(head.decode("utf-8", "replace"), headersonly=True)


def check_originators(tenant: Tenant, admission: Admission, head: Message) -> str | None:
    """The refusal for a message that is submitted through `admission`, or None if it may go.

    Exactly one From with addresses (RFC 5322 3.6.2). Each is one that may be sent as, and so is Sender
    where there is one; or each may be sent on behalf of, and exactly one Sender names the mailbox.
    """
    authors = _addresses(head, "From")
    if len(head.get_all("From", [])) != 1 or not authors or not all("@" in author for author in authors):
        return replies.ORIGINATOR_NEEDED
    foreign = [author for author in authors if not _may_send_as(tenant, admission, author)]
    senders = _addresses(head, "Sender")
    denied = foreign or [sender for sender in senders if not _may_send_as(tenant, admission, sender)]
    if not denied or _may_stand_behind(tenant, admission, foreign, senders):
        return None
    return replies.send_as_denied(admission.mailbox.mail, denied[0])


def replace_alias(tenant: Tenant, mailbox: User, content: bytes) -> bytes:
    """The message with the primary address in From where one of the mailbox's aliases stood.

    Exchange does so unless `SendFromAliasEnabled` is set [C] (6.2). The rest stays byte for byte.
    """
    end = _end_of_head(content)
    if tenant.exchange.in_effect().send_from_alias_enabled or end < 0:
        return content
    aliases = [re.escape(alias.encode()) for alias in mailbox.addresses - {mailbox.mail.lower()}]
    field = _FROM_FIELD.search(content, 0, end)
    if not aliases or field is None:
        return content
    alias = re.compile(rb"(?<![\w.+-])(?:" + b"|".join(aliases) + rb")(?![\w.-])", re.IGNORECASE)
    primary = mailbox.mail.encode()
    return content[: field.start()] + alias.sub(lambda _: primary, field[0]) + content[field.end() :]


def _may_send_as(tenant: Tenant, admission: Admission, address: str) -> bool:
    """One's own address, or Send As for it.

    A member of a shared mailbox needs Send As for it too, unless Full Access is read to be enough (6.4) [C].
    """
    wanted = tenant.user_by_address(address)
    if wanted is None:
        return False
    is_own = wanted is admission.mailbox
    if is_own and (not admission.is_by_member or tenant.exchange.readings.full_access_is_enough):
        return True
    return wanted.object_id == admission.holder_id or _holds(tenant, "send_as", admission, wanted)


def _may_stand_behind(tenant: Tenant, admission: Admission, authors: list[str], senders: list[str]) -> bool:
    if tenant.strict_send_on_behalf or not authors:
        return False
    signs_itself = len(senders) == 1 and senders[0].lower() in admission.mailbox.addresses
    return signs_itself and all(_may_send_on_behalf(tenant, admission, author) for author in authors)


def _may_send_on_behalf(tenant: Tenant, admission: Admission, address: str) -> bool:
    mailbox = tenant.user_by_address(address)
    return mailbox is not None and _holds(tenant, "send_on_behalf", admission, mailbox)


def _holds(tenant: Tenant, right: Right, admission: Admission, mailbox: User) -> bool:
    """A right may be given to the mailbox that was opened, or to whoever opened it."""
    return tenant.holds_right(right, [admission.mailbox.object_id, admission.holder_id], mailbox)


def _end_of_head(content: bytes) -> int:
    return 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)


def _addresses(head: Message, name: str) -> list[str]:
    values: Iterable[str] = (str(value) for value in head.get_all(name, []))
    return [address for _, address in getaddresses(list(values)) if address]
