"""What an attempt came to: fenced by its lease, for many attempts with few statements."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from postroom.clock import MINUTE_US
from postroom.errors import LeaseLostError
from postroom.message import AfterUnknown, RecipientState
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.database import Connection, Row, to_json
from postroom.store.external import close_external, is_external_limit
from postroom.store.faults import FaultPoints
from postroom.store.notices_due import failed_recipients, plan_failure_notices
from postroom.store.pace import learn
from postroom.store.records import Lease, Settlement
from postroom.store.refused_senders import remember_senders
from postroom.store.rerouting import find_way_for_unfit, move_unfit
from postroom.store.rows import mailbox_of, to_json_or_none
from postroom.store.slots import rest_slots
from postroom.store.suspects import BROUGHT_US_DOWN, clear_suspects, count_crashes, is_held_for_crashes
from postroom.store.timeline import add_entries

UNKNOWN_PAUSE_US = MINUTE_US
UNFIT_FOR_GRAPH = frozenset({"graph_too_large", "graph_does_not_fit"})
"""Of failures that another way does not share."""
QUARTER_US = 15 * MINUTE_US

INTERRUPTED = Failure(
    FailureClass.UNKNOWN,
    code="interrupted",
    text="Postroom stopped while this was being sent. Whether the mail server took it is not known.",
    remedy_id="unknown_outcome",
)
LEASE_ENDED = Failure(
    FailureClass.UNKNOWN,
    code="lease_ended",
    text="The attempt did not end in its time. Whether the mail server took the message is not known.",
    remedy_id="unknown_outcome",
)


class SettleRequest(NamedTuple):
    lease: Lease
    settlement: Settlement


class _Held(NamedTuple):
    """An attempt that may be settled: its lease stands."""

    row: Row
    recipients: list[Row]
    outcomes: Mapping[int, Outcome]
    settlement: Settlement


class _Move(msgspec.Struct):
    """One recipient's next state, as the statement reads it."""

    recipient_id: int
    attempt_id: int
    state: RecipientState
    next_attempt_at_us: int | None = None
    failure: str | None = None
    reply: str | None = None


def settle_attempts(
    connection: Connection, requests: Sequence[SettleRequest], faults: FaultPoints
) -> list[Exception | None]:
    """Settle what may be settled; a lost lease or an incomplete settlement fails its own request only."""
    faults.reach("before_settle")
    leases = [
        {
            "delivery_id": request.lease.delivery_id,
            "message_id": request.lease.message_id,
            "owner": request.lease.owner,
            "attempt_id": request.lease.attempt_id,
        }
        for request in requests
    ]
    rows, recipients = _read_held(connection, leases)
    answers: list[Exception | None] = []
    held: list[_Held] = []
    for request in requests:
        row = rows.pop(request.lease.attempt_id, None)
        trouble = _find_trouble(request, row, recipients.get(request.lease.attempt_id, []))
        answers.append(trouble)
        if trouble is None and row is not None:
            settlement = request.settlement
            held.append(_Held(row, recipients[row["attempt_id"]], settlement.outcomes, settlement))
    clear_suspects(connection, [each.row for each in held])
    _settle(connection, held)
    return answers


def end_expired_leases(connection: Connection) -> None:
    """By time: nobody knows what came of these attempts."""
    _end_leases(connection, connection.rows("expired_leases", now_us=connection.now_us), Unknown(LEASE_ENDED))


def end_leases_of_earlier_boots(connection: Connection, node: str, owner: str, *, has_crashed: bool) -> int:
    """At start: whoever held these leases is not running any more. After a crash they are suspects."""
    rows = connection.rows("leases_of_earlier_boots", node=node, owner=owner)
    to_hold = count_crashes(connection, rows) if rows and has_crashed else set()
    _end_leases(connection, [row for row in rows if row["delivery_id"] not in to_hold], Unknown(INTERRUPTED))
    _end_leases(connection, [row for row in rows if row["delivery_id"] in to_hold], BROUGHT_US_DOWN)
    return len(rows)


