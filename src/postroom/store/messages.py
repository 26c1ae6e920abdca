"""Reading messages, for pages: the list with its search, one message with its timeline, and the figures."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from postroom.clock import DAY_US, MINUTE_US
from postroom.ids import parse_public_id, public_id
from postroom.message import Lane, MailboxState, Reception, RecipientState
from postroom.outcome import Outcome, StopCause
from postroom.store.database import Connection, Row, to_json
from postroom.store.forecast import CHOICE, read_forecast, read_out_at_us
from postroom.store.pace import pace_of
from postroom.store.reader import Reader
from postroom.store.records import (
    AttemptRow,
    DialogueLine,
    MessageDetail,
    MessageRow,
    OpenMessage,
    Overview,
    RecipientRow,
    StoredBody,
    TimelineEntry,
)
from postroom.store.rows import app_of, dsn_of, failure_of, mailbox_of, texts_of
from postroom.store.search_words import Condition, parse_search
from postroom.store.settling import QUARTER_US
from postroom.store.timeline import intake_entries, pruned_entry

WINDOW_MESSAGES = 20_000  # looked through in one read transaction
WINDOWS = 10  # looked through for one page; the cursor goes on from there
GREATEST_ID = (1 << 63) - 1
MINUTES_A_DAY = DAY_US // MINUTE_US


class _Page(NamedTuple):
    rows: list[MessageRow]
    next_below_id: int | None
    """Where to go on; None at the end."""


class Messages:
    """What the console and the API read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def search(
        self, words: str, *, cursor: str | None = None, limit: int = 50, app_id: int | None = None
    ) -> tuple[list[MessageRow], str | None]:
        """Messages, newest first, and the cursor of the next page (None at the end).

        `app_id` narrows it to one app's. A page may hold fewer than `limit` and still have a next one, when a search
        finds little among much. Errors: ValueError with a sentence for a word or cursor that is not understood.
        """
        conditions = parse_search(words)
        if app_id is not None:
            conditions.append(Condition("messages.app_id = ?", (app_id,)))
        below_id: int | None = _below(cursor)
        rows: list[MessageRow] = []
        for _ in range(WINDOWS):
            if below_id is None or len(rows) >= limit:
                break
            page = await self._reader.read(
                partial(_read_page, conditions=conditions, below_id=below_id, limit=limit - len(rows))
            )
            rows += page.rows
            below_id = page.next_below_id
        return rows, public_id(below_id) if below_id is not None else None

    async def find(self, message_id: int) -> MessageDetail | None:
        """Everything about one message, or None when it was never there or is pruned."""
        return await self._reader.read(partial(_read_detail, message_id=message_id))

    async def state_of(self, message_id: int) -> RecipientState | None:
        """Its state alone, cheaper than `find`; None when it is not there."""
        row = await self._reader.read(lambda connection: connection.row("state_of_message", message_id=message_id))
        return RecipientState(row["state"]) if row is not None else None

    async def open_messages(self, local_user: str | None = None, limit: int = 10_000) -> list[OpenMessage]:
        """What waits, oldest first; of one user of this machine, or of everybody."""
        return await self._reader.read(partial(_read_open, local_user=local_user, limit=limit))

    async def counts(self) -> dict[RecipientState, int]:
        """Recipients by state; every state is there."""
        rows = await self._reader.read(lambda connection: connection.rows("recipient_counts"))
        found = {row["state"]: row["recipients"] for row in rows}
        return {state: found.get(state.value, 0) for state in RecipientState}

    async def overview(self, since_us: int) -> Overview:
        """The figures of the overview page."""
        return await self._reader.read(partial(_read_overview, since_us=since_us))


def _read_open(connection: Connection, local_user: str | None, limit: int) -> list[OpenMessage]:
    waits = _read_waits(connection)
    return [
        OpenMessage(
            message_id=row["message_id"],
            state=RecipientState(row["state"]),
            size_bytes=row["size_bytes"],
            received_at_us=row["received_at_us"],
            envelope_sender=row["envelope_sender"],
            recipients=tuple(
                _recipient_row(recipient)
                for recipient in connection.rows("recipients_of_message", message_id=row["message_id"])
                if not RecipientState(recipient["state"]).is_final
            ),
            waits_for=_waits_for(row, waits),
        )
        for row in connection.rows("open_messages", local_user=local_user, limit=limit)
    ]


def _below(cursor: str | None) -> int:
    if not cursor:
        return GREATEST_ID
    try:
        return parse_public_id(cursor)
    except ValueError:
        raise ValueError("This place in the list does not exist; start again from the newest message.") from None


