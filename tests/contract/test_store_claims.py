import pytest

from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US
from postroom.errors import LeaseLostError
from postroom.message import Lane, MailboxState
from postroom.outcome import Outcome, StopCause
from postroom.store.records import AppSettings
from tests.contract.kept_store import (
    MAILBOX_ID,
    REFUSED,
    SENT,
    SIGNED_OUT,
    UNKNOWN,
    KeptStore,
    later,
    stopped,
)

pytestmark = pytest.mark.anyio


async def test_a_lease_carries_what_the_attempt_needs(ready: KeptStore) -> None:
    new = ready.message("bob@fabrikam.com", "eve@fabrikam.com")
    await ready.store.outbox.keep(new)
    lease = await ready.lease_one()
    assert lease.message_id == new.message_id
    assert lease.attempt_number == 1
    assert lease.owner == ready.store.owner == "node0.1"
    assert lease.expires_at_us == ready.clock.now_us() + 15 * MINUTE_US
    assert lease.mail_server.host == "smtp.office365.com"
    assert lease.mailbox.username == "scanner@contoso.com"
    assert [recipient.address for recipient in lease.recipients] == ["bob@fabrikam.com", "eve@fabrikam.com"]
    assert lease.body == new.body
    assert lease.header_from == "scanner@contoso.com"


async def test_the_attempt_is_on_the_disk_before_the_lease_is_handed_out(ready: KeptStore) -> None:
    message_id = await ready.keep()
    lease = await ready.lease_one()
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    assert [(attempt.attempt_id, attempt.ended_at_us) for attempt in detail.attempts] == [(lease.attempt_id, None)]
    assert detail.row.state == "sending"
    assert detail.row.attempts == 1


async def test_what_is_leased_is_not_leased_again(ready: KeptStore) -> None:
    await ready.keep()
    await ready.lease_one()
    assert await ready.store.outbox.lease_due(10) == []


async def test_a_mailbox_has_at_most_its_connections_in_flight(ready: KeptStore) -> None:
    for _ in range(5):
        await ready.keep()
    leases = await ready.store.outbox.lease_due(10)
    assert len(leases) == 2
    assert await ready.store.outbox.lease_due(10) == []
    await ready.settle(leases[0], SENT)
    assert len(await ready.store.outbox.lease_due(10)) == 1


async def test_lanes_go_before_age(ready: KeptStore) -> None:
    low = await ready.keep(lane=Lane.LOW)
    first = await ready.keep()
    second = await ready.keep()
    high = await ready.keep(lane=Lane.HIGH)
    order = []
    for _ in range(4):
        lease = await ready.lease_one()
        order.append(lease.message_id)
        await ready.settle(lease, SENT)
    assert order == [high, first, second, low]


async def test_no_more_than_the_limit_leave_in_any_sixty_seconds(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=3, connection_limit=100)
    for _ in range(12):
        await ready.keep()
    began_us = ready.clock.now_us()
    taken: list[int] = []
    for _ in range(300):
        for lease in await ready.store.outbox.lease_due(100):
            taken.append(ready.clock.now_us())
            await ready.settle(lease, SENT)
        ready.clock.advance(1)
    assert len(taken) == 12
    for at_us in taken:
        assert len([other for other in taken if at_us <= other < at_us + MINUTE_US]) <= 3
    assert taken[-1] - began_us == 3 * MINUTE_US, "the pace is used, not only kept"


async def test_a_slot_is_used_by_an_attempt_that_failed_too(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=1)
    await ready.keep()
    await ready.keep()
    await ready.settle(await ready.lease_one(), REFUSED)
    assert await ready.store.outbox.lease_due(10) == []
    assert await ready.store.outbox.next_due_at_us() == ready.clock.now_us() + MINUTE_US