def _end_leases(connection: Connection, leases: Sequence[Row], outcome: Unknown) -> None:
    if not leases:
        return
    rows, recipients = _read_held(connection, [dict(lease) for lease in leases])
    held = []
    for attempt_id, row in rows.items():
        open_recipients = recipients.get(attempt_id, [])
        outcomes = {recipient["recipient_id"]: outcome for recipient in open_recipients}
        held.append(_Held(row, open_recipients, outcomes, Settlement({})))
    _settle(connection, held)


def _read_held(
    connection: Connection, leases: Sequence[Mapping[str, Any]]
) -> tuple[dict[int, Row], dict[int, list[Row]]]:
    given = to_json(leases)
    rows = {row["attempt_id"]: row for row in connection.rows("held_leases", leases=given)}
    recipients: dict[int, list[Row]] = {attempt_id: [] for attempt_id in rows}
    for recipient in connection.rows("recipients_being_sent", leases=given):
        if recipient["attempt_id"] in recipients:
            recipients[recipient["attempt_id"]].append(recipient)
    return rows, recipients


def _find_trouble(request: SettleRequest, row: Row | None, recipients: Sequence[Row]) -> Exception | None:
    if row is None:
        return LeaseLostError(
            f"The lease of attempt {request.lease.attempt_number} ended before it was settled; what it came to was "
            "not recorded."
        )
    outcomes = request.settlement.outcomes
    if set(outcomes) != {recipient["recipient_id"] for recipient in recipients}:
        return ValueError("a settlement needs one outcome for each recipient of its lease, and no other")
    if any(isinstance(outcome, TryLater) and outcome.until_us is None for outcome in outcomes.values()):
        return ValueError("every TryLater of a settlement needs its time")
    return None


def _settle(connection: Connection, held: Sequence[_Held]) -> None:
    if not held:
        return
    held, other_ways = _spare_unfit(connection, held)
    moves = [
        _move(connection.now_us, each.row, recipient, each.outcomes[recipient["recipient_id"]])
        for each in held
        for recipient in each.recipients
    ]
    changed = connection.change("move_recipients", moves=to_json(moves), now_us=connection.now_us)
    if changed != len(moves):
        raise RuntimeError(f"settling moved {changed} recipients instead of {len(moves)}; it was rolled back")
    connection.change(
        "end_attempts", attempts=to_json([_ended_attempt(each) for each in held]), now_us=connection.now_us
    )
    restage(connection, [each.row["delivery_id"] for each in held])
    for delivery_id, (mail_server_id, target_id) in other_ways.items():
        move_unfit(connection, delivery_id, mail_server_id, target_id)
    rest_slots(connection, [each.row for each in held])
    summarise(connection, [each.row["message_id"] for each in held])
    for each in held:
        _change_mailbox(connection, each)
    _prove_senders(connection, held)
    remember_senders(connection, [(each.row, each.outcomes) for each in held])
    plan_failure_notices(connection, failed_recipients([(each.row, each.recipients, each.outcomes) for each in held]))
    _count_unknown(connection, held)
    _tell_held(connection, held)


def _spare_unfit(connection: Connection, held: Sequence[_Held]) -> tuple[list[_Held], Mapping[int, tuple[int, int]]]:
    """What only Graph cannot send is not failed where it may go another way; by delivery, from where to where."""
    spared: list[_Held] = []
    ways: dict[int, tuple[int, int]] = {}
    for each in held:
        delivery_id, mail_server_id = each.row["delivery_id"], each.row["mail_server_id"]
        is_unfit = bool(each.outcomes) and all(_is_unfit(outcome) for outcome in each.outcomes.values())
        target_id = find_way_for_unfit(connection, delivery_id, mail_server_id) if is_unfit else None
        if target_id is not None:
            ways[delivery_id] = mail_server_id, target_id
            outcomes = {key: _at_once(outcome, connection.now_us) for key, outcome in each.outcomes.items()}
            each = each._replace(outcomes=outcomes)
        spared.append(each)
    return spared, ways


