"""Pace: what is learnt and how it recovers, turns within a lane, recipients of a message, and external recipients."""

import msgspec
import pytest

from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US
from postroom.message import Lane, MailboxState
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater, Unknown
from postroom.store.external import CODE
from postroom.store.records import AppSettings
from tests.contract.kept_store import LINE_DROPPED, MAILBOX_ID, SENT, KeptStore, later

pytestmark = pytest.mark.anyio

CONNECTIONS = Failure(FailureClass.THROTTLE, "too_many_connections", "432 4.3.2 Concurrent", "too_many_connections")
RECIPIENTS = Failure(FailureClass.THROTTLE, "too_many_recipients", "452 4.5.3 Too many", "server_busy")
EXTERNAL = Failure(FailureClass.QUOTA, CODE, "550 5.7.233 tenant external recipient rate limit", CODE)


async def leave_at_once(ready: KeptStore, limit: int = 50) -> int:
    """How many can be claimed now; all of them are sent."""
    leases = await ready.store.outbox.lease_due(limit)
    for lease in leases:
        await ready.settle(lease, *[SENT] * len(lease.recipients))
    return len(leases)


async def leave_in_a_minute(ready: KeptStore) -> int:
    amount = 0
    while found := await leave_at_once(ready):
        amount += found
    return amount


async def test_a_complaint_slows_the_mailbox_and_time_heals_it(ready: KeptStore) -> None:
    for _ in range(80):
        await ready.keep()
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + DAY_US))
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.state, mailbox.learnt_message_limit) == (MailboxState.SLOWED, 16)
    assert await leave_in_a_minute(ready) == 16 - 1
    ready.clock.advance(5 * 60 + 1)
    assert await leave_in_a_minute(ready) == 17, "one more after five minutes"
    ready.clock.advance(60 * 60)
    assert await leave_in_a_minute(ready) == 25
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.state, mailbox.learnt_message_limit) == (MailboxState.READY, None)


async def test_what_attempts_side_by_side_hear_counts_once(ready: KeptStore) -> None:
    await ready.keep()
    await ready.keep()
    for lease in await ready.store.outbox.lease_due(2):
        await ready.settle(lease, later(ready.clock.now_us() + MINUTE_US))
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).learnt_message_limit == 16


async def test_too_many_connections_means_one_fewer(ready: KeptStore) -> None:
    await ready.keep()
    await ready.settle(await ready.lease_one(), TryLater(CONNECTIONS, ready.clock.now_us()))
    for _ in range(3):
        await ready.keep()
    assert len(await ready.store.outbox.lease_due(50)) == 1
    mailbox = await ready.store.mailboxes.find(MAILBOX_ID)
    assert (mailbox.learnt_connection_limit, mailbox.learnt_message_limit) == (1, 25)


async def test_too_many_recipients_teach_nothing_of_the_pace(ready: KeptStore) -> None:
    await ready.keep()
    await ready.settle(await ready.lease_one(), TryLater(RECIPIENTS, ready.clock.now_us() + MINUTE_US))
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY


async def test_apps_take_turns_within_a_lane(ready: KeptStore) -> None:
    other, _ = await ready.store.apps.create(AppSettings(name="Reports"), "anna")
    flood = [await ready.keep() for _ in range(20)]
    await leave_at_once(ready, 2)
    for _ in range(2):
        late = ready.message(app_id=other.app_id)
        await ready.store.outbox.keep(late)
    order = []
    while leases := await ready.store.outbox.lease_due(1):
        order.append(leases[0].message_id)
        await ready.settle(leases[0], SENT)
    assert late.message_id in order[:4], "each waits for one message of the other, and not for all of them"
    assert [message for message in order if message in flood] == flood[2:], "an app's own mail keeps its order"


async def test_an_app_that_was_silent_has_saved_nothing_up(ready: KeptStore) -> None:
    other, _ = await ready.store.apps.create(AppSettings(name="Reports"), "anna")
    for _ in range(10):
        await ready.keep()
    await leave_in_a_minute(ready)
    mine = [await ready.keep() for _ in range(3)]
    theirs = []
    for _ in range(3):
        new = ready.message(app_id=other.app_id)
        await ready.store.outbox.keep(new)
        theirs.append(new.message_id)
    order = []
    while leases := await ready.store.outbox.lease_due(1):
        order.append(leases[0].message_id)
        await ready.settle(leases[0], SENT)
    assert order == [mine[0], theirs[0], mine[1], theirs[1], mine[2], theirs[2]]


