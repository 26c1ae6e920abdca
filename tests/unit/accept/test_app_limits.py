"""How much an app may hand in, in any minute and any 24 hours."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.accept.app_limits import AppLimits
from postroom.clock import ManualClock
from postroom.errors import Refusal
from postroom.store.records import App
from tests.unit.accept.fake_store import SCANNER

pytestmark = pytest.mark.anyio

MINUTE_SECONDS = 60
DAY_SECONDS = 86_400


def limited(a_minute: int | None = None, a_day: int | None = None) -> App:
    return msgspec.structs.replace(SCANNER, message_limit_a_minute=a_minute, message_limit_a_day=a_day)


def make_limits(clock: ManualClock, earlier: dict[int, int] | None = None) -> AppLimits:
    async def read_use(app_id: int, since_us: int) -> dict[int, int]:
        await asyncio.sleep(0)
        return earlier or {}

    return AppLimits(clock, read_use)


async def test_the_limit_a_minute_is_told_with_when_to_come_again() -> None:
    clock = ManualClock()
    limits = make_limits(clock)
    app = limited(a_minute=2)
    await limits.take(app)
    await limits.take(app)
    with pytest.raises(Refusal) as caught:
        await limits.take(app)
    reply = caught.value.reply
    assert (reply.smtp_code, reply.http_status, reply.code) == (451, 429, "rate_limit_exceeded")
    assert reply.retry_after_seconds is not None
    assert reply.text.startswith('"HP 2nd floor" may hand in 2 messages a minute; send again in ')
    clock.advance(reply.retry_after_seconds)
    await limits.take(app)


async def test_the_limit_a_day_counts_what_came_before_the_start() -> None:
    clock = ManualClock()
    minute = clock.now_us() // 60_000_000
    limits = make_limits(clock, {minute - 30: 3})
    app = limited(a_day=4)
    await limits.take(app)
    with pytest.raises(Refusal) as caught:
        await limits.take(app)
    assert caught.value.reply.code == "daily_limit_exceeded"
    [state] = await limits.states(app)
    assert (state.name, state.limit, state.remaining) == ("day", 4, 0)
    clock.advance(caught.value.reply.retry_after_seconds or 0)
    await limits.take(app)


async def test_what_was_not_kept_gives_its_place_back() -> None:
    limits = make_limits(ManualClock())
    app = limited(a_minute=1, a_day=1)
    await limits.take(app)
    limits.give_back(app)
    await limits.take(app)


async def test_a_burst_does_not_pass_the_limit_together() -> None:
    limits = make_limits(ManualClock())
    app = limited(a_minute=5)
    answers = await asyncio.gather(*(limits.take(app) for _ in range(20)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 5


async def test_users_of_this_machine_are_counted_apart() -> None:
    limits = make_limits(ManualClock())
    app = limited(a_minute=1)
    for user in ("root", "www-data"):
        await limits.take(app, user)
    with pytest.raises(Refusal):
        await limits.take(app, "root")


async def test_an_app_without_limits_is_not_counted() -> None:
    limits = make_limits(ManualClock())
    for _ in range(1_000):
        await limits.take(limited())
    assert await limits.states(limited()) == []


async def test_a_clock_that_is_set_back_neither_locks_nor_frees() -> None:
    clock = ManualClock()
    limits = make_limits(clock)
    app = limited(a_minute=1)
    await limits.take(app)
    clock.advance(-3_600)
    with pytest.raises(Refusal):
        await limits.take(app)


@given(st.lists(st.integers(0, 90), max_size=60), st.integers(1, 10))
async def test_no_minute_ever_holds_more(pauses: list[int], limit: int) -> None:
    clock = ManualClock()
    limits = make_limits(clock)
    app = limited(a_minute=limit)
    taken: list[int] = []
    now = 0
    for pause in pauses:
        clock.advance(pause)
        now += pause
        try:
            await limits.take(app)
        except Refusal:
            assert sum(now - at <= MINUTE_SECONDS for at in taken) >= limit
        else:
            taken.append(now)
            assert sum(now - at < MINUTE_SECONDS for at in taken) <= limit
