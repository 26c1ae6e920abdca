"""The forecast: pace, what was used already, the day's recipients, and stops with a known end."""

import pytest

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
    out_us = out_at_us(a_mailbox(), Backlog(messages, messages), Used(used, 0), NOW_US)
    assert out_us == pytest.approx(NOW_US + minutes * MINUTE_US, abs=1_000_000)


def test_recipients_of_a_day_are_the_narrower_limit() -> None:
    assert out_at_us(a_mailbox(), Backlog(20, 9_000), Used(0, 2_000), NOW_US) == NOW_US + DAY_US


def test_a_stop_with_an_end_begins_then() -> None:
    mailbox = a_mailbox(MailboxState.STOPPED, StopCause.DAILY_LIMIT, NOW_US + HOUR_US)
    assert out_at_us(mailbox, Backlog(50, 50), Used(25, 0), NOW_US) == NOW_US + HOUR_US + MINUTE_US


@pytest.mark.parametrize(
    "mailbox",
    [
        a_mailbox(MailboxState.DISCONNECTED),
        a_mailbox(MailboxState.STOPPED, StopCause.SIGN_IN),
        a_mailbox(MailboxState.STOPPED, StopCause.PAUSED, NOW_US + HOUR_US),
    ],
)
def test_what_needs_a_person_has_no_time(mailbox: Mailbox) -> None:
    assert out_at_us(mailbox, Backlog(1, 1), Used(0, 0), NOW_US) is None
