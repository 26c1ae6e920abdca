import asyncio
import re

import pytest

from postroom.errors import WrongStateError
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


async def test_an_app_signs_in_with_what_was_shown_once(kept: KeptStore) -> None:
    store = await kept.open()
    app, password = await store.apps.create("HP 2nd floor", "printer", ("scan@contoso.com",), "anna")
    assert app.login == "hp-2nd-floor"
    assert re.fullmatch(r"[a-km-zA-HJ-NP-Z2-9]{24}", password)
    store = await kept.open()
    assert await store.apps.authenticate("hp-2nd-floor", password) == app
    assert app.senders == ("scan@contoso.com",)


@pytest.mark.parametrize("login", ["hp", "HP", "", "nobody", "h\udce4p", "hp\x00"])
@pytest.mark.parametrize("password", ["wrong", "", "\udce4"])
async def test_nothing_else_signs_in(kept: KeptStore, login: str, password: str) -> None:
    store = await kept.open()
    await store.apps.create("HP", "", (), "anna")
    assert await store.apps.authenticate(login, password) is None


async def test_a_switched_off_app_does_not_sign_in(kept: KeptStore) -> None:
    store = await kept.open()
    app, password = await store.apps.create("HP", "", (), "anna")
    await store.apps.set_enabled(app.app_id, False, "anna")
    assert await store.apps.authenticate("hp", password) is None
    await store.apps.set_enabled(app.app_id, True, "anna")
    assert await store.apps.authenticate("hp", password) is not None


async def test_a_renewed_password_ends_the_old_one(kept: KeptStore) -> None:
    store = await kept.open()
    app, old = await store.apps.create("HP", "", (), "anna")
    new = await store.apps.rotate_password(app.app_id, "anna")
    assert await store.apps.authenticate("hp", old) is None
    assert await store.apps.authenticate("hp", new) is not None


@pytest.mark.parametrize(
    ("name", "login"),
    [
        ("HP 2nd floor", "hp-2nd-floor"),
        ("Büro – Größe", "buro-grosse"),
        ("2nd floor", "app-2nd-floor"),
        ("印刷機", "app"),
        ("x" * 50, "x" * 32),
        ("a" * 31 + " b", "a" * 31),
    ],
)
async def test_a_login_can_be_typed_everywhere(kept: KeptStore, name: str, login: str) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(name, "", (), "anna")
    assert app.login == login
    assert app.name == name


async def test_logins_do_not_repeat_even_at_once(kept: KeptStore) -> None:
    store = await kept.open()
    made = await asyncio.gather(*(store.apps.create("x" * 40, "", (), "anna") for _ in range(11)))
    logins = {app.login for app, _ in made}
    assert len(logins) == 11
    assert logins >= {"x" * 32, "x" * 30 + "-2", "x" * 29 + "-11"}


async def test_a_name_is_needed(kept: KeptStore) -> None:
    store = await kept.open()
    with pytest.raises(ValueError, match="Give the app a name"):
        await store.apps.create("  ", "", (), "anna")


async def test_our_own_app_is_not_listed_and_cannot_sign_in(kept: KeptStore) -> None:
    store = await kept.open()
    internal = await store.apps.internal()
    assert internal.is_internal
    assert await store.apps.list() == []
    assert await store.apps.authenticate("", "") is None
    with pytest.raises(WrongStateError, match="no such app"):
        await store.apps.rotate_password(internal.app_id, "anna")


async def test_what_people_do_to_apps_is_audited_without_passwords(kept: KeptStore) -> None:
    store = await kept.open()
    app, first = await store.apps.create("HP", "", ("a@contoso.com",), "anna")
    await store.apps.change_senders(app.app_id, ("b@contoso.com",), "bob")
    second = await store.apps.rotate_password(app.app_id, "bob")
    await store.apps.set_enabled(app.app_id, False, "bob")
    entries = await store.audit.recent(10)
    assert [(entry.who, entry.action) for entry in entries] == [
        ("bob", "disabled app"),
        ("bob", "renewed password"),
        ("bob", "changed senders"),
        ("anna", "created app"),
    ]
    assert (entries[2].before, entries[2].after) == ("a@contoso.com", "b@contoso.com")
    assert not any(secret in str(entries) for secret in (first, second))
    changed = await store.apps.find(app.app_id)
    assert changed is not None
    assert changed.senders == ("b@contoso.com",)


async def test_use_is_noted_once_a_minute(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create("HP", "", (), "anna")
    await store.apps.note_use(app.app_id, "192.0.2.7", "TLSv1.3")
    first_us = kept.clock.now_us()
    kept.clock.advance(30)
    await store.apps.note_use(app.app_id, "192.0.2.7", "TLSv1.3")
    noted = await store.apps.find(app.app_id)
    assert noted is not None
    assert (noted.last_used_at_us, noted.last_used_from, noted.last_used_tls) == (first_us, "192.0.2.7", "TLSv1.3")
    await store.apps.note_use(app.app_id, "192.0.2.8", "TLSv1.3")
    noted = await store.apps.find(app.app_id)
    assert noted is not None
    assert (noted.last_used_at_us, noted.last_used_from) == (kept.clock.now_us(), "192.0.2.8")


async def test_apps_are_listed_by_name(kept: KeptStore) -> None:
    store = await kept.open()
    for name in ("beta", "Alpha", "Gamma"):
        await store.apps.create(name, "", (), "anna")
    assert [app.name for app in await store.apps.list()] == ["Alpha", "beta", "Gamma"]
    assert await store.apps.find(4711) is None
