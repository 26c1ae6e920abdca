"""Canaries on virtual time, through the real submission, outbox and worker: hours pass in no time."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postroom.accept.canary_mail import hand_in_canary
from postroom.accept.submission import Intake
from postroom.clock import HOUR_US, MICROSECONDS, MINUTE_US, Clock, ManualClock
from postroom.deliver.canary import LOOK_AGAIN_SECONDS, TROUBLE_SECONDS, CanaryFlights
from postroom.deliver.transport import Parcel, Report
from postroom.deliver.worker import Worker
from postroom.errors import StoreFullError
from postroom.message import Lane, RecipientState
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent
from postroom.store import Store
from postroom.store.canaries import Canary, CanaryState
from postroom.store.records import MailServerDraft, MessageRow
from postroom.store.sending_settings import SendingSettings
from postroom.vault import Vault
from tests.world.loop import VirtualClock, VirtualLoop

MINUTE, HOUR = 60, 3600
RECIPIENT = "anna@contoso.com"
NO_USER = Refused(Failure(FailureClass.RECIPIENT, "recipient_unknown", "5.1.1 No such user", "recipient_unknown"))


class Sky:
    """A server on virtual time, as far as canaries meet it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self.clock = clock
        self.store: Store
        self.outcome: Outcome = Sent("250 2.0.0 OK")
        self.contents: list[bytes] = []

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """While the server runs."""
        self.store = await Store.open(self._folder, self.clock, Vault(bytes(32)), writer="inline")
        worker = Worker(self.store, lambda *_: self, self.clock, random.Random(1))
        intake = Intake(self.store, self.clock, "relay.example", 1_000_000)
        hand_in = partial(hand_in_canary, intake, "Postroom")
        flights = CanaryFlights(self.store.canaries, hand_in, self.clock)
        tasks = [asyncio.create_task(worker.run()), asyncio.create_task(flights.run())]
        try:
            yield
            assert not any(task.done() for task in tasks), "a part has fallen"
        finally:
            await worker.stop(1)
            tasks[1].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.store.close()

    async def set_up(self) -> None:
        await self.store.mail_servers.save(
            MailServerDraft(
                sender="scanner@contoso.com", username="scanner@contoso.com", test_address=RECIPIENT, refresh_token="x"
            ),
            "anna",
        )

    async def switch_on(self, **changes: Any) -> None:
        settings = SendingSettings(canary_is_on=True, canary_every_us=30 * MINUTE_US)
        await self.store.sending_settings.save(msgspec.structs.replace(settings, **changes), "anna")

    async def send(self, parcel: Parcel) -> Report:
        self.contents.append(b"".join([chunk async for chunk in parcel.open_body()]))
        return Report((self.outcome,) * len(parcel.recipients))

    async def close(self) -> None: ...

    async def flown(self) -> list[MessageRow]:
        """Oldest first."""
        rows, _ = await self.store.messages.search("", limit=500)
        return rows[::-1]

    async def is_overdue(self) -> bool:
        return (await self.store.canaries.state()).is_overdue(self.clock.now_us())


