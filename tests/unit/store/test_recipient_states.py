"""The table of states is data in message.py; the database holds exactly the same one."""

import sqlite3
from itertools import product
from pathlib import Path

import pytest

from postroom.message import CRASH_COLUMN, TRANSITIONS, MailboxState, RecipientState
from postroom.outcome import StopCause
from postroom.store.database import Connection
from tests.unit.store.open_connection import migrated


def insert_recipient(connection: Connection, state: str) -> int:
    connection.raw.execute(
        "INSERT INTO messages (message_id, app_id, envelope_sender, header_from, subject, internet_message_id, lane, "
        "received_at_us, stored_at_us, size_bytes, is_eight_bit, needs_smtputf8, reception, repairs, recipient_count, "
        "first_recipients) VALUES (NULL, 1, '', '', '', '', 1, 0, 0, 0, 0, 0, '', '', 1, '')"
    )
    cursor = connection.raw.execute(
        "INSERT INTO recipients (message_id, delivery_id, address, state, changed_at_us, attempt_id, "
        "next_attempt_at_us) VALUES (last_insert_rowid(), 1, 'a@x.example', ?, 0, 1, 0)",
        (state,),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def may_move(connection: Connection, source: str, target: str) -> bool:
    recipient_id = insert_recipient(connection, source)
    try:
        connection.raw.execute("UPDATE recipients SET state = ? WHERE recipient_id = ?", (target, recipient_id))
    except sqlite3.IntegrityError:
        return False
    return True


def test_exactly_the_transitions_of_the_table_happen(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        moves = {
            (source, target)
            for source, target in product(RecipientState, repeat=2)
            if may_move(connection, source, target)
        }
    assert moves == {(source, target) for source, targets in TRANSITIONS.items() for target in targets}


def test_a_move_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        recipient_id = insert_recipient(connection, "sent")
        with pytest.raises(sqlite3.IntegrityError, match="a recipient cannot change its state like this"):
            connection.raw.execute("UPDATE recipients SET state = 'queued' WHERE recipient_id = ?", (recipient_id,))


def test_a_state_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with (
        migrated(tmp_path) as connection,
        pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"),
    ):
        insert_recipient(connection, "gone")


def test_every_state_has_its_count_and_its_crash_column(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        counted = {row["state"] for row in connection.rows("recipient_counts")}
    assert counted == set(RecipientState) == set(TRANSITIONS) == set(CRASH_COLUMN)


def test_counts_follow_every_change(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection:
        recipient_id = insert_recipient(connection, "queued")
        insert_recipient(connection, "held")
        connection.raw.execute("UPDATE recipients SET state = 'sending' WHERE recipient_id = ?", (recipient_id,))
        connection.raw.execute("DELETE FROM recipients WHERE state = 'held'")
        counts = {row["state"]: row["recipients"] for row in connection.rows("recipient_counts") if row["recipients"]}
    assert counts == {"sending": 1}


@pytest.mark.parametrize("state", list(MailboxState))
def test_every_state_of_a_mailbox_can_be_stored(tmp_path: Path, state: MailboxState) -> None:
    ready_since = 0 if state in (MailboxState.READY, MailboxState.SLOWED) else None
    cause = StopCause.SIGN_IN if state is MailboxState.STOPPED else None
    with migrated(tmp_path) as connection:
        connection.raw.execute(
            "UPDATE mailboxes SET state = ?, ready_since_us = ?, cause = ?", (state, ready_since, cause)
        )
        with pytest.raises(sqlite3.IntegrityError):
            connection.raw.execute("UPDATE mailboxes SET state = 'asleep'")


def test_the_clock_of_readiness_runs_exactly_while_a_mailbox_can_send(tmp_path: Path) -> None:
    with migrated(tmp_path) as connection, pytest.raises(sqlite3.IntegrityError, match="ready_since_us"):
        connection.raw.execute("UPDATE mailboxes SET state = 'ready'")
