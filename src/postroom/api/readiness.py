"""Can mail be taken and stored? Asked of the disk itself, not of the state we remember."""

import asyncio
import re
from collections.abc import Callable

from msgspec import Struct

from postroom.accept import refusals
from postroom.errors import PostroomError
from postroom.store import Store

ASKED_AGAIN_AFTER_SECONDS = 2.0
"""Each answer costs a write that is synced, and everybody may ask."""
PATIENCE_SECONDS = 5.0
"""A disk that does not answer is one that does not store."""
_PATH = re.compile(r"/\S+")
"""Everybody may ask: where things lie on this machine stands in the log alone."""


class Condition(Struct, frozen=True):
    """One thing that taking mail needs."""

    name: str
    ok: bool
    reason: str = ""


class Readiness(Struct, frozen=True):
    """What /readyz answers. Whether Microsoft can be reached is no part of it: the queue is there for that."""

    ready: bool
    conditions: list[Condition]


class ReadinessProbe:
    """Asks at most every two seconds; whoever asks meanwhile shares the answer."""

    def __init__(self, store: Store, is_listening: Callable[[], bool], shutdown: asyncio.Event) -> None:
        self._store = store
        self._is_listening = is_listening
        self._shutdown = shutdown
        self._lock = asyncio.Lock()
        self._stored: tuple[Condition, Condition] | None = None
        self._asked_at = 0.0

    async def ask(self) -> Readiness:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._stored is None or now - self._asked_at >= ASKED_AGAIN_AFTER_SECONDS:
                self._stored = await self._find_stored()
                self._asked_at = asyncio.get_running_loop().time()
        conditions = [self._listeners(), *self._stored]
        return Readiness(all(condition.ok for condition in conditions), conditions)

    def _listeners(self) -> Condition:
        if self._shutdown.is_set():
            return Condition("listeners", False, "Postroom is stopping; what was begun is finished.")
        if not self._is_listening():
            return Condition("listeners", False, "A listener has closed; see Postroom's log.")
        return Condition("listeners", True)

    async def _find_stored(self) -> tuple[Condition, Condition]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._store.prove_writable()
                has_room = await self._store.outbox.has_room()
        except TimeoutError:
            why = f"The disk has not answered for {PATIENCE_SECONDS:.0f} seconds."
        except PostroomError as trouble:
            why = _PATH.sub("…", str(trouble))
        except OSError as trouble:
            why = f"The data folder cannot be used: {trouble.strerror}."
        else:
            room = Condition("room", has_room, "" if has_room else refusals.storage_full().reply.text)
            return Condition("database", True), room
        return Condition("database", False, why), Condition("room", False, "Not known while the database is away.")
