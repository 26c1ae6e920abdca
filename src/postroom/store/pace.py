"""How fast a mailbox may send now: what people set, lowered by what the mail server let us find out. Pure.

Microsoft documents 30 messages a minute and 3 connections for a mailbox (microsoft365.md 3.1), and throttles earlier
when it is busy. What it says lowers our limits at once; they recover slowly and by time alone, so that nothing has to
be written while they do.
"""

from collections.abc import Iterator

import msgspec

from postroom.clock import MINUTE_US
from postroom.outcome import FailureClass, Outcome, TryLater
from postroom.store.records import Mailbox, MailboxLimits

GRAPH_REQUESTS = 4
"""At a time (microsoft365.md 3.3)."""
GRAPH_MESSAGE_LIMIT_BYTES = 3_000_000
"""A request of about 4 MB holds so much in base64 (microsoft365.md 3.3)."""
GRAPH_LARGE_LIMIT_BYTES = 150_000_000
"""Of a message that goes as a draft with uploads: no mailbox takes more (microsoft365.md 3.1, 3.3)."""

MICROSOFT_CAPS = MailboxLimits(messages_a_minute=30, connections=3, recipients_a_day=10_000, recipients_a_message=1_000)
"""Of an Exchange Online mailbox (microsoft365.md 3.1): beyond them mail is refused, or late for another reason."""

MESSAGE_RECOVERY_US = 5 * MINUTE_US
"""For one message a minute more."""
CONNECTION_RECOVERY_US = 30 * MINUTE_US
"""For one connection more."""
ONCE_US = MINUTE_US
"""What several attempts hear within it is one and the same complaint."""


class Pace(msgspec.Struct, frozen=True):
    """What a mailbox may do at a moment."""

    message_limit: int
    """In any 60 seconds."""
    connection_limit: int
    is_lowered: bool
    """Below what people set."""


class Learnt(msgspec.Struct, frozen=True):
    """The limits from which it recovers."""

    message_limit: int
    connection_limit: int


_LIMIT_NAMES = {
    "messages_a_minute": "messages a minute",
    "connections": "connections at a time",
    "recipients_a_day": "recipients in 24 hours",
    "recipients_a_message": "recipients a message",
}


def why_not_these_limits(limits: MailboxLimits, *, is_microsoft: bool) -> str | None:
    """A sentence, when they cannot be."""
    for field, name in _LIMIT_NAMES.items():
        value, cap = getattr(limits, field), getattr(MICROSOFT_CAPS, field)
        if value < 1:
            return f"At least 1 is needed for {name}."
        if is_microsoft and value > cap:
            return f"Microsoft 365 takes {cap:,} {name} of a mailbox at most: choose that or less."
    return None


def limits_of(mailbox: Mailbox) -> MailboxLimits:
    return MailboxLimits(
        mailbox.message_limit_a_minute,
        mailbox.connection_limit,
        mailbox.recipient_limit_a_day,
        mailbox.recipient_limit_a_message,
    )


def pace_of(mailbox: Mailbox, now_us: int) -> Pace:
    messages = _recovered(
        mailbox.message_limit_a_minute, mailbox.learnt_message_limit, _passed_us(mailbox, now_us), MESSAGE_RECOVERY_US
    )
    connections = _recovered(
        mailbox.connection_limit, mailbox.learnt_connection_limit, _passed_us(mailbox, now_us), CONNECTION_RECOVERY_US
    )
    is_lowered = messages < mailbox.message_limit_a_minute or connections < mailbox.connection_limit
    return Pace(messages, connections, is_lowered)


def next_recovery_us(mailbox: Mailbox, now_us: int) -> int | None:
    """When a limit grows next; None when none is lowered."""
    return min((time for time in _recoveries_us(mailbox, now_us, is_next=True)), default=None)


def recovered_at_us(mailbox: Mailbox, now_us: int) -> int | None:
    """When all limits are again what people set; None when they are."""
    return max((time for time in _recoveries_us(mailbox, now_us, is_next=False)), default=None)


def _recoveries_us(mailbox: Mailbox, now_us: int, *, is_next: bool) -> Iterator[int]:
    """For each limit that is lowered: when its next step comes, or its last."""
    passed_us = _passed_us(mailbox, now_us)
    for wanted, learnt, step_us in (
        (mailbox.message_limit_a_minute, mailbox.learnt_message_limit, MESSAGE_RECOVERY_US),
        (mailbox.connection_limit, mailbox.learnt_connection_limit, CONNECTION_RECOVERY_US),
    ):
        if learnt is not None and (missing := wanted - learnt - passed_us // step_us) > 0:
            yield now_us - passed_us + (passed_us // step_us + (1 if is_next else missing)) * step_us


def learn(mailbox: Mailbox, outcomes: list[Outcome], now_us: int) -> Learnt | None:
    """The limits after these outcomes of one attempt; None when they teach nothing."""
    complaints = {
        outcome.failure.code for outcome in outcomes if isinstance(outcome, TryLater) and _is_complaint(outcome)
    }
    was_heard_already = mailbox.learnt_at_us is not None and 0 <= now_us - mailbox.learnt_at_us < ONCE_US
    if not complaints or was_heard_already:
        return None
    pace = pace_of(mailbox, now_us)
    if "too_many_connections" in complaints:
        return Learnt(pace.message_limit, max(1, pace.connection_limit - 1))
    return Learnt(max(1, pace.message_limit * 2 // 3), pace.connection_limit)


def _is_complaint(outcome: TryLater) -> bool:
    """Too many recipients are the message's affair: the rest of them goes next."""
    failure = outcome.failure
    return failure.failure_class is FailureClass.THROTTLE and failure.code != "too_many_recipients"


def _passed_us(mailbox: Mailbox, now_us: int) -> int:
    return max(0, now_us - mailbox.learnt_at_us) if mailbox.learnt_at_us is not None else 0


def _recovered(wanted: int, learnt: int | None, passed_us: int, step_us: int) -> int:
    return wanted if learnt is None else min(wanted, learnt + passed_us // step_us)
