"""Within a lane apps take turns: start-time fair queueing, where each message costs its app one turn.

A message's turn is one behind its app's last, but never behind what was claimed already: an app that was silent has
saved nothing up, and one with thousands of messages waits behind itself alone. (Goyal, Vin, Cheng: "Start-time Fair
Queueing", 1996.)
"""

from collections.abc import Sequence
from typing import NamedTuple

from postroom.store.database import Connection, to_json


class Place(NamedTuple):
    """Where a message queues."""

    mailbox_id: int
    lane: int
    app_id: int


def give_turns(connection: Connection, places: Sequence[Place]) -> list[int]:
    """The turn of each, in order; two statements for all of them."""
    last: dict[Place, int] = {}
    for row in connection.rows("last_turns", places=to_json([place._asdict() for place in set(places)])):
        last[Place(row["mailbox_id"], row["lane"], row["app_id"])] = row["turn"]
    turns = []
    for place in places:
        last[place] += 1
        turns.append(last[place])
    connection.change("keep_app_turns", turns=to_json([place._asdict() | {"turn": last[place]} for place in last]))
    return turns


def queue_again(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """What comes due later than it came in gets its turn then, in this order: it neither overtakes nor has lost one."""
    if not delivery_ids:
        return
    rows = connection.rows("places_of_deliveries", deliveries=to_json(delivery_ids))
    turns = give_turns(connection, [Place(row["mailbox_id"], row["lane"], row["app_id"]) for row in rows])
    moved = [{"delivery_id": row["delivery_id"], "turn": turn} for row, turn in zip(rows, turns, strict=True)]
    connection.change("change_turns", moved=to_json(moved))


def note_claimed(connection: Connection, mailbox_id: int, claimed: Sequence[tuple[int, int]]) -> None:
    """Lane and turn of what was claimed: whoever comes now queues behind it."""
    furthest: dict[int, int] = {}
    for lane, turn in claimed:
        furthest[lane] = max(turn, furthest.get(lane, 0))
    rows = [{"mailbox_id": mailbox_id, "lane": lane, "turn": turn} for lane, turn in furthest.items()]
    connection.change("keep_lane_turns", turns=to_json(rows))
