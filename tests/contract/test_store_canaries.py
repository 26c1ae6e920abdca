"""What is kept of canaries: known from the moment they are on the disk, until long after their messages."""

import msgspec
import pytest

from postroom.clock import HOUR_US, MICROSECONDS
from postroom.message import RecipientState
from postroom.store.canaries import CANARIES_KEPT
from postroom.store.records import NewMessage
from postroom.store.sending_settings import SendingSettings
from tests.contract.kept_store import REFUSED, SENT, KeptStore

pytestmark = pytest.mark.anyio

ON = SendingSettings(canary_is_on=True)


def canary(kept: KeptStore) -> NewMessage:
    return msgspec.structs.replace(kept.message(), is_canary=True)


async def fly(kept: KeptStore) -> int:
    new = canary(kept)
    await kept.store.outbox.keep(new)
    return new.message_id


async def test_a_canary_is_known_as_soon_as_it_is_kept_and_when_it_arrived(ready: KeptStore) -> None:
    await ready.store.sending_settings.save(ON, "anna")
    await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    state = await ready.store.canaries.state()
    assert (state.newest, state.arrived) == (None, None), "other mail is no canary"
    handed_in_us = ready.clock.now_us()
    message_id = await fly(ready)
    state = await ready.store.canaries.state()
    assert state.newest is not None
    assert (state.newest.message_id, state.newest.handed_in_us) == (message_id, handed_in_us)
    assert (state.newest.state, state.newest.is_open, state.arrived) == (RecipientState.QUEUED, True, None)
    assert state.next_at_us() is None
    ready.clock.advance(3)
    await ready.settle(await ready.lease_one(), SENT)
    state = await ready.store.canaries.state()
    assert state.arrived is not None
    assert state.arrived == state.newest
    assert state.arrived.sent_at_us == handed_in_us + 3 * MICROSECONDS
    assert state.next_at_us() == handed_in_us + HOUR_US


async def test_one_that_failed_has_not_arrived_and_no_report_is_due_about_it(ready: KeptStore) -> None:
    arrived = await fly(ready)
    await ready.settle(await ready.lease_one(), SENT)
    failed = await fly(ready)
    await ready.settle(await ready.lease_one(), REFUSED)
    state = await ready.store.canaries.state()
    assert state.newest is not None
    assert state.arrived is not None
    assert (state.newest.message_id, state.arrived.message_id) == (failed, arrived)
    assert (state.newest.state, state.newest.is_open) == (RecipientState.FAILED, False)
    assert await ready.count("notices_due") == 0


async def test_whoever_makes_notices_can_plan_none_for_a_canary(ready: KeptStore) -> None:
    other, flown = await ready.keep(), await fly(ready)
    for message_id in (flown, other):
        await ready.write(
            "INSERT INTO notices_due (message_id, kind, recipients, made_at_us) "
            f"VALUES ({message_id}, 'failure', '[]', 0)"
        )
    assert await ready.count(f"notices_due WHERE message_id = {flown}") == 0
    assert await ready.count(f"notices_due WHERE message_id = {other}") == 1


async def test_its_age_counts_from_when_it_was_switched_on_at_the_earliest(ready: KeptStore) -> None:
    await ready.store.sending_settings.save(ON, "anna")
    await fly(ready)
    await ready.settle(await ready.lease_one(), SENT)
    await ready.store.sending_settings.save(SendingSettings(), "anna")
    assert (await ready.store.canaries.state()).age_us(ready.clock.now_us()) is None
    ready.clock.advance(30 * 24 * 3600)
    await ready.store.sending_settings.save(ON, "anna")
    ready.clock.advance(60)
    await ready.store.sending_settings.save(msgspec.structs.replace(ON, administrator="it@contoso.com"), "anna")
    state = await ready.store.canaries.state()
    assert state.age_us(ready.clock.now_us()) == 60 * MICROSECONDS, "another change is no new beginning"
    assert not state.is_overdue(ready.clock.now_us() + 2 * HOUR_US - 60 * MICROSECONDS)
    assert state.is_overdue(ready.clock.now_us() + 2 * HOUR_US)


async def test_it_goes_to_the_test_address_unless_one_is_set_and_nowhere_without_a_mail_server(
    kept: KeptStore,
) -> None:
    store = await kept.open()
    await store.sending_settings.save(msgspec.structs.replace(ON, canary_recipient="canary@contoso.com"), "anna")
    state = await store.canaries.state()
    assert (state.recipient, state.next_at_us()) == ("", None)
    store = await kept.open_set_up()
    assert (await store.canaries.state()).recipient == "canary@contoso.com"
    await store.sending_settings.save(ON, "anna")
    assert (await store.canaries.state()).recipient == "anna@contoso.com"


async def test_that_it_arrived_is_known_when_its_message_is_forgotten(ready: KeptStore) -> None:
    message_id = await fly(ready)
    await ready.settle(await ready.lease_one(), SENT)
    sent_at_us = ready.clock.now_us()
    ready.clock.advance(3600)
    await ready.store.outbox.prune(content_days=0, metadata_days=0)
    assert await ready.store.messages.find(message_id) is None
    state = await ready.store.canaries.state()
    assert state.arrived is not None
    assert (state.arrived.message_id, state.arrived.sent_at_us) == (message_id, sent_at_us)
    assert (state.arrived.state, state.arrived.is_open) == (None, False)


async def test_only_the_newest_are_kept_and_the_newest_that_arrived(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=1000)
    arrived = await fly(ready)
    await ready.settle(await ready.lease_one(), SENT)
    for _ in range(CANARIES_KEPT + 10):
        await fly(ready)
        await ready.settle(await ready.lease_one(), REFUSED)
    state = await ready.store.canaries.state()
    assert state.arrived is not None
    assert state.arrived.message_id == arrived
    assert await ready.count("canaries") == CANARIES_KEPT + 2


async def test_a_canary_that_is_not_kept_is_not_known(ready: KeptStore) -> None:
    new = msgspec.structs.replace(canary(ready), app_id=4711)
    with pytest.raises(Exception, match="FOREIGN KEY"):
        await ready.store.outbox.keep(new)
    assert (await ready.store.canaries.state()).newest is None
