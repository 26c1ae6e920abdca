import pytest

from postroom.errors import WrongStateError
from postroom.store.api_keys import KEY_START
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


async def test_a_key_is_shown_once_and_found_again(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    key, text = await store.api_keys.create(kept.app_id, "CI", ("messages:read", "send"), 99, "anna")
    assert text.startswith(KEY_START)
    assert key.scopes == ("send", "messages:read")
    assert text.startswith(key.shown_start)
    store = await kept.open()
    found = await store.api_keys.authenticate(text)
    assert found is not None
    assert found[0] == key
    assert found[1].app_id == kept.app_id
    assert await store.api_keys.list(kept.app_id) == [key]
    assert text not in str(await store.audit.recent(5))


@pytest.mark.parametrize("text", ["", "pr_live_", "pr_live_" + "a" * 32, "\udce4"])
async def test_nothing_else_is_a_key(kept: KeptStore, text: str) -> None:
    store = await kept.open_set_up()
    await store.api_keys.create(kept.app_id, "CI", ("send",), None, "anna")
    assert await store.api_keys.authenticate(text) is None


async def test_a_key_ends_when_it_is_revoked_or_its_app_is_switched_off(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    key, text = await store.api_keys.create(kept.app_id, "CI", ("send",), None, "anna")
    await store.apps.set_enabled(kept.app_id, False, "anna")
    assert await store.api_keys.authenticate(text) is None
    await store.apps.set_enabled(kept.app_id, True, "anna")
    assert await store.api_keys.authenticate(text) is not None
    await store.api_keys.revoke(key.api_key_id, "anna")
    assert await store.api_keys.authenticate(text) is None
    with pytest.raises(WrongStateError, match="no such key"):
        await store.api_keys.revoke(key.api_key_id, "anna")


async def test_a_key_needs_scopes_that_exist(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    for scopes in ((), ("everything",)):
        with pytest.raises(ValueError, match="needs scopes"):
            await store.api_keys.create(kept.app_id, "CI", scopes, None, "anna")
    with pytest.raises(WrongStateError, match="no such app"):
        await store.api_keys.create(1, "CI", ("send",), None, "anna")


async def test_use_of_a_key_is_noted_once_a_minute(kept: KeptStore) -> None:
    store = await kept.open_set_up()
    key, _ = await store.api_keys.create(kept.app_id, "CI", ("send",), None, "anna")
    first_us = kept.clock.now_us()
    await store.api_keys.note_use(key.api_key_id, "192.0.2.7")
    kept.clock.advance(30)
    await store.api_keys.note_use(key.api_key_id, "192.0.2.7")
    [noted] = await store.api_keys.list(kept.app_id)
    assert (noted.last_used_at_us, noted.last_used_from) == (first_us, "192.0.2.7")