def _is_unfit(outcome: Outcome) -> bool:
    return isinstance(outcome, Refused) and outcome.failure.code in UNFIT_FOR_GRAPH


def _at_once(outcome: Outcome, now_us: int) -> Outcome:
    return TryLater(outcome.failure, now_us) if isinstance(outcome, Refused) else outcome


def _move(now_us: int, row: Row, recipient: Row, outcome: Outcome) -> _Move:
    move = _Move(recipient["recipient_id"], row["attempt_id"], RecipientState.QUEUED)
    if isinstance(outcome, Sent):
        move.state, move.reply = RecipientState.SENT, outcome.reply
        return move
    move.failure = to_json(outcome.failure)
    if isinstance(outcome, TryLater):
        move.state, move.next_attempt_at_us = RecipientState.DEFERRED, outcome.until_us
    elif isinstance(outcome, Refused):
        move.state = RecipientState.FAILED
    elif is_external_limit(outcome) and row["tenant"] is not None:
        move.next_attempt_at_us = outcome.until_us
    elif isinstance(outcome, Unknown):
        if row["after_unknown"] == AfterUnknown.HOLD or is_held_for_crashes(outcome):
            move.state = RecipientState.HELD
        else:
            move.next_attempt_at_us = max(outcome.until_us or 0, now_us + UNKNOWN_PAUSE_US)
    return move


def _ended_attempt(held: _Held) -> dict[str, Any]:
    outcomes = [(recipient["address"], held.outcomes[recipient["recipient_id"]]) for recipient in held.recipients]
    return {
        "attempt_id": held.row["attempt_id"],
        "server": held.settlement.server,
        "outcomes": to_json(outcomes),
        "dialogue": to_json(held.settlement.dialogue),
    }


