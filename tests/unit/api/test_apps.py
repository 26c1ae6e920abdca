"""Apps, passwords, keys and refused clients over the API."""

import asyncio

import pytest

from postroom.message import Reception
from postroom.outcome import Failure, FailureClass, Refused
from postroom.store.records import AppSettings, RefusedAttempt, Settlement
from tests.unit.api.caller_of import SENDER, House

pytestmark = pytest.mark.anyio

PATH = "/api/v1/apps"


async def test_an_app_is_made_and_signs_in(house: House) -> None:
    made = (await house.client.post(PATH, json={"name": "HP 2nd floor", "senders": ["scan@contoso.example"]})).json()
    assert made["app"]["login"] == "hp-2nd-floor"
    assert (made["app"]["message_limit_a_minute"], made["app"]["message_limit_a_day"]) == (60, 2000)
    app = await house.store.apps.authenticate("hp-2nd-floor", made["password"])
    assert app is not None
    assert app.senders == ("scan@contoso.example",)
    found = (await house.client.get(f"{PATH}/{made['app']['id']}")).json()
    assert found["name"] == "HP 2nd floor"
    assert "password" not in str(await house.client.get(PATH))


async def test_a_device_by_its_address_has_no_password_and_is_no_stranger_any_more(house: House) -> None:
    attempt = RefusedAttempt("10.2.3.4", "device", "RNP002673", "", "unknown_device", "It is not known.", 1)
    await house.store.refused_clients.note([attempt])
    told = (await house.client.get("/api/v1/refused-clients")).json()["data"]
    assert (told[0]["address"], told[0]["helo"]) == ("10.2.3.4", "RNP002673")
    made = (
        await house.client.post(PATH, json={"name": "Old", "addresses": ["10.2.3.4"], "needs_sign_in": False})
    ).json()
    assert made["password"] is None
    assert (await house.client.get("/api/v1/refused-clients")).json()["data"] == []
    sheet = (await house.client.get(f"{PATH}/old/sheet")).json()
    assert [listener["name"] for listener in sheet["listeners"]] == ["Device"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"name": "x", "needs_sign_in": False}, "addresses"),
        ({"name": "x", "allows_plain_text": True}, "addresses"),
        ({"name": "x", "addresses": ["8.8.8.8"], "needs_sign_in": False}, "addresses"),
        ({"name": "x", "addresses": ["10.0.0.0/8"], "allows_old_tls": True}, "addresses"),
        ({"name": "x", "addresses": ["printer"]}, "addresses"),
        ({"name": ""}, "name"),
        ({"name": "x", "login": "y"}, "password"),
        ({"name": "x", "colour": "red"}, "colour"),
    ],
)
async def test_an_app_that_would_open_the_server_is_refused(house: House, asked: dict[str, object], field: str) -> None:
    response = await house.client.post(PATH, json=asked)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)
    assert len(await house.store.apps.list()) == 1


async def test_rules_are_changed_as_a_whole_and_apps_are_switched(house: House) -> None:
    changed = await house.client.put(f"{PATH}/ci", json={"name": "CI 2", "owner": "Anna", "sender_policy": "rewrite"})
    assert (changed.json()["owner"], changed.json()["senders"]) == ("Anna", [])
    assert (await house.client.post(f"{PATH}/ci/disable")).json()["enabled"] is False
    response = await house.client.get(PATH)
    assert response.json()["code"] == "invalid_api_key", "its own key ends with it"
    assert (await house.administrator.post(f"{PATH}/ci/enable")).json()["enabled"] is True


async def test_two_passwords_at_once_for_rotation(house: House) -> None:
    new = (await house.client.post(f"{PATH}/ci/credentials/rotate?short=true")).json()
    assert len(new["password"]) == 16
    listed = (await house.client.get(f"{PATH}/ci/credentials")).json()["data"]
    assert len(listed) == 2
    response = await house.client.delete(f"{PATH}/ci/credentials/{listed[1]['id']}")
    assert response.status_code == 200
    assert (await house.client.delete(f"{PATH}/ci/credentials/{listed[1]['id']}")).status_code == 404
    assert await house.store.apps.authenticate("ci", new["password"]) is not None


