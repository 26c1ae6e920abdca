"""Deliveries, one message, and the test mail: over a real store, the intake and settled attempts."""

from functools import partial

import pytest

from postroom.ids import public_id
from postroom.message import Reception, RecipientState
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, TryLater
from postroom.store.opening import NODE
from postroom.store.records import App, AppSettings, DialogueLine, Settlement
from postroom.store.settling import end_leases_of_earlier_boots
from tests.unit.console.visitor import PUBLIC_URL, House, Visitor

pytestmark = pytest.mark.anyio

DENIED = Failure(
    FailureClass.PERMISSION,
    "send_as_denied",
    "554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as noreply@contoso.com",
    "send_as_denied",
    smtp_code=554,
    enhanced="5.2.252",
    command="DATA",
    trace="[AM0PR04]",
)
BUSY = Failure(FailureClass.THROTTLE, "too_many_connections", "432 4.3.2 thread limit", "too_many_connections")
ACCEPTED = Sent("250 2.0.0 OK <abc@contoso.com> [Hostname=AM0PR04MB0001]")
DIALOGUE = (DialogueLine(0, "C", "EHLO mail.example.lan"), DialogueLine(9, "S", "250 <script>alert(1)</script>"))


async def hand_in(house: House, *recipients: str, subject: str = "Scan 17", app: App | None = None) -> int:
    app = app or await house.store.apps.internal()
    submission = await house.rooms.intake.open(app, "scanner@contoso.com", Reception("smtp", "10.2.3.14", "HPA1B2"))
    for recipient in recipients or ("ops@contoso.com",):
        await submission.add_recipient(recipient)
    body = f"From: scanner@contoso.com\r\nTo: ops@contoso.com\r\nSubject: {subject}\r\n\r\nHello.\r\n"
    await submission.write(body.encode())
    return await submission.commit()


async def attempt(house: House, *outcomes: Outcome) -> None:
    [lease] = await house.store.outbox.lease_due(1)
    settled = dict(zip([recipient.recipient_id for recipient in lease.recipients], outcomes, strict=True))
    await house.store.outbox.settle(lease, Settlement(settled, DIALOGUE, "smtp.office365.com:587"))


async def ready(house: House) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    return visitor


async def test_the_list_shows_what_came_and_its_address_is_its_filter(house: House) -> None:
    visitor = await ready(house)
    await hand_in(house, subject="Scan 17")
    await hand_in(house, subject="Backup")
    page = await visitor.open("/deliveries")
    assert "Scan 17" in page.text
    assert "Queued" in page.text
    page = await visitor.submit("/deliveries", q="subject:backup")
    assert page.url == f"{PUBLIC_URL}/deliveries?q=subject%3Abackup"
    assert "Backup" in page.text
    assert "Scan 17" not in page.text


async def test_a_word_that_the_search_does_not_know_is_explained(house: House) -> None:
    visitor = await ready(house)
    page = await visitor.open("/deliveries?q=colour:red")
    assert page.status == 422
    assert "colour:" in page.text
    assert "status" in page.text
    assert 'aria-describedby="hint-q trouble-q"' in page.source


async def test_the_list_is_read_page_by_page(house: House) -> None:
    visitor = await ready(house)
    for number in range(52):
        await hand_in(house, subject=f"Scan-{number:02}")
    page = await visitor.open("/deliveries?q=scan")
    assert "Scan-51" in page.text
    assert "Scan-01" not in page.text
    older = page.source.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    page = await visitor.open(older)
    assert "Scan-01" in page.text
    assert "Scan-51" not in page.text
    assert "hx-trigger" not in page.source  # an older page does not move under the reader


async def test_an_empty_list_teaches(house: House) -> None:
    visitor = await ready(house)
    page = await visitor.open("/deliveries")
    assert "No mail yet" in page.text
    assert "127.0.0.1:2587" in page.text


