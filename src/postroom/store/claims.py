"""Leasing what is due: mailbox by mailbox, within its state, its connections and its pace, in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any

from postroom.clock import MINUTE_US
from postroom.message import AfterUnknown, MailboxState
from postroom.store.database import Connection, Row, to_json
from postroom.store.external import MINUTES_A_DAY, TenantDay
from postroom.store.faults import FaultPoints
from postroom.store.open_ways import OpenWay, Rooms, count_in_flight, find_open_ways, make_rooms
from postroom.store.pace import pace_of
from postroom.store.records import EmailType, Lease, Mailbox, MailServer, OpenRecipient, StoredBody
from postroom.store.rerouting import reroute
from postroom.store.rows import dsn_of, mail_server_of, mailbox_of, ready_us
from postroom.store.settling import end_expired_leases, restage, summarise
from postroom.store.suspects import suspect_that_may_go
from postroom.store.turns import note_claimed

LEASE_US = 15 * MINUTE_US  # outlasts the longest reply timeout, 10 minutes (RFC 5321 4.5.3.2.6)
WAKE_LIMIT = 500


def lease_due(connection: Connection, owner: str, limit: int, faults: FaultPoints) -> list[Lease]:
    """Claim at most `limit` deliveries and write their attempts. Mailboxes never wait for one another."""
    faults.reach("before_claim")
    end_expired_leases(connection)
    _queue_scheduled(connection)
    mail_servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    reroute(connection, mail_servers)
    in_flight = count_in_flight(connection)
    leases: list[Lease] = []
    for row in connection.rows("mailboxes_that_may_send", now_us=connection.now_us):
        if len(leases) >= limit:
            break
        of_mailbox = in_flight.get(row["mailbox_id"], {})
        leases += _lease_of_mailbox(connection, owner, row, mail_servers, of_mailbox, limit - len(leases))
    return leases


def _queue_scheduled(connection: Connection) -> None:
    """What was to be sent at a later time waits from now on; its lifetime begins."""
    due = connection.rows("scheduled_that_are_due", now_us=connection.now_us, limit=WAKE_LIMIT)
    if not due:
        return
    messages = [row["message_id"] for row in due]
    connection.change("queue_scheduled", messages=to_json(messages), now_us=connection.now_us)
    for row in due:
        connection.change("begin_lifetime_anew", delivery_id=row["delivery_id"], now_us=connection.now_us)
    restage(connection, [row["delivery_id"] for row in due])
    summarise(connection, messages)


def _lease_of_mailbox(
    connection: Connection,
    owner: str,
    row: Row,
    mail_servers: Mapping[int, MailServer],
    in_flight: Mapping[int, int],
    limit: int,
) -> list[Lease]:
    mailbox = mailbox_of(row)
    mailbox_id, now_us = mailbox.mailbox_id, connection.now_us
    pace = pace_of(mailbox, now_us)
    ways = find_open_ways(mailbox, mail_servers.values(), in_flight, now_us)
    rooms = make_rooms(mailbox, pace, mail_servers, in_flight, limit)
    room = max((rooms.left(way.mail_server) for way in ways), default=0)
    if not room:
        return []
    connection.change("wake_waiting", mailbox_id=mailbox_id, now_us=now_us, limit=WAKE_LIMIT)
    if not any(connection.row("any_due_delivery", mail_server_id=way.mail_server.mail_server_id) for way in ways):
        return []
    slots = _free_slots(connection, mailbox_id, pace.message_limit, min(rooms.total, limit))
    claims = _choose(connection, mailbox, ways, rooms, len(slots))
    if not claims:
        return []
    _write_claims(connection, owner, mailbox, row["revision"], slots, claims)
    if mailbox.state is MailboxState.SLOWED and not pace.is_lowered:
        connection.change("end_slowness", mailbox_id=mailbox_id, now_us=now_us)
    now_ready_us = ready_us(row, now_us)
    return [_lease(connection, owner, mailbox, mail_servers, claim, now_ready_us) for claim in claims]


class _Claim:
    """A delivery chosen in this transaction, with the recipients whose time has come."""

    def __init__(self, row: Row, recipients: list[Row], attempt_id: int, is_probe: bool) -> None:
        self.row = row
        self.recipients = recipients
        self.attempt_id = attempt_id
        self.is_probe = is_probe


def _choose(
    connection: Connection, mailbox: Mailbox, ways: Sequence[OpenWay], rooms: Rooms, free_slots: int
) -> list[_Claim]:
    """The next deliveries in order. One that does not fit into the day is not overtaken: it would never go."""
    way_of = {way.mail_server.mail_server_id: way for way in ways}
    rows = _next_in_order(connection, ways, rooms, free_slots)
    recipients = _due_recipients(connection, rows)
    emptied = [row["delivery_id"] for row in rows if not recipients[row["delivery_id"]]]
    day = TenantDay(connection, mailbox)
    used_today = _recipients_of_day(connection, mailbox.mailbox_id) if rows else 0
    claims: list[_Claim] = []
    for row in rows:
        way = way_of[row["mail_server_id"]]
        if not rooms.left(way.mail_server) or len(claims) == free_slots:
            continue
        due = day.admit(row, recipients[row["delivery_id"]])
        if not due:
            continue
        due = _share_of_a_message(mailbox, way.mail_server, due)
        # More recipients at once than a day allows can only go when nothing else went.
        if used_today and used_today + len(due) > mailbox.recipient_limit_a_day:
            break
        used_today += len(due)
        day.count(due)
        rooms.take(way.mail_server)
        claims.append(_Claim(row, due, connection.ids.make_id(), way.is_probe))
    day.close()
    restage(connection, [*emptied, *day.put_off])
    return claims


def _next_in_order(connection: Connection, ways: Sequence[OpenWay], rooms: Rooms, free_slots: int) -> list[Row]:
    """By lane, then by turn, over all ways of the mailbox."""
    suspect_id = suspect_that_may_go(connection, [way.mail_server.mail_server_id for way in ways])
    rows = [
        row
        for way in ways
        if (room := min(free_slots, 1 if way.is_probe else rooms.left(way.mail_server)))
        for row in connection.rows(
            "due_deliveries", mail_server_id=way.mail_server.mail_server_id, suspect_id=suspect_id, limit=room
        )
    ]
    return sorted(rows, key=lambda row: (row["lane"], row["turn"], row["delivery_id"]))


def _share_of_a_message(mailbox: Mailbox, mail_server: MailServer, due: list[Row]) -> list[Row]:
    """As many recipients as one message may have; the others go next. Graph's recipients stand in the message."""
    return due if mail_server.email_type is EmailType.GRAPH else due[: mailbox.recipient_limit_a_message]


