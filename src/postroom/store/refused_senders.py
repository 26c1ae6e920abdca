"""Senders that a mail server refused lately: shown, and a reason to prefer another way. No mail is failed for it.

Rights change at Microsoft without our being told, so that it is believed for an hour only, or until the mail server
is saved, or until a message of that sender comes through.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from postroom.clock import HOUR_US
from postroom.ids import first_id_at
from postroom.outcome import Failure, Outcome, Refused, Sent
from postroom.store.database import Connection, Row, to_json
from postroom.store.reader import Reader
from postroom.store.records import RefusedSender
from postroom.store.rows import refused_sender_of

BELIEVED_US = HOUR_US
CODES = frozenset({"send_as_denied", "send_on_behalf_denied", "sender_refused"})
"""Of failures that are about the sender, not about the message."""


class SenderAtServer(NamedTuple):
    mail_server_id: int
    sender: str


def remember_senders(connection: Connection, settled: Iterable[tuple[Row, Mapping[int, Outcome]]]) -> None:
    """Take in what attempts came to: rows of leases with their outcomes."""
    refused: dict[SenderAtServer, Failure] = {}
    sent: set[SenderAtServer] = set()
    for row, outcomes in settled:
        place = SenderAtServer(row["mail_server_id"], row["header_from"].lower())
        if any(isinstance(outcome, Sent) for outcome in outcomes.values()):
            sent.add(place)
        elif (failure := _refusal_in(outcomes.values())) is not None:
            refused[place] = failure
    for place, failure in refused.items():
        connection.change(
            "remember_refused_sender", **place._asdict(), failure=to_json(failure), now_us=connection.now_us
        )
    if sent and connection.row("any_refused_senders"):
        connection.change("forget_accepted_senders", places=to_json([place._asdict() for place in sorted(sent)]))


def _refusal_in(outcomes: Iterable[Outcome]) -> Failure | None:
    refusals = (outcome.failure for outcome in outcomes if isinstance(outcome, Refused))
    return next((failure for failure in refusals if failure.code in CODES), None)


class RefusedSenders:
    """What pages and the API show of them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def of_sender(self, sender: str) -> Sequence[RefusedSender]:
        """The mail servers that refused it within the last hour, the latest first."""

        def read(connection: Connection) -> list[Row]:
            since_us = connection.now_us - BELIEVED_US
            return connection.rows("refusals_of_sender", sender=sender.lower(), since_us=since_us)

        return [refused_sender_of(row) for row in await self._reader.read(read)]

    async def of_app(self, app_id: int) -> Sequence[RefusedSender]:
        """Of the senders of the mail that the app handed in within the last hour."""

        def read(connection: Connection) -> list[Row]:
            since_us = connection.now_us - BELIEVED_US
            return connection.rows(
                "refused_senders_of_app", app_id=app_id, since_us=since_us, first_id=first_id_at(since_us)
            )

        return [refused_sender_of(row) for row in await self._reader.read(read)]
