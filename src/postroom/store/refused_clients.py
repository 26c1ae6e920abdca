"""Clients that were turned away, by address: a printer shows nothing, so we remember."""

from collections.abc import Sequence

import msgspec

from postroom.store.audit import note
from postroom.store.database import Connection
from postroom.store.reader import Reader
from postroom.store.records import RefusedAttempt, RefusedClient
from postroom.store.rows import refused_client_of
from postroom.store.writer import Writer

CLIENTS_KEPT = 1_000
SHOWN = 100


class RefusedClients:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def note(self, attempts: Sequence[RefusedAttempt]) -> None:
        """Write attempts down, oldest first; what was longest silent is forgotten beyond a thousand addresses."""

        def keep(connection: Connection) -> None:
            for attempt in attempts:
                connection.change("note_refused_client", **msgspec.structs.asdict(attempt))
            connection.change("forget_oldest_refused_clients", kept=CLIENTS_KEPT)

        await self._writer.run(keep)

    async def list(self) -> "list[RefusedClient]":
        """Those that nobody chose to ignore, the latest first."""
        rows = await self._reader.read(lambda connection: connection.rows("refused_clients", limit=SHOWN))
        return [refused_client_of(row) for row in rows]

    async def ignore(self, address: str, who: str) -> None:
        """It is not shown any more, however often it comes."""

        def hide(connection: Connection) -> None:
            connection.change("ignore_refused_client", address=address)
            note(connection, who, "ignored refused client", address)

        await self._writer.run(hide)

    async def forget(self, address: str) -> None:
        """It has an app now."""
        await self._writer.run(lambda connection: connection.change("forget_refused_client", address=address))
