"""What happened to a message, in words. What its own row tells (received, stored) is not stored a second time."""

from collections.abc import Sequence
from datetime import UTC, datetime

from postroom.clock import MICROSECONDS
from postroom.message import Reception
from postroom.store.database import Connection
from postroom.store.records import TimelineEntry

_WAYS = {"smtp": "by SMTP", "http": "by HTTP", "sendmail": "by sendmail"}


def add_entries(connection: Connection, entries: Sequence[tuple[int, str, str, str]]) -> None:
    """Rows of message id, kind, text and who did it, at the time of the transaction."""
    rows = [
        (message_id, connection.ids.make_id(), connection.now_us, kind, text, who)
        for message_id, kind, text, who in entries
    ]
    if rows:
        connection.insert_rows("add_timeline", rows)


def intake_entries(
    reception: Reception, repairs: Sequence[str], received_at_us: int, stored_at_us: int
) -> list[TimelineEntry]:
    """The beginning of every timeline."""
    entries = [TimelineEntry(received_at_us, "received", reception_sentence(reception))]
    entries += [TimelineEntry(received_at_us, "repaired", repair) for repair in repairs]
    entries.append(TimelineEntry(stored_at_us, "stored", "Written to the disk, then acknowledged."))
    return entries


def pruned_entry(pruned_at_us: int) -> TimelineEntry:
    day = datetime.fromtimestamp(pruned_at_us / MICROSECONDS, UTC).date().isoformat()
    return TimelineEntry(pruned_at_us, "pruned", f"The content was removed on {day}, as the retention rule says.")


def reception_sentence(reception: Reception) -> str:
    """How a message came: "Received by SMTP from 192.0.2.7 (printer), signed in as hp with LOGIN, TLSv1.3."."""
    words = [f"Received {_WAYS.get(reception.way, 'as ' + reception.way)}"]
    if reception.peer_address:
        words.append(f"from {reception.peer_address}" + (f" ({reception.helo})" if reception.helo else ""))
    if reception.local_user:
        words.append(f"from {reception.local_user} on this machine")
    parts = [" ".join(words)]
    if reception.login:
        parts.append(
            f"signed in as {reception.login}" + (f" with {reception.mechanism}" if reception.mechanism else "")
        )
    if reception.tls_version:
        parts.append(reception.tls_version)
    return ", ".join(parts) + "."
