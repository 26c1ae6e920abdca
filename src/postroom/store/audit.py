"""What people did to settings: never secrets, never changed afterwards."""

from postroom.store.database import Connection
from postroom.store.reader import Reader
from postroom.store.records import AuditEntry
from postroom.store.rows import audit_entry_of
from postroom.store.writer import Writer


class Audit:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def record(self, entry: AuditEntry) -> None:
        await self._writer.run(lambda connection: _insert(connection, entry))

    async def recent(self, limit: int) -> list[AuditEntry]:
        """Newest first."""
        rows = await self._reader.read(lambda connection: connection.rows("recent_audit", limit=limit))
        return [audit_entry_of(row) for row in rows]


def note(
    connection: Connection,
    who: str,
    action: str,
    target: str,
    *,
    from_address: str = "",
    before: str = "",
    after: str = "",
) -> None:
    """Record an action in the transaction that does it."""
    _insert(connection, AuditEntry(connection.now_us, who, from_address, action, target, before, after))


def _insert(connection: Connection, entry: AuditEntry) -> None:
    connection.change(
        "insert_audit",
        audit_id=connection.ids.make_id(),
        at_us=entry.at_us,
        who=entry.who,
        from_address=entry.from_address,
        action=entry.action,
        target=entry.target,
        before=entry.before,
        after=entry.after,
    )
