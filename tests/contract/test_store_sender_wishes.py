"""What a sender may ask for: a later time, an expiry, notifications, and that a repeat is no second message."""

import asyncio

import msgspec
import pytest

from postroom.clock import DAY_US, MICROSECONDS
from postroom.errors import AlreadyKeptError, WrongStateError
from postroom.message import DsnRequest, Lane, RecipientDsn, RecipientState
from postroom.store.interventions import Times
from postroom.store.records import IdempotencyKey, NewMessage
from tests.contract.kept_store import REFUSED, SENT, KeptStore, stopped

pytestmark = pytest.mark.anyio

HOUR_US = 3600 * MICROSECONDS


async def keep(kept: KeptStore, **wishes: object) -> int:
    new = msgspec.structs.replace(kept.message(), **wishes)
    await kept.store.outbox.keep(new)
    return new.message_id


async def state_of(kept: KeptStore, message_id: int) -> RecipientState:
    state = await kept.store.messages.state_of(message_id)
    assert state is not None
    detail = await kept.store.messages.find(message_id)
    assert detail is not None
    assert {recipient.state for recipient in detail.recipients} == {state}
    return state


async def test_a_later_time_is_waited_for(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    at_us = kept.clock.now_us() + HOUR_US
    message_id = await keep(kept, send_at_us=at_us)
    assert await state_of(kept, message_id) is RecipientState.SCHEDULED
    assert await store.outbox.lease_due(10) == []
    assert await store.outbox.next_due_at_us() == at_us
    store = await kept.open()
    kept.clock.advance(3600)
    lease = await kept.lease_one()
    assert lease.message_id == message_id
    assert lease.age_us == 0, "its lifetime begins when it is due"
    await kept.settle(lease, SENT)
    assert await state_of(kept, message_id) is RecipientState.SENT
    assert (await store.messages.counts())[RecipientState.SCHEDULED] == 0


async def test_a_time_that_is_over_is_now(kept: KeptStore) -> None:
    await kept.open_set_up()
    message_id = await keep(kept, send_at_us=kept.clock.now_us())
    assert await state_of(kept, message_id) is RecipientState.QUEUED
    assert (await kept.lease_one()).message_id == message_id


async def test_what_is_scheduled_can_be_cancelled_held_and_released(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    first, second = [await keep(kept, send_at_us=kept.clock.now_us() + HOUR_US) for _ in range(2)]
    await store.outbox.cancel(first, "anna")
    assert await state_of(kept, first) is RecipientState.CANCELLED
    await store.outbox.hold(second, "anna")
    kept.clock.advance(7200)
    assert await store.outbox.lease_due(10) == []
    await store.outbox.release(second, "anna")
    assert (await kept.lease_one()).message_id == second


async def test_its_times_can_be_changed_until_it_ends(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    message_id = await keep(kept, send_at_us=kept.clock.now_us() + HOUR_US)
    later_us = kept.clock.now_us() + 2 * HOUR_US
    await store.outbox.change_times(message_id, Times(later_us, later_us + 1, Lane.HIGH), "anna")
    assert await store.outbox.next_due_at_us() == later_us
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert (detail.send_at_us, detail.expires_at_us, detail.lane) == (later_us, later_us + 1, Lane.HIGH)
    await store.outbox.change_times(message_id, Times(send_at_us=None), "anna")
    lease = await kept.lease_one()
    assert lease.message_expires_at_us == later_us + 1
    with pytest.raises(WrongStateError, match="it is sending"):
        await store.outbox.change_times(message_id, Times(send_at_us=later_us), "anna")
    await kept.settle(lease, SENT)
    with pytest.raises(WrongStateError, match="it is sent"):
        await store.outbox.change_times(message_id, Times(lane=Lane.LOW), "anna")


async def test_notifications_tags_and_metadata_are_carried(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    dsn = DsnRequest("HDRS", "QQ314159", {"bob@fabrikam.com": RecipientDsn(("FAILURE",), "rfc822;bob@old.example")})
    message_id = await keep(kept, dsn=dsn, tags=("backup",), metadata={"run": "42"})
    assert (await kept.lease_one()).dsn == dsn
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert (detail.tags, detail.metadata, detail.dsn) == (("backup",), {"run": "42"}, dsn)


def with_key(kept: KeptStore, key: str, request: bytes = b"a", item: int = 0) -> NewMessage:
    return msgspec.structs.replace(kept.message(), idempotency=IdempotencyKey(key, request, item))


async def test_a_repeated_request_is_known_again(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    first = with_key(kept, "k")
    await store.outbox.keep(first)
    store = await kept.open()
    with pytest.raises(AlreadyKeptError) as same:
        await store.outbox.keep(with_key(kept, "k"))
    assert (same.value.message_id, same.value.is_same_request) == (first.message_id, True)
    with pytest.raises(AlreadyKeptError) as other:
        await store.outbox.keep(with_key(kept, "k", b"b"))
    assert not other.value.is_same_request
    await store.outbox.keep(with_key(kept, "k", item=1))
    found = await store.outbox.find_kept(kept.app_id, IdempotencyKey("k", b"a"))
    assert found is not None
    assert found.message_id == first.message_id
    assert len((await store.messages.search(""))[0]) == 2


async def test_a_race_of_twenty_keeps_one(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    answers = await asyncio.gather(*(store.outbox.keep(with_key(kept, "k")) for _ in range(20)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 1
    assert sum(isinstance(answer, AlreadyKeptError) for answer in answers) == 19
    assert len((await store.messages.search(""))[0]) == 1


async def test_a_key_is_forgotten_after_a_day(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    await store.outbox.keep(with_key(kept, "k"))
    kept.clock.advance(DAY_US / MICROSECONDS + 1)
    await store.outbox.keep(with_key(kept, "k", b"b"))
    kept.clock.advance(DAY_US / MICROSECONDS + 1)
    await store.outbox.prune(7, 90)
    assert await store.outbox.find_kept(kept.app_id, IdempotencyKey("k", b"b")) is None


async def test_together_means_all_or_none(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    await store.outbox.keep(with_key(kept, "used"))
    with pytest.raises(AlreadyKeptError):
        await store.outbox.keep_together([kept.message(), with_key(kept, "used"), kept.message()])
    assert len((await store.messages.search(""))[0]) == 1
    await store.outbox.keep_together([kept.message(), with_key(kept, "new")])
    assert len((await store.messages.search(""))[0]) == 3


async def test_retrying_forgets_the_expiry(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    message_id = await keep(kept, expires_at_us=1)
    lease = await kept.lease_one()
    assert lease.message_expires_at_us == 1
    await kept.settle(lease, REFUSED)
    await store.outbox.retry(message_id, "anna")
    assert (await kept.lease_one()).message_expires_at_us is None


async def test_what_waits_is_listed_by_user(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    mine = await keep(kept, reception=msgspec.structs.replace(kept.message().reception, local_user="www-data"))
    other = await keep(kept)
    assert [found.message_id for found in await store.messages.open_messages()] == [mine, other]
    [only] = await store.messages.open_messages("www-data")
    assert (only.message_id, only.recipients[0].address) == (mine, "bob@fabrikam.com")
    assert await store.messages.open_messages("root") == []


async def test_the_list_of_what_waits_tells_for_what(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    await keep(kept)
    await kept.settle(await kept.lease_one(), stopped())
    [waiting] = await store.messages.open_messages()
    assert waiting.waits_for == "sign-in"


async def test_a_search_keeps_to_one_app(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    mine = await keep(kept)
    rows, _ = await store.messages.search("scan", app_id=kept.app_id)
    assert [row.message_id for row in rows] == [mine]
    assert (await store.messages.search("scan", app_id=1))[0] == []


async def test_use_of_an_app_is_counted_by_minute(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    began_us = kept.clock.now_us()
    await keep(kept)
    kept.clock.advance(60)
    await keep(kept)
    await keep(kept)
    minute = began_us // (60 * MICROSECONDS)
    assert await store.apps.use_by_minute(kept.app_id, began_us) == {minute: 1, minute + 1: 2}
    assert (await store.apps.figures(began_us + 60 * MICROSECONDS))[kept.app_id].messages == 2
