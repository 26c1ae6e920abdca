"""When what waits will be out, as far as pace and limits tell; retries and what comes in meanwhile are not foreseen."""

from collections.abc import Sequence

import msgspec

from postroom.clock import DAY_US, MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.database import Connection, Row
from postroom.store.external import MINUTES_A_DAY
from postroom.store.pace import next_recovery_us, pace_of
from postroom.store.records import Forecast, Mailbox, MailServer
from postroom.store.rows import mail_server_of, mailbox_of
from postroom.store.slots import count_used_slots

HELD = "release"
"""What held mail waits for."""
CHOICE = "choice"
"""What was set aside after a long stop waits for."""


class Backlog(msgspec.Struct):
    """What is due through a mailbox."""

    messages: int = 0
    recipients: int = 0


class Used(msgspec.Struct, frozen=True):
    """What a mailbox has used of its limits."""

    messages_last_minute: int
    recipients_by_minute: Sequence[tuple[int, int]] = ()
    """Of the last 24 hours, oldest first: the minute since 1970, and how many."""

    @property
    def recipients_last_day(self) -> int:
        return sum(recipients for _, recipients in self.recipients_by_minute)


def out_at_us(mailbox: Mailbox, backlog: Backlog, used: Used, now_us: int) -> int | None:
    """When the last message of the backlog leaves; None when a person has to do something first."""
    begins_at_us = _begins_at_us(mailbox, now_us)
    if begins_at_us is None:
        return None
    paced_us = _paced_at_us(mailbox, backlog.messages, used.messages_last_minute, begins_at_us, now_us)
    return max(paced_us, _day_at_us(mailbox, backlog.recipients, used, begins_at_us))


def _begins_at_us(mailbox: Mailbox, now_us: int) -> int | None:
    if mailbox.state is MailboxState.DISCONNECTED or mailbox.cause is StopCause.PAUSED:
        return None
    if mailbox.state is MailboxState.STOPPED:
        return None if mailbox.until_us is None else max(mailbox.until_us, now_us)
    return now_us


def _paced_at_us(mailbox: Mailbox, messages: int, used: int, begins_at_us: int, now_us: int) -> int:
    """By the messages a minute, which may recover step by step meanwhile."""
    at_us = begins_at_us
    limit = pace_of(mailbox, at_us).message_limit
    # What was used in this minute comes back, at the latest, when it is over.
    left = messages - (max(0, limit - used) if begins_at_us == now_us else limit)
    while left > 0:
        limit = pace_of(mailbox, at_us).message_limit
        step_us = next_recovery_us(mailbox, at_us)
        needed_us = -(-left * MINUTE_US // limit)
        if step_us is None or at_us + needed_us <= step_us:
            return at_us + needed_us
        left -= max(1, (step_us - at_us) * limit // MINUTE_US)
        at_us = step_us
    return at_us


def _day_at_us(mailbox: Mailbox, recipients: int, used: Used, begins_at_us: int) -> int:
    """By the recipients of 24 hours: what was used comes back a day after it was."""
    limit = mailbox.recipient_limit_a_day
    missing = recipients - max(0, limit - used.recipients_last_day)
    if missing <= 0:
        return begins_at_us
    whole_days, missing = divmod(missing - 1, limit)
    for minute, amount in used.recipients_by_minute:
        missing -= amount
        if missing < 0:
            return max(begins_at_us, (minute + MINUTES_A_DAY + 1) * MINUTE_US) + whole_days * DAY_US
    return begins_at_us + (whole_days + 1) * DAY_US


def read_forecast(connection: Connection) -> Forecast:
    """The latest of all mailboxes; and what leaves only after somebody did something, by what it waits for."""
    now_us = connection.now_us
    mailboxes = {row["mailbox_id"]: mailbox_of(row) for row in connection.rows("mailboxes")}
    servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    backlogs: dict[int, Backlog] = {}
    without_time: dict[str, int] = {}
    for row in connection.rows("due_by_way"):
        server = servers[row["mail_server_id"]]
        reason = _why_nobody_can_say(row, server, mailboxes[server.mailbox_id])
        if reason is None:
            backlog = backlogs.setdefault(server.mailbox_id, Backlog())
            backlog.messages += row["messages"]
            backlog.recipients += row["recipients"]
        else:
            without_time[reason] = without_time.get(reason, 0) + row["messages"]
    times = [
        time
        for mailbox_id, backlog in backlogs.items()
        if (time := out_at_us(mailboxes[mailbox_id], backlog, _read_used(connection, mailbox_id), now_us)) is not None
    ]
    messages = sum(backlog.messages for backlog in backlogs.values())
    return Forecast(messages, max(times, default=None), without_time)


def _why_nobody_can_say(row: Row, server: MailServer, mailbox: Mailbox) -> str | None:
    """A person has to come first, or it is not known when a way that is stopped alone goes on."""
    if row["stage"] == "held":
        return HELD
    if row["stage"] == CHOICE:
        return CHOICE
    if mailbox.state is MailboxState.DISCONNECTED:
        return StopCause.NOT_SET_UP.value
    if mailbox.cause is not None and (mailbox.cause is StopCause.PAUSED or mailbox.until_us is None):
        return mailbox.cause.value
    return server.cause.value if server.cause is not None else None


def read_out_at_us(connection: Connection, delivery: Row) -> int | None:
    """When one delivery that is due leaves: after those before it, by all ways of its mailbox."""
    mailbox = mailbox_of(connection.only_row("mailbox", mailbox_id=delivery["mailbox_id"]))
    before = connection.only_row(
        "due_before",
        mailbox_id=delivery["mailbox_id"],
        lane=delivery["lane"],
        turn=delivery["turn"],
        delivery_id=delivery["delivery_id"],
    )["messages"]
    backlog = Backlog(before + 1, before + 1)
    return out_at_us(mailbox, backlog, _read_used(connection, mailbox.mailbox_id), connection.now_us)


def _read_used(connection: Connection, mailbox_id: int) -> Used:
    first_minute = connection.now_us // MINUTE_US - MINUTES_A_DAY
    rows = connection.rows("recipient_minutes_since", mailbox_id=mailbox_id, minute=first_minute)
    return Used(count_used_slots(connection, mailbox_id), [(row["minute"], row["recipients"]) for row in rows])
