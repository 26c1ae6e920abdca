"""Taking messages in: a batch of them with five multi-row statements."""

from collections.abc import Sequence

from postroom.message import RecipientState
from postroom.store.database import Connection, to_json
from postroom.store.faults import FaultPoints
from postroom.store.records import NewMessage

ROW_BYTES = 512  # what a message's rows weigh in the writer's queue, besides body and recipients
SHOWN_RECIPIENTS = 3
SEARCHED_RECIPIENTS_CHARACTERS = 32 * 1024


def weigh(new: NewMessage) -> int:
    """How many bytes a message takes in the writer's queue."""
    content = len(new.body.content) if new.body.content is not None else 0
    return content + ROW_BYTES + sum(2 * len(address) + 64 for address in new.recipients)


def keep_messages(
    connection: Connection, messages: Sequence[NewMessage], faults: FaultPoints
) -> list[Exception | None]:
    """Insert everything that a batch of messages needs; all of them are due at once."""
    faults.reach("before_insert")
    way_out = connection.only_row("default_way_out", now_us=connection.now_us)
    delivery_ids = [connection.ids.make_id() for _ in messages]
    connection.insert_rows("insert_messages", [_message_row(connection.now_us, new) for new in messages])
    connection.insert_rows("insert_bodies", [_body_row(new) for new in messages])
    connection.insert_rows("insert_search_texts", [_search_row(new) for new in messages])
    connection.insert_rows(
        "insert_deliveries",
        [
            (
                *(delivery_id, new.message_id, way_out["mail_server_id"], way_out["mailbox_id"], int(new.lane)),
                *("due", connection.now_us, len(new.recipients), way_out["ready_us"]),
            )
            for delivery_id, new in zip(delivery_ids, messages, strict=True)
        ],
    )
    connection.insert_rows(
        "insert_recipients",
        [
            (connection.ids.make_id(), new.message_id, delivery_id, address, RecipientState.QUEUED, connection.now_us)
            for delivery_id, new in zip(delivery_ids, messages, strict=True)
            for address in new.recipients
        ],
    )
    return [None] * len(messages)


def _message_row(now_us: int, new: NewMessage) -> tuple[object, ...]:
    return (
        *(new.message_id, new.app_id, new.envelope_sender, _clean(new.header_from), _clean(new.subject)),
        *(_clean(new.internet_message_id), int(new.lane), new.received_at_us, now_us, new.body.size_bytes),
        *(int(new.is_eight_bit), int(new.needs_smtputf8), to_json(new.reception), to_json(new.repairs)),
        *(len(new.recipients), to_json(new.recipients[:SHOWN_RECIPIENTS])),
    )


def _body_row(new: NewMessage) -> tuple[object, ...]:
    return new.message_id, new.body.size_bytes, new.body.content, new.body.file_name


def _search_row(new: NewMessage) -> tuple[object, ...]:
    recipients = " ".join(new.recipients)[:SEARCHED_RECIPIENTS_CHARACTERS]
    senders = f"{_clean(new.header_from)} {new.envelope_sender}"
    return new.message_id, senders.casefold(), recipients.casefold(), _clean(new.subject).casefold()


def _clean(text: str) -> str:
    """Headers may hold bytes that are no text; they are shown as "?" and stay as they are in the body."""
    return text.encode("utf-8", "replace").decode()
