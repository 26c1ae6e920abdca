"""Clients that were turned away: collected in memory, one entry for each, and written down every few seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from postroom.errors import PostroomError
from postroom.store.records import RefusedAttempt

WRITE_EVERY_SECONDS = 3.0
ADDRESSES_COLLECTED = 1_000
"""Of one round; what comes beyond is not remembered: so many at once are no printers."""
_SHOWN_LENGTH = 254

Write = Callable[[Sequence[RefusedAttempt]], Awaitable[None]]

log = structlog.stdlib.get_logger("postroom.accept")


class RefusedClientBook:
    """`note` costs a connection next to nothing; `run` and a last `flush` write what it collected."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._collected: dict[str, RefusedAttempt] = {}

    def note(self, attempt: RefusedAttempt) -> None:
        """The last attempt of an address is told, with how many there were."""
        earlier = self._collected.pop(attempt.address, None)
        if earlier is None and len(self._collected) >= ADDRESSES_COLLECTED:
            return
        self._collected[attempt.address] = msgspec.structs.replace(
            attempt,
            helo=attempt.helo[:_SHOWN_LENGTH],
            login=attempt.login[:_SHOWN_LENGTH],
            attempts=attempt.attempts + (earlier.attempts if earlier is not None else 0),
        )

    async def flush(self) -> None:
        """Write what was collected. What cannot be written now stays for the next time."""
        collected, self._collected = self._collected, {}
        if not collected:
            return
        try:
            await self._write(list(collected.values()))
        except PostroomError as trouble:
            log.warning("refused clients not written", reason=str(trouble))
            newer, self._collected = self._collected, collected
            for attempt in newer.values():
                self.note(attempt)

    async def run(self) -> None:
        """Until cancelled; `flush` once more when no listener is left."""
        while True:
            await asyncio.sleep(WRITE_EVERY_SECONDS)
            await self.flush()
