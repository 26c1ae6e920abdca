"""After a long stop a person chooses what is still sent."""

import asyncio

import msgspec
import pytest

from postroom.clock import HOUR_US, MICROSECONDS, MINUTE_US
from postroom.errors import WrongStateError
from postroom.message import Lane, RecipientState
from postroom.outcome import StopCause
from postroom.store.choices import BATCH, Choice, ChoiceAnswer, ChosenMail
from postroom.store.records import AppSettings
from tests.contract.kept_store import MAILBOX_ID, SENT, SIGNED_OUT, KeptStore, later, stopped

pytestmark = pytest.mark.anyio


async def stop_for(ready: KeptStore, span_us: int) -> None:
    ready.clock.advance(span_us / MICROSECONDS)
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")


async def leased(ready: KeptStore) -> list[int]:
    """What leaves now, all of it."""
    gone = []
    while leases := await ready.store.outbox.lease_due(20):
        for lease in leases:
            await ready.settle(lease, SENT)
        gone += [lease.message_id for lease in leases]
    return gone


async def only_choice(ready: KeptStore) -> Choice:
    [choice] = await ready.store.choices.open()
    return choice


async def waits_for(ready: KeptStore, message_id: int) -> str | None:
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    return detail.row.waits_for


async def test_after_a_long_stop_old_mail_waits_for_a_choice_and_all_other_mail_goes_on(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    old, alarm = await ready.keep(), await ready.keep(lane=Lane.HIGH)
    ready.clock.advance((HOUR_US) / MICROSECONDS)
    recent = await ready.keep()
    await stop_for(ready, MINUTE_US)
    new = await ready.keep()
    assert sorted(await leased(ready)) == sorted([alarm, recent, new])
    assert (await only_choice(ready)).messages == 1
    assert await waits_for(ready, old) == "choice"
    assert await ready.states(old) == ["queued"]
    overview = await ready.store.messages.overview(0)
    assert overview.waiting_by_cause["choice"] == 1
    assert overview.forecast.without_time == {"choice": 1}


async def test_nobody_is_asked_about_mail_whose_sender_gave_it_an_end(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    message = msgspec.structs.replace(ready.message(), expires_at_us=ready.clock.now_us() + HOUR_US)
    await ready.store.outbox.keep(message)
    await stop_for(ready, 3 * HOUR_US)
    assert await ready.store.choices.open() == []
    assert (await ready.lease_one()).message_expires_at_us is not None, "the worker ends it, with its reason"


async def test_a_stop_of_an_hour_asks_nothing(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    message_id = await ready.keep()
    await stop_for(ready, HOUR_US - 1)
    assert await ready.store.choices.open() == []
    assert await leased(ready) == [message_id]


async def test_when_nothing_old_waits_nothing_is_asked(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await stop_for(ready, 3 * HOUR_US)
    assert await ready.store.choices.open() == []


async def test_another_cause_meanwhile_makes_the_stop_no_shorter(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await ready.keep()
    ready.clock.advance((2 * HOUR_US) / MICROSECONDS)
    await ready.store.mailboxes.pause(MAILBOX_ID, "ben")
    await stop_for(ready, 1)
    assert (await only_choice(ready)).messages == 1


async def test_saving_the_settings_asks_as_resuming_does(ready: KeptStore) -> None:
    await ready.store.mailboxes.disconnect(MAILBOX_ID, "anna")
    await ready.keep()
    ready.clock.advance((2 * HOUR_US) / MICROSECONDS)
    await ready.store.mail_servers.save(ready.draft(), "anna")
    assert await leased(ready) == []
    assert (await only_choice(ready)).username == "scanner@contoso.com"


async def test_signing_in_again_asks_as_resuming_does(ready: KeptStore) -> None:
    await ready.store.mailboxes.stop(MAILBOX_ID, SIGNED_OUT, StopCause.SIGN_IN, None)
    await ready.keep()
    ready.clock.advance((2 * HOUR_US) / MICROSECONDS)
    assert await ready.store.mailboxes.take_sign_in(MAILBOX_ID, ready.draft(), "anna")
    new = await ready.keep()
    assert await leased(ready) == [new]
    assert (await only_choice(ready)).messages == 1


async def test_what_came_back_by_itself_drains_by_itself(ready: KeptStore) -> None:
    first, second = await ready.keep(), await ready.keep()
    lease = (await ready.store.outbox.lease_due(1))[0]
    await ready.settle(lease, stopped(until_us=ready.clock.now_us() + 2 * HOUR_US))
    ready.clock.advance((2 * HOUR_US) / MICROSECONDS)
    probe = await ready.lease_one()
    await ready.settle(probe, SENT)
    assert {probe.message_id, *await leased(ready)} == {first, second}
    assert await ready.store.choices.open() == []


@pytest.mark.parametrize("send", list(ChosenMail))
async def test_the_chosen_is_sent_and_the_rest_is_held(ready: KeptStore, send: ChosenMail) -> None:
    other, _ = await ready.store.apps.create(AppSettings(name="Backup"), "anna")
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    older = await ready.keep()
    ready.clock.advance((HOUR_US) / MICROSECONDS)
    newer_us = ready.clock.now_us()
    newer = ready.message(app_id=other.app_id)
    await ready.store.outbox.keep(newer)
    await stop_for(ready, 2 * HOUR_US)
    choice = await only_choice(ready)
    shares = await ready.store.choices.by_app(choice.choice_id)
    assert {(share.name, share.messages) for share in shares} == {("Scanner", 1), ("Backup", 1)}
    answer = ChoiceAnswer(send, newer_us if send is ChosenMail.NEWER else None, (other.app_id,))
    await ready.store.choices.answer(choice.choice_id, answer, "anna", "192.0.2.1")
    goes = {
        ChosenMail.ALL: [older, newer.message_id],
        ChosenMail.NONE: [],
    }.get(send, [newer.message_id])
    assert sorted(await leased(ready)) == sorted(goes)
    for message_id in {older, newer.message_id} - set(goes):
        assert await ready.states(message_id) == ["held"]
        detail = await ready.store.messages.find(message_id)
        assert detail is not None
        assert (detail.row.state, detail.timeline[-1].kind, detail.timeline[-1].who) == ("held", "held", "anna")
        assert "long stop" in detail.timeline[-1].text
        await ready.store.outbox.release(message_id, "anna")
        assert await ready.states(message_id) == ["queued"]
    assert await ready.store.choices.open() == []
    assert (await ready.store.audit.recent(1))[0].action == "chose after a long stop"


async def test_it_is_answered_once_and_the_second_is_told(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    message_id = await ready.keep()
    await stop_for(ready, 2 * HOUR_US)
    choice = await only_choice(ready)
    with pytest.raises(ValueError, match="which time"):
        await ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.NEWER), "anna")
    await ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.NONE), "anna")
    with pytest.raises(WrongStateError, match=r"anna has chosen already: hold all"):
        await ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "ben")
    assert await ready.states(message_id) == ["held"]
    with pytest.raises(LookupError):
        await ready.store.choices.answer(7, ChoiceAnswer(ChosenMail.ALL), "ben")


async def test_a_start_after_a_long_absence_asks_and_the_question_survives_restarts(ready: KeptStore) -> None:
    put_off, other = await ready.keep(), await ready.keep()
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + MINUTE_US))
    await ready.close()
    ready.clock.advance((6 * HOUR_US + MINUTE_US) / MICROSECONDS)
    await ready.open()
    choice = await only_choice(ready)
    assert choice.messages == 2
    assert await leased(ready) == []
    await ready.open()
    assert await only_choice(ready) == choice
    await ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "anna")
    assert sorted(await leased(ready)) == sorted([put_off, other])


