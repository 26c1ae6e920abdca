import asyncio

import msgspec
import pytest

from postroom.clock import MINUTE_US
from postroom.errors import LeaseLostError
from postroom.message import MailboxState, RecipientState
from postroom.outcome import Refused, Sent, StopCause, Unknown
from postroom.store.records import DialogueLine, Settlement
from tests.contract.kept_store import (
    LINE_DROPPED,
    MAILBOX_ID,
    NO_SUCH_USER,
    REFUSED,
    SENT,
    SIGNED_OUT,
    UNKNOWN,
    KeptStore,
    later,
    settlement,
    stopped,
)

pytestmark = pytest.mark.anyio


async def test_sent_ends_the_recipient_and_the_delivery(ready: KeptStore) -> None:
    message_id = await ready.keep()
    ready.clock.advance(3)
    await ready.settle(await ready.lease_one(), SENT)
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert detail.row.state is RecipientState.SENT
    assert detail.row.finished_at_us == ready.clock.now_us()
    assert detail.recipients[0].reply == "250 2.0.0 OK <abc> [Hostname=AM0.example]"
    assert await ready.store.outbox.next_due_at_us() is None


async def test_each_recipient_gets_its_own_truth(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example", "c@x.example")
    due_at_us = ready.clock.now_us() + MINUTE_US
    await ready.settle(await ready.lease_one(), SENT, later(due_at_us), REFUSED)
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert [recipient.state.value for recipient in detail.recipients] == ["sent", "deferred", "failed"]
    assert detail.recipients[1].next_attempt_at_us == due_at_us
    assert detail.recipients[2].failure == NO_SUCH_USER
    assert detail.row.state is RecipientState.DEFERRED, "the least finished"
    assert detail.row.finished_at_us is None
    ready.clock.advance(60)
    await ready.settle(await ready.lease_one(), SENT)
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert (detail.row.state, detail.row.is_partly_failed) == (RecipientState.FAILED, True)
    assert detail.row.attempts == 2


async def test_failed_for_all_is_not_partly_failed(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), REFUSED)
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert (detail.row.state, detail.row.is_partly_failed) == (RecipientState.FAILED, False)


async def test_the_attempt_is_told_with_its_dialogue(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    lease = await ready.lease_one()
    ready.clock.advance(2)
    first, second = (recipient.recipient_id for recipient in lease.recipients)
    dialogue = (DialogueLine(0, "S", "220 AM0.example ready"), DialogueLine(12, "C", "EHLO relay.contoso.com"))
    await ready.store.outbox.settle(lease, Settlement({first: SENT, second: REFUSED}, dialogue, "AM0.example"))
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    (attempt,) = detail.attempts
    assert attempt.ended_at_us == attempt.started_at_us + 2_000_000
    assert attempt.outcomes == (("a@x.example", SENT), ("b@x.example", REFUSED))
    assert attempt.dialogue == dialogue
    assert attempt.server == "AM0.example"


async def test_stopped_stops_the_mailbox_and_never_fails_the_mail(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SIGN_IN))
    assert await ready.states(message_id) == ["queued"]
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.state, mailbox.cause, mailbox.failure) == (MailboxState.STOPPED, StopCause.SIGN_IN, SIGNED_OUT)
    assert await ready.store.outbox.lease_due(1) == []
    rows, _ = await ready.store.messages.search("")
    assert rows[0].waits_for == "sign-in"
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    assert (await ready.lease_one()).attempt_number == 2


async def test_unknown_is_sent_again_a_minute_later(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), UNKNOWN)
    assert await ready.states(message_id) == ["queued"]
    assert await ready.store.outbox.lease_due(1) == []
    assert await ready.store.outbox.next_due_at_us() == ready.clock.now_us() + MINUTE_US
    assert (await ready.store.messages.overview(0)).unknown == 1


async def test_unknown_waits_as_long_as_the_retry_schedule_says(ready: KeptStore) -> None:
    await ready.keep()
    until_us = ready.clock.now_us() + 30 * MINUTE_US
    await ready.settle(await ready.lease_one(), msgspec.structs.replace(UNKNOWN, until_us=until_us))
    assert await ready.store.outbox.next_due_at_us() == until_us


async def test_unknown_is_held_when_the_app_chose_so(ready: KeptStore) -> None:
    await ready.hold_after_unknown()
    message_id = await ready.keep()
    await ready.settle(await ready.lease_one(), UNKNOWN)
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert detail.row.state is RecipientState.HELD
    assert detail.recipients[0].failure == LINE_DROPPED
    assert detail.timeline[-1].kind == "held"
    assert "asked not to send it again" in detail.timeline[-1].text
    ready.clock.advance(86_400)
    assert await ready.store.outbox.lease_due(1) == []
    await ready.store.outbox.release(message_id, "anna")
    assert (await ready.lease_one()).message_id == message_id


