"""The settings of sending over the API."""

import pytest

from postroom.clock import HOUR_US
from postroom.store.sending_settings import SendingSettings
from tests.unit.api.caller_of import House, client_of

pytestmark = pytest.mark.anyio

PATH = "/api/v1/sending"
DEFAULTS = {
    "lifetime_seconds": 432_000,
    "delay_notice_after_seconds": 14_400,
    "administrator": "",
    "canary_enabled": False,
    "canary_every_seconds": 3_600,
    "canary_recipient": "",
}


async def test_they_are_shown_and_changed_as_a_whole(house: House) -> None:
    assert (await house.client.get(PATH)).json() == DEFAULTS
    asked = {"delay_notice_after_seconds": None, "administrator": "it@contoso.com", "canary_enabled": True}
    changed = await house.client.put(PATH, json=asked)
    assert (changed.status_code, changed.json()) == (200, DEFAULTS | asked)
    assert (await house.client.get(PATH)).json() == DEFAULTS | asked
    [entry] = [it for it in await house.store.audit.recent(9) if it.action == "changed sending settings"]
    assert entry.who == "CI, key test"
    await house.client.put(PATH, json={})
    assert await house.store.sending_settings.load() == SendingSettings(), "what is left out takes its default"


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"lifetime_seconds": 60}, ["lifetime_seconds", "delay_notice_after_seconds"]),
        ({"lifetime_seconds": 0}, ["lifetime_seconds"]),
        ({"lifetime_seconds": None}, ["lifetime_seconds"]),
        ({"delay_notice_after_seconds": 864_000}, ["delay_notice_after_seconds"]),
        ({"canary_every_seconds": 10}, ["canary_every_seconds"]),
        ({"administrator": "it", "canary_recipient": "<x>"}, ["administrator", "canary_recipient"]),
        ({"canary": True}, ["canary"]),
    ],
)
async def test_each_field_that_cannot_be_is_named(house: House, asked: dict[str, object], fields: list[str]) -> None:
    answer = await house.client.put(PATH, json=asked)
    assert answer.status_code == 422, answer.text
    assert [each["field"] for each in answer.json()["errors"]] == fields
    assert (await house.store.sending_settings.load()).lifetime_us == 120 * HOUR_US


async def test_reading_and_changing_have_scopes_of_their_own(house: House) -> None:
    async with client_of(house.room, await house.make_key(house.app, "settings:read")) as reader:
        assert (await reader.get(PATH)).status_code == 200
        assert (await reader.put(PATH, json={})).json()["code"] == "insufficient_scope"
    async with client_of(house.room, await house.make_key(house.app, "send")) as sender:
        assert (await sender.get(PATH)).json()["code"] == "insufficient_scope"
