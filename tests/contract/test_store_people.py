import asyncio

import pytest

from postroom.clock import HOUR_US
from postroom.errors import AlreadyDoneError
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio

PASSPHRASE = "correct horse battery"


async def test_the_first_person_comes_by_the_link(kept: KeptStore) -> None:
    store = await kept.open()
    assert not await store.people.has_any()
    token = await store.people.make_setup_link_token()
    person = await store.people.create_first(token, "Anna", "Anna@Contoso.com", PASSPHRASE)
    assert (person.name, person.email) == ("Anna", "anna@contoso.com")
    store = await kept.open()
    assert await store.people.has_any()
    assert await store.people.authenticate(" ANNA@contoso.com", PASSPHRASE) == person
    assert (await store.audit.recent(1))[0].action == "created first administrator"


async def test_two_set_ups_at_once_make_one_person(kept: KeptStore) -> None:
    store = await kept.open()
    token = await store.people.make_setup_link_token()
    results = await asyncio.gather(
        store.people.create_first(token, "Anna", "anna@contoso.com", PASSPHRASE),
        store.people.create_first(token, "Eve", "eve@contoso.com", PASSPHRASE),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["AlreadyDoneError", "Person"]


async def test_nobody_comes_after_the_first(kept: KeptStore) -> None:
    store = await kept.open()
    await store.people.create_first(await store.people.make_setup_link_token(), "Anna", "anna@contoso.com", PASSPHRASE)
    with pytest.raises(AlreadyDoneError, match="exists already"):
        await store.people.create_first(
            await store.people.make_setup_link_token(), "Eve", "eve@contoso.com", PASSPHRASE
        )


async def test_a_wrong_an_old_and_a_late_token_are_refused(kept: KeptStore) -> None:
    store = await kept.open()
    with pytest.raises(ValueError, match="set-up link is not valid"):
        await store.people.create_first("", "Eve", "eve@contoso.com", PASSPHRASE)
    old = await store.people.make_setup_link_token()
    new = await store.people.make_setup_link_token(60)
    with pytest.raises(ValueError, match="a newer one replaced it"):
        await store.people.create_first(old, "Eve", "eve@contoso.com", PASSPHRASE)
    kept.clock.advance(60)
    with pytest.raises(ValueError, match="has expired"):
        await store.people.create_first(new, "Eve", "eve@contoso.com", PASSPHRASE)
    assert not await store.people.has_any()


@pytest.mark.parametrize(
    ("name", "email", "passphrase", "sentence"),
    [
        ("Anna", "anna@contoso.com", "eleven char", "has 11 characters; it needs at least 12"),
        ("Anna", "anna@contoso.com", "x" * 1025, "longer than 1024"),
        ("Anna", "anna", PASSPHRASE, "Enter your e-mail address"),
        (" ", "anna@contoso.com", PASSPHRASE, "Enter your name"),
    ],
)
async def test_fields_are_checked(kept: KeptStore, name: str, email: str, passphrase: str, sentence: str) -> None:
    store = await kept.open()
    token = await store.people.make_setup_link_token()
    with pytest.raises(ValueError, match=sentence):
        await store.people.create_first(token, name, email, passphrase)


async def test_a_wrong_passphrase_and_an_unknown_person_look_alike(kept: KeptStore) -> None:
    store = await kept.open()
    token = await store.people.make_setup_link_token()
    await store.people.create_first(token, "Anna", "anna@contoso.com", PASSPHRASE)
    assert await store.people.authenticate("anna@contoso.com", PASSPHRASE + "!") is None
    assert await store.people.authenticate("nobody@contoso.com", PASSPHRASE) is None


async def test_a_session_lives_until_it_is_closed_or_over(kept: KeptStore) -> None:
    store = await kept.open()
    token = await store.people.make_setup_link_token()
    person = await store.people.create_first(token, "Anna", "anna@contoso.com", PASSPHRASE)
    cookie, session = await store.people.open_session(person.person_id)
    other, other_session = await store.people.open_session(person.person_id)
    assert session.person == person
    assert session.csrf_token != other_session.csrf_token
    store = await kept.open()
    assert await store.people.find_session(cookie) == session
    await store.people.close_session(cookie)
    assert await store.people.find_session(cookie) is None
    assert await store.people.find_session("guessed") is None
    kept.clock.advance(12 * 3600 - 1)
    assert await store.people.find_session(other) == other_session
    assert session.expires_at_us - kept.clock.now_us() < HOUR_US
    kept.clock.advance(1)
    assert await store.people.find_session(other) is None
