"""Leasing what is due: mailbox by mailbox, within its state, its connections and its pace, in one transaction."""

from collections.abc import Sequence
from typing import Any

from postroom.clock import DAY_US, MINUTE_US
from postroom.message import AfterUnknown, MailboxState
from postroom.store.database import Connection, Row, to_json
from postroom.store.faults import FaultPoints
from postroom.store.records import Lease, Mailbox, MailServer, OpenRecipient, StoredBody
from postroom.store.rows import dsn_of, mail_server_of, mailbox_of, ready_us
from postroom.store.settling import end_expired_leases, restage, summarise
from postroom.store.suspects import suspect_that_may_go

LEASE_US = 15 * MINUTE_US  # outlasts the longest reply timeout, 10 minutes (RFC 5321 4.5.3.2.6)
WAKE_LIMIT = 500
MINUTES_A_DAY = DAY_US // MINUTE_US


def lease_due(connection: Connection, owner: str, limit: int, faults: FaultPoints) -> list[Lease]:
    """Claim at most `limit` deliveries and write their attempts. Mailboxes never wait for one another."""
    faults.reach("before_claim")
    end_expired_leases(connection)
    _queue_scheduled(connection)
    mail_servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    leases: list[Lease] = []
    for row in connection.rows("mailboxes_that_may_send", now_us=connection.now_us):
        if len(leases) >= limit:
            break
        leases += _lease_of_mailbox(connection, owner, row, mail_servers, limit - len(leases))
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
    connection: Connection, owner: str, row: Row, mail_servers: dict[int, MailServer], limit: int
) -> list[Lease]:
    mailbox = mailbox_of(row)
    is_probe = mailbox.state is MailboxState.STOPPED
    connections = 1 if is_probe else mailbox.connection_limit
    room = min(limit, connections - row["in_flight"])
    if room <= 0:
        return []
    connection.change("wake_waiting", mailbox_id=mailbox.mailbox_id, now_us=connection.now_us, limit=WAKE_LIMIT)
    if not connection.row("any_due_delivery", mailbox_id=mailbox.mailbox_id):
        return []
    slots = _free_slots(connection, mailbox, room)
    claims = _choose(connection, mailbox, len(slots))
    if not claims:
        return []
    _write_claims(connection, owner, mailbox, row["revision"], is_probe, slots, claims)
    now_ready_us = ready_us(row, connection.now_us)
    return [_lease(connection, owner, mailbox, mail_servers, claim, now_ready_us) for claim in claims]


class _Claim:
    """A delivery chosen in this transaction, with the recipients whose time has come."""

    def __init__(self, row: Row, recipients: list[Row], attempt_id: int) -> None:
        self.row = row
        self.recipients = recipients
        self.attempt_id = attempt_id


def _choose(connection: Connection, mailbox: Mailbox, room: int) -> list[_Claim]:
    """The next deliveries in order. One that does not fit into the day is not overtaken: it would never go."""
    suspect_id = suspect_that_may_go(connection, mailbox.mailbox_id)
    rows = (
        connection.rows("due_deliveries", mailbox_id=mailbox.mailbox_id, suspect_id=suspect_id, limit=room)
        if room
        else []
    )
    recipients = _due_recipients(connection, rows)
    emptied = [row["delivery_id"] for row in rows if not recipients[row["delivery_id"]]]
    if emptied:
        restage(connection, emptied)
    used_today = _recipients_of_day(connection, mailbox.mailbox_id) if rows else 0
    claims: list[_Claim] = []
    for row in rows:
        due = recipients[row["delivery_id"]]
        if not due:
            continue
        # More recipients at once than a day allows can only go when nothing else went.
        if used_today and used_today + len(due) > mailbox.recipient_limit_a_day:
            break
        used_today += len(due)
        claims.append(_Claim(row, due, connection.ids.make_id()))
    return claims


