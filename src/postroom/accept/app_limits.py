"""How many messages an app handed in lately, against its limits a minute and a day.

Counted in memory, by second and by minute; what came before the start is read from the store once. A place is taken
when a message is opened and given back when it is not kept, so that a burst cannot pass the limit together.
"""

from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from postroom.accept import refusals
from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US, Clock
from postroom.store.records import App

ReadUse = Callable[[int, int], Awaitable[dict[int, int]]]
"""An app's messages since a time, by minute: `store.apps.use_by_minute`."""


class LimitState(msgspec.Struct, frozen=True):
    """One limit, as the headers of the HTTP API tell it."""

    name: str
    """`minute` or `day`."""
    limit: int
    remaining: int
    window_seconds: int
    reset_seconds: int
    """Until a place is free again, when none is; else until the window has passed."""


class _Window:
    """Counts in steps of the window; a step is free again when the whole window has passed."""

    def __init__(self, window_us: int, step_us: int) -> None:
        self.window_us = window_us
        self._step_us = step_us
        self._steps: deque[list[int]] = deque()
        """Pairs of step number and count, oldest first."""
        self._total = 0

    def count(self, now_us: int) -> int:
        oldest = (now_us - self.window_us) // self._step_us
        while self._steps and self._steps[0][0] <= oldest:
            self._total -= self._steps.popleft()[1]
        return self._total

    def add(self, at_us: int, amount: int = 1) -> None:
        step = at_us // self._step_us
        if self._steps and self._steps[-1][0] >= step:  # a clock that was set back counts as now
            self._steps[-1][1] += amount
        else:
            self._steps.append([step, amount])
        self._total += amount

    def take_back(self) -> None:
        """One that was added lately did not come after all."""
        for step in reversed(self._steps):
            if step[1]:
                step[1] -= 1
                self._total -= 1
                return

    def free_in_us(self, now_us: int) -> int:
        """Until the oldest step has passed."""
        if not self._steps:
            return 0
        return max(0, (self._steps[0][0] + 1) * self._step_us + self.window_us - now_us)


class _Use:
    def __init__(self) -> None:
        self.minute = _Window(MINUTE_US, MICROSECONDS)
        self.day = _Window(DAY_US, MINUTE_US)


class AppLimits:
    """The use of all apps; users of this machine who share an app are counted apart."""

    def __init__(self, clock: Clock, read_use: ReadUse) -> None:
        self._clock = clock
        self._read_use = read_use
        self._uses: dict[tuple[int, str], _Use] = {}

    async def take(self, app: App, local_user: str = "") -> None:
        """Take a place for one message. Refusal, temporary, when the app has used all of them."""
        if app.message_limit_a_minute is None and app.message_limit_a_day is None:
            return
        use = await self._use_of(app, local_user)
        now_us = self._clock.now_us()
        if app.message_limit_a_minute is not None and use.minute.count(now_us) >= app.message_limit_a_minute:
            seconds = _seconds(use.minute.free_in_us(now_us))
            raise refusals.too_many_messages_a_minute(app.name, app.message_limit_a_minute, seconds)
        if app.message_limit_a_day is not None and use.day.count(now_us) >= app.message_limit_a_day:
            seconds = _seconds(use.day.free_in_us(now_us))
            raise refusals.too_many_messages_a_day(app.name, app.message_limit_a_day, seconds)
        use.minute.add(now_us)
        use.day.add(now_us)

    def give_back(self, app: App, local_user: str = "") -> None:
        """The message was not kept."""
        use = self._uses.get((app.app_id, local_user))
        if use is not None:
            use.minute.take_back()
            use.day.take_back()

    async def states(self, app: App, local_user: str = "") -> list[LimitState]:
        """Where the app stands; empty when it has no limit."""
        limits = [("minute", app.message_limit_a_minute), ("day", app.message_limit_a_day)]
        if all(limit is None for _, limit in limits):
            return []
        use = await self._use_of(app, local_user)
        now_us = self._clock.now_us()
        found = []
        for name, limit in limits:
            window = use.minute if name == "minute" else use.day
            if limit is not None:
                left = max(0, limit - window.count(now_us))
                found.append(LimitState(name, limit, left, window.window_us // MICROSECONDS, _reset(window, now_us)))
        return found

    async def _use_of(self, app: App, local_user: str) -> _Use:
        key = (app.app_id, local_user)
        use = self._uses.get(key)
        if use is None:
            # Users who share an app cannot be told apart in what came before the start: they begin at nothing.
            earlier = {} if local_user else await self._read_use(app.app_id, self._clock.now_us() - DAY_US)
            use = self._uses.get(key)
        if use is None:
            use = self._uses[key] = _Use()
            for minute, messages in sorted(earlier.items()):
                use.day.add(minute * MINUTE_US, messages)
        return use


def _reset(window: _Window, now_us: int) -> int:
    return _seconds(window.free_in_us(now_us)) or window.window_us // MICROSECONDS


def _seconds(duration_us: int) -> int:
    return -(-duration_us // MICROSECONDS)
