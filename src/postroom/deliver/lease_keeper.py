"""Keeps a lease alive while its message moves, and knows whether enough of it is left to hear the last answer out."""

import asyncio
from typing import Protocol

import structlog

from postroom.clock import MICROSECONDS, Clock
from postroom.errors import LeaseLostError, PostroomError
from postroom.store.records import Lease

log = structlog.get_logger("postroom.deliver")

RENEW_EVERY_SECONDS = 120.0
LAST_ANSWER_SECONDS = 615.0
"""Ten minutes after the final dot (RFC 5321 4.5.3.2.6), and a little to write down what it said."""
STILL_SECONDS = 660.0
"""After so long without a sign of life the lease is left to end: no step of a conversation may take longer."""


class LeaseBook(Protocol):
    async def renew(self, lease: Lease) -> Lease: ...


class LeaseKeeper:
    """One lease during one attempt."""

    def __init__(self, lease: Lease, book: LeaseBook, clock: Clock) -> None:
        self._lease = lease
        self._book = book
        self._clock = clock
        self._moved_at_us = clock.now_us()
        self._is_lost = False
        self._renewal: asyncio.Task[None] | None = None
        self._timer = self._wait_for_renewal()
        self.last_byte_may_have_left = False

    def is_moving(self) -> None:
        """A sign of life: a reply came, or bytes of the message are on their way."""
        self._moved_at_us = self._clock.now_us()

    def may_finish(self) -> bool:
        """Asked right before the last byte leaves."""
        left_us = self._lease.expires_at_us - self._clock.now_us()
        self.last_byte_may_have_left = not self._is_lost and left_us >= LAST_ANSWER_SECONDS * MICROSECONDS
        return self.last_byte_may_have_left

    def stop(self) -> None:
        self._timer.cancel()
        if self._renewal is not None:
            self._renewal.cancel()

    def _wait_for_renewal(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(RENEW_EVERY_SECONDS, self._begin_renewal)

    def _begin_renewal(self) -> None:
        if self._clock.now_us() - self._moved_at_us < STILL_SECONDS * MICROSECONDS:
            self._renewal = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            self._lease = await self._book.renew(self._lease)
        except LeaseLostError as trouble:
            self._is_lost = True
            log.warning("lease_lost", attempt=self._lease.attempt_id, reason=str(trouble))
            return
        except PostroomError as trouble:
            log.warning("lease_not_renewed", attempt=self._lease.attempt_id, reason=str(trouble))
        self._timer = self._wait_for_renewal()
