"""Repeats: in a race, over a restart, with another body."""

import asyncio
import json

import pytest

from postroom.api.idempotency import RunningRequests
from postroom.api.room import ApiRoom
from tests.unit.api.caller_of import MAIL, House, client_of

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"
KEY = {"idempotency-key": "run-42"}
RAW = b"From: noreply@contoso.example\r\nTo: ops@fabrikam.example\r\n\r\nhello\r\n"


async def test_twenty_clients_at_once_make_one_message(house: House) -> None:
    answers = await asyncio.gather(*(house.client.post(PATH, json=MAIL, headers=KEY) for _ in range(20)))
    assert len(await house.kept()) == 1
    codes = {response.status_code for response in answers}
    assert codes <= {202, 409}
    [message_id] = {response.json()["id"] for response in answers if response.status_code == 202}
    for response in answers:
        if response.status_code == 409:
            assert response.json()["code"] == "idempotency_in_progress"
            assert response.headers["retry-after"] == "1"
    again = await house.client.post(PATH, json=MAIL, headers=KEY)
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (message_id, "true")


async def test_the_order_of_fields_means_nothing_and_the_answer_is_the_same(house: House) -> None:
    first = await house.client.post(PATH, json=MAIL, headers=KEY)
    house.clock.advance(3_600)
    again = await house.client.post(PATH, content=json.dumps(dict(reversed(MAIL.items())), indent=3), headers=KEY)
    assert again.content == first.content
    assert "idempotency-replayed" not in first.headers


async def test_another_body_is_refused(house: House) -> None:
    await house.client.post(PATH, json=MAIL, headers=KEY)
    response = await house.client.post(PATH, json={**MAIL, "subject": "other"}, headers=KEY)
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(await house.kept()) == 1


async def test_what_failed_frees_its_key(house: House) -> None:
    assert (await house.client.post(PATH, json={**MAIL, "to": "x"}, headers=KEY)).status_code == 422
    assert (await house.client.post(PATH, json=MAIL, headers=KEY)).status_code == 202


async def test_a_key_is_its_apps_own(house: House) -> None:
    other, _ = await house.store.apps.create(house.app, "test")
    await house.client.post(PATH, json=MAIL, headers=KEY)
    headers = {**KEY, "authorization": f"Bearer {await house.make_key(other)}"}
    assert (await house.client.post(PATH, json={**MAIL, "subject": "other"}, headers=headers)).status_code == 202


async def test_forms_and_raw_messages_are_known_again_too(house: House) -> None:
    async def form(content: bytes, key: str = "form") -> tuple[int, str]:
        response = await house.client.post(
            PATH,
            data={"message": json.dumps(MAIL)},
            files={"f": ("a.bin", content)},
            headers={"idempotency-key": key},
        )
        return response.status_code, response.json().get("id") or response.json()["code"]

    async def raw(content: bytes) -> tuple[int, str]:
        headers = {"idempotency-key": "raw", "content-type": "message/rfc822"}
        response = await house.client.post(PATH, content=content, headers=headers)
        return response.status_code, response.json().get("id") or response.json()["code"]

    assert await form(b"a") == await form(b"a")
    assert await form(b"b") == (422, "idempotency_key_reused")
    assert await raw(RAW) == await raw(RAW)
    assert await raw(RAW + b"more\r\n") == (422, "idempotency_key_reused")
    assert len(await house.kept()) == 2


@pytest.mark.parametrize("key", ["", "x" * 257, "ü"])
async def test_a_key_that_is_none_is_refused(house: House, key: str) -> None:
    response = await house.client.post(PATH, json=MAIL, headers={b"idempotency-key": key.encode("latin-1")})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize("path", [PATH, PATH + "/batch", PATH + "/batch?atomic=true"])
async def test_the_store_decides_where_nobody_else_knows_of_the_others(house: House, path: str) -> None:
    """As in two processes, or by HTTP and SMTP at once: no client sees that another one's request runs."""
    rooms = [ApiRoom(**{**house.room.__dict__, "running": RunningRequests()}) for _ in range(20)]
    clients = [client_of(room, house.key) for room in rooms]
    asked = MAIL if path == PATH else [MAIL, {**MAIL, "subject": "second"}]
    answers = await asyncio.gather(*(client.post(path, json=asked, headers=KEY) for client in clients))
    await asyncio.gather(*(client.aclose() for client in clients))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len(await house.kept()) == (1 if path == PATH else 2)


async def test_a_key_of_smtp_and_one_of_http_are_the_same_apps(house: House) -> None:
    raw = RAW.replace(b"\r\n\r\n", b"\r\nX-Idempotency-Key: run-42\r\n\r\n")
    headers = {"content-type": "message/rfc822"}
    first = await house.client.post(PATH, content=raw, headers=headers)
    again = await house.client.post(PATH, content=raw, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    [detail] = await house.kept()
    assert b"Idempotency" not in await house.content(detail)
    assert (await house.client.post(PATH, json=MAIL, headers=KEY)).json()["code"] == "idempotency_key_reused"