def restage(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """Put deliveries where their open recipients belong, and end those that have none. Not for leased ones."""
    rows = connection.rows("delivery_stages", deliveries=to_json(delivery_ids))
    ended = [row["delivery_id"] for row in rows if row["open_recipients"] == 0]
    staged = [_staged(connection.now_us, row) for row in rows if row["open_recipients"] > 0]
    if staged:
        connection.change("stage_deliveries", stages=to_json(staged))
    if ended:
        connection.change("end_deliveries", deliveries=to_json(ended))


def _staged(now_us: int, row: Row) -> dict[str, Any]:
    due_at_us = row["due_at_us"]
    stage = "held" if due_at_us is None else "due" if due_at_us <= now_us else "waiting"
    return {
        "delivery_id": row["delivery_id"],
        "stage": stage,
        "due_at_us": due_at_us if due_at_us else now_us,
        "open_recipients": row["open_recipients"],
    }


def summarise(connection: Connection, message_ids: Sequence[int]) -> None:
    """Make the messages' states those of their recipients."""
    connection.change("summarise_messages", messages=to_json(sorted(set(message_ids))))


def _change_mailbox(connection: Connection, held: _Held) -> None:
    row = held.row
    fence = {"mailbox_id": row["mailbox_id"], "revision": row["mailbox_revision"], "now_us": connection.now_us}
    outcomes = held.outcomes.values()
    if row["is_probe"] and any(_proves_the_mailbox(outcome) for outcome in outcomes):
        connection.change("prove_mailbox", **fence)
        open_mail_server(connection, row["mail_server_id"])
    stops = [outcome for outcome in outcomes if isinstance(outcome, Stopped)]
    external = next((stop for stop in stops if is_external_limit(stop)), None)
    if external is not None and row["tenant"] is not None:
        until_us = external.until_us or connection.now_us
        close_external(connection, row["tenant"], until_us, external.failure)
        waiting = {"deliveries": to_json([row["delivery_id"]]), "wait_us": max(0, until_us - connection.now_us)}
        connection.change("count_no_age", **waiting)
        stops = [stop for stop in stops if not is_external_limit(stop)]
    if stops:
        _stop(connection, row, stops[0], fence)
    _learn(connection, row["mailbox_id"], list(outcomes), fence)


OF_THE_WAY = frozenset({StopCause.SMTP_AUTH_OFF, StopCause.MAIL_SERVER_AWAY, StopCause.CONFIGURATION})
"""Causes that say nothing of another way to the same mailbox."""


def _stop(connection: Connection, row: Row, stop: Stopped, fence: dict[str, Any]) -> None:
    """The mail server alone, when that is what is stopped and its mailbox has another; else the mailbox."""
    values = {"cause": stop.cause, "until_us": stop.until_us, "failure": to_json_or_none(stop.failure)}
    if stop.cause in OF_THE_WAY and row["has_another_way"]:
        connection.change("stop_mail_server", mail_server_id=row["mail_server_id"], **values, **fence)
        return
    connection.change("stop_mailbox", granted_at_us=None, **values, **fence)


def _learn(connection: Connection, mailbox_id: int, outcomes: list[Outcome], fence: dict[str, Any]) -> None:
    if not any(isinstance(outcome, TryLater) for outcome in outcomes):
        return
    mailbox = mailbox_of(connection.only_row("mailbox", mailbox_id=mailbox_id))
    learnt = learn(mailbox, outcomes, connection.now_us)
    if learnt is not None:
        connection.change(
            "slow_mailbox", message_limit=learnt.message_limit, connection_limit=learnt.connection_limit, **fence
        )


def open_mail_server(connection: Connection, mail_server_id: int) -> None:
    """It may be used again; what waited for it alone has not grown older."""
    connection.change("forgive_waiting", mail_server_id=mail_server_id, now_us=connection.now_us)
    connection.change("open_mail_server", mail_server_id=mail_server_id)


def _proves_the_mailbox(outcome: Outcome) -> bool:
    """Whoever answers about a message has let us sign in: a refused or delayed message is no reason to stay stopped."""
    if isinstance(outcome, Refused | TryLater):
        if outcome.failure.code in UNFIT_FOR_GRAPH:
            return False  # nobody was asked
        return outcome.failure.failure_class is not FailureClass.LOCAL
    return isinstance(outcome, Sent)


def _prove_senders(connection: Connection, held: Sequence[_Held]) -> None:
    ways = {
        (each.row["mail_server_id"], each.row["header_from"].lower())
        for each in held
        if any(isinstance(outcome, Sent) for outcome in each.outcomes.values())
    }
    for mail_server_id, header_from in sorted(ways):
        connection.change(
            "prove_sender", mail_server_id=mail_server_id, header_from=header_from, now_us=connection.now_us
        )


def _count_unknown(connection: Connection, held: Sequence[_Held]) -> None:
    """Each may become a duplicate: the one thing that can, so it is counted."""
    amount = sum(isinstance(outcome, Unknown) for each in held for outcome in each.outcomes.values())
    if amount:
        connection.change("tally", quarter=connection.now_us // QUARTER_US, what="unknown", amount=amount)


def _tell_held(connection: Connection, held: Sequence[_Held]) -> None:
    told = ((each.row["message_id"], _why_held(each)) for each in held)
    add_entries(connection, [(message_id, "held", text, "Postroom") for message_id, text in told if text])


def _why_held(held: _Held) -> str:
    outcomes = [outcome for outcome in held.outcomes.values() if isinstance(outcome, Unknown)]
    if any(is_held_for_crashes(outcome) for outcome in outcomes):
        return f"Held: {BROUGHT_US_DOWN.failure.text}"
    if outcomes and held.row["after_unknown"] == AfterUnknown.HOLD:
        return "Held: whether the mail server took the message is not known, and the app asked not to send it again."
    return ""
