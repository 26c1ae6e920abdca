"""Many messages in one request."""

import pytest

from postroom.errors import AlreadyKeptError, StoreUnavailableError
from postroom.store.records import IdempotencyKey
from tests.unit.api.caller_of import MAIL, House

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages/batch"
BAD = {**MAIL, "to": "nobody"}


async def test_each_message_has_its_own_result(house: House) -> None:
    response = await house.client.post(PATH, json=[MAIL, BAD, {**MAIL, "from": "boss@contoso.example"}])
    assert response.status_code == 202
    taken, bad, refused = response.json()["data"]
    assert taken["id"].startswith("msg_")
    assert "error" not in taken
    assert (bad["error"]["code"], bad["error"]["errors"][0]["field"]) == ("validation_error", "to")
    assert refused["error"]["code"] == "sender_not_allowed"
    assert len(await house.kept()) == 1


async def test_all_or_nothing_means_it(house: House) -> None:
    response = await house.client.post(PATH + "?atomic=true", json=[MAIL, BAD])
    assert response.status_code == 422
    assert response.json()["detail"].startswith("Message 1 of the batch: ")
    assert await house.kept() == []
    response = await house.client.post(PATH + "?atomic=true", json=[MAIL, {**MAIL, "from": "boss@contoso.example"}])
    assert response.status_code == 403
    assert response.json()["detail"].startswith("Message 1 of the batch: ")
    assert await house.kept() == []
    response = await house.client.post(PATH + "?atomic=true", json=[MAIL] * 3)
    assert response.status_code == 202
    assert len(await house.kept()) == 3


@pytest.mark.parametrize("query", ["", "?atomic=true"])
async def test_a_repeated_batch_is_answered_as_the_first_time(house: House, query: str) -> None:
    headers = {"idempotency-key": "batch-1"}
    first = await house.client.post(PATH + query, json=[MAIL, MAIL], headers=headers)
    again = await house.client.post(PATH + query, json=[MAIL, MAIL], headers=headers)
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(await house.kept()) == 2
    other = await house.client.post(PATH + query, json=[MAIL, {**MAIL, "subject": "other"}], headers=headers)
    assert "idempotency_key_reused" in other.text
    assert len(await house.kept()) == 2


@pytest.mark.parametrize("messages", [[], [MAIL] * 101])
async def test_a_batch_has_one_to_a_hundred_messages(house: House, messages: list[object]) -> None:
    response = await house.client.post(PATH, json=messages)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_one_that_cannot_be_stored_takes_nothing_from_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_kept = house.store.outbox.find_kept

    async def find(app_id: int, key: IdempotencyKey) -> AlreadyKeptError | None:
        if key.item == 1:
            raise StoreUnavailableError("The database is away.")
        return await find_kept(app_id, key)

    monkeypatch.setattr(house.store.outbox, "find_kept", find)
    response = await house.client.post(PATH, json=[MAIL, MAIL], headers={"idempotency-key": "batch-1"})
    assert response.status_code == 202
    taken, failed = response.json()["data"]
    assert taken["id"].startswith("msg_")
    assert (failed["error"]["status"], failed["error"]["retryable"]) == (503, True)


async def test_who_looks_at_the_status_only_learns_that_nothing_was_taken(house: House) -> None:
    response = await house.client.post(PATH, json=[BAD, BAD])
    assert response.status_code == 422
    assert [item["error"]["code"] for item in response.json()["data"]] == ["validation_error"] * 2
