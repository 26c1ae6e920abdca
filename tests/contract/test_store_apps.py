import asyncio
import re

import msgspec
import pytest

from postroom.errors import WrongStateError
from postroom.ids import public_id
from postroom.message import AfterUnknown
from postroom.store.records import AppSettings, SenderPolicy
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


async def test_an_app_signs_in_with_what_was_shown_once(kept: KeptStore) -> None:
    store = await kept.open()
    app, password = await store.apps.create(AppSettings(name="HP 2nd floor", senders=("scan@contoso.com",)), "anna")
    assert app.login == "hp-2nd-floor"
    assert re.fullmatch(r"[a-km-zA-HJ-NP-Z2-9]{24}", password)
    store = await kept.open()
    assert await store.apps.authenticate("hp-2nd-floor", password) == app
    assert app.senders == ("scan@contoso.com",)


@pytest.mark.parametrize("login", ["hp", "HP", "", "nobody", "h\udce4p", "hp\x00"])
@pytest.mark.parametrize("password", ["wrong", "", "\udce4"])
async def test_nothing_else_signs_in(kept: KeptStore, login: str, password: str) -> None:
    store = await kept.open()
    await store.apps.create(AppSettings(name="HP"), "anna")
    assert await store.apps.authenticate(login, password) is None


async def test_a_switched_off_app_does_not_sign_in(kept: KeptStore) -> None:
    store = await kept.open()
    app, password = await store.apps.create(AppSettings(name="HP"), "anna")
    await store.apps.set_enabled(app.app_id, False, "anna")
    assert await store.apps.authenticate("hp", password) is None
    await store.apps.set_enabled(app.app_id, True, "anna")
    assert await store.apps.authenticate("hp", password) is not None


async def test_two_passwords_work_until_the_older_one_is_removed(kept: KeptStore) -> None:
    store = await kept.open()
    app, first = await store.apps.create(AppSettings(name="HP"), "anna")
    second = await store.apps.add_password(app.app_id, "anna")
    for password in (first, second):
        assert await store.apps.authenticate("hp", password) is not None
    newer, older = await store.apps.passwords(app.app_id)
    assert None not in (newer.last_used_at_us, older.last_used_at_us)
    await store.apps.remove_password(app.app_id, older.credential_id, "anna")
    assert await store.apps.authenticate("hp", first) is None
    assert await store.apps.authenticate("hp", second) is not None
    with pytest.raises(WrongStateError, match="no such password"):
        await store.apps.remove_password(app.app_id, older.credential_id, "anna")


async def test_a_third_password_ends_the_oldest(kept: KeptStore) -> None:
    store = await kept.open()
    app, first = await store.apps.create(AppSettings(name="HP"), "anna")
    second = await store.apps.add_password(app.app_id, "anna", is_short=True)
    third = await store.apps.add_password(app.app_id, "anna")
    assert len(second) == 16
    found = [await store.apps.authenticate("hp", password) is not None for password in (first, second, third)]
    assert found == [False, True, True]


