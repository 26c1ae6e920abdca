"""What monitors read of the store: one reading, a few rows from an index each."""

import msgspec

from postroom.clock import DAY_US, MINUTE_US
from postroom.message import RecipientState
from postroom.store.canaries import CanaryState, read_canary_state
from postroom.store.database import Connection, Row
from postroom.store.expiries import Expiry, expiries_in
from postroom.store.external import ExternalDay, read_external_day
from postroom.store.messages import read_waiting_by_cause
from postroom.store.pace import pace_of
from postroom.store.reader import Reader
from postroom.store.records import Mailbox, MailServer
from postroom.store.rows import mail_server_of, mailbox_of

_MINUTES_A_DAY = DAY_US // MINUTE_US


class MailboxFigures(msgspec.Struct, frozen=True):
    """How much of its limits a mailbox uses."""

    mailbox: Mailbox
    messages_last_minute: int
    recipients_last_day: int
    conversations: int
    """That are going on now."""
    message_limit_a_minute: int
    """The one that holds now: what was set, or what was learnt below it."""
    external: ExternalDay | None
    """That of its tenant."""
    expiries: tuple[Expiry, ...]
    """What of it ends by itself."""


class Figures(msgspec.Struct, frozen=True):
    """All of it at one moment."""

    messages: dict[RecipientState, int]
    """That have not ended; every such state is there."""
    recipients: dict[RecipientState, int]
    """The same in recipients."""
    waiting_by_cause: dict[str, int]
    """As in `Overview`."""
    oldest_received_at_us: int | None
    """Of what has not ended."""
    finished: dict[tuple[str, str], int]
    """Messages by state and class of failure, since the data folder was made."""
    last_sent_at_us: int | None
    mailboxes: tuple[MailboxFigures, ...]
    mail_servers: tuple[MailServer, ...]
    canary: CanaryState


class FigureBook:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def read(self) -> Figures:
        """Errors: StoreUnavailableError."""
        return await self._reader.read(read_figures)

    async def of_mailboxes(self) -> dict[int, MailboxFigures]:
        """By mailbox."""
        return await self._reader.read(
            lambda connection: {
                row["mailbox_id"]: _mailbox_figures(connection, row) for row in _mailbox_rows(connection)
            }
        )


def read_figures(connection: Connection) -> Figures:
    oldest, last_sent = connection.row("oldest_waiting"), connection.row("last_sent")
    return Figures(
        messages=_by_open_state(connection.rows("open_messages_by_state"), "messages"),
        recipients=_by_open_state(connection.rows("recipient_counts"), "recipients"),
        waiting_by_cause=read_waiting_by_cause(connection),
        oldest_received_at_us=oldest["received_at_us"] if oldest is not None else None,
        finished={(row["status"], row["class"]): row["messages"] for row in connection.rows("finished_totals")},
        last_sent_at_us=last_sent["finished_at_us"] if last_sent is not None else None,
        mailboxes=tuple(_mailbox_figures(connection, row) for row in _mailbox_rows(connection)),
        mail_servers=tuple(map(mail_server_of, connection.rows("mail_servers_by_id"))),
        canary=read_canary_state(connection),
    )


def _by_open_state(rows: list[Row], column: str) -> dict[RecipientState, int]:
    found = {row["state"]: row[column] for row in rows}
    return {state: found.get(state.value, 0) for state in RecipientState if not state.is_final}


def _mailbox_rows(connection: Connection) -> list[Row]:
    now_us = connection.now_us
    first_minute = now_us // MINUTE_US - _MINUTES_A_DAY
    return connection.rows("mailbox_figures", minute_ago_us=now_us - MINUTE_US, first_minute=first_minute)


def _mailbox_figures(connection: Connection, row: Row) -> MailboxFigures:
    mailbox = mailbox_of(row)
    return MailboxFigures(
        mailbox=mailbox,
        messages_last_minute=row["messages_last_minute"],
        recipients_last_day=row["recipients_last_day"],
        conversations=row["conversations"],
        message_limit_a_minute=pace_of(mailbox, connection.now_us).message_limit,
        external=read_external_day(connection, mailbox.tenant) if mailbox.tenant is not None else None,
        expiries=tuple(expiries_in(row, connection.now_us)),
    )
