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
from postroom.store.slots import find_free_slots, use_slots
from postroom.store.suspects import Trial, by_mailbox, find_trial
from postroom.store.turns import note_claimed, queue_again

LEASE_US = 15 * MINUTE_US  # outlasts the longest reply timeout, 10 minutes (RFC 5321 4.5.3.2.6)
WAKE_LIMIT = 500
PASSED_OVER_PAGE = 50


def lease_due(connection: Connection, owner: str, limit: int, faults: FaultPoints) -> list[Lease]:
    """Claim at most `limit` deliveries and write their attempts. Mailboxes never wait for one another."""
    faults.reach("before_claim")
    end_expired_leases(connection)
    queue_scheduled(connection)
    mail_servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    reroute(connection, mail_servers)
    trial = find_trial(connection)
    if trial.is_alone:
        return []
    claimer = _Claimer(connection, owner, mail_servers)
    mailboxes = connection.rows("mailboxes_that_may_send", now_us=connection.now_us)
    if trial.suspects and (tried := _try_a_suspect(claimer, mailboxes, trial)) is not None:
        return tried
    leases: list[Lease] = []
    for row in mailboxes:
        if len(leases) >= limit:
            break
        leases += claimer.lease(row, limit - len(leases))
    return leases


def _try_a_suspect(claimer: "_Claimer", mailboxes: Sequence[Row], trial: Trial) -> list[Lease] | None:
    """The first that can be sent now goes, or waits with everybody until it is alone; None when none can."""
    for suspect, row in by_mailbox(trial.suspects, mailboxes):
        if trial.must_wait:
            if claimer.could_lease(row, suspect["delivery_id"]):
                return []
        elif leases := claimer.lease(row, 1, suspect["delivery_id"]):
            return leases
    return None


def queue_scheduled(connection: Connection) -> bool:
    """What was to be sent at a later time waits from now on; its lifetime begins. False when there was none."""
    due = connection.rows("scheduled_that_are_due", now_us=connection.now_us, limit=WAKE_LIMIT)
    if not due:
        return False
    messages = [row["message_id"] for row in due]
    connection.change("queue_scheduled", messages=to_json(messages), now_us=connection.now_us)
    for row in due:
        connection.change("begin_lifetime_anew", delivery_id=row["delivery_id"], now_us=connection.now_us)
    restage(connection, [row["delivery_id"] for row in due])
    queue_again(connection, [row["delivery_id"] for row in due])
    summarise(connection, messages)
    return True


class _Claimer:
    """Claims of one transaction, mailbox by mailbox."""

    def __init__(self, connection: Connection, owner: str, mail_servers: Mapping[int, MailServer]) -> None:
        self._connection = connection
        self._owner = owner
        self._mail_servers = mail_servers
        self._in_flight = count_in_flight(connection)

    def lease(self, row: Row, limit: int, suspect_id: int | None = None) -> list[Lease]:
        """What may go of a mailbox, and its attempts; of a suspect that alone."""
        connection, mailbox = self._connection, mailbox_of(row)
        in_flight = self._in_flight.get(mailbox.mailbox_id, {})
        claims, slots = self._choose(mailbox, in_flight, limit, suspect_id)
        if not claims:
            return []
        _write_claims(connection, self._owner, mailbox, row["revision"], slots, claims)
        now_ready_us = ready_us(row, connection.now_us)
        return [_lease(connection, self._owner, mailbox, self._mail_servers, claim, now_ready_us) for claim in claims]

    def could_lease(self, row: Row, suspect_id: int) -> bool:
        """As soon as what is in flight has ended."""
        claims, _ = self._choose(mailbox_of(row), {}, 1, suspect_id)
        return bool(claims)

    def _choose(
        self, mailbox: Mailbox, in_flight: Mapping[int, int], limit: int, suspect_id: int | None
    ) -> "tuple[list[_Claim], list[int]]":
        """What goes, and the slots of the mailbox's pace that it may use."""
        connection, mailbox_id, now_us = self._connection, mailbox.mailbox_id, self._connection.now_us
        pace = pace_of(mailbox, now_us)
        if mailbox.state is MailboxState.SLOWED and not pace.is_lowered:
            connection.change("end_slowness", mailbox_id=mailbox_id, now_us=now_us)
        ways = find_open_ways(mailbox, self._mail_servers.values(), in_flight, now_us)
        rooms = make_rooms(mailbox, pace, self._mail_servers, in_flight, limit)
        if not any(rooms.left(way.mail_server) for way in ways):
            return [], []
        _wake_waiting(connection, mailbox_id)
        if not any(connection.row("any_due_delivery", mail_server_id=way.mail_server.mail_server_id) for way in ways):
            return [], []
        slots = find_free_slots(connection, mailbox_id, pace.message_limit, min(rooms.total, limit))
        rooms.total = min(rooms.total, len(slots))
        return _choose(connection, mailbox, ways, rooms, suspect_id), slots


