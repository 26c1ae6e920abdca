"""Drafts, attachments and upload sessions over HTTPS, by the simulator's clock."""

import base64
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser

import httpx2
import pytest

from tests.unit.simulator.graph_client import JSON_MESSAGE, MESSAGE, NOREPLY, SCANNER, WRITE, GraphClient

pytestmark = pytest.mark.anyio
MEGABYTE = 1024 * 1024
SIZE = 5 * MEGABYTE + 17


def expect_refusal(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def send(graph: GraphClient, draft_id: str) -> httpx2.Response:
    return await graph.call("POST", f"/me/messages/{draft_id}/send", graph.token(*WRITE))


async def attach(graph: GraphClient, draft_id: str, name: str, content: bytes) -> httpx2.Response:
    file = {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": name,
        "contentBytes": base64.b64encode(content).decode(),
    }
    return await graph.call("POST", f"/me/messages/{draft_id}/attachments", graph.token(*WRITE), json=file)


def attachments_of(graph: GraphClient) -> dict[str, bytes]:
    """The files of the newest message by name."""
    found = {}
    for part in BytesParser().parsebytes(graph.tenant.messages[-1].content).walk():
        payload = part.get_payload(decode=True)
        if part.get_filename() and isinstance(payload, bytes):
            found[str(part.get_filename())] = payload
    return found


def mail_of(graph: GraphClient) -> Message:
    return BytesParser().parsebytes(graph.tenant.messages[-1].content)


async def test_a_draft_is_made_read_and_sent(graph: GraphClient) -> None:
    made = await graph.call("POST", "/me/messages", graph.token(*WRITE), json=JSON_MESSAGE)
    draft = made.json()
    user_id = graph.user().object_id
    assert made.status_code == 201
    assert made.headers["location"] == f"https://graph.microsoft.com/v1.0/users('{user_id}')/messages('{draft['id']}')"
    assert (draft["isDraft"], draft["hasAttachments"], draft["subject"]) == (True, False, "Scan")
    read = await graph.call("GET", f"/me/messages/{draft['id']}", graph.token(*WRITE))
    assert read.json() == draft
    assert graph.tenant.messages == []

    assert ((await send(graph, draft["id"])).status_code, len(graph.tenant.messages)) == (202, 1)
    assert mail_of(graph)["Message-ID"] == draft["internetMessageId"]
    assert graph.tenant.messages[0].came_by == "Graph"
    expect_refusal(await send(graph, draft["id"]), 404, "ErrorItemNotFound")


async def test_a_draft_may_be_mime(graph: GraphClient) -> None:
    plain = {"content-type": "text/plain"}
    body = base64.b64encode(MESSAGE)
    made = (await graph.call("POST", "/me/messages", graph.token(*WRITE), headers=plain, content=body)).json()
    assert (made["subject"], made["internetMessageId"]) == ("Scan", "<1@contoso.com>")
    assert made["toRecipients"] == [{"emailAddress": {"name": "b@example.net", "address": "b@example.net"}}]
    assert (await attach(graph, made["id"], "a.txt", b"one")).status_code == 201
    assert (await send(graph, made["id"])).status_code == 202
    assert attachments_of(graph) == {"a.txt": b"one"}
    assert mail_of(graph)["Message-ID"] == "<1@contoso.com>"


async def test_a_mime_draft_without_additions_is_sent_as_it_is(graph: GraphClient) -> None:
    body = b"--x\r\nContent-Type: text/plain\r\n\r\nA  line \r\n--x--\r\n"
    head = b'To: b@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary="x"\r\n\r\n'
    plain = {"content-type": "text/plain"}
    given = base64.b64encode(head + body)
    made = (await graph.call("POST", "/me/messages", graph.token(*WRITE), headers=plain, content=given)).json()
    await send(graph, made["id"])
    assert graph.tenant.messages[0].content.endswith(b"\r\n\r\n" + body)
    assert mail_of(graph)["Message-ID"] == made["internetMessageId"]


async def test_a_draft_needs_more_than_mail_send(graph: GraphClient) -> None:
    for token in (graph.token("Mail.Send"), graph.token("Mail.Send.Shared")):
        answer = await graph.call("POST", "/me/messages", token, json=JSON_MESSAGE)
        expect_refusal(answer, 403, "ErrorAccessDenied")


async def test_sending_a_draft_needs_more_than_mail_readwrite(graph: GraphClient) -> None:
    draft_id = await graph.make_draft()
    answer = await graph.call("POST", f"/me/messages/{draft_id}/send", graph.token("Mail.ReadWrite"))
    expect_refusal(answer, 403, "ErrorAccessDenied")
    assert (await send(graph, draft_id)).status_code == 202


async def test_a_draft_is_in_one_mailbox_only(graph: GraphClient) -> None:
    draft_id = await graph.make_draft()
    token = graph.app_token("Mail.Send", "Mail.ReadWrite")
    expect_refusal(await graph.call("GET", f"/users/{NOREPLY}/messages/{draft_id}", token), 404, "ErrorItemNotFound")
    assert (await graph.call("GET", f"/users/{SCANNER}/messages/{draft_id}", token)).status_code == 200


async def test_a_draft_is_thrown_away(graph: GraphClient) -> None:
    draft_id = await graph.make_draft()
    assert (await graph.call("DELETE", f"/me/messages/{draft_id}", graph.token(*WRITE))).status_code == 204
    expect_refusal(await send(graph, draft_id), 404, "ErrorItemNotFound")


async def test_a_refused_draft_stays(graph: GraphClient) -> None:
    draft_id = await graph.make_draft(toRecipients=[])
    expect_refusal(await send(graph, draft_id), 400, "ErrorInvalidRecipients")
    assert (await graph.call("GET", f"/me/messages/{draft_id}", graph.token(*WRITE))).status_code == 200


async def test_small_files_are_posted(graph: GraphClient) -> None:
    draft_id = await graph.make_draft()
    posted = await attach(graph, draft_id, "a.txt", b"one")
    await attach(graph, draft_id, "b.txt", b"two")
    assert (posted.status_code, posted.json()["name"], posted.json()["size"]) == (201, "a.txt", 3)
    listed = await graph.call("GET", f"/me/messages/{draft_id}/attachments", graph.token(*WRITE))
    assert [file["name"] for file in listed.json()["value"]] == ["a.txt", "b.txt"]
    assert (await graph.call("GET", f"/me/messages/{draft_id}", graph.token(*WRITE))).json()["hasAttachments"]
    await send(graph, draft_id)
    assert attachments_of(graph) == {"a.txt": b"one", "b.txt": b"two"}


async def test_a_file_of_three_megabytes_cannot_be_posted(graph: GraphClient) -> None:
    answer = await attach(graph, await graph.make_draft(), "a.bin", bytes(3 * MEGABYTE))
    expect_refusal(answer, 413, "RequestEntityTooLarge")


async def test_what_is_no_base64_is_no_file(graph: GraphClient) -> None:
    path = f"/me/messages/{await graph.make_draft()}/attachments"
    answer = await graph.call("POST", path, graph.token(*WRITE), json={"name": "a.txt", "contentBytes": "?"})
    expect_refusal(answer, 400, "RequestBodyRead")


# Upload sessions


async def test_a_session_says_where_to_and_until_when(graph: GraphClient) -> None:
    draft_id = await graph.make_draft()
    item = {"attachmentType": "file", "name": "scan.pdf", "size": SIZE}
    path = f"/me/messages/{draft_id}/attachments/createUploadSession"
    answer = await graph.call("POST", path, graph.token(*WRITE), json={"AttachmentItem": item})
    session = answer.json()
    user = f"{graph.user().object_id}@{graph.tenant.tenant_id}"
    assert answer.status_code == 201
    assert session["uploadUrl"].startswith(
        f"https://outlook.office.com/api/v2.0/Users('{user}')/Messages('{draft_id}')/AttachmentSessions('AAMk"
    )
    assert "?authtoken=" in session["uploadUrl"]
    assert session["nextExpectedRanges"] == ["0-"]
    until = datetime.strptime(session["expirationDateTime"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    assert 3_500 < until.timestamp() - graph.tenant.clock.now() <= 3_600


async def test_a_large_file_is_put_in_ranges(graph: GraphClient) -> None:
    content = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)
    draft_id = await graph.make_draft()
    url = await graph.start_upload(draft_id, SIZE)
    first = await graph.put_range(url, content[: 4 * MEGABYTE], 0, SIZE)
    assert (first.status_code, first.json()["nextExpectedRanges"]) == (200, [str(4 * MEGABYTE)])
    assert "uploadUrl" not in first.json()
    final = await graph.put_range(url, content[4 * MEGABYTE :], 4 * MEGABYTE, SIZE)
    assert (final.status_code, final.content) == (201, b"")
    listed = await graph.call("GET", f"/me/messages/{draft_id}/attachments", graph.token(*WRITE))
    [file] = listed.json()["value"]
    assert final.headers["location"].startswith("https://outlook.office.com/api/v2.0/Users('")
    assert final.headers["location"].endswith(f"/Attachments('{file['id']}')")

    assert (await send(graph, draft_id)).status_code == 202
    assert attachments_of(graph) == {"scan.pdf": content}


@pytest.mark.parametrize(
    ("start", "chunk"),
    [(0, b"abc"), (1_000, b"abc"), (3, b"")],
    ids=["again from the start", "a gap", "nothing"],
)
async def test_ranges_come_in_order(graph: GraphClient, start: int, chunk: bytes) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    assert (await graph.put_range(url, b"%PD", 0, SIZE)).status_code == 200
    answer = await graph.put_range(url, chunk, start, SIZE)
    expect_refusal(answer, 400, "ErrorInvalidArgument")
    assert f"bytes 3-…/{SIZE}" in answer.json()["error"]["message"]
    assert (await graph.put_range(url, b"F", 3, SIZE)).status_code == 200


@pytest.mark.parametrize("content_range", ["", "bytes 0-9/100", "bytes */100", "0-2/3"])
async def test_a_range_is_what_it_says(graph: GraphClient, content_range: str) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    headers = {"content-range": content_range} if content_range else {}
    expect_refusal(await graph.call("PUT", url, headers=headers, content=b"abc"), 400, "ErrorInvalidArgument")


async def test_a_range_has_four_megabytes_at_most(graph: GraphClient) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    answer = await graph.put_range(url, bytes(4 * MEGABYTE + 1), 0, SIZE)
    expect_refusal(answer, 413, "RequestEntityTooLarge")


async def test_a_token_sent_along_is_refused(graph: GraphClient) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    refused = await graph.put_range(url, b"%PDF", 0, SIZE, authorization=f"Bearer {graph.token(*WRITE)}")
    expect_refusal(refused, 401, "InvalidAudienceForResource")
    assert (await graph.put_range(url, b"%PDF", 0, SIZE)).status_code == 200


async def test_a_session_ends_by_the_clock(graph: GraphClient) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    graph.tenant.clock.advance(3_500)
    assert (await graph.put_range(url, b"%PDF", 0, SIZE)).status_code == 200
    graph.tenant.clock.advance(100)
    expect_refusal(await graph.put_range(url, b"-1.7", 4, SIZE), 401, "InvalidAuthenticationToken")


async def test_a_session_is_given_up(graph: GraphClient) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    assert (await graph.call("DELETE", url)).status_code == 204
    expect_refusal(await graph.put_range(url, b"%PDF", 0, SIZE), 401, "InvalidAuthenticationToken")


async def test_uploads_are_taken_at_outlooks_host_only(graph: GraphClient) -> None:
    url = await graph.start_upload(await graph.make_draft(), SIZE)
    wrong = url.replace("outlook.office.com", "graph.microsoft.com")
    assert (await graph.put_range(wrong, b"%PDF", 0, SIZE)).status_code == 400
    mail = await graph.call("GET", "https://outlook.office.com/v1.0/me", graph.token("User.Read"))
    expect_refusal(mail, 400, "BadRequest")


async def test_a_session_needs_mail_readwrite(graph: GraphClient) -> None:
    path = f"/me/messages/{await graph.make_draft()}/attachments/createUploadSession"
    item = {"attachmentType": "file", "name": "scan.pdf", "size": SIZE}
    answer = await graph.call("POST", path, graph.token("Mail.Send"), json={"AttachmentItem": item})
    expect_refusal(answer, 403, "ErrorAccessDenied")


async def test_an_application_uploads_for_a_mailbox(graph: GraphClient) -> None:
    token, owner = graph.app_token("Mail.Send", "Mail.ReadWrite"), f"/users/{NOREPLY}/messages"
    draft_id = (await graph.call("POST", owner, token, json=JSON_MESSAGE)).json()["id"]
    item = {"attachmentType": "file", "name": "scan.pdf", "size": 3 * MEGABYTE}
    path = f"{owner}/{draft_id}/attachments/createUploadSession"
    session = (await graph.call("POST", path, token, json={"AttachmentItem": item})).json()
    assert (await graph.put_range(session["uploadUrl"], bytes(3 * MEGABYTE), 0, 3 * MEGABYTE)).status_code == 201
    assert (await graph.call("POST", f"{owner}/{draft_id}/send", token)).status_code == 202
    assert mail_of(graph)["From"] == f"No Reply <{NOREPLY}>"
