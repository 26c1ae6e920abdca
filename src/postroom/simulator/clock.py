"""The simulator's time: real time that can be pushed forward, never back."""

import time
from collections.abc import Callable


class SimulatorClock:
    """Unix seconds that start at the machine's time and never repeat.

    No two readings are equal, so that of two events (a token issued, the sessions revoked) one is
    always the earlier.
    """

    def __init__(self) -> None:
        self._started_at = time.time()
        self._started_monotonic = time.monotonic()
        self._advanced_seconds = 0.0
        self._last_reading = 0.0
        self._listeners: list[Callable[[], None]] = []

    def now(self) -> float:
        elapsed = time.monotonic() - self._started_monotonic + self._advanced_seconds
        self._last_reading = max(self._started_at + elapsed, self._last_reading + 1e-6)
        return self._last_reading

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once. ValueError for a step back."""
        if seconds < 0:
            raise ValueError(f"the clock only moves forward, not by {seconds} s")
        self._advanced_seconds += seconds
        for listener in list(self._listeners):
            listener()

    def on_advance(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each step forward, until what is returned here is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def machine_now(self) -> float:
        """The same moment without what was added: what every other program here believes."""
        return self.now() - self._advanced_seconds

    @property
    def advanced_seconds(self) -> float:
        """How far this clock is ahead of the machine's."""
        return self._advanced_seconds
