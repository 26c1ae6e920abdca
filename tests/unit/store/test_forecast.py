"""The forecast: pace, what was used already, the day's recipients, and stops with a known end."""

import pytest
from msgspec.structs import replace

from postroom.clock import DAY_US, HOUR_US, MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.forecast import Backlog, Used, out_at_us
from postroom.store.records import Authentication, Mailbox

NOW_US = 1_790_000_000_000_000


def a_mailbox(
    state: MailboxState = MailboxState.READY, cause: StopCause | None = None, until_us: int | None = None
) -> Mailbox:
    return Mailbox(1, "a@x.example", "a@x.example", Authentication.OAUTH, state, cause, until_us)


@pytest.mark.parametrize(
    ("messages", "used", "minutes"),
    [(25, 0, 0), (26, 0, 0.04), (25, 25, 1), (412, 12, 15.96), (1_000, 25, 40)],
)
def test_so_many_messages_a_minute(messages: int, used: int, minutes: float) -> None:
    out_us = out_at_us(a_mailbox(), Backlog(messages, messages), Used(used), NOW_US)
    assert out_us == pytest.approx(NOW_US + minutes * MINUTE_US, abs=1_000_000)


def test_recipients_of_a_day_are_the_narrower_limit() -> None:
    """What was used an hour ago comes back in 23 hours, and with it room for the last of them."""
    minute = (NOW_US - HOUR_US) // MINUTE_US
    used = Used(0, [(minute - 60, 500), (minute, 1_500)])
    assert out_at_us(a_mailbox(), Backlog(20, 8_000), used, NOW_US) == NOW_US
    assert out_at_us(a_mailbox(), Backlog(20, 8_400), used, NOW_US) == (minute - 60 + 1_440 + 1) * MINUTE_US
    assert out_at_us(a_mailbox(), Backlog(20, 9_000), used, NOW_US) == (minute + 1_440 + 1) * MINUTE_US
    assert out_at_us(a_mailbox(), Backlog(20, 29_000), used, NOW_US) == (minute + 1_440 + 1) * MINUTE_US + 2 * DAY_US
    assert out_at_us(a_mailbox(), Backlog(20, 15_000), Used(0), NOW_US) == NOW_US + DAY_US


def test_limits_that_recover_are_foreseen() -> None:
    """10 a minute for five minutes, then 11, and so on."""
    mailbox = replace(a_mailbox(MailboxState.SLOWED), learnt_message_limit=10, learnt_at_us=NOW_US)
    assert out_at_us(mailbox, Backlog(60, 60), Used(0), NOW_US) == NOW_US + 5 * MINUTE_US
    assert out_at_us(mailbox, Backlog(115, 115), Used(0), NOW_US) == NOW_US + 10 * MINUTE_US
    late_us = out_at_us(mailbox, Backlog(10_000, 10_000), Used(0), NOW_US)
    assert late_us is not None
    assert 400 * MINUTE_US < late_us - NOW_US < 430 * MINUTE_US, "all but the beginning by the usual 25"


def test_a_stop_with_an_end_begins_then() -> None:
    mailbox = a_mailbox(MailboxState.STOPPED, StopCause.DAILY_LIMIT, NOW_US + HOUR_US)
    assert out_at_us(mailbox, Backlog(50, 50), Used(25), NOW_US) == NOW_US + HOUR_US + MINUTE_US


@pytest.mark.parametrize(
    "mailbox",
    [
        a_mailbox(MailboxState.DISCONNECTED),
        a_mailbox(MailboxState.STOPPED, StopCause.SIGN_IN),
        a_mailbox(MailboxState.STOPPED, StopCause.PAUSED, NOW_US + HOUR_US),
    ],
)
def test_what_needs_a_person_has_no_time(mailbox: Mailbox) -> None:
    assert out_at_us(mailbox, Backlog(1, 1), Used(0), NOW_US) is None