async def test_a_key_is_made_listed_and_revoked_and_gives_no_more_than_its_maker_has(house: House) -> None:
    made = (await house.client.post(f"{PATH}/ci/keys", json={"name": "n", "scopes": ["send"]})).json()
    assert made["secret"].startswith("pr_live_")
    listed = (await house.client.get(f"{PATH}/ci/keys")).json()["data"]
    assert made["key"]["id"] in {key["id"] for key in listed}
    assert made["secret"] not in str(listed)
    assert (await house.client.delete(f"{PATH}/ci/keys/{made['key']['id']}")).status_code == 200
    assert (await house.client.delete(f"{PATH}/ci/keys/{made['key']['id']}")).status_code == 404
    limited = await house.make_key(house.app, "credentials:write")
    response = await house.client.post(
        f"{PATH}/ci/keys", json={"scopes": ["content:read"]}, headers={"authorization": f"Bearer {limited}"}
    )
    assert response.json()["code"] == "insufficient_scope"


@pytest.mark.parametrize("path", ["/nobody", "/nobody/sheet", "/nobody/keys", "/nobody/credentials"])
async def test_an_app_that_is_not_there_is_404(house: House, path: str) -> None:
    assert (await house.client.get(PATH + path)).status_code == 404


async def test_a_client_may_be_ignored(house: House) -> None:
    await house.store.refused_clients.note([RefusedAttempt("10.2.3.4", "device", "x", "", "unknown_device", "t", 1)])
    assert (await house.client.post("/api/v1/refused-clients/10.2.3.4/ignore")).status_code == 200
    assert (await house.client.get("/api/v1/refused-clients")).json()["data"] == []


async def test_a_kept_password_is_taken_and_never_said_again(house: House) -> None:
    asked = {"name": "Old", "login": "old@contoso.example", "password": "Sommer 2019"}
    response = await house.client.post(PATH, json=asked)
    assert (response.status_code, response.json()["password"]) == (201, None)
    assert "Sommer" not in response.text
    assert await house.store.apps.authenticate("old@contoso.example", "Sommer 2019") is not None
    again = await house.client.post(PATH, json=asked)
    assert again.status_code == 422
    assert "signs in as old@contoso.example already" in again.json()["detail"]


async def test_what_is_gone_meanwhile_is_no_fault_of_ours(house: House) -> None:
    """Between the look and the change somebody else may have changed it: 409, not 500."""
    listed = (await house.client.get(f"{PATH}/ci/credentials")).json()["data"]
    paths = [f"{PATH}/ci/credentials/{listed[0]['id']}"] * 2
    answers = await asyncio.gather(*(house.client.delete(path) for path in paths))
    assert sorted(it.status_code for it in answers) == [200, 404]


async def test_what_was_refused_of_its_senders_is_told(house: House) -> None:
    app, _ = await house.store.apps.create(AppSettings(name="Scanner", senders=(SENDER,)), "anna")
    submission = await house.room.intake.open(app, SENDER, Reception("smtp"))
    await submission.add_recipient("ops@contoso.example")
    await submission.write(f"From: {SENDER}\r\nSubject: x\r\n\r\nHello\r\n".encode())
    await submission.commit()
    [lease] = await house.store.outbox.lease_due(1)
    failure = Failure(FailureClass.PERMISSION, "send_as_denied", "5.2.252 SendAsDenied", "send_as_denied")
    await house.store.outbox.settle(lease, Settlement({lease.recipients[0].recipient_id: Refused(failure)}))
    [told] = (await house.client.get(f"{PATH}/scanner")).json()["refused_senders"]
    assert told.pop("refused_at")
    assert told == {
        "sender": SENDER,
        "mail_server": "smtp.office365.com",
        "code": "send_as_denied",
        "text": "5.2.252 SendAsDenied",
        "remedy": "send_as_denied",
    }
