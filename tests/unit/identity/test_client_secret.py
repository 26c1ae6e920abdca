"""A new client secret is tried before the old one makes way; what is not accepted changes nothing."""

import asyncio
from datetime import date

import httpx2
import pytest

from postroom.clock import ManualClock
from postroom.errors import SignInTroubleError, StoreUnavailableError, WrongStateError
from postroom.identity.client_secret import ClientSecretDesk
from postroom.identity.tokens import TokenKeeper
from postroom.outcome import StopCause, Stopped, TryLater
from postroom.store.records import Authentication, Grant, RenewalLease
from tests.unit.identity.pretend_entra import CLIENT_SECRET, PretendEntra, entra_error
from tests.unit.identity.test_tokens import MAILBOX, MemoryBook

pytestmark = pytest.mark.anyio

END = date(2030, 1, 1)


class Slots(MemoryBook):
    """The memory book with the two slots of the secret."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.changes: list[tuple[str, str]] = []
        self.change_trouble: StoreUnavailableError | None = None

    async def change_secret(
        self,
        grant: Grant,
        client_secret: str,
        ends_on: date | None,
        refresh_token: str,
        who: str,
        from_address: str = "",
        *,
        lease: RenewalLease | None = None,
    ) -> None:
        if self.change_trouble is not None:
            raise self.change_trouble
        self.changes.append((client_secret, refresh_token))
        self.change(
            client_secret=client_secret,
            secret_ends_on=ends_on,
            spare_secret=grant.client_secret,
            refresh_token=refresh_token or grant.refresh_token,
        )


class _Book:
    def __init__(self, slots: Slots) -> None:
        self.change = slots.change_secret


class Scene:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.entra = PretendEntra(self.clock)
        self.slots = Slots(self.clock)
        self.keeper = TokenKeeper(self.slots, self.entra.client(), self.clock)
        self.desk = ClientSecretDesk(self.keeper, _Book(self.slots), self.slots.open_grant)

    async def renew(self, secret: str = "new~secret") -> Stopped | None:
        return await self.desk.renew(MAILBOX, secret, END, "anna")


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_it_is_tried_with_the_refresh_token_and_kept_with_the_one_that_comes_back(scene: Scene) -> None:
    assert await scene.renew() is None
    [form] = scene.entra.forms
    assert (form["client_secret"], form["refresh_token"]) == ("new~secret", "refresh-0")
    assert scene.slots.changes == [("new~secret", "refresh-1")]
    assert await scene.keeper.access_token(MAILBOX) == "access-1-smtp", "what the trial yielded is used"
    assert len(scene.entra.forms) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "remedy_id"),
    [
        (entra_error("invalid_client", 7000215, 401), Stopped, "secret_wrong"),
        (entra_error("invalid_client", 7000222, 401), Stopped, "secret_expired"),
        (httpx2.Response(503), TryLater, "microsoft_unavailable"),
        (httpx2.ConnectError("no route"), TryLater, "microsoft_unavailable"),
    ],
)
async def test_what_is_not_accepted_changes_nothing(
    scene: Scene, answer: httpx2.Response | Exception, kind: type, remedy_id: str
) -> None:
    scene.entra.answers.append(answer)
    with pytest.raises(SignInTroubleError) as caught:
        await scene.renew()
    assert isinstance(caught.value.outcome, kind)
    assert caught.value.outcome.failure.remedy_id == remedy_id
    assert scene.slots.changes == []
    assert await scene.keeper.access_token(MAILBOX) == "access-2-smtp", "the old one goes on at once"
    assert scene.entra.forms[-1]["client_secret"] == CLIENT_SECRET


async def test_a_sign_in_that_has_ended_proves_the_secret(scene: Scene) -> None:
    scene.entra.answers.append(entra_error("invalid_grant", 50173))
    ended = await scene.renew()
    assert ended is not None
    assert ended.cause is StopCause.SIGN_IN
    assert scene.slots.changes == [("new~secret", "")]


async def test_going_back_is_tried_as_well(scene: Scene) -> None:
    await scene.renew()
    assert await scene.desk.go_back(MAILBOX, "anna") is None
    assert scene.entra.forms[-1]["client_secret"] == CLIENT_SECRET
    assert scene.slots.changes[-1] == (CLIENT_SECRET, "refresh-2")
    assert scene.slots.grant.spare_secret == "new~secret"


async def test_nobody_renews_while_it_is_tried(scene: Scene) -> None:
    await asyncio.gather(scene.renew(), scene.keeper.access_token(MAILBOX))
    assert len(scene.entra.forms) == 1, "who waited takes what the trial yielded"


async def test_a_store_that_is_away_is_told_and_nothing_is_handed_out_for_it(scene: Scene) -> None:
    scene.slots.change_trouble = StoreUnavailableError("The disk is full.")
    with pytest.raises(SignInTroubleError, match="The disk is full"):
        await scene.renew()
    assert scene.slots.grant.client_secret == CLIENT_SECRET


async def test_who_goes_away_ends_no_trial(scene: Scene) -> None:
    waiting = asyncio.create_task(scene.renew())
    await asyncio.sleep(0)
    waiting.cancel()
    await scene.keeper.close()
    assert scene.slots.changes == [("new~secret", "refresh-1")]


async def test_what_cannot_be_is_told(scene: Scene) -> None:
    with pytest.raises(WrongStateError, match="used already"):
        await scene.renew(CLIENT_SECRET)
    with pytest.raises(WrongStateError, match="kept for 24 hours only"):
        await scene.desk.go_back(MAILBOX, "anna")
    scene.slots.change(authentication=Authentication.BASIC)
    with pytest.raises(WrongStateError, match="signs in with a password"):
        await scene.renew()
    assert scene.entra.forms == []


async def test_trials_are_paced_as_all_questions_are(scene: Scene) -> None:
    scene.entra.answers += [entra_error("invalid_client", 7000215, 401) for _ in range(10)]
    for number in range(10):
        with pytest.raises(SignInTroubleError):
            await scene.renew(f"guess-{number}")
    with pytest.raises(SignInTroubleError, match="10 times within a minute"):
        await scene.renew()
    scene.clock.advance(60)
    assert await scene.renew() is None