async def test_a_lease_is_settled_once(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    await ready.settle(lease, SENT)
    with pytest.raises(LeaseLostError, match="ended before it was settled"):
        await ready.settle(lease, REFUSED)


async def test_of_two_settlements_at_once_one_counts(ready: KeptStore) -> None:
    message_id = await ready.keep()
    lease = await ready.lease_one()
    results = await asyncio.gather(ready.settle(lease, SENT), ready.settle(lease, REFUSED), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), LeaseLostError]
    assert await ready.states(message_id) == ["sent"]


async def test_another_owner_cannot_settle(ready: KeptStore) -> None:
    import msgspec

    message_id = await ready.keep()
    lease = await ready.lease_one()
    with pytest.raises(LeaseLostError):
        await ready.settle(msgspec.structs.replace(lease, owner="node0.99"), SENT)
    assert await ready.states(message_id) == ["sending"]


async def test_many_settlements_at_once_keep_their_own_results(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=100, connection_limit=100)
    for _ in range(40):
        await ready.keep("a@x.example", "b@x.example")
    leases = await ready.store.outbox.lease_due(40)
    await asyncio.gather(
        *(ready.settle(lease, SENT, REFUSED if number % 2 else SENT) for number, lease in enumerate(leases))
    )
    for number, lease in enumerate(leases):
        assert await ready.states(lease.message_id) == ["sent", "failed" if number % 2 else "sent"]
    counts = await ready.store.messages.counts()
    assert (counts[RecipientState.SENT], counts[RecipientState.FAILED]) == (60, 20)


@pytest.mark.parametrize("kind", ["missing", "foreign", "timeless"])
async def test_a_settlement_that_is_not_whole_changes_nothing(ready: KeptStore, kind: str) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example")
    lease = await ready.lease_one()
    first, second = (recipient.recipient_id for recipient in lease.recipients)
    broken, sentence = {
        "missing": (Settlement({first: SENT}), "one outcome for each recipient"),
        "foreign": (Settlement({first: SENT, second: SENT, 4711: SENT}), "one outcome for each recipient"),
        "timeless": (Settlement({first: SENT, second: later(0).__class__(NO_SUCH_USER)}), "needs its time"),
    }[kind]
    with pytest.raises(ValueError, match=sentence):
        await ready.store.outbox.settle(lease, broken)
    assert await ready.states(message_id) == ["sending", "sending"]
    await ready.settle(lease, SENT)


async def test_what_an_attempt_says_about_an_earlier_sign_in_does_not_stop_the_new_one(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    await ready.store.mail_servers.save(ready.draft(), "anna")
    await ready.settle(lease, stopped(StopCause.SIGN_IN))
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY
    assert (await ready.lease_one()).attempt_number == 2


async def test_a_pause_is_not_ended_by_what_was_under_way(ready: KeptStore) -> None:
    await ready.keep()
    await ready.keep()
    first, second = await ready.store.outbox.lease_due(2)
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await ready.settle(first, SENT)
    await ready.settle(second, stopped(StopCause.DAILY_LIMIT, ready.clock.now_us()))
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert mailbox.cause is StopCause.PAUSED
    assert await ready.store.outbox.lease_due(1) == []


async def test_a_message_from_the_sender_proves_the_right_to_send(ready: KeptStore) -> None:
    assert (await ready.store.mail_servers.default()).proved_at_us is None
    other = ready.message(sender="someone@contoso.com")
    await ready.store.outbox.keep(other)
    await ready.settle(await ready.lease_one(), SENT)
    assert (await ready.store.mail_servers.default()).proved_at_us is None, "that was another sender"
    await ready.store.outbox.keep(ready.message(sender="Scanner@Contoso.com"))
    await ready.settle(await ready.lease_one(), SENT)
    assert (await ready.store.mail_servers.default()).proved_at_us == ready.clock.now_us()


async def test_a_crash_before_the_settlement_is_committed_leaves_unknown(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.lease_one()
    await ready.open()
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert isinstance(detail.attempts[0].outcomes[0][1], Unknown)


async def test_every_outcome_survives_its_row(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example")
    lease = await ready.lease_one()
    outcomes = (Sent("250 ok"), later(ready.clock.now_us() + 5), stopped(), Refused(NO_SUCH_USER), UNKNOWN)
    await ready.store.outbox.settle(lease, settlement(lease, outcomes))
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert tuple(outcome for _, outcome in detail.attempts[0].outcomes) == outcomes


async def test_settling_wakes_the_worker(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    await ready.store.outbox.wait_for_change(0)
    await ready.settle(lease, SENT)
    await ready.store.outbox.wait_for_change(None)
