"""Two keepers over one real store, against a server that rotates and revokes the sign-in when a token is used twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from postroom.errors import SignInTroubleError
from postroom.identity.tokens import TokenKeeper
from postroom.outcome import Stopped
from tests.contract.kept_store import MAILBOX_ID, KeptStore
from tests.unit.identity.pretend_entra import PretendEntra, entra_error

pytestmark = pytest.mark.anyio


class StrictEntra(PretendEntra):
    """Each refresh token works once; the second use of one ends the whole sign-in (RFC 9700 4.14.2)."""

    def __init__(self, kept: KeptStore) -> None:
        super().__init__(kept.clock)
        self.living = kept.draft().refresh_token
        self.is_strict = True
        self.is_revoked = False
        self.asking = 0

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer_slowly))

    async def _answer_slowly(self, request: httpx2.Request) -> httpx2.Response:
        self.asking += 1
        assert self.asking == 1, "two renewals at once"
        for _ in range(20):
            await asyncio.sleep(0)
        self.asking -= 1
        return self._answer(request)

    def issue(self, form: dict[str, str]) -> httpx2.Response:
        if self.is_revoked or (self.is_strict and form["refresh_token"] != self.living):
            self.is_revoked = True
            return entra_error("invalid_grant", 50173)
        self.living = f"refresh-{len(self.forms)}"
        return super().issue(form)


class Pair:
    def __init__(self, kept: KeptStore) -> None:
        self.kept = kept
        self.entra = StrictEntra(kept)
        self.http = self.entra.client()
        self.keepers = [TokenKeeper(kept.store.mailboxes, self.http, kept.clock) for _ in range(2)]

    async def tokens(self) -> list[str]:
        return await asyncio.gather(*(keeper.access_token(MAILBOX_ID) for keeper in self.keepers * 10))

    async def refresh_token(self) -> str:
        return (await self.kept.store.mailboxes.open_grant(MAILBOX_ID)).refresh_token


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr("postroom.identity.tokens.LOOK_SECONDS", 0)
    kept = KeptStore(tmp_path / "data", "thread")
    await kept.open_set_up()
    pair = Pair(kept)
    yield pair
    for keeper in pair.keepers:
        await keeper.close()
    await pair.http.aclose()
    await kept.close()


async def test_one_refresh_for_both_at_every_expiry(pair: Pair) -> None:
    for number in range(1, 4):
        assert set(await pair.tokens()) == {f"access-{number}-smtp"}
        assert len(pair.entra.forms) == number
        assert await pair.refresh_token() == pair.entra.living
        pair.kept.clock.advance(3599)
    assert not pair.entra.is_revoked


async def test_a_restart_goes_on_with_the_token_that_is_held(pair: Pair) -> None:
    await pair.tokens()
    store = await pair.kept.open()
    again = TokenKeeper(store.mailboxes, pair.http, pair.kept.clock)
    assert await again.access_token(MAILBOX_ID) == "access-1-smtp"
    assert len(pair.entra.forms) == 1


async def test_one_that_died_while_it_renewed_is_waited_for_a_minute_and_no_longer(pair: Pair) -> None:
    assert await pair.kept.store.mailboxes.take_renewal_lease(MAILBOX_ID, "the one that died") is not None
    waiting = asyncio.create_task(pair.keepers[0].access_token(MAILBOX_ID))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert pair.entra.forms == []
    pair.kept.clock.advance(60)
    assert await waiting == "access-1-smtp"


async def test_a_refusal_is_nobody_elses_success(pair: Pair) -> None:
    pair.entra.is_revoked = True
    results = await asyncio.gather(*(it.access_token(MAILBOX_ID) for it in pair.keepers), return_exceptions=True)
    for result in results:
        assert isinstance(result, SignInTroubleError)
        assert isinstance(result.outcome, Stopped)
    assert len(pair.entra.forms) == 2, "each finds out once"


async def test_who_was_overtaken_takes_what_the_other_left(pair: Pair) -> None:
    """Its process was frozen for longer than the lease, between the request and the answer."""
    other = pair.keepers[0]
    pair.entra.is_strict = False  # Microsoft leaves the old token valid: both answers are good

    async def overtake(request: httpx2.Request) -> httpx2.Response:
        answer = pair.entra._answer(request)
        pair.kept.clock.advance(61)
        assert await other.access_token(MAILBOX_ID) == "access-2-smtp"
        return answer

    slow_http = httpx2.AsyncClient(transport=httpx2.MockTransport(overtake))
    slow = TokenKeeper(pair.kept.store.mailboxes, slow_http, pair.kept.clock)
    assert await slow.access_token(MAILBOX_ID) == "access-2-smtp"
    assert len(pair.entra.forms) == 2
    assert await pair.refresh_token() == "refresh-2", "the newer one stays"
    await slow_http.aclose()
