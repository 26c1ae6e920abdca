"""sendMail over HTTPS: what is accepted, from whom, for whom, and what has become of it."""

import base64
from email.message import Message
from email.parser import BytesParser
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import inbox
from postroom.simulator.tenant import ReceivedMessage
from tests.unit.simulator.graph_client import (
    ANNA,
    JSON_MESSAGE,
    MESSAGE,
    NOREPLY,
    SCANNER,
    SEND,
    GraphClient,
    message_to,
    to,
)

pytestmark = pytest.mark.anyio
OTHERS = ("Mail.Send", "Mail.Send.Shared")


def last(graph: GraphClient) -> tuple[ReceivedMessage, Message]:
    message = graph.tenant.messages[-1]
    return message, BytesParser().parsebytes(message.content)


def expect_refusal(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def from_address(address: str, **changes: Any) -> dict[str, Any]:
    return {**JSON_MESSAGE, "from": {"emailAddress": {"address": address}}, **changes}


# What is accepted


async def test_mime_is_accepted_without_a_word(graph: GraphClient) -> None:
    answer = await graph.send_mime()
    assert (answer.status_code, answer.content) == (202, b"")
    message, mail = last(graph)
    assert (message.came_by, message.signed_in_as, message.recipients) == ("Graph", SCANNER, ("b@example.net",))
    assert (mail["Subject"], mail["Message-ID"]) == ("Scan", "<1@contoso.com>")
    assert mail.get_payload() == "Hello\r\n"


async def test_json_is_accepted_and_becomes_a_message(graph: GraphClient) -> None:
    answer = await graph.send_json(
        {
            "subject": "Größe",
            "body": {"contentType": "HTML", "content": "<p>Hello</p>"},
            "toRecipients": [{"emailAddress": {"name": "Bob, B.", "address": "b@example.net"}}],
            "ccRecipients": to("c@example.net"),
            "replyTo": to("desk@contoso.com"),
            "importance": "high",
            "internetMessageHeaders": [{"name": "x-scan", "value": "17"}],
            "attachments": [
                {
                    "@odata.type": "#microsoft.graph.fileAttachment",
                    "name": "scan.pdf",
                    "contentType": "application/pdf",
                    "contentBytes": base64.b64encode(b"%PDF-1.7").decode(),
                }
            ],
        }
    )
    assert answer.status_code == 202, answer.text
    message, mail = last(graph)
    assert message.recipients == ("b@example.net", "c@example.net")
    assert (mail["To"], mail["Reply-To"], mail["Importance"]) == (
        '"Bob, B." <b@example.net>',
        "desk@contoso.com",
        "high",
    )
    assert (mail["x-scan"], mail["From"]) == ("17", f"Scanner <{SCANNER}>")
    _, text, attached = mail.walk()
    assert (text.get_content_type(), attached.get_filename()) == ("text/html", "scan.pdf")
    assert attached.get_payload(decode=True) == b"%PDF-1.7"


async def test_base64_may_be_broken_into_lines(graph: GraphClient) -> None:
    plain = {"content-type": "text/plain; charset=utf-8"}
    body = base64.encodebytes(MESSAGE * 3)
    answer = await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=plain, content=body)
    assert answer.status_code == 202


async def test_the_largest_request_is_accepted_and_one_octet_more_is_not(graph: GraphClient) -> None:
    mime = {"content-type": "text/plain"}
    whole = base64.b64encode(MESSAGE + b"x" * (3 * 1024 * 1024 - len(MESSAGE)))
    assert len(whole) == 4 * 1024 * 1024
    assert (
        await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=mime, content=whole)
    ).status_code == 202
    refused = await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=mime, content=whole + b"\n")
    expect_refusal(refused, 413, "RequestEntityTooLarge")
    assert len(graph.tenant.messages) == 1


async def test_a_large_request_without_permission_hears_why(graph: GraphClient) -> None:
    answer = await graph.send_mime(MESSAGE + bytes(3_000_000), graph.token("User.Read"))
    expect_refusal(answer, 403, "ErrorAccessDenied")


async def test_the_boolean_may_be_text_and_the_names_capital(graph: GraphClient) -> None:
    body = {"Message": JSON_MESSAGE, "SaveToSentItems": "false"}
    assert (await graph.call("POST", "/me/sendMail", graph.token(*SEND), json=body)).status_code == 202
    assert graph.tenant.exchange.submissions.sent_item_numbers(graph.user().object_id) == []


