"""The ways out over the API: shown without secrets, changed with reasons, and ruled."""

import msgspec
import pytest

from postroom.store.records import NEW, MailServerDraft
from tests.unit.api.caller_of import House, client_of

pytestmark = pytest.mark.anyio

PATH = "/api/v1/mail-servers"


async def add(house: House, name: str, tenant: str = "") -> str:
    draft = MailServerDraft(
        mail_server_id=NEW, name=name, sender="b@contoso.com", username="b@contoso.com", test_address="a@x.example",
        client_secret="planted secret", refresh_token="planted token", tenant=tenant,
    )  # fmt: skip
    await house.store.mail_servers.save(draft, "test")
    return next(str(each["id"]) for each in (await house.client.get(PATH)).json()["data"] if each["name"] == name)


async def test_they_are_shown_without_secrets(house: House) -> None:
    other = await add(house, "Branch")
    listed = await house.client.get(PATH)
    assert [each["name"] for each in listed.json()["data"]] == ["", "Branch"]
    assert "planted" not in listed.text
    shown = (await house.client.get(f"{PATH}/{other}")).json()
    assert (shown["state"], shown["limits"]["messages_a_minute"], shown["is_default"]) == ("ready", 25, False)
    assert (await house.client.get(f"{PATH}/default")).json()["is_default"]
    assert (await house.client.get(f"{PATH}/ms_nothing")).status_code == 404


async def test_default_alternatives_limits_and_pause(house: House) -> None:
    other = await add(house, "Branch")
    first = (await house.client.get(f"{PATH}/default")).json()["id"]
    asked = {"is_default": True, "alternatives": [first], "limits": {"messages_a_minute": 10}, "paused": True}
    changed = (await house.client.patch(f"{PATH}/{other}", json=asked)).json()
    assert (changed["is_default"], changed["alternatives"], changed["stopped_for"]) == (True, [first], "paused")
    assert (changed["limits"]["messages_a_minute"], changed["messages_a_minute_now"]) == (10, 10)
    resumed = await house.client.patch(f"{PATH}/{other}", json={"paused": False})
    assert resumed.json()["state"] == "ready"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"alternatives": ["ms_nothing"]}, "no id of a mail server"),
        ({"limits": {"messages_a_minute": 31}}, "Microsoft 365 takes 30 messages a minute"),
        ({"external": {"own_domains": ["a@contoso.com"]}}, "is no domain"),
        ({"is_default": False}, "make another mail server the default instead"),
        ({"colour": "blue"}, "colour"),
    ],
)
async def test_what_cannot_be_is_said(house: House, asked: dict[str, object], words: str) -> None:
    refused = await house.client.patch(f"{PATH}/default", json=asked)
    assert refused.status_code in (400, 422)
    assert words in refused.text


async def test_one_that_is_needed_is_not_removed(house: House) -> None:
    refused = await house.client.delete(f"{PATH}/default")
    assert refused.status_code == 409
    assert "is the default" in refused.text
    assert (await house.client.delete(f"{PATH}/{await add(house, 'Branch')}")).status_code == 204


async def test_rules_are_replaced_as_a_whole(house: House) -> None:
    other = await add(house, "Branch")
    rules = [
        {"kind": "sender_domain", "value": "contoso.example", "mail_server": other},
        {"kind": "app", "value": f"app_{msgspec.json.decode(b'0')}", "mail_server": other},
    ]
    assert (await house.client.put("/api/v1/routing-rules", json={"data": rules})).status_code == 422
    kept = await house.client.put("/api/v1/routing-rules", json={"data": rules[:1]})
    assert kept.json() == {"data": rules[:1]} == (await house.client.get("/api/v1/routing-rules")).json()


async def test_what_is_used_and_the_day_outside(house: House) -> None:
    shown = (await house.client.get(f"{PATH}/default")).json()
    assert shown["used"] == {"messages_last_minute": 0, "recipients_last_day": 0, "connections": 0}
    assert shown["recovered_at"] is None
    asked = {"external": {"recipients_a_day": 500, "own_domains": ["Contoso.com"]}}
    changed = await house.client.patch(f"{PATH}/default", json=asked)
    if shown["external"] is None:
        assert "Only a mailbox at Microsoft has such a limit" in changed.text
    other = await add(house, "Branch", tenant="contoso.onmicrosoft.com")
    assert (await house.client.get(f"{PATH}/{other}")).json()["external"]["own_domains"] == ["contoso.com"]
    changed = await house.client.patch(f"{PATH}/{other}", json=asked)
    assert changed.json()["external"] == {
        "recipients_a_day": 500, "own_domains": ["contoso.com"], "recipients_last_day": 0, "until": None
    }  # fmt: skip


async def test_the_forecast(house: House) -> None:
    forecast = (await house.client.get("/api/v1/forecast")).json()
    assert forecast == {"messages": 0, "out_at": None, "without_time": {}}


async def test_a_key_that_only_sends_learns_nothing(house: House) -> None:
    async with client_of(house.room, await house.make_key(house.app, "send")) as client:
        assert (await client.get(PATH)).status_code == 403