async def test_a_kept_user_name_and_password_sign_in_as_they_were(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(
        AppSettings(name="Tickets"), "anna", login="Tickets@Contoso.com", password="Sommer 2019!"
    )
    other, others = await store.apps.create(AppSettings(name="tickets"), "anna")
    assert (app.login, other.login) == ("tickets@contoso.com", "tickets")
    for _ in range(2):  # the second comes from what is remembered
        found = await store.apps.authenticate("TICKETS@contoso.com", "Sommer 2019!")
        assert found is not None
        assert found.app_id == app.app_id
    assert await store.apps.authenticate("tickets@contoso.com", "Sommer 2018!") is None
    assert await store.apps.authenticate("tickets", "Sommer 2019!") is None
    found = await store.apps.authenticate("tickets@elsewhere.example", others)
    assert found is not None
    assert found.app_id == other.app_id
    assert [password.chosen_by_a_person for password in await store.apps.passwords(app.app_id)] == [True]
    with pytest.raises(ValueError, match="Another app signs in as tickets@contoso"):
        await store.apps.keep_password(other.app_id, "tickets@contoso.com", "other", "anna")


async def test_a_removed_kept_password_is_not_remembered(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(AppSettings(name="Tickets"), "anna", login="tickets", password="old one")
    assert await store.apps.authenticate("tickets", "old one") is not None
    [only] = await store.apps.passwords(app.app_id)
    await store.apps.remove_password(app.app_id, only.credential_id, "anna")
    assert await store.apps.authenticate("tickets", "old one") is None


async def test_cram_md5_needs_a_sealed_password_that_goes_with_the_permission(kept: KeptStore) -> None:
    store = await kept.open()
    settings = AppSettings(name="BMC", addresses=("10.2.3.9/32",), allows_cram_md5=True)
    app, password = await store.apps.create(settings, "anna")
    assert await store.apps.cram_md5_secrets("bmc") == [(app, password)]
    await store.apps.change(app.app_id, msgspec.structs.replace(app, allows_cram_md5=False), "anna")
    await store.apps.change(app.app_id, settings, "anna")
    assert await store.apps.cram_md5_secrets("bmc") == []
    assert await store.apps.authenticate("bmc", password) is not None


async def test_everything_that_a_person_decides_is_kept(kept: KeptStore) -> None:
    store = await kept.open()
    settings = AppSettings(
        name="Printer",
        kind="Printer or scanner",
        owner="Anna",
        senders=("scan@contoso.com", "@fabrikam.com"),
        sender_policy=SenderPolicy.REWRITE,
        recipient_domains=("contoso.com",),
        message_limit_a_minute=60,
        message_limit_a_day=2000,
        size_limit_bytes=1_000_000,
        addresses=("10.2.3.0/24",),
        needs_sign_in=False,
        local_users=("www-data",),
        fixes_lines=True,
        allows_plain_text=True,
        allows_old_tls=True,
        allows_cram_md5=True,
        after_unknown=AfterUnknown.HOLD,
    )
    app = await store.apps.create_without_password(settings, "anna")
    found = await store.apps.find(app.app_id)
    assert found is not None
    for field in msgspec.structs.fields(AppSettings):
        assert getattr(found, field.name) == getattr(settings, field.name), field.name
    with pytest.raises(ValueError, match="needs the address"):
        await store.apps.change(app.app_id, msgspec.structs.replace(settings, addresses=()), "anna")


async def test_an_address_belongs_to_the_narrowest_network_of_an_enabled_app(kept: KeptStore) -> None:
    store = await kept.open()
    floor = await store.apps.create_without_password(
        AppSettings(name="Floor", addresses=("10.2.0.0/16", "fd00::/64"), needs_sign_in=False), "anna"
    )
    printer = await store.apps.create_without_password(
        AppSettings(name="Printer", addresses=("10.2.3.14/32",), needs_sign_in=False), "anna"
    )

    async def owner_of(address: str) -> int | None:
        app = await store.apps.at_address(address)
        return app.app_id if app is not None else None

    assert await owner_of("10.2.3.14") == printer.app_id
    assert await owner_of("10.2.3.15") == floor.app_id
    assert await owner_of("fd00::7%eth0") == floor.app_id
    assert await owner_of("10.3.0.1") is None
    assert await owner_of("no address") is None
    await store.apps.set_enabled(printer.app_id, False, "anna")
    assert await owner_of("10.2.3.14") == floor.app_id


async def test_a_local_user_has_the_app_that_names_it_or_this_machine(kept: KeptStore) -> None:
    store = await kept.open()
    web = await store.apps.create_without_password(AppSettings(name="Web", local_users=("www-data",)), "anna")
    machine = await store.apps.of_local_user("root")
    assert (machine.name, machine.login) == ("This machine", "this-machine")
    assert (await store.apps.of_local_user("daemon")).app_id == machine.app_id
    assert (await store.apps.of_local_user("www-data")).app_id == web.app_id
    assert [app.name for app in await store.apps.list()] == ["This machine", "Web"]


async def test_two_users_who_come_first_make_one_app(kept: KeptStore) -> None:
    store = await kept.open()
    first, second = await asyncio.gather(store.apps.of_local_user("root"), store.apps.of_local_user("daemon"))
    assert first.app_id == second.app_id


async def test_an_app_is_found_by_id_user_name_or_name(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(AppSettings(name="HP 2nd floor"), "anna")
    for text in (public_id(app.app_id), f"app_{public_id(app.app_id).lower()}", "hp-2nd-floor", "hp 2ND floor"):
        found = await store.apps.find_by_name(text)
        assert found is not None, text
        assert found.app_id == app.app_id
    assert await store.apps.find_by_name("HP") is None
    assert await store.apps.find_by_name(public_id((await store.apps.internal()).app_id)) is None


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
    app, _ = await store.apps.create(AppSettings(name=name), "anna")
    assert app.login == login
    assert app.name == name


async def test_logins_do_not_repeat_even_at_once(kept: KeptStore) -> None:
    store = await kept.open()
    made = await asyncio.gather(*(store.apps.create(AppSettings(name="x" * 40), "anna") for _ in range(11)))
    logins = {app.login for app, _ in made}
    assert len(logins) == 11
    assert logins >= {"x" * 32, "x" * 30 + "-2", "x" * 29 + "-11"}


async def test_a_name_is_needed(kept: KeptStore) -> None:
    store = await kept.open()
    with pytest.raises(ValueError, match="Give the app a name"):
        await store.apps.create(AppSettings(name="  "), "anna")


async def test_our_own_app_is_not_listed_and_cannot_sign_in(kept: KeptStore) -> None:
    store = await kept.open()
    internal = await store.apps.internal()
    assert internal.is_internal
    assert await store.apps.list() == []
    assert await store.apps.authenticate("", "") is None
    with pytest.raises(WrongStateError, match="no such app"):
        await store.apps.add_password(internal.app_id, "anna")


async def test_what_people_do_to_apps_is_audited_without_passwords(kept: KeptStore) -> None:
    store = await kept.open()
    app, first = await store.apps.create(AppSettings(name="HP", senders=("a@contoso.com",)), "anna")
    await store.apps.change(app.app_id, AppSettings(name="HP", senders=("b@contoso.com",)), "bob")
    second = await store.apps.add_password(app.app_id, "bob")
    await store.apps.set_enabled(app.app_id, False, "bob")
    entries = await store.audit.recent(10)
    assert [(entry.who, entry.action) for entry in entries] == [
        ("bob", "disabled app"),
        ("bob", "added password"),
        ("bob", "changed app"),
        ("anna", "created app"),
    ]
    assert (entries[2].before, entries[2].after) == (
        '{"name":"HP","senders":["a@contoso.com"]}',
        '{"name":"HP","senders":["b@contoso.com"]}',
    )
    assert not any(secret in str(entries) for secret in (first, second))
    changed = await store.apps.find(app.app_id)
    assert changed is not None
    assert changed.senders == ("b@contoso.com",)


async def test_use_is_noted_once_a_minute(kept: KeptStore) -> None:
    store = await kept.open()
    app, _ = await store.apps.create(AppSettings(name="HP"), "anna")
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
        await store.apps.create(AppSettings(name=name), "anna")
    assert [app.name for app in await store.apps.list()] == ["Alpha", "beta", "Gamma"]
    assert await store.apps.find(4711) is None