# For whom: there is no envelope


async def test_bcc_is_delivered_to_and_taken_out(graph: GraphClient) -> None:
    content = (
        b"From: scanner@contoso.com\r\nBcc: Hidden <h@example.net>,\r\n i@example.net\r\nSubject: Scan\r\n\r\nHello\r\n"
    )
    await graph.send_mime(content)
    message, mail = last(graph)
    assert message.recipients == ("h@example.net", "i@example.net")
    assert mail["Bcc"] is None
    assert b"example.net" not in message.content


async def test_each_recipient_counts_once(graph: GraphClient) -> None:
    await graph.send_json(message_to(["b@example.net", "B@example.net"], bccRecipients=to("b@EXAMPLE.net")))
    assert last(graph)[0].recipients == ("b@example.net",)


async def test_members_of_a_group_are_recipients(graph: GraphClient) -> None:
    await graph.send_mime(b"To: Desk: b@example.net, c@example.net;\r\n\r\nHello\r\n")
    assert last(graph)[0].recipients == ("b@example.net", "c@example.net")


# From whom


async def test_without_a_from_the_mailbox_stands_there(graph: GraphClient) -> None:
    await graph.send_mime(b"To: b@example.net\r\n\r\nHello\r\n")
    assert last(graph)[1]["From"] == f"Scanner <{SCANNER}>"


async def test_the_directory_has_the_last_word_on_the_name(graph: GraphClient) -> None:
    await graph.send_mime(b"From: The big one <scanner@contoso.com>\r\nTo: b@example.net\r\n\r\nHello\r\n")
    message, mail = last(graph)
    assert mail["From"] == f"Scanner <{SCANNER}>"
    assert f"* From became Scanner <{SCANNER}> [B]" in message.dialogue


@pytest.mark.parametrize(("is_enabled", "expected"), [(False, SCANNER), (True, "scan@contoso.com")])
async def test_an_alias_becomes_the_primary_address(graph: GraphClient, is_enabled: bool, expected: str) -> None:
    graph.tenant.add_alias(graph.user().object_id, "scan@contoso.com")
    graph.tenant.exchange.set_send_from_alias(enabled=is_enabled)
    assert (await graph.send_json(from_address("scan@contoso.com"))).status_code == 202
    assert last(graph)[1]["From"] == f"Scanner <{expected}>"


async def test_send_as_leaves_no_trace(graph: GraphClient) -> None:
    graph.tenant.grant_right("send_as", graph.user(NOREPLY).object_id, SCANNER)
    assert (await graph.send_json(from_address(NOREPLY), graph.token(*OTHERS))).status_code == 202
    message, mail = last(graph)
    assert (mail["From"], mail["Sender"]) == (f"No Reply <{NOREPLY}>", None)
    assert message.envelope_sender == NOREPLY


async def test_send_on_behalf_names_the_sender(graph: GraphClient) -> None:
    graph.tenant.grant_right("send_on_behalf", graph.user(NOREPLY).object_id, SCANNER)
    assert (await graph.send_json(from_address(NOREPLY), graph.token(*OTHERS))).status_code == 202
    mail = last(graph)[1]
    assert (mail["From"], mail["Sender"]) == (f"No Reply <{NOREPLY}>", f"Scanner <{SCANNER}>")


async def test_send_as_wins_where_both_are_granted(graph: GraphClient) -> None:
    for right in ("send_as", "send_on_behalf"):
        graph.tenant.exchange.grant(right, graph.user(NOREPLY).object_id, SCANNER)
    await graph.send_json(from_address(NOREPLY), graph.token(*OTHERS))
    assert last(graph)[1]["Sender"] is None


async def test_a_right_without_the_shared_permission_does_not_do(graph: GraphClient) -> None:
    graph.tenant.grant_right("send_as", graph.user(NOREPLY).object_id, SCANNER)
    expect_refusal(await graph.send_json(from_address(NOREPLY)), 403, "ErrorAccessDenied")


