"""Claims against a model: whatever people, clocks and crashes do, the limits hold, and the worker is woken in time.

The model goes by the time that really passed: a clock that is set back takes none.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US
from postroom.message import Lane
from postroom.outcome import Failure, FailureClass, Outcome, TryLater
from postroom.store.records import AppSettings, Lease, MailboxLimits
from tests.contract.kept_store import MAILBOX_ID, REFUSED, SENT, UNKNOWN, KeptStore, later

PATIENCE = 8
"""Looks in succession that may find nothing: leases end, recipients are put off, a limit recovers."""
EXTERNAL_A_DAY = 5
TOO_MANY = Failure(FailureClass.THROTTLE, "too_many_connections", "432 4.3.2 Concurrent", "too_many_connections")
OUTCOMES = ("sent", "refused", "later", "unknown", "one too many")

seconds = st.sampled_from((0.0, 0.5, 1.0, 29.5, 30.0, 59.0, 60.0, 61.0, 300.0, 3_600.0, 86_400.0))
steps = st.one_of(
    st.tuples(st.just("keep"), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2), st.sampled_from(list(Lane))),
    st.tuples(st.just("claim"), st.integers(1, 10)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("pass"), seconds),
    st.tuples(st.just("set back"), st.sampled_from((1.0, 45.0, 90.0, 4_000.0))),
    st.tuples(st.just("limits"), st.integers(1, 6), st.integers(1, 3), st.integers(3, 40)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("sleep"), st.floats(0, 1, exclude_max=True)),
)


def _count_external(lease: Lease) -> int:
    return sum(recipient.address.endswith("@fabrikam.com") for recipient in lease.recipients)


@dataclass
class Trip:
    """A message on its way, or settled."""

    recipients: int
    external: int
    claimed_us: int
    settled_us: int | None = None


@dataclass
class Story:
    """The store, and beside it what the model knows."""

    kept: KeptStore
    limits: MailboxLimits = MailboxLimits()  # noqa: RUF009 - frozen
    true_us: int = 0
    trips: list[Trip] = field(default_factory=list)
    in_flight: list[tuple[Lease, Trip]] = field(default_factory=list)

    async def step(self, name: str, *given: object) -> None:
        await getattr(self, f"_{name.replace(' ', '_')}")(*given)

    async def _keep(self, messages: int, recipients: int, external: int, lane: Lane) -> None:
        domains = ["fabrikam.com"] * external + ["contoso.com"] * recipients
        for _ in range(messages):
            await self.kept.keep(*(f"r{number}@{domain}" for number, domain in enumerate(domains)), lane=lane)

    async def _claim(self, limit: int) -> int:
        leases = await self.kept.store.outbox.lease_due(limit)
        self._forget_ended_leases()
        new = [Trip(len(lease.recipients), _count_external(lease), self.true_us) for lease in leases]
        self.trips += new
        self.in_flight += zip(leases, new, strict=True)
        if leases:
            self._judge(leases)
        return len(leases)

    def _judge(self, leases: list[Lease]) -> None:
        since_us = self.true_us - MINUTE_US
        in_this_minute = [trip for trip in self.trips if trip.settled_us is None or trip.settled_us > since_us]
        assert len(in_this_minute) <= self.limits.messages_a_minute
        assert len(self.in_flight) <= self.limits.connections
        today = [trip for trip in self.trips if trip.claimed_us > self.true_us - DAY_US]
        # More at once than a day allows go when nothing else went.
        assert sum(trip.recipients for trip in today) <= self.limits.recipients_a_day or len(today) == 1
        external = [trip.external for trip in today if trip.external]
        assert sum(external) <= EXTERNAL_A_DAY or len(external) == 1

    async def _settle(self, place: int, ending: str) -> None:
        if not self.in_flight:
            return
        lease, trip = self.in_flight.pop(place % len(self.in_flight))
        now_us = self.kept.clock.now_us()
        outcomes: dict[str, Outcome] = {
            "sent": SENT, "refused": REFUSED, "unknown": UNKNOWN,
            "later": later(now_us + MINUTE_US), "one too many": TryLater(TOO_MANY, now_us + 5 * MICROSECONDS),
        }  # fmt: skip
        await self.kept.settle(lease, outcomes[ending])
        trip.settled_us = self.true_us

    async def _finish(self) -> None:
        while self.in_flight:
            await self._settle(0, "sent")

    async def _pass(self, amount: float) -> None:
        self._advance_us(int(amount * MICROSECONDS))

    async def _set_back(self, amount: float) -> None:
        self.kept.clock.advance(-amount)

    async def _limits(self, messages: int, connections: int, recipients: int) -> None:
        self.limits = MailboxLimits(messages, connections, recipients, 500)
        await self.kept.store.mailboxes.set_limits(MAILBOX_ID, self.limits, "anna")

    async def _crash(self) -> None:
        """What was on its way may have arrived at any time until now."""
        self._end(self.in_flight)
        await self.kept.open()

    async def _sleep(self, fraction: float) -> None:
        """As the worker does: until the time it is told, and not a moment longer than needed."""
        for _ in range(PATIENCE):
            if await self._claim(10):
                return
            due_us = await self.kept.store.outbox.next_due_at_us()
            if due_us is None:
                self._advance_us(3 * DAY_US)
                assert not await self._claim(10), "nobody would have come for this"
                return
            pause_us = max(0, due_us - self.kept.clock.now_us())
            early_us = int(pause_us * fraction)
            if early_us < pause_us:
                self._advance_us(early_us)
                assert not await self._claim(10), "it was due before the time that was told"
            self._advance_us(pause_us - early_us)
        raise AssertionError(f"woken {PATIENCE} times for nothing")

    def _advance_us(self, amount_us: int) -> None:
        self.kept.clock.advance(0)
        self.kept.clock._now_us += amount_us
        self.true_us += amount_us

    def _forget_ended_leases(self) -> None:
        now_us = self.kept.clock.now_us()
        self._end([each for each in self.in_flight if each[0].expires_at_us <= now_us])

    def _end(self, ended: list[tuple[Lease, Trip]]) -> None:
        for _, trip in ended:
            trip.settled_us = self.true_us
        self.in_flight = [each for each in self.in_flight if each not in ended]


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, min_size=5, max_size=40))
def test_no_limit_is_ever_passed_and_nobody_oversleeps(story: list[tuple[object, ...]]) -> None:
    async def live(folder: Path) -> None:
        kept = KeptStore(folder / "data", "inline")
        await kept.open_set_up()
        try:
            await kept.write(f"UPDATE tenants SET external_limit_a_day = {EXTERNAL_A_DAY}")
            told = Story(kept)
            await told.step("limits", 3, 2, 20)
            for name, *given_values in story:
                await told.step(str(name), *given_values)
            for _ in range(15):
                await told.step("finish")
                await told.step("sleep", 0.9)
        finally:
            await kept.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.tuples(st.integers(0, 2), st.integers(1, 8)), st.none()), min_size=4, max_size=40))
def test_apps_that_wait_side_by_side_are_served_alike(story: list[tuple[int, int] | None]) -> None:
    """None is a message that leaves; else an app hands in so many."""

    async def live(folder: Path) -> None:
        kept = KeptStore(folder / "data", "inline")
        await kept.open_set_up()
        apps = [(await kept.store.apps.create(AppSettings(name=f"App {n}"), "anna"))[0].app_id for n in range(3)]
        await kept.widen(message_limit_a_minute=10_000)
        waiting: dict[int, list[int]] = {app: [] for app in apps}
        ahead = dict.fromkeys(((a, b) for a in apps for b in apps if a != b), 0)
        try:
            for turn in [*story, *[None] * 20]:
                if turn is not None:
                    for _ in range(turn[1]):
                        new = kept.message(app_id=apps[turn[0]])
                        await kept.store.outbox.keep(new)
                        waiting[apps[turn[0]]].append(new.message_id)
                    continue
                for lease in await kept.store.outbox.lease_due(1):
                    await kept.settle(lease, SENT)
                    _count(waiting, ahead, lease.message_id)
        finally:
            await kept.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


def _count(waiting: dict[int, list[int]], ahead: dict[tuple[int, int], int], message_id: int) -> None:
    """How often an app was served while another waited, since that one was served or came last."""
    served = next(app for app, messages in waiting.items() if message_id in messages)
    assert waiting[served][0] == message_id, "an app's own mail keeps its order"
    for other in waiting:
        if other == served:
            continue
        ahead[other, served] = 0
        ahead[served, other] = ahead[served, other] + 1 if waiting[other] else 0
        assert ahead[served, other] <= 2, "one that may have been ahead already, and its turn"
    waiting[served].pop(0)
