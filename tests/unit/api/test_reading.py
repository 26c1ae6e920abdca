"""What became of messages, and what may be done with them; each app sees its own."""

import pytest

from tests.unit.api.caller_of import MAIL, House

pytestmark = pytest.mark.anyio

PATH = "/api/v1/messages"


async def send(house: House, **changes: object) -> str:
    response = await house.client.post(PATH, json={**MAIL, **changes})
    assert response.status_code == 202, response.text
    message_id: str = response.json()["id"]
    return message_id


async def test_the_list_goes_on_by_its_cursor(house: House) -> None:
    ids = [await send(house, subject=f"number {i}") for i in range(3)]
    page = (await house.client.get(f"{PATH}?limit=2")).json()
    assert [line["id"] for line in page["data"]] == [ids[2], ids[1]]
    rest = (await house.client.get(f"{PATH}?limit=2&cursor={page['next_cursor']}")).json()
    assert [line["id"] for line in rest["data"]] == [ids[0]]
    assert rest["next_cursor"] is None
    found = (await house.client.get(f"{PATH}?q=subject:%22number 1%22")).json()["data"]
    assert [line["id"] for line in found] == [ids[1]]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("?limit=0", "validation_error"),
        ("?limit=x", "validation_error"),
        ("?cursor=x", "invalid_cursor"),
        ("?q=x:y", "validation_error"),
    ],
)
async def test_a_list_that_cannot_be_read_says_why(house: House, query: str, code: str) -> None:
    response = await house.client.get(PATH + query)
    assert response.status_code in (400, 422)
    assert response.json()["code"] == code


async def test_one_message_with_its_events_and_content(house: House) -> None:
    message_id = await send(house, tags=["t"])
    full = (await house.client.get(f"{PATH}/{message_id}")).json()
    assert (full["status"], full["tags"], full["app"], full["has_content"]) == ("queued", ["t"], "CI", True)
    assert full["recipients"][0]["email"] == "ops@fabrikam.example"
    assert any("Message-ID" in change for change in full["changes"])
    events = (await house.client.get(f"{PATH}/{message_id}/events")).json()["data"]
    assert [event["type"] for event in events] == ["received", "repaired", "repaired", "stored"]
    raw = await house.client.get(f"{PATH}/{message_id}/raw")
    assert raw.headers["content-type"] == "message/rfc822"
    assert raw.content.endswith(b"All 42 machines.\r\n")
    content = (await house.client.get(f"{PATH}/{message_id}/content")).json()
    assert content["text"].strip() == "All 42 machines."
    entries = await house.store.audit.recent(2)
    assert {entry.action for entry in entries} == {"read content"}


async def test_actions_move_it_and_say_when_they_cannot(house: House) -> None:
    message_id = await send(house)
    for action, status in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled")):
        response = await house.client.post(f"{PATH}/{message_id}/{action}")
        assert (response.status_code, response.json()["status"]) == (200, status)
    response = await house.client.post(f"{PATH}/{message_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "wrong_state")
    events = (await house.client.get(f"{PATH}/{message_id}/events")).json()["data"]
    assert events[-1]["who"] == "CI, key test"


async def test_send_again_is_a_new_message_with_the_same_content(house: House) -> None:
    message_id = await send(house, bcc="eve@fabrikam.example", lane="low")
    response = await house.client.post(f"{PATH}/{message_id}/send-again")
    assert response.status_code == 202, response.text
    old, new = await house.kept()
    assert new.internet_message_id != old.internet_message_id
    assert [it.address for it in new.recipients] == [it.address for it in old.recipients]
    content = await house.content(new)
    assert content.count(b"Received:") == content.count(b"Message-ID:") == content.count(b"\r\nDate:") == 1
    assert content.endswith((await house.content(old)).partition(b"\r\n\r\n")[2])


async def test_times_can_be_changed_while_it_waits(house: House) -> None:
    message_id = await send(house, send_at="2026-12-01T00:00:00Z")
    response = await house.client.patch(f"{PATH}/{message_id}", json={"lane": "high", "send_at": None})
    assert (response.json()["status"], response.json()["lane"], response.json()["send_at"]) == ("queued", "high", None)
    response = await house.client.patch(f"{PATH}/{message_id}", json={"send_at": "2026-12-01T00:00:00Z"})
    assert response.json()["code"] == "wrong_state"
    response = await house.client.patch(f"{PATH}/{message_id}", json={"subject": "x"})
    assert response.json()["errors"][0]["field"] == "subject"


async def test_one_action_on_all_that_a_search_finds(house: House) -> None:
    for number in range(3):
        await send(house, subject=f"report {number}")
    await send(house, subject="other")
    asked = {"action": "cancel", "filter": "subject:report", "dry_run": True}
    told = (await house.client.post(f"{PATH}/actions", json=asked)).json()
    assert told == {"matched": 3, "changed": 0, "unchanged": 0, "is_complete": True}
    told = (await house.client.post(f"{PATH}/actions", json={**asked, "dry_run": False})).json()
    assert told["changed"] == 3
    told = (await house.client.post(f"{PATH}/actions", json={**asked, "dry_run": False})).json()
    assert (told["changed"], told["unchanged"]) == (0, 3)
    assert [detail.row.state.value for detail in await house.kept()] == ["cancelled"] * 3 + ["queued"]


async def test_another_app_sees_nothing_and_the_administrator_all(house: House) -> None:
    message_id = await send(house)
    other, _ = await house.store.apps.create(house.app, "test")
    stranger = {"authorization": f"Bearer {await house.make_key(other)}"}
    for method, path in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/raw"),
        ("POST", "/cancel"),
        ("POST", "/send-again"),
    ):
        response = await house.client.request(method, f"{PATH}/{message_id}{path}", headers=stranger)
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
    assert (await house.client.get(PATH, headers=stranger)).json()["data"] == []
    asked = {"action": "cancel", "filter": "status:queued"}
    assert (await house.client.post(f"{PATH}/actions", json=asked, headers=stranger)).json()["matched"] == 0
    assert (await house.administrator.get(f"{PATH}/{message_id}")).json()["app"] == "CI"


@pytest.mark.parametrize("message_id", ["x", "msg_0000000000000", "msg_'; DROP TABLE"])
async def test_what_is_not_there_is_404(house: House, message_id: str) -> None:
    response = await house.client.get(f"{PATH}/{message_id}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