@pytest.mark.parametrize("stranger", ["somebody@example.net", "printer"])
async def test_a_stranger_is_never_the_sender(graph: GraphClient, stranger: str) -> None:
    content = f"From: {stranger}\r\nTo: b@example.net\r\n\r\nHello\r\n".encode()
    expect_refusal(await graph.send_mime(content, graph.token(*OTHERS)), 403, "ErrorSendAsDenied")
    assert graph.tenant.messages == []


# From another mailbox


async def test_another_mailbox_needs_full_access_and_keeps_the_copy(graph: GraphClient) -> None:
    path, noreply = f"/users/{NOREPLY}/sendMail", graph.user(NOREPLY).object_id
    graph.tenant.grant_right("send_as", noreply, SCANNER)
    token = graph.token(*OTHERS)
    expect_refusal(await graph.send_json(token=token, path=path), 403, "ErrorAccessDenied")
    graph.tenant.grant_right("full_access", noreply, SCANNER)
    assert (await graph.send_json(token=token, path=path)).status_code == 202
    submissions, message = graph.tenant.exchange.submissions, last(graph)[0]
    assert last(graph)[1]["From"] == f"No Reply <{NOREPLY}>"
    assert submissions.sent_item_numbers(noreply) == [message.number]
    assert submissions.sent_item_numbers(graph.user().object_id) == []
    # The limits are those of the person who sends.
    assert submissions.recipients_in_last_day(graph.user().object_id) == 1
    assert submissions.recipients_in_last_day(noreply) == 0


async def test_full_access_is_not_send_as(graph: GraphClient) -> None:
    graph.tenant.grant_right("full_access", graph.user(NOREPLY).object_id, SCANNER)
    answer = await graph.send_json(token=graph.token(*OTHERS), path=f"/users/{NOREPLY}/sendMail")
    expect_refusal(answer, 403, "ErrorSendAsDenied")


async def test_ones_own_mailbox_goes_by_its_name_too(graph: GraphClient) -> None:
    assert (await graph.send_json(path=f"/users/{SCANNER}/sendMail")).status_code == 202


async def test_a_shared_mailbox_sends_without_a_licence(graph: GraphClient) -> None:
    graph.tenant.exchange.convert_to_shared(graph.user(NOREPLY).object_id)
    answer = await graph.send_json(token=graph.app_token("Mail.Send"), path=f"/users/{NOREPLY}/sendMail")
    assert answer.status_code == 202


# Applications


async def test_an_application_sends_from_any_mailbox(graph: GraphClient) -> None:
    token = graph.app_token("Mail.Send")
    for address in (SCANNER, ANNA):
        assert (await graph.send_json(token=token, path=f"/users/{address}/sendMail")).status_code == 202
    message, mail = last(graph)
    assert mail["From"] == f"Anna Admin <{ANNA}>"
    assert message.signed_in_as == "the application Postroom"


async def test_an_application_has_no_me(graph: GraphClient) -> None:
    expect_refusal(await graph.send_json(token=graph.app_token("Mail.Send")), 400, "BadRequest")


async def test_an_application_sends_as_its_mailbox_may(graph: GraphClient) -> None:
    path, token = f"/users/{SCANNER}/sendMail", graph.app_token("Mail.Send")
    expect_refusal(await graph.send_json(from_address(NOREPLY), token, path), 403, "ErrorSendAsDenied")
    graph.tenant.grant_right("send_as", graph.user(NOREPLY).object_id, SCANNER)
    assert (await graph.send_json(from_address(NOREPLY), token, path)).status_code == 202


async def test_an_access_policy_fences_an_application(graph: GraphClient) -> None:
    graph.tenant.graph.restrict_application(graph.app.client_id, [graph.user(NOREPLY).object_id])
    token = graph.app_token("Mail.Send")
    assert (await graph.send_json(token=token, path=f"/users/{NOREPLY}/sendMail")).status_code == 202
    refused = await graph.send_json(token=token, path=f"/users/{SCANNER}/sendMail")
    expect_refusal(refused, 403, "ErrorAccessDenied")
    assert "[RAOP]" in refused.json()["error"]["message"]
    graph.tenant.graph.remove_restriction(graph.app.client_id)
    assert (await graph.send_json(token=token, path=f"/users/{SCANNER}/sendMail")).status_code == 202