async def test_a_minute_counts_from_when_a_message_may_have_arrived(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=2, connection_limit=10)
    for _ in range(4):
        await ready.keep()
    slow, quick = await ready.store.outbox.lease_due(10)
    await ready.settle(quick, SENT)
    ready.clock.advance(60)
    [third] = await ready.store.outbox.lease_due(10)
    await ready.settle(third, SENT)
    assert await ready.store.outbox.next_due_at_us() == ready.clock.now_us() + MINUTE_US, "the slow one is on its way"
    ready.clock.advance(30)
    await ready.settle(slow, SENT)
    ready.clock.advance(30)
    assert len(await ready.store.outbox.lease_due(10)) == 1, "the slow one arrived only half a minute ago"
    ready.clock.advance(30)
    assert len(await ready.store.outbox.lease_due(10)) == 0, "nothing waits any more"


async def test_limits_that_are_raised_soon_after_they_were_lowered_allow_no_burst(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=5, connection_limit=10)
    for _ in range(8):
        await ready.keep()
    for lease in await ready.store.outbox.lease_due(4):
        await ready.settle(lease, SENT)
    await ready.widen(message_limit_a_minute=2)
    assert await ready.store.outbox.lease_due(10) == []
    await ready.widen(message_limit_a_minute=5)
    assert len(await ready.store.outbox.lease_due(10)) == 1


async def test_a_lower_limit_counts_what_was_used_under_the_higher(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=5, connection_limit=10)
    for _ in range(8):
        await ready.keep()
    leases = await ready.store.outbox.lease_due(4)
    for lease in leases:
        await ready.settle(lease, SENT)
    assert len(leases) == 4
    await ready.widen(message_limit_a_minute=2)
    assert await ready.store.outbox.lease_due(10) == []
    ready.clock.advance(60)
    assert len(await ready.store.outbox.lease_due(10)) == 2


async def test_a_clock_that_was_set_back_does_not_stop_a_mailbox_for_long(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=1)
    await ready.keep()
    await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    ready.clock.advance(-7 * 3600)
    assert await ready.store.outbox.lease_due(1) == []
    ready.clock.advance(60)
    assert len(await ready.store.outbox.lease_due(1)) == 1


async def test_recipients_of_a_day_are_limited(ready: KeptStore) -> None:
    await ready.widen(recipient_limit_a_day=5)
    await ready.keep("a@x.example", "b@x.example", "c@x.example")
    await ready.keep("d@x.example", "e@x.example", "f@x.example")
    await ready.keep("g@x.example")
    began_us = ready.clock.now_us()
    (lease,) = await ready.store.outbox.lease_due(10)  # the next one has no room, and is not overtaken
    await ready.settle(lease, SENT)
    due_at_us = await ready.store.outbox.next_due_at_us()
    assert due_at_us is not None
    assert DAY_US <= due_at_us - began_us <= DAY_US + 2 * MINUTE_US
    ready.clock.advance((due_at_us - began_us) / MICROSECONDS)
    leases = await ready.store.outbox.lease_due(10)
    assert [len(lease.recipients) for lease in leases] == [3, 1]


async def test_a_message_with_more_recipients_than_a_day_allows_goes_when_nothing_else_went(ready: KeptStore) -> None:
    await ready.widen(recipient_limit_a_day=2)
    await ready.keep("a@x.example", "b@x.example", "c@x.example")
    assert len((await ready.lease_one()).recipients) == 3


async def test_next_due_tells_when_a_deferred_message_goes(ready: KeptStore) -> None:
    assert await ready.store.outbox.next_due_at_us() is None
    await ready.keep()
    assert await ready.store.outbox.next_due_at_us() == ready.clock.now_us()
    due_at_us = ready.clock.now_us() + 5 * MINUTE_US
    await ready.settle(await ready.lease_one(), later(due_at_us))
    assert await ready.store.outbox.next_due_at_us() == due_at_us
    ready.clock.advance(299)
    assert await ready.store.outbox.lease_due(1) == []
    ready.clock.advance(1)
    lease = await ready.lease_one()
    assert lease.attempt_number == 2


