"""After a crash what was in flight is tried one at a time and alone, until the message that brings us down is held."""

import pytest

from postroom.clock import DAY_US, MINUTE_US
from postroom.message import Lane
from postroom.outcome import Outcome, StopCause, Unknown
from postroom.store.faults import Crash
from postroom.store.records import Lease, MessageDetail
from postroom.store.routing import RuleKind
from postroom.store.ways import NewRule
from tests.contract.kept_store import REFUSED, SENT, KeptStore, later, stopped

pytestmark = pytest.mark.anyio


class Power:
    """While it is off, whatever the store does is its end."""

    def __init__(self) -> None:
        self.is_off = False

    def __call__(self, point: str) -> None:
        if self.is_off:
            raise Crash


class Machine:
    """A store that can lose its power, and comes up again two minutes later."""

    def __init__(self, kept: KeptStore) -> None:
        self.kept = kept
        self._power = Power()

    async def start(self) -> None:
        self._power = Power()
        await self.kept.open(fault=self._power)

    async def crash(self) -> None:
        self._power.is_off = True
        await self.start()
        self.kept.clock.advance(120)  # what is unknown waits a minute

    async def stop(self) -> None:
        await self.start()
        self.kept.clock.advance(120)

    async def lease(self, limit: int = 10) -> list[Lease]:
        return await self.kept.store.outbox.lease_due(limit)

    async def leased(self, limit: int = 10) -> list[int]:
        return [lease.message_id for lease in await self.lease(limit)]

    async def crashes(self, message_id: int) -> int:
        text = f"SELECT crashes FROM deliveries WHERE message_id = {message_id}"
        found: int = await self.kept.store._reader.read(lambda c: c.raw.execute(text).fetchone()[0])
        return found

    async def detail(self, message_id: int) -> MessageDetail:
        found = await self.kept.store.messages.find(message_id)
        assert found is not None
        return found


@pytest.fixture
async def machine(kept: KeptStore) -> Machine:
    await kept.open_set_up()
    await kept.widen(connection_limit=5, message_limit_a_minute=1000)
    machine = Machine(kept)
    await machine.start()
    return machine


async def test_what_was_in_flight_at_a_crash_goes_one_at_a_time_and_everybody_else_goes_on(machine: Machine) -> None:
    suspects = [await machine.kept.keep() for _ in range(3)]
    assert await machine.leased() == suspects
    await machine.crash()
    others = [await machine.kept.keep() for _ in range(2)]

    outcomes: list[Outcome] = [SENT, REFUSED, SENT]
    for suspect, outcome in zip(suspects, outcomes, strict=True):
        [lease] = await machine.lease()
        assert lease.message_id == suspect
        assert await machine.leased() == [], "nothing begins beside it"
        await machine.kept.settle(lease, outcome)
    assert await machine.leased() == others


async def test_a_suspect_waits_until_it_is_alone(machine: Machine) -> None:
    suspect = await machine.kept.keep()
    await machine.lease()
    await machine.crash()
    machine.kept.clock.advance(-110)  # it is not due yet: others go
    other = await machine.kept.keep()
    [flying] = await machine.lease()
    assert flying.message_id == other
    machine.kept.clock.advance(55)
    await machine.kept.keep()
    assert await machine.leased() == [], "nothing new begins"
    await machine.kept.settle(flying, SENT)
    assert await machine.leased() == [suspect]


async def test_nobody_waits_longer_than_a_minute_for_who_hangs_in_a_mail_server(machine: Machine) -> None:
    suspect, other = [await machine.kept.keep() for _ in range(2)]
    assert await machine.leased() == [suspect, other]
    await machine.crash()
    machine.kept.clock.advance(-110)
    slow = await machine.kept.keep()
    assert await machine.leased() == [slow]
    machine.kept.clock.advance(65)
    assert await machine.leased() == [suspect], "it has waited for the slow one long enough"
    new = await machine.kept.keep()
    # Its second attempt: it has two minutes.
    assert await machine.kept.store.outbox.next_due_at_us() == machine.kept.clock.now_us() + 2 * MINUTE_US
    machine.kept.clock.advance(119)
    assert await machine.leased() == []
    machine.kept.clock.advance(1)
    assert await machine.leased() == [new], "but no second suspect"


async def test_the_message_that_brings_us_down_is_held_at_the_third_crash_and_the_others_are_sent(
    machine: Machine,
) -> None:
    poison, *others = [await machine.kept.keep() for _ in range(4)]
    crashes = 0
    while leases := await machine.lease():
        if poison in (lease.message_id for lease in leases):
            crashes += 1
            await machine.crash()  # before any other of them has ended
            others.append(await machine.kept.keep())
        else:
            for lease in leases:
                await machine.kept.settle(lease, SENT)
    assert crashes == 3
    assert [await machine.kept.states(each) for each in others] == [["sent"]] * 6
    assert await machine.kept.states(poison) == ["held"]

    detail = await machine.detail(poison)
    failure = detail.recipients[0].failure
    assert failure is not None
    assert (failure.code, failure.remedy_id) == ("brought_us_down", "brought_us_down")
    assert failure.text.startswith("Postroom went down 3 times while this was being sent")
    assert [entry.text for entry in detail.timeline if entry.kind == "held"] == [f"Held: {failure.text}"]
    assert all(isinstance(outcome, Unknown) for attempt in detail.attempts for _, outcome in attempt.outcomes)


