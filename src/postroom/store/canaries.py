"""Canaries: our own messages at intervals. While they arrive, all of the path works; what is kept here is how it went.

The schedule is made from what stands here, so that it survives a restart and nothing is made up for.
"""

from collections.abc import Sequence

import msgspec

from postroom.message import RecipientState
from postroom.store.database import Connection, Row
from postroom.store.reader import Reader
from postroom.store.records import NewMessage

CANARIES_KEPT = 50
OVERDUE_AFTER_PERIODS = 2


class Canary(msgspec.Struct, frozen=True):
    """One of them."""

    message_id: int
    handed_in_us: int
    sent_at_us: int | None
    """When the mail server accepted it; None when it has not."""
    state: RecipientState | None
    """Of its message; None when that is forgotten."""

    @property
    def is_open(self) -> bool:
        return self.state is not None and not self.state.is_final


class CanaryState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the canary at one moment."""

    is_on: bool
    every_us: int
    since_us: int | None
    """When it was switched on."""
    recipient: str
    """Where it goes; empty while nothing says where, or there is no mail server."""
    newest: Canary | None
    arrived: Canary | None
    """The newest that arrived."""

    def next_at_us(self) -> int | None:
        """When the next one is due; None when it is off, has no aim, or the present one is still on its way."""
        if not self.is_on or not self.recipient:
            return None
        if self.newest is None:
            return self.since_us
        return None if self.newest.is_open else self.newest.handed_in_us + self.every_us

    def age_us(self, now_us: int) -> int | None:
        """How long nothing has arrived, counted from when it was switched on at the earliest; None when it is off."""
        if not self.is_on:
            return None
        arrived_us = self.arrived.sent_at_us if self.arrived is not None else None
        return max(0, now_us - max(arrived_us or 0, self.since_us or 0))

    def is_overdue(self, now_us: int) -> bool:
        age_us = self.age_us(now_us)
        return age_us is not None and age_us > OVERDUE_AFTER_PERIODS * self.every_us


class Canaries:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def state(self) -> CanaryState:
        return await self._reader.read(read_canary_state)


def note_canaries(connection: Connection, messages: Sequence[NewMessage]) -> None:
    """In the transaction that keeps them: none can be on its way without being known."""
    rows = [(new.message_id, connection.now_us) for new in messages if new.is_canary]
    if rows:
        connection.change("forget_old_canaries", kept=CANARIES_KEPT)
        connection.insert_rows("insert_canaries", rows)


def read_canary_state(connection: Connection) -> CanaryState:
    """Three rows."""
    settings = connection.only_row("canary_settings")
    return CanaryState(
        is_on=bool(settings["canary_is_on"]),
        every_us=settings["canary_every_us"],
        since_us=settings["canary_since_us"],
        recipient=settings["recipient"] if settings["sender"] else "",
        newest=_canary_of(connection.row("newest_canary")),
        arrived=_canary_of(connection.row("newest_arrived_canary")),
    )


def _canary_of(row: Row | None) -> Canary | None:
    if row is None:
        return None
    state = RecipientState(row["state"]) if row["state"] else None
    return Canary(row["message_id"], row["handed_in_us"], row["sent_at_us"], state)