def _read_page(connection: Connection, conditions: Sequence[Condition], below_id: int, limit: int) -> _Page:
    floor_id = _window_floor(connection, conditions, below_id)
    text, values = _compose_page(connection.statement("search_page"), conditions, floor_id, below_id, limit + 1)
    ids = [row["message_id"] for row in connection.query(text, values)]
    next_below_id: int | None = floor_id or None
    if len(ids) > limit:
        ids = ids[:limit]
        next_below_id = ids[-1]
    return _Page(_message_rows(connection, ids), next_below_id)


def _window_floor(connection: Connection, conditions: Sequence[Condition], below_id: int) -> int:
    """The oldest id that one look reaches when texts must be read; 0 when it reaches the end."""
    if not any(condition.reads_texts for condition in conditions):
        return 0
    row = connection.row("window_floor", below_id=below_id, messages=WINDOW_MESSAGES)
    return row["message_id"] if row is not None else 0


def _compose_page(
    select: str, conditions: Sequence[Condition], floor_id: int, below_id: int, limit: int
) -> tuple[str, list[str | int]]:
    reads_texts = any(condition.reads_texts for condition in conditions)
    joined = " CROSS JOIN search_texts ON search_texts.message_id = messages.message_id" if reads_texts else ""
    parts = ["messages.message_id < ?", "messages.message_id >= ?", *(condition.text for condition in conditions)]
    values: list[str | int] = [below_id, floor_id]
    values += [value for condition in conditions for value in condition.values]
    text = f"{select}{joined} WHERE {' AND '.join(parts)} ORDER BY messages.message_id DESC LIMIT ?"
    return text, [*values, limit]


def _message_rows(connection: Connection, ids: Sequence[int]) -> list[MessageRow]:
    if not ids:
        return []
    waits = _read_waits(connection)
    return [_message_row(row, waits) for row in connection.rows("message_rows", messages=to_json(ids))]


def _message_row(row: Row, waits: dict[int, "_Waits"]) -> MessageRow:
    state = RecipientState(row["state"])
    return MessageRow(
        message_id=row["message_id"],
        received_at_us=row["received_at_us"],
        state=state,
        is_partly_failed=bool(row["is_partly_failed"]),
        app_name=row["app_name"],
        header_from=row["header_from"],
        recipients=texts_of(row["first_recipients"]),
        recipient_count=row["recipient_count"],
        subject=row["subject"],
        size_bytes=row["size_bytes"],
        attempts=row["attempts"],
        finished_at_us=row["finished_at_us"],
        waits_for=_waits_for(row, waits),
    )


class _Waits(NamedTuple):
    """Why mail for a mail server waits."""

    stopped_for: str | None
    paced_for: str | None
    is_external_over: bool
    """Recipients outside the organisation wait until its day has room."""


def _read_waits(connection: Connection) -> dict[int, _Waits]:
    now_us = connection.now_us
    rows = connection.rows(
        "way_waits", minute_ago_us=now_us - MINUTE_US, first_minute=now_us // MINUTE_US - MINUTES_A_DAY, now_us=now_us
    )
    return {
        row["mail_server_id"]: _Waits(_stopped_for(row), _paced_for(row, now_us), bool(row["is_external_over"]))
        for row in rows
    }


def _stopped_for(row: Row) -> str | None:
    if row["state"] == MailboxState.DISCONNECTED:
        return StopCause.NOT_SET_UP.value
    cause: str | None = row["any_cause"]
    return cause


def _paced_for(row: Row, now_us: int) -> str | None:
    if row["is_day_over"]:
        return StopCause.DAILY_LIMIT.value
    if row["slots_used"] < pace_of(mailbox_of(row), now_us).message_limit:
        return None
    return "slowed" if row["state"] == MailboxState.SLOWED else "pace"


def _waits_for(row: Row, all_waits: dict[int, _Waits]) -> str | None:
    state, waits = RecipientState(row["state"]), all_waits.get(row["mail_server_id"])
    if waits is None or state not in (RecipientState.QUEUED, RecipientState.DEFERRED):
        return None
    if row["choice_id"] is not None:
        return CHOICE
    if waits.stopped_for is not None:
        return waits.stopped_for
    if state is not RecipientState.QUEUED:
        return None
    if waits.is_external_over and row["stage"] == "waiting":
        return "external limit"
    return waits.paced_for


