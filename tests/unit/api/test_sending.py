"""Mail over HTTP: every form ends on the disk, and every error says which field and what to do."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from postroom.api.memory import BodyMemory
from postroom.api.room import ApiRoom
from postroom.clock import HOUR_US
from postroom.errors import StoreFullError
from postroom.message import DsnRequest, Lane, RecipientDsn, RecipientState
from postroom.store.records import SenderPolicy
from tests.unit.api.caller_of import MAIL, SENDER, House, client_of, open_house

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"
FILE = {"filename": "x", "content": "YQ=="}
NO_FILE = "att_" + "0" * 32
RAW = b"From: noreply@contoso.example\r\nTo: ops@fabrikam.example\r\nSubject: raw\r\n\r\nhello\r\n"


async def parsed(house: House) -> EmailMessage:
    [detail] = await house.kept()
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(await house.content(detail))


async def test_202_means_stored_and_tells_where_to_look(house: House) -> None:
    response = await house.client.post(PATH, json=MAIL)
    assert response.status_code == 202
    told = response.json()
    [detail] = await house.kept()
    assert told["id"].startswith("msg_")
    assert told["status"] == "queued"
    assert told["message_id"] == detail.internet_message_id
    assert told["recipients"] == [{"email": "ops@fabrikam.example", "status": "queued"}]
    assert (await house.client.get(told["links"]["self"])).json()["id"] == told["id"]
    assert (detail.reception.way, detail.reception.login) == ("http", "ci")
    message = await parsed(house)
    assert (message["From"], message["Subject"]) == (SENDER, "Backup done")


async def test_every_field_reaches_the_message(house: House) -> None:
    asked = {
        "from": f"Bäckup <{SENDER}>",
        "to": ["ops@fabrikam.example", {"email": "x@fabrikam.example", "name": "X Ä"}],
        "cc": "c@fabrikam.example",
        "bcc": ["secret@fabrikam.example"],
        "reply_to": "it@contoso.example",
        "subject": "Nightly ü",
        "text": "text",
        "html": '<img src="cid:logo">',
        "attachments": [
            {"filename": "ä.pdf", "content": b64encode(b"%PDF").decode(), "content_type": "application/pdf"},
            {"filename": "l.png", "content": b64encode(b"PNG").decode(), "content_type": "image/png",
             "content_id": "logo", "inline": True},
        ],
        "headers": {"X-Job": "42", "List-Unsubscribe": "<https://contoso.example/u>"},
        "tags": ["backup", "backup"],
        "metadata": {"job": "42"},
        "lane": "high",
        "send_at": "2030-01-01T00:00:00Z",
        "expires_at": "2030-01-02T01:00:00+01:00",
        "envelope": {"sender": "", "notify": ["failure", "delay"]},
    }  # fmt: skip
    house.clock.advance(1_890_000_000 - house.clock.now_us() / 1_000_000)
    response = await house.client.post(PATH, json=asked)
    assert response.status_code == 202, response.text
    assert response.json()["status"] == "scheduled"
    [detail] = await house.kept()
    recipients = {"ops@fabrikam.example", "x@fabrikam.example", "c@fabrikam.example", "secret@fabrikam.example"}
    assert {it.address for it in detail.recipients} == recipients
    assert {it.state for it in detail.recipients} == {RecipientState.SCHEDULED}
    assert (detail.envelope_sender, detail.lane, detail.tags, detail.metadata) == (
        *("", Lane.HIGH, ("backup",)),
        {"job": "42"},
    )
    assert detail.dsn == DsnRequest(recipients={it: RecipientDsn(("FAILURE", "DELAY")) for it in recipients})
    message = await parsed(house)
    assert "secret" not in str(message)
    assert message["From"].addresses[0].display_name == "Bäckup"
    assert (message["Reply-To"], message["X-Job"]) == ("it@contoso.example", "42")
    assert [part.get_filename() for part in message.walk() if part.get_filename()] == ["l.png", "ä.pdf"]


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"htm1": "x"}, 422, "validation_error", "htm1"),
        ({"to": []}, 422, "validation_error", "to"),
        ({"to": "ops"}, 422, "validation_error", "to"),
        ({"to": ["a@b.example", {"email": "x"}]}, 422, "validation_error", "to.1"),
        ({"to": [{"email": "a@b.example", "nam": ""}]}, 422, "validation_error", "to.0.nam"),
        ({"subject": "x\r\nBcc: eve@x.example"}, 422, "validation_error", "subject"),
        ({"from": "a@b.example\nBcc: eve@x.example"}, 422, "validation_error", "from"),
        ({"cc": {"email": "a@b.example", "name": "x\r\nX: y"}}, 422, "validation_error", "cc"),
        ({"headers": {"X-A": "x\nBcc: eve@x.example"}}, 422, "validation_error", "headers.X-A"),
        ({"headers": {"Bcc": "eve@x.example"}}, 422, "validation_error", "headers.Bcc"),
        ({"text": None}, 422, "validation_error", "text"),
        ({"lane": "fast"}, 422, "validation_error", "lane"),
        ({"send_at": "tomorrow"}, 422, "validation_error", "send_at"),
        ({"send_at": "2026-01-01T00:00:00"}, 422, "validation_error", "send_at"),
        ({"send_at": "2999-01-01T00:00:00Z"}, 422, "validation_error", "send_at"),
        ({"expires_at": "1999-01-01T00:00:00Z"}, 422, "validation_error", "expires_at"),
        ({"envelope": {"notify": ["never", "delay"]}}, 422, "validation_error", "envelope.notify"),
        ({"attachments": [{"filename": "x"}]}, 422, "invalid_attachment", "attachments.0"),
        ({"attachments": [{"filename": "x", "content": "%%%"}]}, 422, "invalid_attachment", "attachments.0.content"),
        ({"attachments": [{**FILE, "filename": "../x"}]}, 422, "invalid_attachment", "attachments.0.filename"),
        ({"attachments": [{**FILE, "path": "https://evil.example/"}]}, 422, "validation_error", "attachments.0.path"),
        ({"attachments": [{"attachment_id": NO_FILE}]}, 422, "invalid_attachment", "attachments.0.attachment_id"),
        ({"attachments": [{"attachment_id": "att_../../x"}]}, 422, "invalid_attachment", "attachments.0.attachment_id"),
        ({"from": "boss@contoso.example"}, 403, "sender_not_allowed", "from"),
    ],
)  # fmt: skip
async def test_what_cannot_be_sent_names_its_field(
    house: House, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    response = await house.client.post(PATH, json={**MAIL, **changes})
    problem = response.json()
    assert (response.status_code, problem["code"], problem["errors"][0]["field"]) == (status, code, field), problem
    assert problem["detail"]
    assert problem["remedy"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert await house.kept() == []


async def test_a_body_that_is_no_json_and_one_of_another_kind(house: House) -> None:
    response = await house.client.post(PATH, content=b"{", headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_json")
    response = await house.client.post(PATH, content=b"x", headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_large_json_is_told_to_come_as_a_form(house: House) -> None:
    response = await house.client.post(PATH, json={**MAIL, "text": "x" * 10_500_000})
    assert (response.status_code, response.json()["code"]) == (413, "message_too_large")
    assert "multipart/form-data" in response.json()["remedy"]


async def test_a_message_over_the_limit_is_too_large_in_every_form(house: House) -> None:
    big = b"x" * 6_000_000
    form = {"data": {"message": json.dumps(MAIL)}, "files": {"f": ("big.bin", big)}}
    raw = {"content": RAW + b"line\r\n" * 1_000_000, "headers": {"content-type": "message/rfc822"}}
    for request in (form, raw):
        response = await house.client.post(PATH, **request)
        assert (response.status_code, response.json()["code"]) == (413, "message_too_large")
    assert await house.kept() == []


async def test_a_form_brings_files(house: House) -> None:
    files = [("a", ("a.bin", b"\0\xff" * 700_000, "application/x-a")), ("b", ("b.txt", b"b", "text/plain"))]
    response = await house.client.post(PATH, data={"message": json.dumps(MAIL)}, files=files)
    assert response.status_code == 202, response.text
    message = await parsed(house)
    found = [(part.get_filename(), part.get_content_type()) for part in message.iter_attachments()]
    assert found == [("a.bin", "application/x-a"), ("b.txt", "text/plain")]
    assert next(iter(message.iter_attachments())).get_content() == b"\0\xff" * 700_000


async def test_a_form_without_a_message_says_so(house: House) -> None:
    response = await house.client.post(PATH, files={"f": ("a", b"")})
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "message")


@pytest.mark.parametrize("content", [RAW, RAW.replace(b"\r\n", b"\n")])
async def test_a_raw_message_streams_in(house: House, content: bytes) -> None:
    response = await house.client.post(PATH, content=content, headers={"content-type": "message/rfc822"})
    assert response.status_code == 202, response.text
    [detail] = await house.kept()
    assert (await house.content(detail)).endswith(RAW[RAW.index(b"Subject") :])
    assert ("Ended all lines with CR LF; they had LF." in detail.repairs) == (content != RAW)


async def test_the_envelope_of_a_raw_message_may_stand_in_the_address(house: House) -> None:
    query = "?to=a@fabrikam.example&to=b@fabrikam.example&sender=&lane=low&tag=x"
    response = await house.client.post(PATH + query, content=RAW, headers={"content-type": "message/rfc822"})
    assert response.status_code == 202, response.text
    [detail] = await house.kept()
    assert [it.address for it in detail.recipients] == ["a@fabrikam.example", "b@fabrikam.example"]
    assert (detail.envelope_sender, detail.lane, detail.tags) == ("", Lane.LOW, ("x",))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (RAW + b"bare\nline\r\n", "invalid_line"),
        (RAW.replace(b"\r\n", b"\n") + b"mixed\r\n", "invalid_line"),
        (RAW + b"nul\0\r\n", "invalid_line"),
        (b"no header at all", "invalid_header"),
        (RAW.replace(b"noreply", b"boss"), "sender_not_allowed"),
        (RAW.replace(b"noreply@contoso.example", b"noreply@contoso.example, x@contoso.example"), "several_senders"),
        (RAW.replace(b"To: ", b"From: noreply@contoso.example\r\nTo: "), "several_senders"),
        (RAW.replace(b"noreply@contoso.example", b"us: noreply@contoso.example;"), "several_senders"),
        (RAW.replace(b"To: ops@fabrikam.example\r\n", b""), "validation_error"),
    ],
)
async def test_a_raw_message_is_judged_as_by_smtp(house: House, content: bytes, code: str) -> None:
    response = await house.client.post(PATH, content=content, headers={"content-type": "message/rfc822"})
    assert response.json()["code"] == code
    assert await house.kept() == []


async def test_a_file_may_be_uploaded_before(house: House) -> None:
    headers = {"content-type": "application/pdf"}
    response = await house.client.post("/api/v1/attachments?filename=r.pdf", content=b"%PDF" * 30_000, headers=headers)
    assert response.status_code == 201
    told = response.json()
    assert told["size_bytes"] == 120_000
    asked = {**MAIL, "attachments": [{"attachment_id": told["attachment_id"]}]}
    assert (await house.client.post(PATH, json=asked)).status_code == 202
    [attachment] = (await parsed(house)).iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("r.pdf", b"%PDF" * 30_000)
    other, _ = await house.store.apps.create(house.app, "test")
    stranger = {"authorization": f"Bearer {await house.make_key(other)}"}
    response = await house.client.post(PATH, json=asked, headers=stranger)
    assert response.json()["code"] == "invalid_attachment"
    house.clock.advance(86_401)
    assert (await house.client.post(PATH, json=asked)).json()["code"] == "invalid_attachment"


async def test_the_sender_may_be_left_out_where_there_is_one(tmp_path: Path) -> None:
    async with open_house(tmp_path, senders=("a@contoso.example", "b@contoso.example")) as house:
        response = await house.client.post(PATH, json=MAIL)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "from")
    async with open_house(tmp_path / "2", senders=()) as house:
        assert (await house.client.post(PATH, json=MAIL)).status_code == 202
        assert (await house.kept())[0].row.header_from == SENDER


async def test_a_sender_that_is_rewritten_is_told(tmp_path: Path) -> None:
    async with open_house(tmp_path, sender_policy=SenderPolicy.REWRITE) as house:
        assert (await house.client.post(PATH, json={**MAIL, "from": "x@pc.example"})).status_code == 202
        [detail] = await house.kept()
        assert (detail.row.header_from, detail.envelope_sender) == (SENDER, SENDER)


async def test_limits_are_told_and_then_held(tmp_path: Path) -> None:
    async with open_house(tmp_path, message_limit_a_minute=2, message_limit_a_day=3) as house:
        response = await house.client.post(PATH, json=MAIL)
        assert response.headers["ratelimit-policy"] == '"minute";q=2;w=60, "day";q=3;w=86400'
        assert response.headers["ratelimit"].startswith('"minute";r=1;t=')
        assert response.headers["x-ratelimit-remaining"] == "1"
        await house.client.post(PATH, json=MAIL)
        response = await house.client.post(PATH, json=MAIL)
        assert (response.status_code, response.json()["code"]) == (429, "rate_limit_exceeded")
        assert response.json()["retryable"]
        house.clock.advance(int(response.headers["retry-after"]))
        assert (await house.client.post(PATH, json=MAIL)).status_code == 202
        assert (await house.client.post(PATH, json=MAIL)).json()["code"] == "daily_limit_exceeded"


async def test_no_room_and_shutting_down_are_temporary(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(new: object) -> None:
        raise StoreFullError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(house.store.outbox, "keep", full)
        response = await house.client.post(PATH, json=MAIL)
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")
    assert response.headers["retry-after"] == "60"
    assert (await house.client.post(PATH, json=MAIL)).status_code == 202
    house.room.shutdown.set()
    response = await house.client.post(PATH, json=MAIL)
    assert (response.status_code, response.json()["code"]) == (503, "shutting_down")
    assert response.headers["retry-after"]


async def test_everything_that_is_wrong_is_told_at_once(house: House) -> None:
    asked = {
        "from": "nobody",
        "to": ["a@fabrikam.example", "b", {"email": "c d"}],
        "cc": "x@y@z",
        "expires_at": "1999-01-01T00:00:00Z",
        "envelope": {"sender": "z", "notify": ["never", "delay"]},
        "attachments": [FILE, {"filename": "y"}],
    }
    response = await house.client.post(PATH, json=asked)
    assert [each["field"] for each in response.json()["errors"]] == [
        "from",
        "to.1",
        "to.2",
        "cc",
        "attachments.1",
        "envelope.notify",
        "envelope.sender",
        "expires_at",
    ]
    assert "and 7 more" in response.json()["detail"]


async def test_what_is_for_raw_messages_is_not_passed_over(house: House) -> None:
    for query in ("to=x@fabrikam.example", "lane=low", "tag=x", "send_at=2026-12-01T00:00:00Z"):
        response = await house.client.post(f"{PATH}?{query}", json=MAIL)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("lane=fast", "lane"),
        ("send_at=tomorrow", "send_at"),
        ("expires_at=1999-01-01T00:00:00Z", "expires_at"),
        ("tag=" + "x" * 65, "tag"),
        ("&".join(f"tag={number}" for number in range(11)), "tag"),
        ("to=nobody", "to"),
        ("sender=a@@b", "from"),
    ],
)
async def test_the_address_of_a_raw_message_is_checked(house: House, query: str, field: str) -> None:
    headers = {"content-type": "message/rfc822"}
    response = await house.client.post(f"{PATH}?{query}", content=RAW, headers=headers)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert await house.kept() == []


async def test_a_large_raw_message_is_refused_before_it_comes(house: House) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield RAW
        pytest.fail("more was asked for")

    headers = {"content-type": "message/rfc822", "content-length": "9000000"}
    response = await house.client.post(PATH, content=chunks(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "message_too_large")


async def test_an_app_cannot_fill_the_disk_with_uploads(house: House) -> None:
    async def upload(size: int) -> str:
        response = await house.client.post("/api/v1/attachments?filename=x", content=b"x" * size)
        return str(response.json().get("code", response.status_code))

    assert await upload(5_000_001) == "message_too_large"
    assert [await upload(5_000_000) for _ in range(11)] == ["201"] * 10 + ["upload_limit_reached"]
    assert await upload(1) == "upload_limit_reached"
    house.clock.advance(86_401)
    assert await upload(5_000_000) == "201"
    assert len(list(house.room.uploads.folder().iterdir())) == 2, "what expired was removed"


async def test_an_upload_that_breaks_off_leaves_nothing(house: House) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise RuntimeError

    response = await house.client.post("/api/v1/attachments?filename=x", content=chunks())
    assert response.status_code == 500
    assert list(house.room.uploads.folder().iterdir()) == []


async def test_waiting_ends_with_the_message(house: House) -> None:
    async def cancel_soon() -> None:
        while not await house.kept():
            await asyncio.sleep(0)
        await house.store.outbox.cancel((await house.kept())[0].row.message_id, "test")

    response, _ = await asyncio.gather(house.client.post(PATH + "?wait=30", json=MAIL), cancel_soon())
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")


async def test_waiting_ends_when_the_server_stops(house: House) -> None:
    async def stop_soon() -> None:
        while not await house.kept():
            await asyncio.sleep(0)
        house.room.shutdown.set()

    response, _ = await asyncio.gather(house.client.post(PATH + "?wait=30", json=MAIL), stop_soon())
    assert (response.status_code, response.json()["status"]) == (200, "queued")


async def test_large_json_bodies_share_a_bounded_memory(house: House) -> None:
    """A body that comes slowly keeps its share until it is answered."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(content: bytes) -> AsyncIterator[bytes]:
        yield content[:-1]
        arrived.set()
        await go_on.wait()
        yield content[-1:]

    memory = BodyMemory(3_000_000)
    room = ApiRoom(**{**house.room.__dict__, "memory": memory})
    async with client_of(room, house.key) as client:
        large = json.dumps({**MAIL, "text": "x" * 1_800_000}).encode()
        first = asyncio.create_task(client.post(PATH, content=slow(large)))
        await arrived.wait()
        refused = await client.post(PATH, content=large)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
        assert (refused.headers["retry-after"], refused.json()["retryable"]) == ("2", True)
        assert (await client.post(PATH, json=MAIL)).status_code == 202
        go_on.set()
        assert (await first).status_code == 202
        assert (await client.post(PATH, content=large)).status_code == 202
    assert memory.take(3_000_000), "everything was given back"


async def test_a_lifetime_of_its_own(house: House) -> None:
    assert (await house.client.post(PATH, json={**MAIL, "lifetime_hours": 2})).status_code == 202
    headers = {"Content-Type": "message/rfc822"}
    answer = await house.client.post(f"{PATH}?lifetime_hours=3", content=RAW, headers=headers)
    assert answer.status_code == 202
    for wrong in ("0", "721", "soon"):
        refused = await house.client.post(f"{PATH}?lifetime_hours={wrong}", content=RAW, headers=headers)
        assert refused.status_code in (400, 422), wrong
        assert "lifetime_hours" in refused.text
    leases = await house.store.outbox.lease_due(2)
    assert sorted(lease.lifetime_us for lease in leases) == [2 * HOUR_US, 3 * HOUR_US]