async def test_next_due_tells_when_a_lease_ends(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    assert await ready.store.outbox.next_due_at_us() == lease.expires_at_us


async def test_nothing_leaves_through_a_mailbox_that_is_not_set_up(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(AppSettings(name="Scanner"), "anna")
    kept.app_id = app.app_id
    message_id = await kept.keep()
    assert await store.outbox.lease_due(10) == []
    assert await store.outbox.next_due_at_us() is None
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert detail.row.waits_for == "set-up"
    await store.mail_servers.save(kept.draft(), "anna")
    await store.outbox.wait_for_change(None)
    assert [lease.message_id for lease in await store.outbox.lease_due(10)] == [message_id]


async def test_a_stopped_mailbox_is_probed_by_one_delivery_when_its_time_is_over(ready: KeptStore) -> None:
    for _ in range(4):
        await ready.keep()
    until_us = ready.clock.now_us() + 10 * MINUTE_US
    await ready.settle(await ready.lease_one(), stopped(StopCause.DAILY_LIMIT, until_us))
    assert await ready.store.outbox.lease_due(10) == []
    assert await ready.store.outbox.next_due_at_us() == until_us
    ready.clock.advance(600)
    (probe,) = await ready.store.outbox.lease_due(10)
    assert probe.mailbox.state is MailboxState.STOPPED
    assert await ready.store.outbox.lease_due(10) == [], "one at a time"
    await ready.settle(probe, SENT)
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.state, mailbox.cause, mailbox.failure) == (MailboxState.READY, None, None)
    assert len(await ready.store.outbox.lease_due(10)) == 2


async def test_a_probe_that_is_stopped_again_waits_again(ready: KeptStore) -> None:
    await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.DAILY_LIMIT, ready.clock.now_us() + MINUTE_US))
    since_us = (await ready.store.mailboxes.find(MAILBOX_ID)).since_us
    ready.clock.advance(60)
    again_us = ready.clock.now_us() + MINUTE_US
    await ready.settle(await ready.lease_one(), stopped(StopCause.DAILY_LIMIT, again_us))
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.until_us, mailbox.since_us) == (again_us, since_us)
    assert await ready.store.outbox.lease_due(1) == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [("refused", MailboxState.READY), ("later", MailboxState.SLOWED), ("lost", MailboxState.STOPPED)],
)
async def test_a_probe_that_is_answered_about_its_message_proves_the_mailbox(
    ready: KeptStore, answer: str, state: MailboxState
) -> None:
    await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SIGN_IN, ready.clock.now_us() + MINUTE_US))
    ready.clock.advance(60)
    outcomes: dict[str, Outcome] = {
        "refused": REFUSED,
        "later": later(ready.clock.now_us() + MINUTE_US),
        "lost": UNKNOWN,
    }
    await ready.settle(await ready.lease_one(), outcomes[answer])
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is state


async def test_mailboxes_do_not_wait_for_one_another(ready: KeptStore) -> None:
    for _ in range(3):
        await ready.keep()
    other_way = await ready.add_mail_server("other")
    await ready.store.ways.make_default(other_way.mail_server_id, "anna")
    other = await ready.keep()
    assert len(await ready.store.outbox.lease_due(2)) == 2, "the first mailbox fills its connections"
    assert [lease.message_id for lease in await ready.store.outbox.lease_due(10)] == [other]


async def test_the_mailbox_that_waited_longest_is_served_first(ready: KeptStore) -> None:
    other = await ready.add_mail_server("other")
    for mail_server_id in (1, other.mail_server_id, 1, other.mail_server_id):
        await ready.store.ways.make_default(mail_server_id, "anna")
        await ready.keep()
    order = []
    for _ in range(4):
        lease = await ready.lease_one()
        order.append(lease.mailbox.mailbox_id)
        await ready.settle(lease, SENT)
        ready.clock.advance(1)
    assert order in ([1, other.mailbox_id] * 2, [other.mailbox_id, 1] * 2)


async def test_age_runs_only_while_the_mailbox_could_send(ready: KeptStore) -> None:
    await ready.keep()
    ready.clock.advance(100)
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None)
    ready.clock.advance(100_000)
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    await ready.send_what_was_set_aside()
    ready.clock.advance(23)
    assert (await ready.lease_one()).age_us == 123 * MICROSECONDS


