"""What is said of the canary: arrived, on its way, failed, overdue, off."""

import pytest
from msgspec.structs import replace

from postroom.clock import HOUR_US, MINUTE_US
from postroom.console.canary import canary_words, tell_canary
from postroom.console.problems import canary_problems
from postroom.ids import public_id
from postroom.message import RecipientState
from postroom.outcome import Failure, FailureClass, Sent, StopCause
from postroom.store.canaries import Canary, CanaryState
from postroom.store.records import Settlement
from postroom.store.sending_settings import SendingSettings
from tests.unit.console.visitor import House

NOW_US = 100 * HOUR_US
ENDED = Failure(FailureClass.IDENTITY, "grant_revoked", "AADSTS50173: the grant was revoked", "sign_in_again")
NO_AIM = "Canary: none flies before the mail server is set up and a recipient is known."


def state(newest: Canary | None = None, arrived: Canary | None = None, **changes: object) -> CanaryState:
    made = CanaryState(
        is_on=True, every_us=HOUR_US, since_us=NOW_US - 50 * HOUR_US, recipient="a@b.example",
        newest=newest, arrived=arrived,
    )  # fmt: skip
    return replace(made, **changes)


def arrived_before(minutes: int, message_id: int = 1) -> Canary:
    at_us = NOW_US - minutes * MINUTE_US
    return Canary(message_id, at_us, at_us, RecipientState.SENT)


def unsent_since(minutes: int, state: RecipientState = RecipientState.QUEUED) -> Canary:
    return Canary(2, NOW_US - minutes * MINUTE_US, None, state)


@pytest.mark.parametrize(
    ("known", "waits_for", "mark", "said"),
    [
        (state(is_on=False), "", "skip", "Canary: off."),
        (state(recipient="", since_us=NOW_US), "", "skip", NO_AIM),
        (state(recipient=""), "", "warn", NO_AIM),
        (
            state(since_us=NOW_US), "", "now",
            "Canary: none has arrived yet. The first one flies in a moment.",
        ),
        (
            state(unsent_since(1), since_us=NOW_US - MINUTE_US), "", "now",
            "Canary: none has arrived yet. The present one is on its way.",
        ),
        (state(arrived_before(12), arrived_before(12)), "", "pass", "Canary: arrived at Microsoft 365 12 min ago."),
        (
            state(unsent_since(3), arrived_before(63)), "waiting for a free minute", "pass",
            "Canary: arrived at Microsoft 365 63 min ago. The present one is waiting for a free minute.",
        ),
        (
            state(unsent_since(3, RecipientState.FAILED), arrived_before(63)), "", "warn",
            "Canary: arrived at Microsoft 365 63 min ago. The newest one failed.",
        ),
        (
            state(unsent_since(120), arrived_before(180)), "waiting because sending is paused", "warn",
            "Canary: overdue. Arrived at Microsoft 365 3 hours ago. "
            "The present one is waiting because sending is paused.",
        ),
        (
            state(unsent_since(180)), "", "warn",
            "Canary: overdue. None has arrived yet. The present one is on its way.",
        ),
    ],
)  # fmt: skip
def test_each_state_has_its_sentence(known: CanaryState, waits_for: str, mark: str, said: str) -> None:
    told = canary_words(known, "Microsoft 365", waits_for, NOW_US)
    assert (told.mark, " ".join(told.sentences)) == (mark, said)
    assert bool(canary_problems(known, NOW_US)) == told.is_overdue
    assert told.is_overdue == ("overdue" in said or (said, mark) == (NO_AIM, "warn"))


def test_it_links_to_the_newest_message_while_that_is_there() -> None:
    told = canary_words(state(unsent_since(3), arrived_before(63)), "Microsoft 365", "", NOW_US)
    assert told.url == f"/deliveries/{public_id(2)}"
    forgotten = replace(arrived_before(12), state=None)
    assert canary_words(state(forgotten, forgotten), "Microsoft 365", "", NOW_US).url == "/admin/sending"


@pytest.mark.anyio
async def test_the_overview_follows_it_from_off_to_overdue(house: House) -> None:
    visitor = await house.administrator()
    assert "Canary: off." in (await visitor.open("/")).text
    await house.set_up()
    await house.store.sending_settings.save(SendingSettings(canary_is_on=True), "anna")
    await fly(house)
    [lease] = await house.store.outbox.lease_due(1)
    await house.store.outbox.settle(lease, Settlement({lease.recipients[0].recipient_id: Sent("250 2.0.0 OK")}))
    house.clock.advance(12 * 60)
    page = await visitor.open("/")
    assert "Canary: arrived at Microsoft 365 12 min ago." in page.text
    assert "Sending normally" in page.text
    message_id = await fly(house)
    [mailbox] = await house.store.mailboxes.all()
    await house.store.mailboxes.stop(mailbox.mailbox_id, ENDED, StopCause.SIGN_IN, None)
    house.clock.advance(3 * 3600)
    page = await visitor.open("/")
    assert "The present one is waiting until someone signs in again as scanner@contoso.com." in page.text
    assert "The canary is overdue" in page.text
    assert "For 3 hours no message of our own has arrived, though one is sent every 60 min" in page.text
    assert f"/deliveries/{public_id(message_id)}" in page.source
    assert "Canary: overdue." in (await visitor.open("/admin/sending")).text


@pytest.mark.anyio
@pytest.mark.parametrize(("action", "words"), [("hold", "held until somebody releases it"), ("", "on its way")])
async def test_what_a_person_did_to_it_is_told(house: House, action: str, words: str) -> None:
    await house.set_up()
    await house.store.sending_settings.save(SendingSettings(canary_is_on=True), "anna")
    message_id = await fly(house)
    if action:
        await house.store.outbox.hold(message_id, "anna")
    told = await tell_canary(house.store, house.clock.now_us())
    assert told.sentences[-1] == f"The present one is {words}."


async def fly(house: House) -> int:
    from postroom.accept.canary_mail import hand_in_canary

    return await hand_in_canary(house.rooms.intake, "Postroom", "you@fabrikam.com", house.clock.now_us() + HOUR_US)
