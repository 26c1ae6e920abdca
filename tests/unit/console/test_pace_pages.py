"""How fast: limits, what was learnt and is used on the page of all mail servers, and the forecast where people look."""

import pytest

from postroom.clock import DAY_US, MINUTE_US
from postroom.ids import public_id
from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater
from postroom.store.external import CODE
from postroom.store.records import MailboxLimits
from tests.unit.console.test_messages_pages import ACCEPTED, attempt, hand_in
from tests.unit.console.visitor import EMAIL, GUID, House, Visitor

pytestmark = pytest.mark.anyio

PATH = "/admin/mail-servers"
SLOW_DOWN = Failure(FailureClass.THROTTLE, "busy", "451 4.7.500 Server busy", "server_busy")


async def ready(house: House) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    return visitor


async def test_what_is_used_is_shown(house: House) -> None:
    visitor = await ready(house)
    for _ in range(3):
        await hand_in(house)
    await attempt(house, ACCEPTED)
    text = (await visitor.open(PATH)).text
    assert "25 messages a minute, 2 connections" in text
    assert "1 messages in the last 60 seconds, 1 of 10,000 recipients in 24 hours, 0 connections now" in text
    assert "0 of 10,000 recipients outside the organisation" in text, "ops@contoso.com is inside"


async def test_what_was_learnt_is_shown_with_its_end(house: House) -> None:
    visitor = await ready(house)
    await hand_in(house)
    await attempt(house, TryLater(SLOW_DOWN, house.clock.now_us() + MINUTE_US))
    page = await visitor.open(PATH)
    assert "slowed" in page.text
    assert "16 messages a minute, 2 connections" in page.text
    assert "it recovers by itself, wholly" in page.text
    assert "in 45 min" in page.text, "nine messages, five minutes each"
    house.clock.advance(45 * 60)
    await house.store.outbox.lease_due(1)
    assert (await house.store.mailboxes.find(1)).state is MailboxState.READY


async def test_limits_are_kept_within_microsofts(house: House) -> None:
    visitor = await ready(house)
    await visitor.open(PATH)
    page = await visitor.submit("/limits", messages_a_minute="31")
    assert page.status == 422
    assert "Microsoft 365 takes 30 messages a minute of a mailbox at most" in page.text
    await visitor.submit("/limits", messages_a_minute="12", recipients_a_day="5,000")
    limits = MailboxLimits(12, 2, 5_000, 500)
    mailbox = await house.store.mailboxes.find(1)
    assert (
        (mailbox.message_limit_a_minute, mailbox.recipient_limit_a_day)
        == (12, 5_000)
        == (
            limits.messages_a_minute,
            limits.recipients_a_day,
        )
    )
    assert (await house.store.audit.recent(1))[0].who == EMAIL


async def test_the_day_of_external_recipients_is_changed_with_a_sentence_for_what_cannot_be(house: House) -> None:
    visitor = await ready(house)
    await visitor.open(PATH)
    page = await visitor.submit("/external", external_a_day="400", own_domains="a@contoso.com")
    assert "“a@contoso.com” is no domain" in page.text
    await visitor.submit("/external", external_a_day="400", own_domains="Contoso.com, contoso.example")
    [figures] = (await house.store.figures.of_mailboxes()).values()
    assert figures.external is not None
    assert (figures.external.limit, figures.external.own_domains) == (400, ("contoso.com", "contoso.example"))
    newest = (await house.store.audit.recent(1))[0]
    assert (newest.action, newest.target) == ("changed external recipients", GUID)


async def test_the_overview_and_each_message_say_when_it_will_be_out(house: House) -> None:
    visitor = await ready(house)
    messages = [await hand_in(house) for _ in range(62)]
    for _ in range(12):
        await attempt(house, ACCEPTED)
    assert "Your 50 waiting messages will be out at about" in (await visitor.open("/")).text
    page = await visitor.open(f"/deliveries/{public_id(messages[-1])}")
    assert "At about:" in page.text
    assert "in 88 s" in page.text or "in 89 s" in page.text, "thirteen have room at once, 37 more at 25 a minute"


async def test_what_nobody_can_foretell_says_for_what_it_waits(house: House) -> None:
    visitor = await ready(house)
    held, waiting = [await hand_in(house) for _ in range(2)]
    await house.store.outbox.hold(held, "anna")
    stop = Stopped(SLOW_DOWN, StopCause.SIGN_IN)
    await attempt(house, stop)
    text = (await visitor.open("/")).text
    assert "Of 1 message nobody can say when it will leave: held until somebody releases it." in text
    assert "Of 1 message nobody can say when it will leave: waiting until someone signs in again" in text
    assert "At about" not in (await visitor.open(f"/deliveries/{public_id(waiting)}")).text


async def test_external_mail_that_waits_is_told(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house, "bob@fabrikam.com")
    limit = Failure(FailureClass.QUOTA, CODE, "550 5.7.233 tenant external recipient rate limit", CODE)
    await attempt(house, Stopped(limit, StopCause.DAILY_LIMIT, house.clock.now_us() + DAY_US))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Queued: waiting until the organisation may send to outside recipients again" in page.text
    assert "waits in 24 hours" in (await visitor.open(PATH)).text
