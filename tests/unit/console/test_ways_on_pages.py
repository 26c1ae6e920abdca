"""What pages tell of several ways out: which an attempt went, and which is stopped alone."""

import msgspec
import pytest

from postroom.ids import public_id
from postroom.message import MailboxState, Reception
from postroom.outcome import Failure, FailureClass, Outcome, Sent, StopCause, Stopped
from postroom.store.records import NEW, EmailType, MailServer, Settlement
from postroom.store.routing import RuleKind
from postroom.store.ways import NewRule
from tests.unit.console.visitor import EMAIL, House, Visitor, full_draft

pytestmark = pytest.mark.anyio

OFF = Failure(
    FailureClass.CONFIG,
    "smtp_auth_off_mailbox",
    "535 5.7.139 SmtpClientAuthentication is disabled for the Mailbox",
    "smtp_auth_off_mailbox",
    smtp_code=535,
)


async def add_server(house: House, name: str, *, shares_mailbox: bool = False, **changes: object) -> MailServer:
    mailbox_id = (await house.store.mail_servers.default()).mailbox_id if shares_mailbox else NEW
    username = "scanner@contoso.com" if shares_mailbox else f"{name.lower()}@contoso.com"
    draft = msgspec.structs.replace(full_draft(), mail_server_id=NEW, mailbox_id=mailbox_id, name=name)
    draft = msgspec.structs.replace(draft, username=username, verified_at_us=house.clock.now_us(), **changes)
    return await house.store.mail_servers.save(draft, EMAIL)


async def ready(house: House) -> Visitor:
    visitor = await house.administrator()
    await house.set_up()
    return visitor


async def hand_in(house: House) -> int:
    app = await house.store.apps.internal()
    submission = await house.rooms.intake.open(app, "scanner@contoso.com", Reception("smtp", "10.2.3.14", "HPA1B2"))
    await submission.add_recipient("ops@contoso.com")
    await submission.write(b"From: scanner@contoso.com\r\nTo: ops@contoso.com\r\nSubject: Scan 17\r\n\r\nHello.\r\n")
    return await submission.commit()


async def attempt(house: House, outcome: Outcome) -> None:
    [lease] = await house.store.outbox.lease_due(1)
    await house.store.outbox.settle(
        lease, Settlement({lease.recipients[0].recipient_id: outcome}, (), lease.mail_server.host)
    )


async def stop_default_way_alone(house: House) -> None:
    await hand_in(house)
    await attempt(house, Stopped(OFF, StopCause.SMTP_AUTH_OFF, None))
    stopped = await house.store.mail_servers.default()
    assert stopped.cause is StopCause.SMTP_AUTH_OFF
    assert (await house.store.mailboxes.find(stopped.mailbox_id)).state is not MailboxState.STOPPED


async def test_an_attempt_names_the_way_it_went_when_there_are_several(house: House) -> None:
    visitor = await ready(house)
    await add_server(house, "Relay", host="mail.example.net")
    message_id = await hand_in(house)
    await attempt(house, Sent("250 OK"))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Attempt 1, through smtp.office365.com" in page.text


async def test_the_only_way_needs_no_name(house: House) -> None:
    visitor = await ready(house)
    message_id = await hand_in(house)
    await attempt(house, Sent("250 OK"))
    page = await visitor.open(f"/deliveries/{public_id(message_id)}")
    assert "Attempt 1" in page.text
    assert "Attempt 1, through" not in page.text


async def test_an_attempt_by_a_removed_way_is_still_told(house: House) -> None:
    visitor = await ready(house)
    await add_server(house, "Spare", host="mail.example.org")
    relay = await add_server(house, "Relay", host="mail.example.net")
    await house.store.ways.replace_rules([NewRule(RuleKind.SIZE, "1", relay.mail_server_id)], EMAIL)
    message_id = await hand_in(house)
    path = f"/deliveries/{public_id(message_id)}"
    await attempt(house, Sent("250 OK"))
    page = await visitor.open(path)
    assert "Way chosen by a rule" in page.text
    assert "Goes through Relay, because it has more than 1 bytes." in page.text
    assert "Attempt 1, through Relay" in page.text
    await house.store.ways.replace_rules([], EMAIL)
    await house.store.ways.remove(relay.mail_server_id, EMAIL)
    assert "Attempt 1, through a mail server that was removed" in (await visitor.open(path)).text


async def test_a_default_way_stopped_alone_without_alternative_stops_sending(house: House) -> None:
    visitor = await ready(house)
    await add_server(house, "Graph", shares_mailbox=True, email_type=EmailType.GRAPH, host="graph.microsoft.com")
    await stop_default_way_alone(house)
    page = await visitor.open("/")
    assert "Not sending" in page.text
    assert "The way through smtp.office365.com is stopped: SMTP AUTH off" in page.text
    assert "it has no alternative that can send: its mail waits" in page.text
    assert OFF.text in page.text, "the remedy's card shows the server's words"


async def test_a_way_whose_alternative_sends_needs_attention_and_is_resumed(house: House) -> None:
    visitor = await ready(house)
    graph = await add_server(
        house, "Graph", shares_mailbox=True, email_type=EmailType.GRAPH, host="graph.microsoft.com"
    )
    default = await house.store.mail_servers.default()
    await house.store.ways.set_alternatives(default.mail_server_id, [graph.mail_server_id], EMAIL)
    await stop_default_way_alone(house)
    page = await visitor.open("/")
    assert "Needs attention (1)" in page.text
    assert "What can go another way goes through Graph, the rest waits." in page.text
    await visitor.open("/admin/mail-servers")
    await visitor.submit(f"/{public_id(default.mail_server_id)}/resume")
    assert (await house.store.mail_servers.default()).cause is None
    assert "Sending normally" in (await visitor.open("/")).text


async def test_another_mailbox_that_is_stopped_is_told_and_does_not_say_that_nothing_is_sent(house: House) -> None:
    visitor = await ready(house)
    relay = await add_server(house, "Relay", host="mail.example.net")
    await house.store.mailboxes.stop(relay.mailbox_id, OFF, StopCause.SMTP_AUTH_OFF, None)
    page = await visitor.open("/")
    assert "Needs attention (1)" in page.text
    assert "No mail leaves through relay@contoso.com" in page.text
    assert 'href="/admin/mail-servers" role="button"' in page.source
