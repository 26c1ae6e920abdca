"""Reading beside the writer: read-only connections, one short transaction for each page."""

import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

import structlog

from postroom.errors import StoreUnavailableError
from postroom.store.calls import Calls
from postroom.store.database import Connection, advice

_log = structlog.stdlib.get_logger("postroom.store")

T = TypeVar("T")


class Reader:
    """Lends a connection to one reading at a time; what is read is one consistent state."""

    def __init__(self, open_connection: Callable[[], Connection], calls: Calls, connections: int) -> None:
        self._calls = calls
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._connections = [open_connection() for _ in range(connections)]
        for connection in self._connections:
            self._idle.put(connection)

    async def read(self, reading: Callable[[Connection], T]) -> T:
        """What `reading` makes of the database. Errors: StoreUnavailableError."""
        return await self._calls.call(self._read, reading)

    def _read(self, reading: Callable[[Connection], T]) -> T:
        connection = self._idle.get()
        try:
            connection.begin(writes=False)
            try:
                return reading(connection)
            finally:
                connection.roll_back()
        except sqlite3.Error as trouble:
            error = StoreUnavailableError(f"The database could not be read: {trouble}. {advice(trouble)}")
            _log.warning("not read", reason=str(error))
            raise error from trouble
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        self._calls.close()
        for connection in self._connections:
            connection.close()
