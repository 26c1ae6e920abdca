"""Suspects: what was being sent when we went down. They go one at a time, and the one that brings us down is held.

A message that kills the process would otherwise kill it at every start. `deliveries.crashes` counts how often we went
down while it was in flight; whatever ends an attempt proves that it can be sent, and clears it.
"""

from collections.abc import Sequence

from postroom.outcome import Failure, FailureClass, Outcome, Unknown
from postroom.store.database import Connection, Row, to_json

HELD_AT_CRASHES = 3
"""The first time it was one of several in flight; the second may be chance."""

BROUGHT_US_DOWN = Unknown(
    Failure(
        FailureClass.LOCAL,
        code="brought_us_down",
        text=(
            f"Postroom went down {HELD_AT_CRASHES} times while this was being sent, the last times with no other "
            "suspect beside it. It is held so that all other mail goes on."
        ),
        remedy_id="brought_us_down",
    )
)


def count_crashes(connection: Connection, leases: Sequence[Row]) -> set[int]:
    """We went down while these were in flight; the ids of the deliveries that are to be held for it."""
    deliveries = to_json([lease["delivery_id"] for lease in leases])
    connection.change("count_crashes", deliveries=deliveries)
    rows = connection.rows("crashed_too_often", deliveries=deliveries, held_at=HELD_AT_CRASHES)
    return {row["delivery_id"] for row in rows}


def suspect_that_may_go(connection: Connection, mail_server_ids: Sequence[int]) -> int | None:
    """Their next suspect; None while any other is in flight. Who was in the fewest crashes goes first."""
    row = connection.row("next_suspect", mail_servers=to_json(mail_server_ids))
    return None if row is None else row["delivery_id"]


def clear_suspects(connection: Connection, rows: Sequence[Row]) -> None:
    """Their attempts came to an end without ours."""
    cleared = [row["delivery_id"] for row in rows if row["crashes"]]
    if cleared:
        connection.change("clear_suspects", deliveries=to_json(cleared))


def is_held_for_crashes(outcome: Outcome) -> bool:
    return isinstance(outcome, Unknown) and outcome.failure.code == BROUGHT_US_DOWN.failure.code
