"""What the disk holds goes by rule, a small batch at a time; files go after the commit that forgot them."""

from typing import NamedTuple

from postroom.clock import DAY_US, MINUTE_US
from postroom.store.database import Connection, to_json
from postroom.store.keeping import IDEMPOTENCY_US
from postroom.store.refused_senders import BELIEVED_US
from postroom.store.settling import QUARTER_US

MINUTES_KEPT = 2 * DAY_US // MINUTE_US  # twice what the limit of 24 hours looks at
QUARTERS_KEPT = 400 * DAY_US // QUARTER_US  # a year, and the month beside it


class Pruned(NamedTuple):
    messages: int
    file_names: list[str]
    """To be removed now that no row names them."""


def prune(connection: Connection, content_days: int, metadata_days: int, batch: int) -> Pruned:
    """Forget content and metadata whose time is over, at most `batch` messages of each."""
    now_us = connection.now_us
    whole = _forget(connection, "prune_metadata", now_us - metadata_days * DAY_US, batch)
    if whole.messages_json is not None:
        for name in ("notices_due", "bodies", "search_texts", "timeline", "attempts", "recipients", "messages"):
            connection.change(f"delete_{name}", messages=whole.messages_json)
    content = _forget(connection, "prune_content", now_us - min(content_days, metadata_days) * DAY_US, batch)
    if content.messages_json is not None:
        connection.change("delete_bodies", messages=content.messages_json)
        connection.change("mark_pruned", messages=content.messages_json, now_us=now_us)
    connection.has_freed_pages = connection.has_freed_pages or bool(whole.amount or content.amount)
    connection.change("delete_recipient_minutes", minute=now_us // MINUTE_US - MINUTES_KEPT)
    connection.change("delete_external_minutes", minute=now_us // MINUTE_US - MINUTES_KEPT)
    connection.change("delete_app_turns")
    connection.change("delete_tallies", quarter=now_us // QUARTER_US - QUARTERS_KEPT)
    connection.change("delete_idempotency_keys", until_us=now_us - IDEMPOTENCY_US)
    connection.change("delete_refused_senders", until_us=now_us - BELIEVED_US)
    connection.change("delete_ended_sessions", now_us=now_us)
    return Pruned(whole.amount + content.amount, whole.file_names + content.file_names)


class _Forgotten(NamedTuple):
    amount: int
    messages_json: str | None
    file_names: list[str]


def _forget(connection: Connection, name: str, until_us: int, batch: int) -> _Forgotten:
    rows = connection.rows(name, until_us=until_us, batch=batch)
    ids = to_json([row["message_id"] for row in rows]) if rows else None
    return _Forgotten(len(rows), ids, [row["file_name"] for row in rows if row["file_name"]])
