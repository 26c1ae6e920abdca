"""What people do with a message: retry, cancel, hold, release. None of it touches a recipient being sent."""

from collections.abc import Sequence
from typing import Any

import msgspec

from postroom.errors import WrongStateError
from postroom.ids import public_id
from postroom.message import Lane, RecipientState
from postroom.store.database import Connection, Row, to_json
from postroom.store.routing import RoutingFacts
from postroom.store.settling import restage, summarise
from postroom.store.timeline import add_entries
from postroom.store.turns import Place, give_turns, queue_again
from postroom.store.ways_out import read_ways_out

_S = RecipientState
_QUEUED_AGAIN = frozenset({"retried", "released"})


def retry(connection: Connection, message_id: int, who: str) -> None:
    """What failed or waits for a later try goes again now, with a new lifetime. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    if not message["has_content"]:
        raise WrongStateError("The message's content was removed by the retention rule; send it again from its source.")
    _move(connection, message, (_S.FAILED, _S.DEFERRED), _S.QUEUED, "has no recipient that failed or waits for a retry")
    deliveries = connection.rows("deliveries_of_message", message_id=message_id)
    delivery_id = deliveries[0]["delivery_id"] if deliveries else _add_delivery(connection, message)
    connection.change("begin_lifetime_anew", delivery_id=delivery_id, now_us=connection.now_us)
    connection.change("forget_expiry", message_id=message_id)
    connection.change("join_delivery", message_id=message_id, delivery_id=delivery_id)
    _finish(connection, message_id, "retried", "Sent again on request.", who)


def hurry(connection: Connection, message_id: int, who: str) -> None:
    """What waits for a later try goes now; what failed stays failed. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    _move(connection, message, (_S.DEFERRED,), _S.QUEUED, "has no recipient that waits for a later try")
    _finish(connection, message_id, "retried", "Tried again at once, on request.", who)


def cancel(connection: Connection, message_id: int, who: str) -> None:
    """Nothing more is sent. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    waiting = (_S.SCHEDULED, _S.QUEUED, _S.DEFERRED, _S.HELD)
    _move(connection, message, waiting, _S.CANCELLED, "has no recipient that waits")
    _finish(connection, message_id, "cancelled", "Cancelled before it was sent.", who)


def hold(connection: Connection, message_id: int, who: str) -> None:
    """It waits until somebody releases it. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    _move(
        connection, message, (_S.SCHEDULED, _S.QUEUED, _S.DEFERRED), _S.HELD, "has no recipient that waits to be sent"
    )
    _finish(connection, message_id, "held", "Held until it is released.", who)


def release(connection: Connection, message_id: int, who: str) -> None:
    """What was held is due now. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    _move(connection, message, (_S.HELD,), _S.QUEUED, "has no recipient that is held")
    _finish(connection, message_id, "released", "Released.", who)


class Times(msgspec.Struct, frozen=True):
    """What may still be changed of a message that waits; UNSET stays as it is."""

    send_at_us: int | msgspec.UnsetType | None = msgspec.UNSET
    expires_at_us: int | msgspec.UnsetType | None = msgspec.UNSET
    lane: Lane | msgspec.UnsetType = msgspec.UNSET


def change_times(connection: Connection, message_id: int, times: Times, who: str) -> None:
    """Another time, expiry or lane for what has not ended. Errors: WrongStateError."""
    message = _find_message(connection, message_id)
    if message["finished_at_us"] is not None:
        raise WrongStateError(f"The message has ended: it is {message['state']}. Nothing was changed.")
    if times.send_at_us is not msgspec.UNSET:
        _reschedule(connection, message, times.send_at_us)
    changed = {
        "send_at_us": _chosen(times.send_at_us, message["send_at_us"]),
        "expires_at_us": _chosen(times.expires_at_us, message["expires_at_us"]),
        "lane": int(_chosen(times.lane, message["lane"])),
    }
    connection.change("change_times", message_id=message_id, **changed)
    if changed["lane"] != message["lane"]:
        _change_lane(connection, message, changed["lane"])
    _finish(connection, message_id, "changed", "Its time, expiry or lane was changed.", who)


def _change_lane(connection: Connection, message: Row, lane: int) -> None:
    """It queues at the end of the other lane's turns."""
    for row in connection.rows("deliveries_of_message", message_id=message["message_id"]):
        [turn] = give_turns(connection, [Place(row["mailbox_id"], lane, message["app_id"])])
        connection.change("change_lane", delivery_id=row["delivery_id"], lane=lane, turn=turn)


def _reschedule(connection: Connection, message: Row, send_at_us: int | None) -> None:
    if message["state"] != _S.SCHEDULED:
        raise WrongStateError(
            f"Only a message that is scheduled can get another time: it is {message['state']}. Nothing was changed."
        )
    message_id = message["message_id"]
    if send_at_us is not None and send_at_us > connection.now_us:
        connection.change("reschedule_recipients", message_id=message_id, send_at_us=send_at_us)
        return
    _move(connection, message, (_S.SCHEDULED,), _S.QUEUED, "has no recipient that is scheduled")
    for row in connection.rows("deliveries_of_message", message_id=message_id):
        connection.change("begin_lifetime_anew", delivery_id=row["delivery_id"], now_us=connection.now_us)


def _chosen(given: Any, present: Any) -> Any:
    return present if given is msgspec.UNSET else given


def _find_message(connection: Connection, message_id: int) -> Row:
    message = connection.row("message_for_people", message_id=message_id)
    if message is None:
        raise WrongStateError(
            f"There is no message {public_id(message_id)} any more: it was removed by the retention rule."
        )
    return message


def _move(
    connection: Connection, message: Row, sources: Sequence[RecipientState], target: RecipientState, lack: str
) -> None:
    moved = connection.change(
        "move_by_person",
        message_id=message["message_id"],
        from_states=to_json(sources),
        state=target,
        now_us=connection.now_us,
    )
    if not moved:
        raise WrongStateError(f"The message {lack}: it is {message['state']}. Nothing was changed.")


def _add_delivery(connection: Connection, message: Row) -> int:
    facts = RoutingFacts(message["header_from"], message["app_id"], message["size_bytes"])
    way, why = read_ways_out(connection).choose(facts)
    [turn] = give_turns(connection, [Place(way.mailbox_id, message["lane"], message["app_id"])])
    delivery_id = connection.ids.make_id()
    row = (
        *(delivery_id, message["message_id"], way.mail_server_id, way.mailbox_id, message["lane"]),
        0,  # not pinned: it goes by the rules of today
        *("due", connection.now_us, 1, way.ready_us, turn),
    )
    connection.insert_rows("insert_deliveries", [row])
    if why:
        add_entries(connection, [(message["message_id"], "routed", why, "Postroom")])
    return delivery_id


def _finish(connection: Connection, message_id: int, kind: str, text: str, who: str) -> None:
    rows = connection.rows("deliveries_of_message", message_id=message_id)
    # A delivery that is being worked on finds its place when it is settled.
    free = [row["delivery_id"] for row in rows if row["stage"] != "leased"]
    restage(connection, free)
    if kind in _QUEUED_AGAIN:
        queue_again(connection, free)
    summarise(connection, [message_id])
    add_entries(connection, [(message_id, kind, text, who)])
