"""The canary's schedule: hand one in when it is due, never two at once, and none for the time we were away.

It travels in the normal lane: what it proves is what ordinary mail meets. In the high lane it would arrive while a
backlog keeps everybody else's mail, and in the low lane it would be late because of it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from postroom.clock import MICROSECONDS, Clock
from postroom.errors import PostroomError
from postroom.ids import public_id
from postroom.store.canaries import CanaryState

log = structlog.get_logger("postroom.deliver")

LOOK_AGAIN_SECONDS = 5.0
"""What is set on a page, or became of the present one, is seen after so long."""
TROUBLE_SECONDS = 60.0

Submit = Callable[[str, int], Awaitable[int]]
"""Hands one in, to a recipient, until when it is to be sent; its message's id."""


class CanaryBook(Protocol):
    """What the schedule needs of the store."""

    async def state(self) -> CanaryState: ...


class CanaryFlights:
    """Hands in canaries while it runs; whatever goes wrong with one, the next is tried."""

    def __init__(self, canaries: CanaryBook, submit: Submit, clock: Clock) -> None:
        self._canaries = canaries
        self._submit = submit
        self._clock = clock

    async def run(self) -> None:
        while True:
            try:
                pause_seconds = await self._look()
            except PostroomError as trouble:
                log.warning("canary_not_handed_in", reason=str(trouble))
                pause_seconds = TROUBLE_SECONDS
            except Exception:  # proving the path must not stop it
                log.exception("canary_failed_unexpectedly")
                pause_seconds = TROUBLE_SECONDS
            await asyncio.sleep(pause_seconds)

    async def _look(self) -> float:
        """Hand one in if it is due; how long to rest."""
        state = await self._canaries.state()
        next_at_us = state.next_at_us()
        if next_at_us is None:
            return LOOK_AGAIN_SECONDS
        now_us = self._clock.now_us()
        if next_at_us > now_us + state.every_us:
            next_at_us = now_us  # the clock was set back: the last one lies in the future
        if next_at_us <= now_us:
            # What it proves ends with its period: then the next one is wanted, not this one.
            message_id = await self._submit(state.recipient, now_us + state.every_us)
            log.info("canary_handed_in", message=public_id(message_id))
            return LOOK_AGAIN_SECONDS
        return min((next_at_us - now_us) / MICROSECONDS, LOOK_AGAIN_SECONDS)