async def test_rbac_gives_an_application_without_any_role_its_mailboxes(graph: GraphClient) -> None:
    exchange, app, token = graph.tenant.exchange, graph.app, graph.app_token()
    expect_refusal(await graph.send_json(token=token, path=f"/users/{NOREPLY}/sendMail"), 403, "ErrorAccessDenied")
    exchange.new_service_principal(app.client_id, app.enterprise.object_id, "Postroom")
    exchange.new_management_scope("Printers", [NOREPLY])
    exchange.new_role_assignment(app.client_id, scope="Printers", role="Application Mail.Send")
    assert (await graph.send_json(token=token, path=f"/users/{NOREPLY}/sendMail")).status_code == 202
    expect_refusal(await graph.send_json(token=token, path=f"/users/{SCANNER}/sendMail"), 403, "ErrorAccessDenied")


async def test_rbac_for_the_registrations_object_id_gives_nothing(graph: GraphClient) -> None:
    exchange, app = graph.tenant.exchange, graph.app
    exchange.new_service_principal(app.client_id, app.object_id, "Postroom")
    exchange.new_role_assignment(app.client_id, role="Application Mail.Send")
    answer = await graph.send_json(token=graph.app_token(), path=f"/users/{NOREPLY}/sendMail")
    expect_refusal(answer, 403, "ErrorAccessDenied")


async def test_a_scope_of_rbac_takes_nothing_from_a_permission(graph: GraphClient) -> None:
    exchange, app = graph.tenant.exchange, graph.app
    exchange.new_service_principal(app.client_id, app.enterprise.object_id)
    exchange.new_management_scope("Printers", [NOREPLY])
    exchange.new_role_assignment(app.client_id, scope="Printers", role="Application Mail.Send")
    answer = await graph.send_json(token=graph.app_token("Mail.Send"), path=f"/users/{SCANNER}/sendMail")
    assert answer.status_code == 202


# What Graph makes of the head

HEADED = (
    b"Received: from a by b\r\nX-Scanner: 17\r\nAuto-Submitted: auto-generated\r\n"
    b"Date: Thu, 01 Jan 1998 00:00:00 +0000\r\n"
    b"From: scanner@contoso.com\r\nSender: scanner@contoso.com\r\nTo: b@example.net\r\n"
    b"Subject: a\r\n folded one\r\nMessage-ID: <7@contoso.com>\r\nIn-Reply-To: <6@contoso.com>\r\n"
    b"References: <5@contoso.com>\r\n <6@contoso.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nHello\r\n"
)


async def test_threading_stays_and_the_rest_is_rewritten(graph: GraphClient) -> None:
    await graph.send_mime(HEADED)
    message, mail = last(graph)
    assert sorted(name.lower() for name in mail.keys()) == [  # noqa: SIM118 - a header may come twice
        "content-type", "date", "from", "in-reply-to", "message-id", "mime-version", "references", "subject", "to",
    ]  # fmt: skip
    assert (mail["Message-ID"], mail["In-Reply-To"]) == ("<7@contoso.com>", "<6@contoso.com>")
    assert b"References: <5@contoso.com>\r\n <6@contoso.com>\r\n" in message.content
    assert "1998" not in mail["Date"]
    assert {"* X-Scanner was dropped [B]", "* Auto-Submitted was dropped [B]", "* Date was replaced [B]"} <= {
        *message.dialogue
    }


async def test_the_switch_keeps_custom_headers(graph: GraphClient) -> None:
    graph.tenant.graph.keeps_x_headers = True
    await graph.send_mime(HEADED)
    mail = last(graph)[1]
    assert (mail["X-Scanner"], mail["Auto-Submitted"]) == ("17", None)


async def test_a_message_without_an_id_gets_one(graph: GraphClient) -> None:
    await graph.send_mime(b"To: b@example.net\nSubject: bare line feeds\n\nHello\n")
    message, mail = last(graph)
    assert mail["Message-ID"].startswith("<SIM0PR01MB0001")
    assert message.content.count(b"\n") == message.content.count(b"\r\n")


async def test_a_signed_body_is_not_touched(graph: GraphClient) -> None:
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nA  line \r\n.\r\n--x\r\nX-Inner: stays\r\n\r\n=3D\r\n--x--\r\n"
    head = b'To: b@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary="x"\r\n\r\n'
    await graph.send_mime(head + body)
    assert last(graph)[0].content.endswith(b"\r\n\r\n" + body)