def _due_recipients(connection: Connection, rows: Sequence[Row]) -> dict[int, list[Row]]:
    recipients: dict[int, list[Row]] = {row["delivery_id"]: [] for row in rows}
    given = to_json([{"message_id": row["message_id"], "delivery_id": row["delivery_id"]} for row in rows])
    for recipient in connection.rows("due_recipients", deliveries=given, now_us=connection.now_us):
        recipients[recipient["delivery_id"]].append(recipient)
    return recipients


def _free_slots(connection: Connection, mailbox: Mailbox, limit: int) -> list[int]:
    """Slots not used within the last 60 seconds, at most `limit`."""
    mailbox_id, now_us = mailbox.mailbox_id, connection.now_us
    found = connection.only_row("pace_slot_count", mailbox_id=mailbox_id)
    missing = mailbox.message_limit_a_minute - found["slots"]
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
    is_probe: bool,
    slots: Sequence[int],
    claims: Sequence[_Claim],
) -> None:
    now_us = connection.now_us
    connection.insert_rows("start_attempts", [_attempt_row(claim, owner, now_us) for claim in claims])
    leased = [
        {
            "delivery_id": claim.row["delivery_id"],
            "attempt_id": claim.attempt_id,
            "is_probe": int(is_probe),
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
    mail_servers: dict[int, MailServer],
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


def next_due_at_us(connection: Connection) -> int | None:
    """When the earliest of all mailboxes has something to do; None when only a change can bring something."""
    times = [_mailbox_due_at_us(connection, row) for row in connection.rows("mailboxes_with_mail")]
    times.append(connection.only_row("next_scheduled")["at_us"])
    return min((time for time in times if time is not None), default=None)


def _mailbox_due_at_us(connection: Connection, row: Row) -> int | None:
    sends_at_us = _sends_at_us(connection, row)
    times = [time for time in (sends_at_us, row["expires_at_us"]) if time is not None]
    return min(times, default=None)


def _sends_at_us(connection: Connection, row: Row) -> int | None:
    """When the next delivery may be claimed; a full set of connections ends by a settlement, which wakes us."""
    has_mail = row["has_due"] or row["waits_until_us"] is not None
    opens_at_us = _opens_at_us(row, connection.now_us)
    if not has_mail or opens_at_us is None:
        return None
    time = max(opens_at_us, connection.now_us if row["has_due"] else row["waits_until_us"])
    if row["slots"] >= row["message_limit_a_minute"]:
        # Slots that go because the limit was lowered are the oldest: look at what stays, at worst a moment early.
        time = max(time, min(row["oldest_use_us"], connection.now_us) + MINUTE_US)
    return max(time, _day_opens_at_us(connection, row))


def _opens_at_us(row: Row, now_us: int) -> int | None:
    if row["state"] == MailboxState.DISCONNECTED or row["cause"] == "paused":
        return None
    is_stopped = row["state"] == MailboxState.STOPPED
    if row["in_flight"] >= (1 if is_stopped else row["connection_limit"]):
        return None
    if is_stopped:
        until_us: int | None = row["until_us"]
        return until_us
    return now_us


def _day_opens_at_us(connection: Connection, row: Row) -> int:
    """When enough of the last 24 hours has passed for the delivery that is first in order."""
    mailbox_id, limit = row["mailbox_id"], row["recipient_limit_a_day"]
    first_minute = connection.now_us // MINUTE_US - MINUTES_A_DAY
    minutes = connection.rows("recipient_minutes_since", mailbox_id=mailbox_id, minute=first_minute)
    head = connection.row("any_due_delivery", mailbox_id=mailbox_id)
    wanted = head["open_recipients"] if head is not None else 1
    used = sum(minute["recipients"] for minute in minutes)
    surplus = min(used, used + wanted - limit)
    opens_at_us = 0
    for minute in minutes:
        if surplus <= 0:
            break
        surplus -= minute["recipients"]
        opens_at_us = (minute["minute"] + MINUTES_A_DAY + 1) * MINUTE_US
    return opens_at_us