async def test_only_a_crash_alone_counts(machine: Machine) -> None:
    poison, bystander = [await machine.kept.keep() for _ in range(2)]
    await machine.lease()
    await machine.crash()
    assert (await machine.crashes(poison), await machine.crashes(bystander)) == (1, 1)
    assert await machine.leased() == [poison]
    await machine.crash()
    assert (await machine.crashes(poison), await machine.crashes(bystander)) == (2, 1)
    assert await machine.leased() == [bystander]
    machine.kept.clock.advance(120)  # it hangs in its mail server, so that others go beside it
    other = await machine.kept.keep()
    assert await machine.leased() == [other]
    await machine.crash()
    assert (await machine.crashes(poison), await machine.crashes(bystander)) == (2, 1)


async def test_who_was_in_the_fewest_crashes_goes_first(machine: Machine) -> None:
    poison, bystander = [await machine.kept.keep() for _ in range(2)]
    assert await machine.leased() == [poison, bystander]
    await machine.crash()
    assert await machine.leased() == [poison]
    await machine.crash()
    assert (await machine.crashes(poison), await machine.crashes(bystander)) == (2, 1)
    [lease] = await machine.lease()
    assert lease.message_id == bystander


@pytest.mark.parametrize("outcome", [later(DAY_US), stopped(StopCause.MAIL_SERVER_AWAY, DAY_US)])
async def test_an_attempt_that_ends_clears_its_message(machine: Machine, outcome: object) -> None:
    message_id = await machine.kept.keep()
    await machine.lease()
    await machine.crash()
    assert await machine.crashes(message_id) == 1
    [lease] = await machine.lease()
    await machine.kept.settle(lease, outcome)  # type: ignore[arg-type]
    assert await machine.crashes(message_id) == 0


async def test_a_clean_stop_accuses_nobody(machine: Machine) -> None:
    message_id = await machine.kept.keep()
    await machine.lease()
    await machine.stop()
    assert machine.kept.store.interrupted_attempts == 1
    assert await machine.crashes(message_id) == 0


async def test_a_clean_stop_is_forgotten_at_the_next_start(machine: Machine) -> None:
    message_id = await machine.kept.keep()
    await machine.stop()
    await machine.lease()
    await machine.crash()
    assert await machine.crashes(message_id) == 1


async def test_a_lease_that_ends_by_time_accuses_nobody(machine: Machine) -> None:
    message_id = await machine.kept.keep()
    await machine.lease()
    machine.kept.clock.advance(901)
    await machine.lease()
    assert await machine.crashes(message_id) == 0


async def test_the_workers_clock_does_not_ring_for_a_suspect_whose_turn_it_is_not(machine: Machine) -> None:
    first, second = [await machine.kept.keep() for _ in range(2)]
    await machine.lease()
    await machine.crash()
    [lease] = await machine.lease()
    assert lease.message_id == first
    assert await machine.kept.store.outbox.next_due_at_us() == lease.expires_at_us
    await machine.kept.settle(lease, SENT)
    assert await machine.kept.store.outbox.next_due_at_us() == machine.kept.clock.now_us()
    assert await machine.leased() == [second]


async def test_what_a_person_releases_is_tried_alone_and_held_at_once_when_we_go_down_again(machine: Machine) -> None:
    poison = await machine.kept.keep()
    for _ in range(3):
        await machine.lease()
        await machine.crash()
    await machine.kept.store.outbox.release(poison, "anna")
    urgent = await machine.kept.keep(lane=Lane.HIGH)
    assert await machine.leased() == [poison]
    await machine.crash()
    assert (await machine.kept.states(poison), await machine.kept.states(urgent)) == (["held"], ["queued"])


async def test_a_suspect_whose_way_is_stopped_keeps_no_other_suspect_waiting(machine: Machine) -> None:
    kept = machine.kept
    other = await kept.add_mail_server("other", shares_mailbox=True)
    first = await kept.keep()
    await kept.store.ways.replace_rules([NewRule(RuleKind.SENDER, "other@contoso.com", other.mail_server_id)], "anna")
    new = kept.message(sender="other@contoso.com")
    await kept.store.outbox.keep(new)
    assert sorted(await machine.leased()) == sorted([first, new.message_id])
    await machine.crash()
    await kept.write("UPDATE mail_servers SET cause = 'settings', since_us = 1 WHERE mail_server_id = 1")
    assert await machine.leased() == [new.message_id]
