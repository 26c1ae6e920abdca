"""The slots of a mailbox's pace, which make "at most N in any 60 seconds" exact, also as the mail server sees it.

A message occupies its slot while it is on its way, and for 60 seconds from when it was settled: it arrived between the
two, so that the next one with the same slot arrives at least a minute later.
"""

from collections.abc import Sequence

from postroom.clock import MINUTE_US
from postroom.store.database import Connection, Row, to_json


def find_free_slots(connection: Connection, mailbox_id: int, message_limit: int, wanted: int) -> list[int]:
    """At most `wanted`; there are as many slots as messages may go in a minute."""
    found = connection.only_row("pace_slot_count", mailbox_id=mailbox_id)
    missing = message_limit - found["slots"]
    if missing > 0:
        first = found["greatest"] + 1
        connection.insert_rows("add_pace_slots", [(mailbox_id, slot) for slot in range(first, first + missing)])
    if found["last_used_at_us"] > connection.now_us:
        connection.change("pull_pace_slots_back", mailbox_id=mailbox_id, now_us=connection.now_us)
    if missing < 0:
        connection.change("drop_pace_slots", surplus=-missing, **_at(connection, mailbox_id))
    rows = connection.rows("free_pace_slots", limit=wanted, **_at(connection, mailbox_id))
    return [row["slot"] for row in rows]


def use_slots(connection: Connection, mailbox_id: int, slots: Sequence[int]) -> None:
    connection.change("use_pace_slots", mailbox_id=mailbox_id, slots=to_json(slots), now_us=connection.now_us)


def rest_slots(connection: Connection, ended: Sequence[Row]) -> None:
    """Their messages are settled: from here their minute counts."""
    slots = [{"mailbox_id": row["mailbox_id"], "slot": row["slot"]} for row in ended]
    connection.change("rest_pace_slots", ended=to_json(slots), now_us=connection.now_us)


def count_used_slots(connection: Connection, mailbox_id: int) -> int:
    used = connection.only_row("pace_slots_used", **_at(connection, mailbox_id))
    return int(used["resting"] + used["in_flight"])


def slot_is_free_at_us(connection: Connection, mailbox_id: int, message_limit: int) -> int | None:
    """When the minute has room for one more; None when only a settlement can bring it, which wakes the worker."""
    used = connection.only_row("pace_slots_used", **_at(connection, mailbox_id))
    too_many = used["resting"] + used["in_flight"] - message_limit
    if too_many < 0:
        return connection.now_us
    if too_many >= used["resting"]:
        return None
    row = connection.only_row("pace_slot_use", others=too_many, **_at(connection, mailbox_id))
    used_at_us: int = row["used_at_us"]
    return min(used_at_us, connection.now_us) + MINUTE_US


def _at(connection: Connection, mailbox_id: int) -> dict[str, int]:
    return {"mailbox_id": mailbox_id, "minute_ago_us": connection.now_us - MINUTE_US}
