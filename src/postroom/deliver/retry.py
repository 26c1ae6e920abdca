"""Again, later, or never: what becomes of an outcome by the clock. Pure; the time and the chance are handed in.

A message grows older only while its mailbox could send (`age_us`), so that neither a mail server that was away for
days nor a sign-in that nobody renewed ever makes it too old.
"""

import random

import msgspec

from postroom.clock import DAY_US, HOUR_US, MICROSECONDS, MINUTE_US
from postroom.outcome import (
    Failure,
    FailureClass,
    Outcome,
    Refused,
    Sent,
    StopCause,
    Stopped,
    TryLater,
    Unknown,
)

LIFETIME_US = 5 * DAY_US
"""Unless another is set. RFC 5321 4.5.4.1 asks for four or five days."""
SCHEDULE_MINUTES = (1, 2, 5, 10, 20, 30)
"""Between the first tries; from then on an hour."""
LATER_MINUTES = 60
JITTER = 0.2
"""So much is added at most, so that what failed together does not come back together."""

AWAY_FIRST_SECONDS = 30
AWAY_LAST_SECONDS = 15 * 60

_BUSY_US = 5 * MINUTE_US
"""Microsoft asks for five minutes at least when it throttles."""
_AT_LEAST_US = {"server_busy": _BUSY_US, "daily_limit": HOUR_US, "tenant_external_limit": HOUR_US}

_PROBE_US = {
    StopCause.DAILY_LIMIT: HOUR_US,
    StopCause.SMTP_AUTH_OFF: 15 * MINUTE_US,
    StopCause.MAILBOX_FULL: 30 * MINUTE_US,
}
"""After so long one message tries whether the cause is gone; a change at Microsoft takes up to an hour to act."""
_PROBED_CODES = frozenset(
    {
        *("token_not_accepted", "token_expires_soon", "app_not_allowed", "mailbox_logon_failed", "tls_not_trusted"),
        "graph_not_allowed",
    }
)
"""Causes that often heal by themselves. A wrong password is not tried again: that would lock the account."""


class Circumstances(msgspec.Struct, frozen=True):
    """What else counts beside the outcome itself."""

    now_us: int
    attempt_number: int = 1
    age_us: int = 0
    lifetime_us: int = LIFETIME_US
    strikes: int = 1
    """How often in succession the mailbox could not be used, this time included."""
    made_progress: bool = False
    """Other recipients of the same message were accepted in this attempt."""


def conclude(outcome: Outcome, circumstances: Circumstances, chance: random.Random) -> Outcome:
    """The outcome with its time; a message that is too old is refused."""
    match outcome:
        case Sent() | Refused():
            return outcome
        case Stopped():
            return msgspec.structs.replace(outcome, until_us=_stopped_until(outcome, circumstances, chance))
        case TryLater() | Unknown():
            if circumstances.age_us >= circumstances.lifetime_us:
                return Refused(_too_old(outcome.failure, circumstances.lifetime_us))
            return msgspec.structs.replace(outcome, until_us=_again_at(outcome, circumstances, chance))


def retry_delay_us(attempt_number: int, chance: random.Random) -> int:
    """The pause after the attempt with this number, which counts from 1."""
    place = max(attempt_number, 1) - 1
    minutes = SCHEDULE_MINUTES[place] if place < len(SCHEDULE_MINUTES) else LATER_MINUTES
    return _with_jitter(minutes * MINUTE_US, chance)


def away_delay_us(strikes: int, chance: random.Random) -> int:
    """The pause after a mailbox could not be used `strikes` times in succession."""
    doublings = min(max(strikes, 1) - 1, 10)
    seconds = min(AWAY_FIRST_SECONDS * 2**doublings, AWAY_LAST_SECONDS)
    return _with_jitter(seconds * MICROSECONDS, chance)


def _again_at(outcome: TryLater | Unknown, circumstances: Circumstances, chance: random.Random) -> int:
    now_us = circumstances.now_us
    if outcome.failure.code == "too_many_recipients" and circumstances.made_progress:
        return now_us + _with_jitter(10 * MICROSECONDS, chance)  # the rest of the list, on its own
    delay_us = retry_delay_us(circumstances.attempt_number, chance)
    at_least_us = _AT_LEAST_US.get(outcome.failure.code, 0)
    return max(outcome.until_us or 0, now_us + max(delay_us, at_least_us))


def _stopped_until(outcome: Stopped, circumstances: Circumstances, chance: random.Random) -> int | None:
    """None where only a person can help."""
    now_us = circumstances.now_us
    if outcome.until_us is not None or outcome.cause is StopCause.MAIL_SERVER_AWAY:
        return max(outcome.until_us or 0, now_us + away_delay_us(circumstances.strikes, chance))
    if outcome.failure.code in _PROBED_CODES:
        return now_us + _with_jitter(15 * MINUTE_US, chance)
    probe_us = _PROBE_US.get(outcome.cause)
    return None if probe_us is None else now_us + _with_jitter(probe_us, chance)


def _too_old(last: Failure, lifetime_us: int) -> Failure:
    text = f"Not handed over within {_span(lifetime_us)} in which it could be sent. The last answer was: {last.text}"
    return msgspec.structs.replace(
        last, failure_class=FailureClass.POLICY, code="too_old", text=text, remedy_id="message_too_old"
    )


def _span(microseconds: int) -> str:
    days, rest = divmod(microseconds, DAY_US)
    if days and not rest:
        return f"{days} day{'s' if days > 1 else ''}"
    hours = max(1, round(microseconds / HOUR_US))
    return f"{hours} hour{'s' if hours > 1 else ''}"


def _with_jitter(microseconds: int, chance: random.Random) -> int:
    return int(microseconds * (1 + JITTER * chance.random()))


class Strikes:
    """How often in succession each mailbox could not be used."""

    def __init__(self) -> None:
        self._by_mailbox: dict[int, tuple[int, int]] = {}

    def count(self, mailbox_id: int, outcomes: tuple[Outcome, ...], now_us: int) -> int:
        """Take an attempt's outcomes in; the number for `Circumstances.strikes`."""
        if not any(isinstance(outcome, Stopped) for outcome in outcomes):
            self._by_mailbox.pop(mailbox_id, None)
            return 0
        strikes, counted_at_us = self._by_mailbox.get(mailbox_id, (0, 0))
        # Attempts that ran side by side found the same trouble once.
        if not strikes or now_us - counted_at_us >= AWAY_FIRST_SECONDS * MICROSECONDS:
            strikes, counted_at_us = strikes + 1, now_us
        self._by_mailbox[mailbox_id] = (strikes, counted_at_us)
        return strikes