def _read_detail(connection: Connection, message_id: int) -> MessageDetail | None:
    rows = connection.rows("message_rows", messages=to_json([message_id]))
    if not rows:
        return None
    row = rows[0]
    reception = msgspec.json.decode(row["reception"], type=Reception)
    repairs = texts_of(row["repairs"])
    recipients = connection.rows("recipients_of_message", message_id=message_id)
    attempts = connection.rows("attempts_of_message", message_id=message_id)
    return MessageDetail(
        row=_message_row(row, _read_waits(connection)),
        app=app_of(connection.only_row("app", app_id=row["app_id"])),
        envelope_sender=row["envelope_sender"],
        internet_message_id=row["internet_message_id"],
        reception=reception,
        repairs=repairs,
        recipients=tuple(_recipient_row(recipient) for recipient in recipients),
        attempts=tuple(_attempt_row(attempt) for attempt in attempts),
        timeline=tuple(_timeline(connection, row, reception, repairs)),
        body=_body_of(connection.row("body_of_message", message_id=message_id)),
        lane=Lane(row["lane"]),
        send_at_us=row["send_at_us"],
        expires_at_us=row["expires_at_us"],
        tags=texts_of(row["tags"]),
        metadata=msgspec.json.decode(row["metadata"], type=dict[str, str]),
        dsn=dsn_of(row["dsn"]),
        out_at_us=read_out_at_us(connection, row) if row["stage"] == "due" else None,
    )


def _timeline(connection: Connection, row: Row, reception: Reception, repairs: Sequence[str]) -> list[TimelineEntry]:
    entries = intake_entries(reception, repairs, row["received_at_us"], row["stored_at_us"])
    entries += [
        TimelineEntry(entry["at_us"], entry["kind"], entry["text"], entry["who"])
        for entry in connection.rows("timeline_of_message", message_id=row["message_id"])
    ]
    if row["pruned_at_us"] is not None:
        entries.append(pruned_entry(row["pruned_at_us"]))
    return entries


def _recipient_row(row: Row) -> RecipientRow:
    return RecipientRow(
        address=row["address"],
        state=RecipientState(row["state"]),
        changed_at_us=row["changed_at_us"],
        next_attempt_at_us=row["next_attempt_at_us"],
        failure=failure_of(row["failure"]),
        reply=row["reply"],
    )


def _attempt_row(row: Row) -> AttemptRow:
    return AttemptRow(
        attempt_id=row["attempt_id"],
        number=row["number"],
        mail_server_id=row["mail_server_id"],
        started_at_us=row["started_at_us"],
        ended_at_us=row["ended_at_us"],
        server=row["server"],
        outcomes=msgspec.json.decode(row["outcomes"], type=tuple[tuple[str, Outcome], ...]),
        dialogue=msgspec.json.decode(row["dialogue"], type=tuple[DialogueLine, ...]),
    )


def _body_of(row: Row | None) -> StoredBody | None:
    return StoredBody(row["size_bytes"], row["content"], row["file_name"]) if row is not None else None


def _read_overview(connection: Connection, since_us: int) -> Overview:
    tallies = {row["what"]: row["amount"] for row in connection.rows("tallies_since", quarter=since_us // QUARTER_US)}
    counts = {row["state"]: row["recipients"] for row in connection.rows("recipient_counts")}
    oldest = connection.row("oldest_waiting")
    return Overview(
        sent=tallies.get("sent", 0),
        waiting=sum(amount for state, amount in counts.items() if not RecipientState(state).is_final),
        failed=tallies.get("failed", 0),
        unknown=tallies.get("unknown", 0),
        oldest_waiting_received_at_us=oldest["received_at_us"] if oldest is not None else None,
        forecast=read_forecast(connection),
        waiting_by_cause=read_waiting_by_cause(connection),
    )


def read_waiting_by_cause(connection: Connection) -> dict[str, int]:
    """Recipients that wait, by what for: as `Overview` names it."""
    waits = _read_waits(connection)
    found: dict[str, int] = {}
    for row in connection.rows("waiting_by_way"):
        cause = _cause(row["stage"], waits[row["mail_server_id"]])
        if cause is not None:
            found[cause] = found.get(cause, 0) + row["recipients"]
    return found


def _cause(stage: str, waits: _Waits) -> str | None:
    if stage == "leased":
        return None
    if stage == CHOICE:
        return CHOICE
    if stage == "held":
        return "release"
    if waits.stopped_for is not None:
        return waits.stopped_for
    if stage == "waiting":
        return "external limit" if waits.is_external_over else "a later try"
    return waits.paced_for or "lane"
