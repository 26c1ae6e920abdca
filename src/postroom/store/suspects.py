"""Suspects: what was being sent when we went down. Each is tried alone, and the one that brings us down is held.

A message that kills the process would otherwise kill it at every start. `deliveries.crashes` is 1 for whatever was in
flight at a crash, and grows only when we go down while nothing else is in flight: a bystander is never to blame.
Whatever ends an attempt proves that it can be sent, and clears it.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from postroom.clock import MINUTE_US
from postroom.outcome import Failure, FailureClass, Outcome, Unknown
from postroom.store.database import Connection, Row, to_json

HELD_AT_CRASHES = 3
"""The first makes it a suspect, the second alone may be chance."""
ALONE_US = MINUTE_US
"""So long others wait for one that is alone, and it for them, a message: who takes longer hangs in a mail server."""
MOST_TRIES_ALONE = 15
"""A trial that is tried again has so many minutes more; a lease ends after as many."""

BROUGHT_US_DOWN = Unknown(
    Failure(
        FailureClass.LOCAL,
        code="brought_us_down",
        text=(
            f"Postroom went down {HELD_AT_CRASHES} times while this was being sent, the last times with nothing else "
            "in flight. It is held so that all other mail goes on."
        ),
        remedy_id="brought_us_down",
    )
)


class Trial(NamedTuple):
    """Where the suspects are: at most one of them is in flight."""

    is_alone: bool = False
    """One is in flight, and nothing may begin beside it."""
    suspects: Sequence[Row] = ()
    """Those that are due while no other is in flight; who was in the fewest crashes is first."""
    must_wait: bool = False
    """For what is in flight: nothing begins, and so it ends."""


NO_TRIAL = Trial()


def find_trial(connection: Connection) -> Trial:
    """One look at an index that is empty unless we went down lately."""
    suspects = connection.rows("suspects", now_us=connection.now_us)
    if not suspects:
        return NO_TRIAL
    if any(suspect["stage"] == "leased" for suspect in suspects):
        return Trial(is_alone=connection.now_us < trial_is_over_at_us(connection))
    waiting = [suspect["delivery_id"] for suspect in suspects if suspect["stage"] == "waiting"]
    if waiting:
        connection.change("wake_waiting", deliveries=to_json(waiting))
    begun_at_us = connection.only_row("last_begun")["at_us"]
    must_wait = begun_at_us is not None and abs(connection.now_us - begun_at_us) < ALONE_US
    return Trial(suspects=suspects, must_wait=must_wait)


def trial_is_over_at_us(connection: Connection) -> int:
    """Until when nothing may begin beside the suspect that is in flight; 0 when none is."""
    row = connection.row("trial_in_flight")
    if row is None:
        return 0
    # A clock that was set back must not keep everybody waiting.
    began_at_us = min(row["started_at_us"], connection.now_us)
    return int(began_at_us + ALONE_US * min(row["number"], MOST_TRIES_ALONE))


def count_crashes(connection: Connection, leases: Sequence[Row]) -> set[int]:
    """We went down while these were in flight; the ids of the deliveries that are to be held for it."""
    deliveries = to_json([lease["delivery_id"] for lease in leases])
    if len(leases) > 1:
        connection.change("suspect_all", deliveries=deliveries)
        return set()
    connection.change("count_crash_alone", deliveries=deliveries)
    rows = connection.rows("crashed_too_often", deliveries=deliveries, held_at=HELD_AT_CRASHES)
    return {row["delivery_id"] for row in rows}


def by_mailbox(suspects: Sequence[Row], mailboxes: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each suspect whose mailbox may send, with that, in the order of the suspects."""
    rows: Mapping[int, Row] = {row["mailbox_id"]: row for row in mailboxes}
    return [(suspect, rows[suspect["mailbox_id"]]) for suspect in suspects if suspect["mailbox_id"] in rows]


def clear_suspects(connection: Connection, rows: Sequence[Row]) -> None:
    """Their attempts came to an end without ours."""
    cleared = [row["delivery_id"] for row in rows if row["crashes"]]
    if cleared:
        connection.change("clear_suspects", deliveries=to_json(cleared))


def is_held_for_crashes(outcome: Outcome) -> bool:
    return isinstance(outcome, Unknown) and outcome.failure.code == BROUGHT_US_DOWN.failure.code
