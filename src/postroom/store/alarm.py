"""When the worker should look again: the earliest moment at which something can be claimed without any change."""

from collections.abc import Mapping, Sequence

from postroom.clock import MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.database import Connection, Row, to_json
from postroom.store.external import MINUTES_A_DAY, TenantDay
from postroom.store.open_ways import make_rooms
from postroom.store.pace import next_recovery_us, pace_of
from postroom.store.records import Mailbox, MailServer
from postroom.store.rows import mail_server_of, mailbox_of
from postroom.store.slots import slot_is_free_at_us
from postroom.store.suspects import trial_is_over_at_us


def next_due_at_us(connection: Connection) -> int | None:
    """When the earliest of all mailboxes has something to do; None when only a change can bring something."""
    mail_servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    ways = {row["mail_server_id"]: row for row in connection.rows("ways_with_mail")}
    times = [connection.only_row("next_scheduled")["at_us"]]
    alone_until_us = trial_is_over_at_us(connection)
    for row in connection.rows("mailboxes_with_mail"):
        sends_at_us = _sends_at_us(connection, row, mail_servers, ways)
        times += [row["expires_at_us"], None if sends_at_us is None else max(sends_at_us, alone_until_us)]
    return min((time for time in times if time is not None), default=None)


def _sends_at_us(
    connection: Connection, row: Row, mail_servers: Mapping[int, MailServer], ways: Mapping[int, Row]
) -> int | None:
    """When the next delivery may be claimed; a full set of connections ends by a settlement, which wakes us."""
    mailbox = mailbox_of(row)
    own = [server for server in mail_servers.values() if server.mailbox_id == mailbox.mailbox_id]
    has_due = {server.mail_server_id for server in own if ways[server.mail_server_id]["has_due"]}
    waits_until_us: int | None = row["waits_until_us"]
    if not _may_ever_send(mailbox) or (not has_due and waits_until_us is None):
        return None
    opens_at_us = _open_times(connection, mailbox, own, mail_servers, ways)
    room_us = min(opens_at_us.values(), default=next_recovery_us(mailbox, connection.now_us))
    times = []
    if has_due:
        due_at_us = [opens_at_us[server_id] for server_id in has_due & opens_at_us.keys()]
        times.append(_paced_at_us(connection, mailbox, min(due_at_us, default=None), mail_servers))
    if waits_until_us is not None and room_us is not None:
        # Whatever the pace: it becomes due then, and is looked at with the others.
        times.append(max(waits_until_us, room_us))
    until_us = (mailbox.until_us or 0) if mailbox.state is MailboxState.STOPPED else 0
    return min((max(time, until_us) for time in times if time is not None), default=None)


def _may_ever_send(mailbox: Mailbox) -> bool:
    """Without a change."""
    if mailbox.state is MailboxState.STOPPED:
        return mailbox.until_us is not None and mailbox.cause is not StopCause.PAUSED
    return mailbox.state is not MailboxState.DISCONNECTED


def _open_times(
    connection: Connection,
    mailbox: Mailbox,
    own: Sequence[MailServer],
    mail_servers: Mapping[int, MailServer],
    ways: Mapping[int, Row],
) -> dict[int, int]:
    """When each of its ways that has room may be used, as far as time alone decides."""
    in_flight = {
        server.mail_server_id: number for server in own if (number := ways[server.mail_server_id]["in_flight"])
    }
    rooms = make_rooms(mailbox, pace_of(mailbox, connection.now_us), mail_servers, in_flight, 1)
    times = {}
    for server in own:
        if not rooms.left(server):
            continue
        if server.cause is None:
            times[server.mail_server_id] = connection.now_us
        elif server.until_us is not None and not in_flight.get(server.mail_server_id):
            times[server.mail_server_id] = max(server.until_us, connection.now_us)
    return times


def _paced_at_us(
    connection: Connection, mailbox: Mailbox, opens_at_us: int | None, mail_servers: Mapping[int, MailServer]
) -> int | None:
    """When the next delivery in order may go by a way that opens then: as the pace is, or as it recovers."""
    limit = pace_of(mailbox, connection.now_us).message_limit
    slot_us = slot_is_free_at_us(connection, mailbox.mailbox_id, limit)
    times = [
        max(opens_at_us, slot_us) if opens_at_us is not None and slot_us is not None else None,
        next_recovery_us(mailbox, connection.now_us),
    ]
    time = min((time for time in times if time is not None), default=None)
    return max(time, _day_opens_at_us(connection, mailbox, mail_servers)) if time is not None else None


def _day_opens_at_us(connection: Connection, mailbox: Mailbox, mail_servers: Mapping[int, MailServer]) -> int:
    """When enough of the last 24 hours has passed for the delivery that is first in order."""
    wanted = min(_recipients_of_first(connection, mailbox, mail_servers), mailbox.recipient_limit_a_message)
    first_minute = connection.now_us // MINUTE_US - MINUTES_A_DAY
    minutes = connection.rows("recipient_minutes_since", mailbox_id=mailbox.mailbox_id, minute=first_minute)
    used = sum(minute["recipients"] for minute in minutes)
    surplus = min(used, used + wanted - mailbox.recipient_limit_a_day) if wanted else 0
    opens_at_us = 0
    for minute in minutes:
        if surplus <= 0:
            break
        surplus -= minute["recipients"]
        opens_at_us = (minute["minute"] + MINUTES_A_DAY + 1) * MINUTE_US
    return opens_at_us


def _recipients_of_first(connection: Connection, mailbox: Mailbox, mail_servers: Mapping[int, MailServer]) -> int:
    """How many recipients the next delivery has that may go now; none when it only waits to be put off."""
    heads = [
        head
        for server_id, server in mail_servers.items()
        if server.mailbox_id == mailbox.mailbox_id
        and (head := connection.row("any_due_delivery", mail_server_id=server_id)) is not None
    ]
    if not heads:
        return 0
    head = min(heads, key=lambda row: (row["lane"], row["turn"], row["delivery_id"]))
    given = to_json([{"message_id": head["message_id"], "delivery_id": head["delivery_id"]}])
    due = connection.rows("due_recipients", deliveries=given, now_us=connection.now_us)
    return len(TenantDay(connection, mailbox).admit(head, due))
