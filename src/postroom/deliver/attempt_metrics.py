"""What an attempt came to, for monitors."""

from collections.abc import Sequence

from postroom.clock import MICROSECONDS, Clock
from postroom.ids import made_at_us, public_id
from postroom.metrics import Metrics
from postroom.outcome import FailureClass, Outcome, Refused, Sent, Stopped, TryLater, Unknown
from postroom.store.records import Lease

_RESULTS: tuple[tuple[type[Outcome], str], ...] = (
    (Unknown, "unknown"),
    (Refused, "refused"),
    (Stopped, "stopped"),
    (TryLater, "later"),
    (Sent, "sent"),
)
"""The worst first."""


class AttemptMetrics:
    """Counts attempts as the worker tells of them."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def note(self, lease: Lease, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A message whose recipients fared differently is one attempt: that of the worst."""
        result, worst = _worst_of(outcomes)
        failure = None if isinstance(worst, Sent) else worst.failure
        labels = (result, failure.failure_class.value, failure.code) if failure else (result, "", "")
        self._metrics.delivery_attempts.labels(*labels).inc()
        self._metrics.attempt_duration.observe(seconds)
        if any(isinstance(outcome, Sent) for outcome in outcomes):
            age_us = self._clock.now_us() - made_at_us(lease.message_id)
            self._metrics.delivery_duration.observe(max(0, age_us) / MICROSECONDS)
        if any(_asks_to_slow_down(outcome) for outcome in outcomes):
            self._metrics.mailbox_slowed.labels(public_id(lease.mailbox.mailbox_id)).inc()


def _worst_of(outcomes: Sequence[Outcome]) -> tuple[str, Outcome]:
    return next((result, outcome) for kind, result in _RESULTS for outcome in outcomes if isinstance(outcome, kind))


def _asks_to_slow_down(outcome: Outcome) -> bool:
    return isinstance(outcome, TryLater) and outcome.failure.failure_class is FailureClass.THROTTLE