def _wake_waiting(connection: Connection, mailbox_id: int) -> None:
    """What waited for its time is due now."""
    rows = connection.rows("waiting_that_are_due", mailbox_id=mailbox_id, now_us=connection.now_us, limit=WAKE_LIMIT)
    if rows:
        delivery_ids = [row["delivery_id"] for row in rows]
        connection.change("wake_waiting", deliveries=to_json(delivery_ids))
        # Each suspect is tried alone: it has no turn among others.
        queue_again(connection, [row["delivery_id"] for row in rows if not row["crashes"]])


class _Claim:
    """A delivery chosen in this transaction, with the recipients whose time has come."""

    def __init__(self, row: Row, recipients: list[Row], attempt_id: int, is_probe: bool) -> None:
        self.row = row
        self.recipients = recipients
        self.attempt_id = attempt_id
        self.is_probe = is_probe


def _choose(
    connection: Connection, mailbox: Mailbox, ways: Sequence[OpenWay], rooms: Rooms, suspect_id: int | None
) -> list[_Claim]:
    """The next deliveries in order; those that wait for the day of external recipients are passed over, many a time."""
    day = TenantDay(connection, mailbox)
    claims: list[_Claim] = []
    passed_over, page = 0, 0
    while passed_over < WAKE_LIMIT:
        rows = _next_in_order(connection, ways, rooms, page, suspect_id)
        recipients = _due_recipients(connection, rows)
        claims = _choose_of(
            connection, mailbox, ways, rooms, day, [(row, recipients[row["delivery_id"]]) for row in rows]
        )
        put_off = day.close()
        restage(connection, [row["delivery_id"] for row in rows if not recipients[row["delivery_id"]]] + put_off)
        if claims or not put_off:
            break
        passed_over, page = passed_over + len(put_off), PASSED_OVER_PAGE
    return claims


def _choose_of(
    connection: Connection,
    mailbox: Mailbox,
    ways: Sequence[OpenWay],
    rooms: Rooms,
    day: TenantDay,
    candidates: Sequence[tuple[Row, list[Row]]],
) -> list[_Claim]:
    """One that does not fit into the mailbox's day is not overtaken: it would never go."""
    way_of = {way.mail_server.mail_server_id: way for way in ways}
    used_today = _recipients_of_day(connection, mailbox.mailbox_id) if candidates else 0
    claims: list[_Claim] = []
    probing: list[OpenWay] = []
    for row, waiting in candidates:
        way = way_of[row["mail_server_id"]]
        if not rooms.left(way.mail_server) or way in probing:
            continue
        due = _share_of_a_message(mailbox, way.mail_server, day.admit(row, waiting))
        if not due:
            continue
        # More recipients at once than a day allows can only go when nothing else went.
        if used_today and used_today + len(due) > mailbox.recipient_limit_a_day:
            break
        used_today += len(due)
        day.count(due)
        rooms.take(way.mail_server)
        if way.is_probe:
            probing.append(way)
        claims.append(_Claim(row, due, connection.ids.make_id(), way.is_probe))
    return claims


def _next_in_order(
    connection: Connection, ways: Sequence[OpenWay], rooms: Rooms, page: int, suspect_id: int | None
) -> list[Row]:
    """By lane, then by turn, over all ways of the mailbox: as many as may go, at least a page. Or the one suspect."""
    rows = [
        row
        for way in ways
        if (room := rooms.left(way.mail_server))
        for row in connection.rows(
            "due_deliveries",
            mail_server_id=way.mail_server.mail_server_id,
            suspect_id=suspect_id,
            limit=max(1 if way.is_probe else room, page),
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
            "slot": slot,
        }
        for claim, slot in zip(claims, slots, strict=False)
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
    use_slots(connection, mailbox.mailbox_id, slots[: len(claims)])
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