async def test_an_alarm_overtakes_a_report(ready: KeptStore) -> None:
    for _ in range(5):
        await ready.keep(lane=Lane.LOW)
    alarm = await ready.keep(lane=Lane.HIGH)
    assert (await ready.lease_one()).message_id == alarm


async def test_a_message_has_so_many_recipients_and_the_others_go_next(ready: KeptStore) -> None:
    await ready.widen(recipient_limit_a_message=2)
    message = await ready.keep(*(f"r{number}@fabrikam.com" for number in range(5)))
    shares = []
    while leases := await ready.store.outbox.lease_due(50):
        [lease] = leases
        shares.append(len(lease.recipients))
        await ready.settle(lease, *[SENT] * len(lease.recipients))
    assert shares == [2, 2, 1]
    assert set(await ready.states(message)) == {"sent"}


async def test_when_the_tenants_day_is_full_only_external_recipients_wait(ready: KeptStore) -> None:
    await ready.write("UPDATE tenants SET external_limit_a_day = 2")
    for _ in range(2):
        await ready.keep("bob@fabrikam.com")
    mixed = await ready.keep("bob@fabrikam.com", "anna@contoso.com")
    assert await leave_in_a_minute(ready) == 3
    assert await ready.states(mixed) == ["queued", "sent"]
    [waiting] = (await ready.store.messages.search("", limit=1))[0]
    assert waiting.waits_for == "external limit"
    due_at_us = await ready.store.outbox.next_due_at_us()
    assert due_at_us is not None
    ready.clock.advance((due_at_us - ready.clock.now_us()) / MICROSECONDS)
    lease = await ready.lease_one()
    assert lease.age_us <= MINUTE_US, "it has not grown older by the limit"
    assert [recipient.address for recipient in lease.recipients] == ["bob@fabrikam.com"]


async def test_microsofts_refusal_of_external_mail_stops_only_that(ready: KeptStore) -> None:
    until_us = ready.clock.now_us() + 3_600 * MICROSECONDS
    refused = await ready.keep("bob@fabrikam.com")
    await ready.settle(await ready.lease_one(), Stopped(EXTERNAL, StopCause.DAILY_LIMIT, until_us))
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY
    outside, inside = await ready.keep("eve@fabrikam.com"), await ready.keep("anna@contoso.com")
    assert await leave_in_a_minute(ready) == 1
    assert [await ready.states(message) for message in (refused, outside, inside)] == [["queued"], ["queued"], ["sent"]]
    assert await ready.store.outbox.next_due_at_us() == until_us
    ready.clock.advance(3_600)
    assert await leave_in_a_minute(ready) == 2


async def test_the_overview_says_when_all_will_be_out(ready: KeptStore) -> None:
    for _ in range(60):
        await ready.keep()
    await leave_in_a_minute(ready)
    forecast = (await ready.store.messages.overview(0)).forecast
    assert forecast.messages == 35
    assert forecast.out_at_us == ready.clock.now_us() + 84 * MICROSECONDS
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    forecast = (await ready.store.messages.overview(0)).forecast
    assert (forecast.messages, forecast.out_at_us, forecast.without_time) == (0, None, {"paused": 35})


async def test_the_overview_says_what_nobody_can_foretell(ready: KeptStore) -> None:
    held, outside = await ready.keep(), await ready.keep()
    await ready.store.outbox.hold(held, "anna")
    forecast = (await ready.store.messages.overview(0)).forecast
    assert (forecast.messages, forecast.without_time) == (1, {"release": 1})
    detail = await ready.store.messages.find(outside)
    assert detail is not None
    assert detail.out_at_us == forecast.out_at_us == ready.clock.now_us()
    detail = await ready.store.messages.find(held)
    assert detail is not None
    assert detail.out_at_us is None


async def test_a_message_is_foretold_after_those_before_it(ready: KeptStore) -> None:
    messages = [await ready.keep() for _ in range(50)]
    alarm = await ready.keep(lane=Lane.HIGH)
    seconds = []
    for message_id in (alarm, messages[0], messages[24], messages[49]):
        detail = await ready.store.messages.find(message_id)
        assert detail is not None
        assert detail.out_at_us is not None
        seconds.append(round((detail.out_at_us - ready.clock.now_us()) / MICROSECONDS))
    assert seconds == [0, 0, 2, 62]