async def test_age_does_not_run_before_the_set_up_nor_while_paused(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(AppSettings(name="Scanner"), "anna")
    kept.app_id = app.app_id
    await kept.keep()
    kept.clock.advance(86_400)
    await store.mail_servers.save(kept.draft(), "anna")
    await kept.send_what_was_set_aside()
    kept.clock.advance(5)
    await store.mailboxes.pause(MAILBOX_ID, "anna")
    kept.clock.advance(86_400)
    await store.mailboxes.resume(MAILBOX_ID, "anna")
    await kept.send_what_was_set_aside()
    assert (await kept.lease_one()).age_us == 5 * MICROSECONDS


async def test_age_does_not_run_while_postroom_is_not_running(ready: KeptStore) -> None:
    await ready.keep()
    await ready.close()
    ready.clock.advance(3 * 86_400)
    await ready.open()
    await ready.send_what_was_set_aside()
    ready.clock.advance(2)
    assert (await ready.lease_one()).age_us == 2 * MICROSECONDS


async def test_a_renewed_lease_ends_later(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    ready.clock.advance(800)
    renewed = await ready.store.outbox.renew(lease)
    assert renewed.expires_at_us == ready.clock.now_us() + 900 * MICROSECONDS
    ready.clock.advance(800)
    assert await ready.store.outbox.lease_due(1) == []
    await ready.settle(renewed, SENT)


async def test_a_lease_that_was_not_renewed_ends_as_unknown(ready: KeptStore) -> None:
    message_id = await ready.keep()
    lease = await ready.lease_one()
    ready.clock.advance(900)
    assert await ready.store.outbox.lease_due(1) == []
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    ((_, outcome),) = detail.attempts[0].outcomes
    assert outcome.__class__.__name__ == "Unknown"
    assert detail.recipients[0].failure is not None
    assert detail.recipients[0].failure.code == "lease_ended"
    with pytest.raises(LeaseLostError, match="ended before it was settled"):
        await ready.settle(lease, SENT)
    with pytest.raises(LeaseLostError, match="cannot be renewed"):
        await ready.store.outbox.renew(lease)
    ready.clock.advance(60)
    assert (await ready.lease_one()).attempt_number == 2


async def test_leases_of_an_earlier_boot_end_at_start_as_unknown(ready: KeptStore) -> None:
    message_id = await ready.keep()
    lease = await ready.lease_one()
    store = await ready.open()
    assert store.owner == "node0.2"
    assert store.interrupted_attempts == 1
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert detail.attempts[0].ended_at_us == ready.clock.now_us()
    assert detail.recipients[0].failure is not None
    assert detail.recipients[0].failure.text.startswith("Postroom stopped while this was being sent.")
    assert await ready.states(message_id) == ["queued"]
    assert (await store.messages.overview(0)).unknown == 1
    with pytest.raises(LeaseLostError):
        await ready.settle(lease, SENT)
    assert await store.outbox.next_due_at_us() == ready.clock.now_us() + MINUTE_US
    ready.clock.advance(60)
    assert (await ready.lease_one()).message_id == message_id


async def test_only_recipients_whose_time_has_come_are_leased(ready: KeptStore) -> None:
    message_id = await ready.keep("a@x.example", "b@x.example", "c@x.example")
    now_us = ready.clock.now_us()
    await ready.settle(await ready.lease_one(), later(now_us + MINUTE_US), SENT, later(now_us + 60 * MINUTE_US))
    ready.clock.advance(60)
    lease = await ready.lease_one()
    assert [recipient.address for recipient in lease.recipients] == ["a@x.example"]
    assert await ready.states(message_id) == ["sending", "sent", "deferred"]
    await ready.settle(lease, SENT)
    assert await ready.store.outbox.next_due_at_us() == now_us + 60 * MINUTE_US
    ready.clock.advance(3600)
    assert [recipient.address for recipient in (await ready.lease_one()).recipients] == ["c@x.example"]
