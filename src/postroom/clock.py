"""Time as a parameter: whoever needs the time is handed a clock, so that tests hand in their own."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

MICROSECONDS = 1_000_000
MINUTE_US = 60 * MICROSECONDS
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def date_at(at_us: int) -> date:
    """The day in UTC."""
    return (_EPOCH + timedelta(microseconds=at_us)).date()


class Clock(Protocol):
    """Tells the time; waiting is asyncio's affair (a test's event loop brings its own time)."""

    def now_us(self) -> int:
        """Wall time as microseconds since 1970, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_us: int = 1_790_000_000 * MICROSECONDS) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, seconds: float) -> None:
        self._now_us += int(seconds * MICROSECONDS)