def on_virtual_time(folder: Path, scenario: Callable[[Sky], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop(random.Random(1))
    try:
        loop.run_until_complete(scenario(Sky(folder / "data", VirtualClock(loop))))
    finally:
        loop.close()


def test_one_arrives_in_each_period_by_the_way_of_ordinary_mail(tmp_path: Path) -> None:
    async def scenario(sky: Sky) -> None:
        async with sky.up():
            await sky.set_up()
            await sky.switch_on()
            await asyncio.sleep(3 * HOUR - MINUTE)
            flown = await sky.flown()
            assert [row.state for row in flown] == [RecipientState.SENT] * 6
            gaps = [b.received_at_us - a.received_at_us for a, b in itertools.pairwise(flown)]
            assert all(30 * MINUTE_US <= gap < 31 * MINUTE_US for gap in gaps), gaps
            detail = await sky.store.messages.find(flown[0].message_id)
            assert detail is not None
            assert (detail.app.is_internal, detail.lane, detail.reception.way) == (True, Lane.NORMAL, "canary")
            assert detail.expires_at_us is not None
            assert detail.expires_at_us - detail.row.received_at_us == 30 * MINUTE_US
            state = await sky.store.canaries.state()
            assert state.arrived is not None
            assert state.arrived.message_id == flown[-1].message_id
            assert not state.is_overdue(sky.clock.now_us())
        assert all(b"\r\nX-Postroom-Canary: " in content for content in sky.contents)
        assert len(sky.contents) == 6

    on_virtual_time(tmp_path, scenario)


def test_one_that_waits_is_joined_by_no_other_and_tells_that_it_is_overdue(tmp_path: Path) -> None:
    async def scenario(sky: Sky) -> None:
        async with sky.up():
            await sky.set_up()
            [mailbox] = await sky.store.mailboxes.all()
            await sky.switch_on()
            await asyncio.sleep(5 * MINUTE)
            await sky.store.mailboxes.pause(mailbox.mailbox_id, "anna")
            await asyncio.sleep(54 * MINUTE)
            assert not await sky.is_overdue(), "the one that arrived is not two periods old yet"
            await asyncio.sleep(8 * HOUR)
            assert [row.state for row in await sky.flown()] == [RecipientState.SENT, RecipientState.QUEUED]
            assert await sky.is_overdue()
            await sky.store.mailboxes.resume(mailbox.mailbox_id, "anna")
            await asyncio.sleep(2 * MINUTE)
            states = [row.state for row in await sky.flown()]
            assert states == [RecipientState.SENT, RecipientState.FAILED, RecipientState.SENT], "the stale one expired"
            assert not await sky.is_overdue()

    on_virtual_time(tmp_path, scenario)


def test_the_schedule_survives_a_restart_and_nothing_is_made_up_for(tmp_path: Path) -> None:
    async def scenario(sky: Sky) -> None:
        async with sky.up():
            await sky.set_up()
            await sky.switch_on(canary_every_us=HOUR_US)
            await asyncio.sleep(10 * MINUTE)
        async with sky.up():
            await asyncio.sleep(49 * MINUTE)
            assert len(await sky.flown()) == 1, "the hour goes on over a restart"
            await asyncio.sleep(2 * MINUTE)
            assert len(await sky.flown()) == 2
        await asyncio.sleep(10 * HOUR)
        async with sky.up():
            assert await sky.is_overdue(), "for so long nothing was proved"
            await asyncio.sleep(30 * MINUTE)
            assert len(await sky.flown()) == 3, "one at once, none for the ten hours"
            assert not await sky.is_overdue()

    on_virtual_time(tmp_path, scenario)


def test_none_flies_while_it_is_off_or_has_no_way_to_go(tmp_path: Path) -> None:
    async def scenario(sky: Sky) -> None:
        async with sky.up():
            await sky.switch_on()
            await asyncio.sleep(HOUR)
            assert await sky.flown() == [], "there is no mail server"
            await sky.set_up()
            await asyncio.sleep(LOOK_AGAIN_SECONDS + 1)
            assert len(await sky.flown()) == 1
            await sky.switch_on(canary_is_on=False)
            await asyncio.sleep(5 * HOUR)
            assert len(await sky.flown()) == 1
            assert not await sky.is_overdue(), "what is off is not late"
            await sky.switch_on(canary_recipient="canary@contoso.com")
            assert not await sky.is_overdue(), "it counts from now on"
            await asyncio.sleep(LOOK_AGAIN_SECONDS + 1)
            assert [row.recipients for row in await sky.flown()] == [(RECIPIENT,), ("canary@contoso.com",)]

    on_virtual_time(tmp_path, scenario)


def test_one_that_failed_is_followed_by_the_next_in_its_time(tmp_path: Path) -> None:
    async def scenario(sky: Sky) -> None:
        sky.outcome = NO_USER
        async with sky.up():
            await sky.set_up()
            await sky.switch_on()
            await asyncio.sleep(HOUR + MINUTE)
            assert [row.state for row in await sky.flown()] == [RecipientState.FAILED] * 3
            assert await sky.is_overdue()

    on_virtual_time(tmp_path, scenario)


class Book:
    """A schedule of one canary, handed in at a time of the test."""

    def __init__(self, newest: Canary) -> None:
        self.newest = newest

    async def state(self) -> CanaryState:
        return CanaryState(
            is_on=True, every_us=HOUR_US, since_us=0, recipient=RECIPIENT, newest=self.newest, arrived=None
        )


async def flights_in(seconds: float, book: Book, clock: Clock, submit: Callable[[str, int], Awaitable[int]]) -> None:
    task = asyncio.create_task(CanaryFlights(book, submit, clock).run())
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()


@pytest.mark.parametrize("trouble", [StoreFullError("The disk is full."), RuntimeError("nobody thought of this")])
def test_trouble_with_one_is_waited_out(tmp_path: Path, trouble: Exception) -> None:
    tries: list[float] = []

    async def scenario(sky: Sky) -> None:
        async def submit(_recipient: str, _expires_at_us: int) -> int:
            tries.append(asyncio.get_running_loop().time())
            raise trouble

        await flights_in(3.5 * TROUBLE_SECONDS, Book(Canary(1, 0, None, RecipientState.SENT)), sky.clock, submit)

    on_virtual_time(tmp_path, scenario)
    assert tries == [0, TROUBLE_SECONDS, 2 * TROUBLE_SECONDS, 3 * TROUBLE_SECONDS]


def test_a_clock_that_was_set_back_does_not_silence_it(tmp_path: Path) -> None:
    handed_in: list[int] = []

    async def scenario(_sky: Sky) -> None:
        clock = ManualClock()
        future_us = clock.now_us() + 400 * 24 * HOUR_US
        book = Book(Canary(1, future_us, future_us, RecipientState.SENT))

        async def submit(_recipient: str, expires_at_us: int) -> int:
            handed_in.append(expires_at_us - clock.now_us())
            book.newest = Canary(2, clock.now_us(), None, RecipientState.QUEUED)
            return 2

        await flights_in(HOUR, book, clock, submit)

    on_virtual_time(tmp_path, scenario)
    assert handed_in == [3600 * MICROSECONDS]
