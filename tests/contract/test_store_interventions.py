import pytest

from postroom.clock import HOUR_US
from postroom.errors import WrongStateError
from postroom.outcome import StopCause
from tests.contract.kept_store import REFUSED, SENT, KeptStore, later, stopped

pytestmark = pytest.mark.anyio


async def test_retry_sends_what_failed_once_more_with_a_new_lifetime(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    ready.clock.advance(1000)
    await ready.settle(await ready.lease_one(), SENT, REFUSED)
    ready.clock.advance(1000)
    await ready.store.outbox.retry(message_id, "anna")
    assert await ready.states(message_id) == ["sent", "queued"]
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert (detail.timeline[-1].kind, detail.timeline[-1].who) == ("retried", "anna")
    assert detail.row.finished_at_us is None
    lease = await ready.lease_one()
    assert [recipient.address for recipient in lease.recipients] == ["b@x.example"]
    assert (lease.attempt_number, lease.age_us) == (2, 0)
    await ready.settle(lease, SENT)
    assert await ready.states(message_id) == ["sent", "sent"]


async def test_retry_does_not_wait_for_the_next_try(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + HOUR_US))
    await ready.store.outbox.retry(message_id, "anna")
    assert (await ready.lease_one()).message_id == message_id


async def test_hurrying_tries_what_was_put_off_and_leaves_what_failed(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), REFUSED, later(ready.clock.now_us() + HOUR_US))
    await ready.store.outbox.hurry(message_id, "root")
    assert await ready.states(message_id) == ["failed", "queued"]
    lease = await ready.lease_one()
    assert [recipient.address for recipient in lease.recipients] == ["b@x.example"]
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert (detail.timeline[-1].kind, detail.timeline[-1].who) == ("retried", "root")


async def test_what_is_not_put_off_cannot_be_hurried(ready: KeptStore) -> None:
    message_id = await ready.keep()
    with pytest.raises(WrongStateError, match="no recipient that waits for a later try"):
        await ready.store.outbox.hurry(message_id, "root")


async def test_retry_of_what_was_sent_says_why_not(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    with pytest.raises(WrongStateError, match=r"no recipient that failed.*it is sent\. Nothing was changed"):
        await ready.store.outbox.retry(message_id, "anna")


async def test_retry_beside_recipients_that_still_wait_makes_one_delivery(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), REFUSED, later(ready.clock.now_us() + HOUR_US))
    await ready.store.outbox.retry(message_id, "anna")
    lease = await ready.lease_one()
    assert [recipient.address for recipient in lease.recipients] == ["a@x.example", "b@x.example"]
    await ready.settle(lease, SENT)
    assert await ready.store.outbox.next_due_at_us() is None


async def test_cancel_ends_what_waits(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.store.outbox.cancel(message_id, "anna")
    assert await ready.states(message_id) == ["cancelled"]
    assert await ready.store.outbox.lease_due(1) == []
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert detail.row.finished_at_us == ready.clock.now_us()
    with pytest.raises(WrongStateError, match="no recipient that waits: it is cancelled"):
        await ready.store.outbox.cancel(message_id, "anna")


async def test_what_is_being_sent_cannot_be_cancelled(ready: KeptStore) -> None:
    message_id = await ready.keep()
    lease = await ready.lease_one()
    with pytest.raises(WrongStateError, match="it is sending"):
        await ready.store.outbox.cancel(message_id, "anna")
    await ready.settle(lease, SENT)
    assert await ready.states(message_id) == ["sent"]


async def test_cancel_beside_a_running_attempt_ends_the_others_only(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + 1), later(ready.clock.now_us() + HOUR_US))
    ready.clock.advance(1)
    lease = await ready.lease_one()
    await ready.store.outbox.cancel(message_id, "anna")
    assert await ready.states(message_id) == ["sending", "cancelled"]
    await ready.settle(lease, SENT)
    assert await ready.states(message_id) == ["sent", "cancelled"]
    assert await ready.store.outbox.next_due_at_us() is None
    rows, _ = await ready.store.messages.search("")
    assert (rows[0].state, rows[0].is_partly_failed) == ("sent", False)


async def test_hold_waits_for_release(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.store.outbox.hold(message_id, "anna")
    assert await ready.states(message_id) == ["held"]
    assert await ready.store.outbox.lease_due(1) == []
    assert await ready.store.outbox.next_due_at_us() is None
    assert (await ready.store.messages.overview(0)).waiting_by_cause == {"release": 1}
    await ready.store.outbox.release(message_id, "bob")
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert [(entry.kind, entry.who) for entry in detail.timeline[-2:]] == [("held", "anna"), ("released", "bob")]
    assert (await ready.lease_one()).message_id == message_id


async def test_release_needs_something_held(ready: KeptStore) -> None:
    message_id = await ready.keep()
    with pytest.raises(WrongStateError, match="no recipient that is held: it is queued"):
        await ready.store.outbox.release(message_id, "anna")


async def test_mail_of_a_stopped_mailbox_can_be_cancelled(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SIGN_IN))
    await ready.store.outbox.cancel(message_id, "anna")
    assert await ready.states(message_id) == ["cancelled"]


async def test_a_message_that_is_gone_is_named(ready: KeptStore) -> None:
    with pytest.raises(WrongStateError, match="There is no message 0000000000017 any more"):
        await ready.store.outbox.cancel(39, "anna")


async def test_what_was_pruned_cannot_be_retried(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), REFUSED)
    await ready.store.outbox.prune(0, 90)
    with pytest.raises(WrongStateError, match="content was removed by the retention rule"):
        await ready.store.outbox.retry(message_id, "anna")
    assert await ready.states(message_id) == ["failed"]