async def test_the_dialogue_tells_of_the_request_and_not_of_the_token(graph: GraphClient) -> None:
    token = graph.token(*SEND)
    answer = await graph.send_mime(token=token)
    dialogue = last(graph)[0].dialogue
    assert dialogue[0] == "C: POST /v1.0/me/sendMail"
    assert f"S: request-id: {answer.headers['request-id']}" in dialogue
    assert not any(token[:20] in line for line in dialogue)


# Limits are shared with SMTP


async def test_what_was_sent_counts_in_the_mailbox(graph: GraphClient) -> None:
    await graph.send_json(message_to(["b@example.net", "anna@contoso.com"]))
    submissions, scanner = graph.tenant.exchange.submissions, graph.user().object_id
    assert submissions.recipients_in_last_day(scanner) == 2
    assert submissions.external_recipients_in_last_day() == 1
    assert submissions.sent_item_numbers(scanner) == [last(graph)[0].number]


async def test_the_day_ends_the_daily_limit(graph: GraphClient) -> None:
    graph.tenant.exchange.submissions.use_up(graph.user().object_id, 10_000)
    expect_refusal(await graph.send_mime(), 429, "ErrorExceededMessageLimit")
    graph.tenant.clock.advance(86_400)
    assert (await graph.send_mime()).status_code == 202


async def test_beyond_thirty_a_minute_delivery_waits(graph: GraphClient) -> None:
    for _ in range(31):
        assert (await graph.send_mime()).status_code == 202
    first, late = graph.tenant.messages[0], graph.tenant.messages[-1]
    assert late.delivered_at >= first.delivered_at + 60
    assert first.delivered_at < first.received_at + 1


# The address decides


@pytest.mark.parametrize(
    ("recipient", "status", "code"),
    [
        ("throttled@example.net", 429, "TooManyRequests"),
        ("421@example.net", 503, "ServiceUnavailable"),
        ("432@example.net", 429, "ApplicationThrottled"),
        ("mailbox-full+17@example.net", 403, "ErrorQuotaExceeded"),
        ("daily-limit@example.net", 429, "ErrorExceededMessageLimit"),
        ("blocked@example.net", 403, "ErrorMessageSubmissionBlocked"),
    ],
)
async def test_an_address_asks_for_a_fault(graph: GraphClient, recipient: str, status: int, code: str) -> None:
    expect_refusal(await graph.send_json(message_to(["550@example.net", recipient])), status, code)
    assert graph.tenant.messages == []


async def test_a_fault_of_the_once_kind_strikes_each_message_once(graph: GraphClient) -> None:
    first = message_to(["throttled-once@example.net"], internetMessageId="<1@contoso.com>")
    second = message_to(["throttled-once@example.net"], internetMessageId="<2@contoso.com>")
    found = [(await graph.send_json(message)).status_code for message in (first, first, second, second)]
    assert found == [429, 202, 429, 202]


async def test_a_recipient_that_does_not_exist_is_accepted_all_the_same(graph: GraphClient) -> None:
    assert (await graph.send_json(message_to(["550@example.net"]))).status_code == 202
    assert "* 550@example.net would be reported as not delivered, later and by mail" in last(graph)[0].dialogue


async def test_a_slow_answer_is_an_answer(graph: GraphClient) -> None:
    graph.tenant.graph.slow_seconds = 0.01
    assert (await graph.send_json(message_to(["slow@example.net"]))).status_code == 202


@pytest.mark.parametrize(
    ("recipient", "stored"), [("drop-after-dot@example.net", 1), ("drop-before-store@example.net", 0)]
)
async def test_the_connection_breaks_without_a_word(graph: GraphClient, recipient: str, stored: int) -> None:
    with pytest.raises(httpx2.TransportError):
        await graph.send_json(message_to([recipient]))
    assert len(graph.tenant.messages) == stored
    assert (await graph.send_mime()).status_code == 202


# The inbox


async def test_the_inbox_says_that_it_came_by_graph(graph: GraphClient) -> None:
    await graph.send_mime()
    browser = TestClient(Starlette(routes=inbox.routes(graph.tenant)))
    assert "<td>Graph</td>" in browser.get("/inbox").text
    page = browser.get("/inbox/1").text
    assert "<dt>Came by</dt><dd>Microsoft Graph</dd>" in page
    assert "C: POST /v1.0/me/sendMail" in page
