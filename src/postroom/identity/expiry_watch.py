"""Tells the log of what ends soon: 60, 30, 14, 7 and 1 days before, and when it is over."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import structlog

from postroom.errors import PostroomError
from postroom.store.expiries import Expiry, warning_step

ROUND_SECONDS = 3600

log = structlog.stdlib.get_logger("postroom.identity")


class ExpiryWatch:
    """Each step is told once; after a restart the present one is told again."""

    def __init__(self, read_expiries: Callable[[], Awaitable[Sequence[Expiry]]]) -> None:
        self._read_expiries = read_expiries
        self._told: set[tuple[object, ...]] = set()

    async def run(self) -> NoReturn:
        while True:
            await self.look()
            await asyncio.sleep(ROUND_SECONDS)

    async def look(self) -> None:
        """One round. A store that is away is asked again in the next."""
        try:
            expiries = await self._read_expiries()
        except PostroomError:
            return
        present = {(it.kind, it.mailbox_id, it.ends_on, step): it for it in expiries if (step := _step(it)) is not None}
        for key, expiry in present.items():
            if key not in self._told:
                self._tell(expiry)
        self._told = set(present)

    def _tell(self, expiry: Expiry) -> None:
        event = "credential_expired" if expiry.days < 0 else "credential_expires"
        log.warning(
            event,
            kind=expiry.kind.value,
            mailbox=expiry.username,
            ends_on=expiry.ends_on.isoformat(),
            days=expiry.days,
        )


def _step(expiry: Expiry) -> int | None:
    return warning_step(expiry.days)
