"""A message and its recipients: the states they pass through, and what was known when it was received."""

from enum import IntEnum, StrEnum

import msgspec


class RecipientState(StrEnum):
    """The truth about one recipient. A message's state is that of its least finished recipient."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    DEFERRED = "deferred"
    HELD = "held"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self] or self is RecipientState.FAILED


_S = RecipientState

TRANSITIONS: dict[RecipientState, frozenset[RecipientState]] = {
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.HELD, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.SENDING, _S.HELD, _S.CANCELLED}),
    _S.SENDING: frozenset({_S.SENT, _S.DEFERRED, _S.QUEUED, _S.FAILED, _S.HELD}),
    _S.DEFERRED: frozenset({_S.SENDING, _S.QUEUED, _S.HELD, _S.CANCELLED}),
    _S.HELD: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.SENT: frozenset(),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.CANCELLED: frozenset(),
}
"""The complete table: no other change of state exists. `failed` moves again only by a person's *retry*."""

CRASH_COLUMN: dict[RecipientState, str] = {
    _S.SCHEDULED: "found again at start",
    _S.QUEUED: "found again at start",
    _S.SENDING: "this node's leases end at start, another's by time; the open attempt becomes unknown, and after "
    "a third crash its message is held",
    _S.DEFERRED: "found again at start",
    _S.HELD: "stays",
    _S.SENT: "stays until pruned",
    _S.FAILED: "stays until pruned",
    _S.CANCELLED: "stays until pruned",
}
"""What is left of each state when the machine stops in it."""


class MailboxState(StrEnum):
    READY = "ready"
    SLOWED = "slowed"
    STOPPED = "stopped"
    DISCONNECTED = "disconnected"


class Lane(IntEnum):
    """Lower goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class AfterUnknown(StrEnum):
    """What an app wants when nobody knows whether its message was sent."""

    SEND_AGAIN = "send again"
    HOLD = "hold"


class Reception(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a message came to us, as the timeline tells it."""

    way: str
    """`smtp`, or the way of our own mail: `test mail`."""
    peer_address: str | None = None
    helo: str | None = None
    tls_version: str | None = None
    mechanism: str | None = None
    login: str | None = None
    local_user: str | None = None
    """Whose process it was, where the system vouches for it: behind a Unix socket."""


class RecipientDsn(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender wants to be told about one recipient (RFC 3461 4.1, 4.2)."""

    notify: tuple[str, ...] = ()
    """`NEVER` alone, or some of `SUCCESS`, `FAILURE`, `DELAY`; empty when nothing was said."""
    original_recipient: str = ""
    """ORCPT as it was given: address type, `;`, xtext."""


class DsnRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What MAIL and RCPT said about delivery status notifications (RFC 3461); carried to the mail server."""

    return_content: str = ""
    """RET: `FULL`, `HDRS` or empty."""
    envelope_id: str = ""
    """ENVID as it was given, in xtext."""
    recipients: dict[str, RecipientDsn] = {}
    """By address, those of whom something was said."""