def _due_recipients(connection: Connection, rows: Sequence[Row]) -> dict[int, list[Row]]:
    recipients: dict[int, list[Row]] = {row["delivery_id"]: [] for row in rows}
    given = to_json([{"message_id": row["message_id"], "delivery_id": row["delivery_id"]} for row in rows])
    for recipient in connection.rows("due_recipients", deliveries=given, now_us=connection.now_us):
        recipients[recipient["delivery_id"]].append(recipient)
    return recipients


def _free_slots(connection: Connection, mailbox_id: int, messages_a_minute: int, limit: int) -> list[int]:
    """Slots not used within the last 60 seconds, at most `limit`."""
    now_us = connection.now_us
    found = connection.only_row("pace_slot_count", mailbox_id=mailbox_id)
    missing = messages_a_minute - found["slots"]
    if missing > 0:
        first = found["greatest"] + 1
        connection.insert_rows("add_pace_slots", [(mailbox_id, slot) for slot in range(first, first + missing)])
    elif missing < 0:
        connection.change("drop_pace_slots", mailbox_id=mailbox_id, surplus=-missing)
    if found["last_used_at_us"] > now_us:
        connection.change("pull_pace_slots_back", mailbox_id=mailbox_id, now_us=now_us)
    rows = connection.rows("free_pace_slots", mailbox_id=mailbox_id, minute_ago_us=now_us - MINUTE_US, limit=limit)
    return [row["slot"] for row in rows]


