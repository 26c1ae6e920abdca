"""Notices that are still to be made: planned in the transaction that settles, so that no crash loses one.

None is planned for a message that nobody could be told about (null sender), that is a notice itself, or our own; nor
for recipients of whom the sender does not want to hear (RFC 3461 4.1). A trigger refuses one for a canary.
"""

from collections.abc import Mapping, Sequence

import msgspec

from postroom.clock import MINUTE_US
from postroom.message import DsnRequest, RecipientState
from postroom.outcome import Outcome, Refused
from postroom.store.database import Connection, Row, to_json
from postroom.store.reader import Reader
from postroom.store.records import App, RecipientRow, StoredBody
from postroom.store.rows import app_of, dsn_of, failure_of
from postroom.store.sending_settings import read_sending_settings
from postroom.store.timeline import add_entries
from postroom.store.writer import Writer

FAILURE, DELAY = "failure", "delay"
LOOK_FOR_DELAYS_US = MINUTE_US
DELAYS_AT_ONCE = 100


class NoticeDue(msgspec.Struct, frozen=True, kw_only=True):
    """One notice to be made, with all that it tells."""

    notice_id: int
    kind: str
    message_id: int
    envelope_sender: str
    header_from: str
    subject: str
    internet_message_id: str
    received_at_us: int
    dsn: DsnRequest
    app: App
    recipients: tuple[RecipientRow, ...]
    body: StoredBody | None
    """None when the content was pruned."""
    mail_server: str
    """Where the last attempt led."""
    lifetime_us: int
    made_at_us: int


def plan_failure_notices(connection: Connection, failed: Mapping[int, Sequence[Row]]) -> None:
    """By message, the recipients that failed in this transaction."""
    if failed:
        _plan(connection, FAILURE, failed)


def failed_recipients(
    settled: Sequence[tuple[Row, Sequence[Row], Mapping[int, Outcome]]],
) -> dict[int, list[Row]]:
    """Of attempts with their recipients and outcomes: who failed, by message."""
    found: dict[int, list[Row]] = {}
    for row, recipients, outcomes in settled:
        refused = [each for each in recipients if isinstance(outcomes[each["recipient_id"]], Refused)]
        if refused:
            found.setdefault(row["message_id"], []).extend(refused)
    return found


def plan_delay_notices(connection: Connection) -> int:
    """For what waits for a later try longer than people set; how many. Each message once."""
    after_us = read_sending_settings(connection).delay_notice_after_us
    if after_us is None:
        return 0
    now_us = connection.now_us
    rows = connection.rows("delayed_recipients", until_us=now_us - after_us, limit=DELAYS_AT_ONCE)
    delayed: dict[int, list[Row]] = {}
    for row in rows:
        delayed.setdefault(row["message_id"], []).append(row)
    _plan(connection, DELAY, delayed)
    connection.change("note_delay_told", messages=to_json(list(delayed)), now_us=now_us)
    return len(delayed)


def _plan(connection: Connection, kind: str, recipients: Mapping[int, Sequence[Row]]) -> None:
    rows = []
    for message in connection.rows("messages_to_tell_about", messages=to_json(list(recipients))):
        dsn = dsn_of(message["dsn"]) or DsnRequest()
        told = [
            each["recipient_id"] for each in recipients[message["message_id"]] if _wants(dsn, each["address"], kind)
        ]
        if told:
            rows.append((connection.ids.make_id(), message["message_id"], kind, to_json(told), connection.now_us))
    if rows:
        connection.insert_rows("insert_notices_due", rows)


def _wants(dsn: DsnRequest, address: str, kind: str) -> bool:
    wish = dsn.recipients.get(address)
    if wish is None or not wish.notify:
        return True
    return ("FAILURE" if kind == FAILURE else "DELAY") in wish.notify


class NoticesDue:
    """What the one who makes notices needs of the store."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def plan_delays(self) -> int:
        """How many delay notices became due."""
        return await self._writer.run(plan_delay_notices)

    async def due(self, limit: int = 20) -> list[NoticeDue]:
        """The oldest first."""
        return await self._reader.read(
            lambda connection: [_notice_of(connection, row) for row in connection.rows("notices_due", limit=limit)]
        )

    async def done(self, notice: NoticeDue, text: str) -> None:
        """It was handed in, or nobody is to be told: the message's timeline says which."""

        def finish(connection: Connection) -> None:
            connection.change("delete_notice_due", notice_id=notice.notice_id)
            add_entries(connection, [(notice.message_id, "notice", text, "Postroom")])

        await self._writer.run(finish)


def _notice_of(connection: Connection, row: Row) -> NoticeDue:
    recipients = connection.rows("recipients_of_notice", message_id=row["message_id"], recipients=row["recipients"])
    body = connection.row("body_of_message", message_id=row["message_id"])
    settings = read_sending_settings(connection)
    return NoticeDue(
        notice_id=row["notice_id"],
        kind=row["kind"],
        message_id=row["message_id"],
        envelope_sender=row["envelope_sender"],
        header_from=row["header_from"],
        subject=row["subject"],
        internet_message_id=row["internet_message_id"],
        received_at_us=row["received_at_us"],
        dsn=dsn_of(row["dsn"]) or DsnRequest(),
        app=app_of(connection.only_row("app", app_id=row["app_id"])),
        recipients=tuple(_recipient_of(each) for each in recipients),
        body=StoredBody(body["size_bytes"], body["content"], body["file_name"]) if body is not None else None,
        mail_server=row["mail_server"] or "",
        lifetime_us=row["lifetime_us"] or settings.lifetime_us,
        made_at_us=row["made_at_us"],
    )


def _recipient_of(row: Row) -> RecipientRow:
    return RecipientRow(
        row["address"],
        RecipientState(row["state"]),
        row["changed_at_us"],
        row["next_attempt_at_us"],
        failure_of(row["failure"]),
        row["reply"],
    )
