"""Many messages in one request."""

import pytest

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