async def test_a_sent_message_says_accepted_and_never_delivered(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await attempt(house, ACCEPTED)
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Sent: accepted by Microsoft 365" in page.text
    assert "delivered" not in page.text.lower()
    assert "[Hostname=AM0PR04MB0001]" in page.text
    assert "Received by SMTP from 10.2.3.14 (HPA1B2)" in page.text
    assert "EHLO mail.example.lan" in page.text
    assert "<script>alert" not in page.source
    assert "hx-trigger" not in page.source  # it has ended: nothing to refresh
    assert not any("/deliveries/" in form.action for form in page.forms)


async def test_a_refused_message_shows_the_servers_words_and_what_to_do(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await attempt(house, Refused(DENIED))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Failed: refused for good" in page.text
    assert "554 5.2.252 SendAsDenied" in page.text
    assert "Add-RecipientPermission" in page.text
    assert "[AM0PR04]" in page.text
    page = await visitor.submit("/retry")
    assert "It will be tried again now" in page.text
    detail = await house.store.messages.find(message_id)
    assert detail is not None
    assert detail.recipients[0].state is RecipientState.QUEUED
    assert any(entry.kind == "retried" and entry.who == "anna@contoso.com" for entry in detail.timeline)


async def test_recipients_that_differ_are_told_apart(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house, "a@contoso.com", "b@contoso.com")
    await attempt(house, ACCEPTED, Refused(DENIED))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Partly failed: 1 of 2 recipients" in page.text
    assert "For: b@contoso.com" in page.text


async def test_a_deferred_message_says_when_it_is_tried_again(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await attempt(house, TryLater(BUSY, house.clock.now_us() + 240_000_000))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Deferred: a temporary problem. Next try in 4 min" in page.text
    assert "432 4.3.2 thread limit" in page.text
    assert "hx-trigger" in page.source


async def test_holding_releasing_and_cancelling(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Held: stopped until somebody releases it" in (await visitor.submit("/hold")).text
    assert "Queued" in (await visitor.submit("/release")).text
    assert "Cancelled: stopped before it was sent" in (await visitor.submit("/cancel")).text


async def test_an_action_that_came_too_late_is_said_and_not_done(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await visitor.open(f"/deliveries/{public_id(message_id)}")
    await attempt(house, ACCEPTED)
    page = await visitor.submit("/cancel")
    assert "Nothing was changed" in page.text
    assert "Sent: accepted by Microsoft 365" in page.text


async def test_mail_that_waits_for_a_set_up_says_so(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    live = await house.store.mail_servers.default()
    await house.store.mailboxes.disconnect(live.mailbox_id, "anna")
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Queued: waiting until the mail server is set up" in page.text


@pytest.mark.parametrize("path", ["/deliveries/nonsense", "/deliveries/0000000000000", "/apps/0000000000000"])
async def test_what_is_not_there_is_not_found(house: House, path: str) -> None:
    visitor = await ready(house)
    assert (await visitor.open(path)).status == 404


async def test_an_unknown_action_is_not_found(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await visitor.open(f"/deliveries/{public_id(message_id)}")
    page = await visitor.post(f"/deliveries/{public_id(message_id)}/explode", visitor.form_values("/hold"))
    assert page.status == 404


async def test_the_test_mail_goes_through_the_one_door_and_is_followed(house: House) -> None:
    visitor = await ready(house)
    await visitor.open("/admin/mail-server/test")
    page = await visitor.submit("/test")
    assert page.url.startswith(f"{PUBLIC_URL}/admin/mail-server/test?message=")
    assert "Queued" in page.text
    assert 'hx-trigger="every 1s"' in page.source
    await attempt(house, ACCEPTED)
    page = await visitor.open(page.url)
    assert "Sent: accepted by Microsoft 365" in page.text
    assert "Look in you@fabrikam.com" in page.text
    assert "hx-trigger" not in page.source


async def test_the_refusal_of_a_test_mail_comes_with_its_card(house: House) -> None:
    visitor = await ready(house)
    await visitor.open("/admin/mail-server/test")
    page = await visitor.submit("/test", to="other@fabrikam.com")
    await attempt(house, Refused(DENIED))
    page = await visitor.open(page.url)
    assert "554 5.2.252 SendAsDenied" in page.text
    assert "may not send as" in page.text


async def test_a_test_mail_needs_a_mail_server_and_an_address(house: House) -> None:
    visitor = await house.administrator()
    page = await visitor.open("/admin/mail-server/test")
    assert "There is no mail server yet" in page.text
    await house.set_up()
    await visitor.open("/admin/mail-server/test")
    page = await visitor.submit("/test", to="nobody")
    assert page.status == 422
    assert "nobody is not an e-mail address" in page.text


async def test_the_overview_counts_and_names_what_is_next(house: House) -> None:
    visitor = await house.administrator()
    page = await visitor.open("/")
    assert "Not sending. 0 sent in the last 24 hours, 0 waiting, 0 failed." in page.text
    assert "No mail server is set up yet" in page.text
    assert "Add your first app or device" in page.text
    await house.set_up()
    await hand_in(house)
    await attempt(house, ACCEPTED)
    await hand_in(house)
    page = await visitor.open("/")
    assert "Sending normally. 1 sent in the last 24 hours, 1 waiting, 0 failed." in page.text


async def test_what_was_refused_of_its_sender_is_told_by_a_message_and_its_app_and_tried_all_the_same(
    house: House,
) -> None:
    visitor = await ready(house)
    app, _ = await house.store.apps.create(AppSettings(name="Scanner", senders=("scanner@contoso.com",)), "anna")
    told = "smtp.office365.com refused the sender scanner@contoso.com"
    first = await hand_in(house, app=app)
    await attempt(house, Refused(DENIED))
    page = await visitor.open(f"/deliveries/{public_id(first)}")
    assert told not in page.text, "its own card tells more"
    second = await hand_in(house, app=app)
    for path in (f"/deliveries/{public_id(second)}", f"/apps/{public_id(app.app_id)}"):
        page = await visitor.open(path)
        assert told in page.text
        assert DENIED.text in page.text
        assert "The next message is tried all the same." in page.text
    await attempt(house, ACCEPTED)
    page = await visitor.open(f"/apps/{public_id(app.app_id)}")
    assert told not in page.text


async def test_a_message_that_brought_us_down_says_why_it_is_held_and_may_be_released(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    for boot in (2, 3, 4):
        assert await house.store.outbox.lease_due(1)
        crash = partial(end_leases_of_earlier_boots, node=NODE, owner=f"{NODE}.{boot}", has_crashed=True)
        await house.store._writer.run(crash)
        house.clock.advance(61)
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Postroom stopped three times while it sent this message" in page.text
    assert "Held: Postroom went down 3 times while this was being sent" in page.text
    await visitor.submit(f"/deliveries/{public_id(message_id)}/release")
    assert await house.store.outbox.lease_due(1), "it is tried once more"
