import pytest

from postroom.message import RecipientState
from tests.contract.kept_store import REFUSED, SENT, KeptStore

pytestmark = pytest.mark.anyio

DAY = 86_400


async def test_content_goes_first_and_metadata_later(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), SENT, REFUSED)
    ready.clock.advance(7 * DAY)
    assert await ready.store.outbox.prune(7, 90) == 1
    assert await ready.store.outbox.prune(7, 90) == 0
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert detail.body is None
    assert detail.row.subject == "Scan"
    ready.clock.advance(83 * DAY)
    assert await ready.store.outbox.prune(7, 90) == 1
    assert await ready.store.messages.find(message_id) is None
    assert (await ready.store.messages.search(""))[0] == []


async def test_counters_follow_what_is_pruned_and_history_stays(ready: KeptStore) -> None:
    await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), SENT, REFUSED)
    await ready.store.outbox.prune(0, 0)
    assert set((await ready.store.messages.counts()).values()) == {0}
    overview = await ready.store.messages.overview(0)
    assert (overview.sent, overview.failed) == (1, 1)


async def test_zero_days_are_allowed(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    assert await ready.store.outbox.prune(0, 90) == 1
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert detail.body is None


async def test_what_has_not_ended_is_never_pruned(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.store.outbox.hold(await ready.keep(), "anna")
    lease = await ready.lease_one()
    ready.clock.advance(500 * DAY)
    assert await ready.store.outbox.prune(0, 0) == 0
    await ready.settle(lease, SENT)
    assert await ready.store.outbox.prune(0, 0) == 1
    assert await ready.store.messages.find(message_id) is None
    assert (await ready.store.messages.counts())[RecipientState.HELD] == 1


async def test_small_batches(ready: KeptStore) -> None:
    await ready.widen(connection_limit=10)
    for _ in range(5):
        await ready.keep()
    for lease in await ready.store.outbox.lease_due(10):
        await ready.settle(lease, SENT)
    sizes = [await ready.store.outbox.prune(0, 90, batch=2) for _ in range(4)]
    assert sizes == [2, 2, 1, 0]


async def test_metadata_is_not_kept_without_content_when_that_lives_longer(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    ready.clock.advance(DAY)
    assert await ready.store.outbox.prune(content_days=30, metadata_days=1) == 1
    assert await ready.store.messages.find(message_id) is None
