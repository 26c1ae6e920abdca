"""Taking messages in: a batch of them with a few multi-row statements."""

from collections.abc import Sequence

from postroom.clock import DAY_US
from postroom.errors import AlreadyKeptError
from postroom.message import RecipientState
from postroom.store.canaries import note_canaries
from postroom.store.database import Connection, to_json
from postroom.store.faults import FaultPoints
from postroom.store.records import IdempotencyKey, NewMessage
from postroom.store.routing import RoutingFacts
from postroom.store.rows import to_json_or_none
from postroom.store.timeline import add_entries
from postroom.store.turns import Place, give_turns
from postroom.store.ways_out import read_ways_out

ROW_BYTES = 512  # what a message's rows weigh in the writer's queue, besides body and recipients
SHOWN_RECIPIENTS = 3
SEARCHED_RECIPIENTS_CHARACTERS = 32 * 1024
IDEMPOTENCY_US = DAY_US
"""How long a repeated request is known again."""


def weigh(new: NewMessage) -> int:
    """How many bytes a message takes in the writer's queue."""
    content = len(new.body.content) if new.body.content is not None else 0
    return content + ROW_BYTES + sum(2 * len(address) + 64 for address in new.recipients)


def keep_messages(
    connection: Connection, messages: Sequence[NewMessage], faults: FaultPoints
) -> list[Exception | None]:
    """Insert everything that a batch of messages needs; a used idempotency key fails its own message only."""
    faults.reach("before_insert")
    answers = _find_kept(connection, messages)
    new = [message for message, answer in zip(messages, answers, strict=True) if answer is None]
    if new:
        _insert(connection, new)
    return answers


def keep_together(connection: Connection, messages: Sequence[NewMessage]) -> None:
    """All of them or none. Errors: AlreadyKeptError."""
    for answer in _find_kept(connection, messages):
        if answer is not None:
            raise answer
    _insert(connection, messages)


def _insert(connection: Connection, messages: Sequence[NewMessage]) -> None:
    now_us = connection.now_us
    ways_out = read_ways_out(connection)
    ways = [ways_out.choose(_routing_facts(new)) for new in messages]
    turns = _give_turns(connection, [(way.mailbox_id, new) for (way, _), new in zip(ways, messages, strict=True)])
    delivery_ids = [connection.ids.make_id() for _ in messages]
    connection.insert_rows("insert_messages", [_message_row(now_us, new) for new in messages])
    connection.insert_rows("insert_bodies", [_body_row(new) for new in messages])
    connection.insert_rows("insert_search_texts", [_search_row(new) for new in messages])
    connection.insert_rows(
        "insert_deliveries",
        [
            (
                *(delivery_id, new.message_id, way.mail_server_id, way.mailbox_id, int(new.lane)),
                int(new.mail_server_id is not None),
                *_stage(now_us, new),
                *(len(new.recipients), way.ready_us, turn),
            )
            for delivery_id, new, (way, _), turn in zip(delivery_ids, messages, ways, turns, strict=True)
        ],
    )
    connection.insert_rows(
        "insert_recipients",
        [
            (
                *(connection.ids.make_id(), new.message_id, delivery_id, address, _state(now_us, new), now_us),
                new.send_at_us if _is_scheduled(now_us, new) else None,
            )
            for delivery_id, new in zip(delivery_ids, messages, strict=True)
            for address in new.recipients
        ],
    )
    note_canaries(connection, messages)
    keys = [_key_row(now_us, new, new.idempotency) for new in messages if new.idempotency is not None]
    if keys:
        connection.insert_rows("keep_idempotency_keys", keys)
    explained = zip(messages, ways, strict=True)
    add_entries(connection, [(new.message_id, "routed", why, "Postroom") for new, (_, why) in explained if why])


def _give_turns(connection: Connection, coming: Sequence[tuple[int, NewMessage]]) -> list[int]:
    """By mailbox; what is to be sent later gets its turn then, so that until then its app has lost none."""
    waiting = [_is_scheduled(connection.now_us, new) for _, new in coming]
    places = [
        Place(mailbox_id, int(new.lane), new.app_id)
        for (mailbox_id, new), is_later in zip(coming, waiting, strict=True)
        if not is_later
    ]
    turns = iter(give_turns(connection, places) if places else ())
    return [0 if is_later else next(turns) for is_later in waiting]


def _routing_facts(new: NewMessage) -> RoutingFacts:
    return RoutingFacts(new.header_from, new.app_id, new.body.size_bytes, new.mail_server_id)


def _find_kept(connection: Connection, messages: Sequence[NewMessage]) -> list[Exception | None]:
    """For each message whose idempotency key is in use, also by an earlier one of this batch, its error."""
    named = [_key_of(new, new.idempotency) for new in messages if new.idempotency is not None]
    if not named:
        return [None] * len(messages)
    given = to_json([{"app_id": app_id, "key": key, "item": item} for app_id, key, item in named])
    rows = connection.rows("used_idempotency_keys", keys=given, oldest_us=connection.now_us - IDEMPOTENCY_US)
    used = {(row["app_id"], row["key"], row["item"]): (row["message_id"], row["request_hash"]) for row in rows}
    answers: list[Exception | None] = []
    for new in messages:
        answers.append(None)
        if new.idempotency is None:
            continue
        key = _key_of(new, new.idempotency)
        message_id, request_hash = used.setdefault(key, (new.message_id, new.idempotency.request_hash))
        if message_id != new.message_id:
            answers[-1] = AlreadyKeptError(message_id, request_hash == new.idempotency.request_hash)
    return answers


def _key_of(new: NewMessage, idempotency: IdempotencyKey) -> tuple[int, str, int]:
    return new.app_id, idempotency.key, idempotency.item


def _key_row(now_us: int, new: NewMessage, idempotency: IdempotencyKey) -> tuple[object, ...]:
    return *_key_of(new, idempotency), idempotency.request_hash, new.message_id, now_us


def _is_scheduled(now_us: int, new: NewMessage) -> bool:
    return new.send_at_us is not None and new.send_at_us > now_us


def _state(now_us: int, new: NewMessage) -> RecipientState:
    return RecipientState.SCHEDULED if _is_scheduled(now_us, new) else RecipientState.QUEUED


def _stage(now_us: int, new: NewMessage) -> tuple[str, int]:
    """In which index its delivery stands, and when it is due."""
    if new.send_at_us is not None and new.send_at_us > now_us:
        return "waiting", new.send_at_us
    return "due", now_us


def _message_row(now_us: int, new: NewMessage) -> tuple[object, ...]:
    return (
        *(new.message_id, new.app_id, new.envelope_sender, _clean(new.header_from), _clean(new.subject)),
        *(_clean(new.internet_message_id), int(new.lane), new.received_at_us, now_us, new.body.size_bytes),
        *(int(new.is_eight_bit), int(new.needs_smtputf8), to_json(new.reception), to_json(new.repairs)),
        *(len(new.recipients), to_json(new.recipients[:SHOWN_RECIPIENTS])),
        *(_state(now_us, new), new.send_at_us, new.expires_at_us, to_json(new.tags), to_json(new.metadata)),
        *(to_json_or_none(new.dsn), new.lifetime_us, int(new.names_only_recipients), int(new.is_notice)),
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