async def test_a_short_absence_asks_nothing(ready: KeptStore) -> None:
    message_id = await ready.keep()
    await ready.close()
    ready.clock.advance((6 * HOUR_US - MINUTE_US) / MICROSECONDS)
    await ready.open()
    assert await leased(ready) == [message_id]


async def test_what_waits_for_a_choice_grows_no_older(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await ready.keep()
    await stop_for(ready, 2 * HOUR_US)
    ready.clock.advance((100 * HOUR_US) / MICROSECONDS)
    await ready.store.choices.answer((await only_choice(ready)).choice_id, ChoiceAnswer(ChosenMail.ALL), "anna")
    assert (await ready.lease_one()).age_us == 0


async def test_a_message_that_a_person_takes_out_of_it_goes_its_own_way(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    cancelled, held = await ready.keep(), await ready.keep()
    await stop_for(ready, 2 * HOUR_US)
    await ready.store.outbox.cancel(cancelled, "anna")
    await ready.store.outbox.hold(held, "anna")
    assert await ready.store.choices.open() == []
    await ready.store.outbox.release(held, "anna")
    assert await leased(ready) == [held]


async def test_many_are_set_aside_before_anything_leaves(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await ready.store.outbox.keep_together([ready.message() for _ in range(BATCH + 1)])
    await stop_for(ready, 2 * HOUR_US)
    choice = await only_choice(ready)
    assert choice.messages == BATCH + 1
    await ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.NONE), "anna")
    counts = await ready.store.messages.counts()
    assert counts[RecipientState.HELD] == BATCH + 1


async def test_an_answer_that_a_stop_interrupted_is_carried_out_by_the_next_start(ready: KeptStore) -> None:
    await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    await ready.store.outbox.keep_together([ready.message() for _ in range(2 * BATCH)])
    await stop_for(ready, 2 * HOUR_US)
    choice = await only_choice(ready)
    answering = asyncio.ensure_future(
        ready.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.NONE), "anna")
    )
    while await ready.store.choices.open():
        await asyncio.sleep(0)
    await ready.close()
    await asyncio.gather(answering, return_exceptions=True)
    await ready.open()
    async with asyncio.timeout(10):
        while (await ready.store.messages.counts())[RecipientState.HELD] < 2 * BATCH:
            await asyncio.sleep(0)
