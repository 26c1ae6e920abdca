"""When what waits will be out, as far as pace and limits tell; retries and what comes in meanwhile are not foreseen."""

import math

import msgspec

from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.database import Connection
from postroom.store.external import MINUTES_A_DAY
from postroom.store.pace import pace_of
from postroom.store.records import Forecast, Mailbox
from postroom.store.rows import mail_server_of, mailbox_of


class Backlog(msgspec.Struct):
    """What is due through a mailbox."""

    messages: int = 0
    recipients: int = 0


class Used(msgspec.Struct, frozen=True):
    """What a mailbox has used of its limits."""

    messages_last_minute: int
    recipients_last_day: int


def out_at_us(mailbox: Mailbox, backlog: Backlog, used: Used, now_us: int) -> int | None:
    """When the last message of the backlog leaves; None when a person has to do something first."""
    begins_at_us = _begins_at_us(mailbox, now_us)
    if begins_at_us is None:
        return None
    limit = pace_of(mailbox, begins_at_us).message_limit
    is_now = begins_at_us == now_us
    free_now = max(0, limit - used.messages_last_minute) if is_now else limit
    minutes = max(0, backlog.messages - free_now) / limit
    left_today = max(0, mailbox.recipient_limit_a_day - used.recipients_last_day)
    days = math.ceil(max(0, backlog.recipients - left_today) / mailbox.recipient_limit_a_day)
    return begins_at_us + max(math.ceil(minutes * 60) * MICROSECONDS, days * DAY_US)


def _begins_at_us(mailbox: Mailbox, now_us: int) -> int | None:
    if mailbox.state is MailboxState.DISCONNECTED or mailbox.cause is StopCause.PAUSED:
        return None
    if mailbox.state is MailboxState.STOPPED:
        return None if mailbox.until_us is None else max(mailbox.until_us, now_us)
    return now_us


def read_forecast(connection: Connection) -> Forecast:
    """The latest of all mailboxes; what is stopped until a person comes is left out."""
    now_us = connection.now_us
    backlogs = _read_backlogs(connection)
    messages, latest_us = 0, None
    for row in connection.rows("mailboxes"):
        backlog = backlogs.get(row["mailbox_id"])
        if backlog is None:
            continue
        at_us = out_at_us(mailbox_of(row), backlog, _read_used(connection, row["mailbox_id"]), now_us)
        if at_us is not None:
            messages += backlog.messages
            latest_us = at_us if latest_us is None else max(latest_us, at_us)
    return Forecast(messages, latest_us)


def _read_backlogs(connection: Connection) -> dict[int, Backlog]:
    """By mailbox, of the ways that are not stopped alone."""
    servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    backlogs: dict[int, Backlog] = {}
    for row in connection.rows("due_by_way"):
        server = servers[row["mail_server_id"]]
        if server.cause is None:
            backlog = backlogs.setdefault(server.mailbox_id, Backlog())
            backlog.messages += row["messages"]
            backlog.recipients += row["recipients"]
    return backlogs


def _read_used(connection: Connection, mailbox_id: int) -> Used:
    now_us = connection.now_us
    slots = connection.only_row("pace_slots_used", mailbox_id=mailbox_id, since_us=now_us - MINUTE_US)
    first_minute = now_us // MINUTE_US - MINUTES_A_DAY
    day = connection.only_row("recipients_since", mailbox_id=mailbox_id, minute=first_minute)
    return Used(slots["used"], day["recipients"])