async def test_more_external_recipients_a_day_are_looked_at_at_once(ready: KeptStore) -> None:
    await ready.store.mailboxes.set_external_day(MAILBOX_ID, 1, ["contoso.com"], "anna")
    await ready.keep("bob@fabrikam.com")
    waiting = await ready.keep("eve@fabrikam.com", "zoe@fabrikam.com")
    assert await leave_in_a_minute(ready) == 1
    await ready.store.mailboxes.set_external_day(MAILBOX_ID, 10, ["contoso.com"], "anna")
    assert await leave_in_a_minute(ready) == 1
    assert await ready.states(waiting) == ["sent", "sent"]


async def test_what_microsoft_closed_no_person_opens(ready: KeptStore) -> None:
    await ready.keep("bob@fabrikam.com")
    until_us = ready.clock.now_us() + 3_600 * MICROSECONDS
    await ready.settle(await ready.lease_one(), Stopped(EXTERNAL, StopCause.DAILY_LIMIT, until_us))
    await ready.store.mailboxes.set_external_day(MAILBOX_ID, 99_999, ["contoso.com"], "anna")
    assert await ready.store.outbox.lease_due(10) == []
    assert await ready.store.outbox.next_due_at_us() == until_us


async def test_a_domain_of_ones_own_is_inside(ready: KeptStore) -> None:
    await ready.store.mailboxes.set_external_day(MAILBOX_ID, 1, ["contoso.com", "FABRIKAM.com"], "anna")
    for _ in range(3):
        await ready.keep("bob@fabrikam.com")
    assert await leave_in_a_minute(ready) == 3


async def test_a_backlog_of_external_mail_does_not_delay_what_is_inside(ready: KeptStore) -> None:
    await ready.keep("bob@fabrikam.com")
    until_us = ready.clock.now_us() + DAY_US
    await ready.settle(await ready.lease_one(), Stopped(EXTERNAL, StopCause.DAILY_LIMIT, until_us))
    for _ in range(300):
        await ready.keep("bob@fabrikam.com")
    inside = await ready.keep("anna@contoso.com")
    assert (await ready.lease_one()).message_id == inside, "all that wait are passed over at once"


async def order_of_all(ready: KeptStore) -> list[int]:
    order = []
    while leases := await ready.store.outbox.lease_due(1):
        order.append(leases[0].message_id)
        await ready.settle(leases[0], SENT)
    return order


async def test_what_comes_due_again_does_not_overtake_another_app(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=1_000)
    other, _ = await ready.store.apps.create(AppSettings(name="Reports"), "anna")
    for _ in range(20):
        await ready.keep()
    until_us = ready.clock.now_us() + MINUTE_US
    for _ in range(20):
        await ready.settle(await ready.lease_one(), Unknown(LINE_DROPPED, until_us))
    ready.clock.advance(61)
    late = ready.message(app_id=other.app_id)
    await ready.store.outbox.keep(late)
    assert late.message_id in (await order_of_all(ready))[:2]


async def test_what_is_released_by_the_hundred_does_not_overtake_another_app(ready: KeptStore) -> None:
    other, _ = await ready.store.apps.create(AppSettings(name="Reports"), "anna")
    flood = [await ready.keep() for _ in range(10)]
    for message_id in flood:
        await ready.store.outbox.hold(message_id, "anna")
    for _ in range(5):
        await ready.store.outbox.keep(ready.message(app_id=other.app_id))
    assert len(await order_of_all(ready)) == 5
    for message_id in flood:
        await ready.store.outbox.release(message_id, "anna")
    late = ready.message(app_id=other.app_id)
    await ready.store.outbox.keep(late)
    assert late.message_id in (await order_of_all(ready))[:2]


async def test_what_is_to_be_sent_later_costs_its_app_no_turn_now(ready: KeptStore) -> None:
    other, _ = await ready.store.apps.create(AppSettings(name="Reports"), "anna")
    for _ in range(10):
        later_today = msgspec.structs.replace(ready.message(), send_at_us=ready.clock.now_us() + DAY_US)
        await ready.store.outbox.keep(later_today)
    for _ in range(5):
        await ready.store.outbox.keep(ready.message(app_id=other.app_id))
    now = await ready.keep()
    assert now in (await order_of_all(ready))[:2]
    ready.clock.advance(86_400)
    late = ready.message(app_id=other.app_id)
    await ready.store.outbox.keep(late)
    assert late.message_id in (await order_of_all(ready))[:2]