def _recipients_of_day(connection: Connection, mailbox_id: int) -> int:
    """Recipients of the last 24 hours; a minute that has begun within them counts whole."""
    first_minute = connection.now_us // MINUTE_US - MINUTES_A_DAY
    used: int = connection.only_row("recipients_since", mailbox_id=mailbox_id, minute=first_minute)["recipients"]
    return used


def _write_claims(
    connection: Connection,
    owner: str,
    mailbox: Mailbox,
    revision: int,
    slots: Sequence[int],
    claims: Sequence[_Claim],
) -> None:
    now_us = connection.now_us
    connection.insert_rows("start_attempts", [_attempt_row(claim, owner, now_us) for claim in claims])
    leased = [
        {
            "delivery_id": claim.row["delivery_id"],
            "attempt_id": claim.attempt_id,
            "is_probe": int(claim.is_probe),
            "mailbox_revision": revision,
        }
        for claim in claims
    ]
    _expect(
        len(claims),
        connection.change("lease_deliveries", claims=to_json(leased), owner=owner, expires_at_us=now_us + LEASE_US),
    )
    sending = [
        {"recipient_id": recipient["recipient_id"], "attempt_id": claim.attempt_id}
        for claim in claims
        for recipient in claim.recipients
    ]
    _expect(len(sending), connection.change("lease_recipients", recipients=to_json(sending), now_us=now_us))
    messages = [claim.row["message_id"] for claim in claims]
    connection.change("count_attempts", messages=to_json(messages))
    connection.change(
        "use_pace_slots", mailbox_id=mailbox.mailbox_id, slots=to_json(slots[: len(claims)]), now_us=now_us
    )
    connection.change(
        "count_recipients", mailbox_id=mailbox.mailbox_id, minute=now_us // MINUTE_US, recipients=len(sending)
    )
    note_claimed(connection, mailbox.mailbox_id, [(claim.row["lane"], claim.row["turn"]) for claim in claims])


def _expect(wanted: int, changed: int) -> None:
    if changed != wanted:
        raise RuntimeError(f"a claim changed {changed} rows instead of {wanted}; it was rolled back")


def _attempt_row(claim: _Claim, owner: str, now_us: int) -> tuple[Any, ...]:
    row = claim.row
    return claim.attempt_id, row["message_id"], row["mail_server_id"], row["attempts"] + 1, owner, now_us


def _lease(
    connection: Connection,
    owner: str,
    mailbox: Mailbox,
    mail_servers: Mapping[int, MailServer],
    claim: _Claim,
    now_ready_us: int,
) -> Lease:
    row = claim.row
    return Lease(
        delivery_id=row["delivery_id"],
        message_id=row["message_id"],
        attempt_id=claim.attempt_id,
        attempt_number=row["attempts"] + 1,
        owner=owner,
        expires_at_us=connection.now_us + LEASE_US,
        mail_server=mail_servers[row["mail_server_id"]],
        mailbox=mailbox,
        envelope_sender=row["envelope_sender"],
        recipients=tuple(OpenRecipient(each["recipient_id"], each["address"]) for each in claim.recipients),
        header_from=row["header_from"],
        body=StoredBody(row["size_bytes"] or 0, row["content"], row["file_name"]),
        is_eight_bit=bool(row["is_eight_bit"]),
        needs_smtputf8=bool(row["needs_smtputf8"]),
        after_unknown=AfterUnknown(row["after_unknown"]),
        dsn=dsn_of(row["dsn"]),
        message_expires_at_us=row["message_expires_at_us"],
        age_us=max(0, now_ready_us - row["ready_us_at_intake"]),
        lifetime_us=row["lifetime_us"],
        is_notice=bool(row["is_notice"]),
    )
