import pytest

from postroom.store.records import RefusedAttempt
from postroom.store.refused_clients import CLIENTS_KEPT
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


def attempt(address: str, at_us: int, helo: str = "RNP002673") -> RefusedAttempt:
    return RefusedAttempt(address, "device", helo, "", "unknown_device", "It is not a known device.", at_us)


async def test_attempts_of_one_address_are_counted_and_the_last_one_is_told(kept: KeptStore) -> None:
    store = await kept.open()
    await store.refused_clients.note([attempt("10.2.3.77", 1), attempt("10.2.3.78", 2), attempt("10.2.3.77", 3, "HP")])
    newest, older = await store.refused_clients.list()
    assert (newest.address, newest.attempts, newest.first_at_us, newest.last_at_us) == ("10.2.3.77", 2, 1, 3)
    assert newest.helo == "HP"
    assert older.address == "10.2.3.78"


async def test_what_is_ignored_stays_away_and_what_has_an_app_is_forgotten(kept: KeptStore) -> None:
    store = await kept.open()
    await store.refused_clients.note([attempt("10.2.3.77", 1), attempt("10.2.3.78", 2)])
    await store.refused_clients.ignore("10.2.3.77", "anna")
    await store.refused_clients.forget("10.2.3.78")
    await store.refused_clients.note([attempt("10.2.3.77", 3), attempt("10.2.3.78", 4)])
    [only] = await store.refused_clients.list()
    assert (only.address, only.attempts) == ("10.2.3.78", 1)


async def test_the_longest_silent_are_forgotten(kept: KeptStore) -> None:
    store = await kept.open()
    await store.refused_clients.note([attempt(f"10.0.{i // 250}.{i % 250}", i) for i in range(CLIENTS_KEPT + 5)])
    await store.refused_clients.note([attempt("10.0.0.3", 2_000)])
    newest = (await store.refused_clients.list())[0]
    assert (newest.address, newest.attempts, newest.first_at_us) == ("10.0.0.3", 1, 2_000)
