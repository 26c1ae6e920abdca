"""After a long stop over the API."""

import pytest

from tests.unit.api.caller_of import House
from tests.unit.api.test_reading import send

pytestmark = pytest.mark.anyio

PATH = "/api/v1/choices"


async def test_it_is_listed_and_answered_once(house: House) -> None:
    await house.store.mailboxes.pause(1, "anna")
    message_id = await send(house)
    house.clock.advance(2 * 3600)
    await house.store.mailboxes.resume(1, "anna")
    [choice] = (await house.client.get(PATH)).json()["data"]
    assert choice["messages"] == 1
    assert (await house.client.get(f"/api/v1/messages/{message_id}")).json()["waits_for"] == "choice"
    where = f"{PATH}/{choice['id']}"
    for asked, field in (({"send": "newer"}, "newer_than"), ({"send": "apps"}, "apps")):
        answer = await house.client.post(where, json=asked)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    answer = await house.client.post(where, json={"send": "apps", "apps": [choice["apps"][0]["app"]]})
    assert (answer.status_code, answer.json()) == (200, {"data": []})
    second = await house.client.post(where, json={"send": "all"})
    assert (second.status_code, second.json()["code"]) == (409, "wrong_state")
    assert "has chosen already" in second.json()["detail"]
    assert (await house.client.post(f"{PATH}/ch_x", json={"send": "all"})).status_code == 404
