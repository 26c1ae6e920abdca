"""When the worker should look again: the earliest moment at which something can be claimed without any change."""

from collections.abc import Mapping

from postroom.clock import MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.database import Connection, Row
from postroom.store.external import MINUTES_A_DAY
from postroom.store.open_ways import make_rooms
from postroom.store.pace import pace_of
from postroom.store.records import Mailbox, MailServer
from postroom.store.rows import mail_server_of, mailbox_of


def next_due_at_us(connection: Connection) -> int | None:
    """When the earliest of all mailboxes has something to do; None when only a change can bring something."""
    mail_servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    ways = {row["mail_server_id"]: row for row in connection.rows("ways_with_mail")}
    times = [connection.only_row("next_scheduled")["at_us"]]
    for row in connection.rows("mailboxes_with_mail"):
        times += [row["expires_at_us"], _sends_at_us(connection, row, mail_servers, ways)]
    return min((time for time in times if time is not None), default=None)


def _sends_at_us(
    connection: Connection, row: Row, mail_servers: Mapping[int, MailServer], ways: Mapping[int, Row]
) -> int | None:
    """When the next delivery may be claimed; a full set of connections ends by a settlement, which wakes us."""
    mailbox = mailbox_of(row)
    opens_at_us = _opens_at_us(connection, mailbox, mail_servers, ways)
    waits_until_us: int | None = row["waits_until_us"]
    wakes_at_us = max(waits_until_us, connection.now_us) if waits_until_us is not None else None
    times = [time for time in (opens_at_us, wakes_at_us) if time is not None]
    if not times or not _may_ever_send(mailbox):
        return None
    time = max(min(times), (mailbox.until_us or 0) if mailbox.state is MailboxState.STOPPED else 0)
    if row["slots"] >= pace_of(mailbox, connection.now_us).message_limit:
        # Slots that go because the limit was lowered are the oldest: look at what stays, at worst a moment early.
        time = max(time, min(row["oldest_use_us"], connection.now_us) + MINUTE_US)
    return max(time, _day_opens_at_us(connection, mailbox, mail_servers))


def _may_ever_send(mailbox: Mailbox) -> bool:
    """Without a change."""
    if mailbox.state is MailboxState.STOPPED:
        return mailbox.until_us is not None and mailbox.cause is not StopCause.PAUSED
    return mailbox.state is not MailboxState.DISCONNECTED


def _opens_at_us(
    connection: Connection, mailbox: Mailbox, mail_servers: Mapping[int, MailServer], ways: Mapping[int, Row]
) -> int | None:
    """When the first of its ways that have something due may be used, as far as time alone decides."""
    own = {server_id: server for server_id, server in mail_servers.items() if server.mailbox_id == mailbox.mailbox_id}
    in_flight = {server_id: ways[server_id]["in_flight"] for server_id in own if ways[server_id]["in_flight"]}
    rooms = make_rooms(mailbox, pace_of(mailbox, connection.now_us), mail_servers, in_flight, 1)
    times = []
    for server_id, server in own.items():
        if not ways[server_id]["has_due"] or not rooms.left(server):
            continue
        if server.cause is None:
            times.append(connection.now_us)
        elif server.until_us is not None and not in_flight.get(server_id):
            times.append(max(server.until_us, connection.now_us))
    return min(times, default=None)


def _day_opens_at_us(connection: Connection, mailbox: Mailbox, mail_servers: Mapping[int, MailServer]) -> int:
    """When enough of the last 24 hours has passed for the delivery that is first in order."""
    first_minute = connection.now_us // MINUTE_US - MINUTES_A_DAY
    minutes = connection.rows("recipient_minutes_since", mailbox_id=mailbox.mailbox_id, minute=first_minute)
    wanted = min(_open_recipients_of_first(connection, mailbox, mail_servers), mailbox.recipient_limit_a_message)
    used = sum(minute["recipients"] for minute in minutes)
    surplus = min(used, used + wanted - mailbox.recipient_limit_a_day)
    opens_at_us = 0
    for minute in minutes:
        if surplus <= 0:
            break
        surplus -= minute["recipients"]
        opens_at_us = (minute["minute"] + MINUTES_A_DAY + 1) * MINUTE_US
    return opens_at_us


def _open_recipients_of_first(connection: Connection, mailbox: Mailbox, mail_servers: Mapping[int, MailServer]) -> int:
    heads = [
        connection.row("any_due_delivery", mail_server_id=server_id)
        for server_id, server in mail_servers.items()
        if server.mailbox_id == mailbox.mailbox_id
    ]
    found = [(head["lane"], head["turn"], head["open_recipients"]) for head in heads if head is not None]
    return int(min(found)[2]) if found else 1
