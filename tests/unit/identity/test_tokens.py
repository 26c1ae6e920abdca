"""The TokenKeeper: one call for many callers, the refresh token kept first, patience with what is broken."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import msgspec
import pytest

from postroom.clock import DAY_US, MICROSECONDS, ManualClock
from postroom.errors import SignInTroubleError, StoreUnavailableError, WrongStateError
from postroom.identity.client_certificates import make_client_certificate
from postroom.identity.desk import CALLS_A_MINUTE, Resource
from postroom.identity.draft_book import DRAFT_MAILBOX_ID, DraftBook
from postroom.identity.providers import MICROSOFT
from postroom.identity.sign_ins import Bearer, Password, SignInSource
from postroom.identity.tokens import GrantBook, TokenKeeper
from postroom.message import MailboxState
from postroom.outcome import Failure, StopCause, Stopped, TryLater
from postroom.store.records import (
    AccessToken,
    Authentication,
    Cloud,
    Grant,
    GrantType,
    Mailbox,
    MailServerDraft,
    RenewalLease,
)
from tests.unit.identity.pretend_entra import (
    CLIENT_ID,
    CLIENT_SECRET,
    SMTP_SEND,
    TENANT,
    PretendEntra,
    entra_error,
    oauth_draft,
)

MAILBOX = 7


class MemoryBook:
    """Grants in memory; notes what was kept and stopped."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.grant = Grant(
            mailbox_id=MAILBOX,
            authentication=Authentication.OAUTH,
            username="scanner@contoso.com",
            address="shared@contoso.com",
            tenant=TENANT,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            refresh_token="refresh-0",
            scopes=(SMTP_SEND,),
            granted_at_us=clock.now_us(),
        )
        self.mailbox = Mailbox(
            MAILBOX, "scanner@contoso.com", "shared@contoso.com", Authentication.OAUTH, MailboxState.READY
        )
        self.kept: list[str] = []
        self.stopped: list[tuple[str, StopCause]] = []
        self.trouble: StoreUnavailableError | None = None
        self.is_gone = False
        self.fence = 0

    async def open_grant(self, mailbox_id: int) -> Grant:
        if self.is_gone:
            raise WrongStateError("The mailbox is not set up.")
        return msgspec.structs.replace(self.grant, mailbox_id=mailbox_id)

    async def take_renewal_lease(self, mailbox_id: int, owner: str) -> RenewalLease | None:
        self.fence += 1
        return RenewalLease(mailbox_id, owner, self.fence)

    async def free_renewal_lease(self, lease: RenewalLease) -> None: ...

    async def keep_tokens(
        self, lease: RenewalLease, grant: Grant, refresh_token: str, access_tokens: Sequence[AccessToken] = ()
    ) -> None:
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        if self.is_gone or grant.granted_at_us != self.grant.granted_at_us:
            raise WrongStateError("The mailbox was disconnected or signed in anew meanwhile.")
        self.kept.append(refresh_token)
        self.change(
            refresh_token=refresh_token or self.grant.refresh_token,
            renewed_at_us=self.clock.now_us(),
            access_tokens=tuple(access_tokens),
        )

    async def all(self) -> Sequence[Mailbox]:
        return [self.mailbox]

    async def stop(
        self,
        mailbox_id: int,
        failure: Failure,
        cause: StopCause,
        until_us: int | None,
        granted_at_us: int | None = None,
    ) -> None:
        self.stopped.append((failure.code, cause))
        self.mailbox = msgspec.structs.replace(self.mailbox, state=MailboxState.STOPPED, cause=cause)

    def change(self, **fields: Any) -> None:
        self.grant = msgspec.structs.replace(self.grant, **fields)


class Stand:
    """A keeper over a pretend Entra and a book in memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.entra = PretendEntra(self.clock)
        self.book = MemoryBook(self.clock)
        self.http = self.entra.client()
        book: GrantBook = self.book
        self.keeper = TokenKeeper(book, self.http, self.clock)

    async def token(self, **options: Any) -> str:
        sign_in = await self.keeper.sign_in_for(MAILBOX, **options)
        assert isinstance(sign_in, Bearer)
        return sign_in.token

    async def trouble(self) -> Stopped | TryLater:
        with pytest.raises(SignInTroubleError) as trouble:
            await self.token()
        return trouble.value.outcome

    @property
    def calls(self) -> int:
        return len(self.entra.forms)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    stand = Stand()
    yield stand
    await stand.keeper.close()
    await stand.http.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("consented", [True, False])
async def test_drafts_are_asked_for_only_where_a_person_consented_to_them(stand: Stand, consented: bool) -> None:
    drafts = "https://graph.microsoft.com/Mail.ReadWrite"
    stand.entra.graph_scope = "Mail.Send"
    stand.book.change(scopes=("Mail.Send", *(["Mail.ReadWrite"] * consented)))
    await stand.keeper.graph_sign_in_for(MAILBOX)
    assert (drafts in stand.entra.forms[0]["scope"].split()) is consented


@pytest.mark.anyio
async def test_a_mailbox_signs_in_as_its_address(stand: Stand) -> None:
    source: SignInSource = stand.keeper
    assert await source.sign_in_for(MAILBOX) == Bearer("shared@contoso.com", "access-1-smtp")
    assert stand.entra.forms[0]["refresh_token"] == "refresh-0"
    assert stand.entra.forms[0]["scope"].startswith(SMTP_SEND)


@pytest.mark.anyio
async def test_basic_hands_out_the_password_and_asks_nobody(stand: Stand) -> None:
    stand.book.change(authentication=Authentication.BASIC, password="planted")
    sign_in = await stand.keeper.sign_in_for(MAILBOX)
    assert sign_in == Password("scanner@contoso.com", "planted")
    assert "planted" not in repr(sign_in)
    assert stand.calls == 0


@pytest.mark.anyio
async def test_a_token_for_graph_may_send_for_another_mailbox_where_that_was_granted(stand: Stand) -> None:
    mail, shared = MICROSOFT.graph_mail_scope, MICROSOFT.graph_shared_mail_scope
    stand.entra.graph_scope = f"{mail} {shared}"
    for scopes, asked in (((mail,), False), ((mail, shared), True)):
        stand.book.change(scopes=scopes, granted_at_us=stand.clock.now_us())
        bearer = await stand.keeper.graph_sign_in_for(MAILBOX)
        assert bearer.user == "shared@contoso.com", "the mailbox, with the member's token"
        assert (shared in stand.entra.forms[-1]["scope"].split()) is asked
        stand.clock.advance(3600)


@pytest.mark.anyio
async def test_fifty_callers_make_one_call(stand: Stand) -> None:
    tokens = await asyncio.gather(*(stand.token() for _ in range(50)))
    assert set(tokens) == {"access-1-smtp"}
    assert stand.calls == 1
    assert stand.book.kept == ["refresh-1"]


@pytest.mark.anyio
async def test_fifty_callers_share_one_refusal(stand: Stand) -> None:
    stand.entra.answers = [entra_error("invalid_grant", 50173) for _ in range(50)]
    results = await asyncio.gather(*(stand.token() for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, SignInTroubleError) for result in results)
    assert stand.calls == 1


@pytest.mark.anyio
async def test_a_token_is_renewed_five_minutes_before_its_end(stand: Stand) -> None:
    await stand.token()
    stand.clock.advance(3599 - 301)
    assert await stand.token() == "access-1-smtp"
    stand.clock.advance(1)
    assert await stand.token() == "access-2-smtp"
    assert stand.entra.forms[1]["refresh_token"] == "refresh-1"


@pytest.mark.anyio
async def test_a_token_shorter_than_the_margin_serves_half_its_life(stand: Stand) -> None:
    stand.entra.lifetime_seconds = 60
    await stand.token()
    stand.clock.advance(29)
    assert await stand.token() == "access-1-smtp"
    stand.clock.advance(2)
    assert await stand.token() == "access-2-smtp"


@pytest.mark.anyio
async def test_the_rotated_refresh_token_is_kept_before_the_token_is_used(stand: Stand) -> None:
    stand.book.trouble = StoreUnavailableError("the disk is away")
    outcome = await stand.trouble()
    assert isinstance(outcome, TryLater)
    assert outcome.failure.code == "store_unavailable"
    assert "the disk is away" in outcome.failure.text
    stand.book.trouble = None
    stand.clock.advance(6)
    assert await stand.token() == "access-2-smtp", "the token that came without being kept is never used"
    assert stand.book.kept == ["refresh-2"]


@pytest.mark.anyio
async def test_an_answer_without_a_new_refresh_token_keeps_the_old_one(stand: Stand) -> None:
    stand.entra.rotates = False
    await stand.token()
    assert (stand.book.kept, stand.book.grant.refresh_token) == ([""], "refresh-0")
    assert stand.book.grant.scopes == (SMTP_SEND,)


@pytest.mark.anyio
async def test_each_resource_has_its_token_and_they_do_not_race(stand: Stand) -> None:
    smtp, graph = await asyncio.gather(
        stand.keeper.access_token(MAILBOX), stand.keeper.access_token(MAILBOX, Resource.GRAPH)
    )
    assert (smtp, graph) == ("access-1-smtp", "access-2-graph")
    assert [form["refresh_token"] for form in stand.entra.forms] == ["refresh-0", "refresh-1"]


@pytest.mark.anyio
async def test_a_refused_token_is_replaced_once(stand: Stand) -> None:
    token = await stand.token()
    replaced = await asyncio.gather(*(stand.token(refuse_token=token) for _ in range(10)))
    assert set(replaced) == {"access-2-smtp"}
    assert stand.calls == 2


@pytest.mark.anyio
async def test_a_new_sign_in_is_used_at_once(stand: Stand) -> None:
    await stand.token()
    stand.book.change(refresh_token="refresh-new", granted_at_us=stand.clock.now_us() + 1)
    assert await stand.token() == "access-2-smtp"
    assert stand.entra.forms[1]["refresh_token"] == "refresh-new"


@pytest.mark.anyio
async def test_without_a_sign_in_the_mailbox_is_not_set_up(stand: Stand) -> None:
    stand.book.change(refresh_token="")
    outcome = await stand.trouble()
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.remedy_id) == (StopCause.NOT_SET_UP, "not_set_up")
    assert stand.calls == 0


@pytest.mark.anyio
async def test_an_ended_sign_in_stops_and_a_new_one_works_at_once(stand: Stand) -> None:
    stand.entra.answers = [entra_error("invalid_grant", 700082)]
    outcome = await stand.trouble()
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.remedy_id) == (StopCause.SIGN_IN, "sign_in_ended")
    assert stand.book.stopped == [], "whoever sends settles that"
    stand.book.change(refresh_token="refresh-new")
    assert await stand.token() == "access-2-smtp"


@pytest.mark.anyio
async def test_before_giving_up_the_grant_is_read_again(stand: Stand) -> None:
    def rotate_elsewhere(form: dict[str, str]) -> httpx2.Response:
        stand.book.change(refresh_token="refresh-of-another-node")
        return entra_error("invalid_grant", 70000)

    stand.entra.answers = [rotate_elsewhere]
    assert await stand.token() == "access-2-smtp"
    assert stand.entra.forms[1]["refresh_token"] == "refresh-of-another-node"


@pytest.mark.anyio
async def test_a_sign_in_during_a_renewal_is_not_overwritten(stand: Stand) -> None:
    def sign_in_anew(form: dict[str, str]) -> httpx2.Response:
        stand.book.change(refresh_token="refresh-new", granted_at_us=stand.clock.now_us() + 1)
        return stand.entra.issue(form)

    stand.entra.answers = [sign_in_anew]
    assert await stand.token() == "access-2-smtp"
    assert stand.entra.forms[1]["refresh_token"] == "refresh-new"
    assert stand.book.kept == ["refresh-2"], "what the old sign-in gave is thrown away"


@pytest.mark.anyio
async def test_a_mailbox_that_is_disconnected_during_a_renewal_gets_no_token(stand: Stand) -> None:
    def disconnect(form: dict[str, str]) -> httpx2.Response:
        stand.book.is_gone = True
        return stand.entra.issue(form)

    stand.entra.answers = [disconnect]
    for _ in range(2):
        outcome = await stand.trouble()
        assert isinstance(outcome, Stopped)
        assert outcome.cause is StopCause.NOT_SET_UP
    assert stand.calls == 1


@pytest.mark.anyio
async def test_a_broken_secret_stops_for_the_credential(stand: Stand) -> None:
    stand.entra.answers = [entra_error("invalid_client", 7000222, 401)]
    outcome = await stand.trouble()
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.remedy_id) == (StopCause.CREDENTIAL, "secret_expired")
    assert stand.calls == 1


@pytest.mark.anyio
async def test_a_token_without_the_permission_stops_after_one_call(stand: Stand) -> None:
    stand.entra.smtp_scope = "openid profile"
    outcome = await stand.trouble()
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.remedy_id) == (StopCause.SIGN_IN, "permission_missing")
    assert "does not allow SMTP.Send" in outcome.failure.text
    assert stand.calls == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [httpx2.ConnectError("refused"), httpx2.Response(200, html="<html>"), httpx2.Response(503), httpx2.Response(400)],
)
async def test_a_service_that_is_away_costs_no_sign_in(stand: Stand, answer: Any) -> None:
    stand.entra.answers = [answer]
    outcome = await stand.trouble()
    assert isinstance(outcome, TryLater)
    assert outcome.until_us == stand.clock.now_us() + 5 * MICROSECONDS
    assert stand.book.grant.refresh_token == "refresh-0"
    stand.clock.advance(5)
    assert await stand.token() == "access-2-smtp"


@pytest.mark.anyio
async def test_a_service_that_is_away_is_asked_with_growing_patience(stand: Stand) -> None:
    asked_at: list[int] = []
    started_us = stand.clock.now_us()

    def fail(form: dict[str, str]) -> httpx2.Response:
        asked_at.append((stand.clock.now_us() - started_us) // MICROSECONDS)
        return httpx2.Response(503)

    stand.entra.answers = [fail] * 100
    for _ in range(1200):
        assert isinstance(await stand.trouble(), TryLater)
        stand.clock.advance(1)
    assert asked_at == [0, 5, 15, 35, 75, 155, 315, 615, 915]


@pytest.mark.anyio
async def test_retry_after_is_obeyed(stand: Stand) -> None:
    stand.entra.answers = [httpx2.Response(429, headers={"Retry-After": "120"}, json={"error": "x"})]
    await stand.trouble()
    stand.clock.advance(119)
    assert isinstance(await stand.trouble(), TryLater)
    assert stand.calls == 1
    stand.clock.advance(1)
    assert await stand.token() == "access-2-smtp"


@pytest.mark.anyio
async def test_while_the_service_is_away_the_old_token_serves_to_its_end(stand: Stand) -> None:
    await stand.token()
    stand.entra.answers = [httpx2.Response(503)] * 10
    stand.clock.advance(3599 - 200)
    assert await stand.token() == "access-1-smtp"
    stand.clock.advance(200 - 30)
    assert isinstance(await stand.trouble(), TryLater)


@pytest.mark.anyio
async def test_a_server_that_refuses_every_token_does_not_make_us_hammer(stand: Stand) -> None:
    async def refuse_each() -> None:
        token = await stand.token()
        for _ in range(1000):
            token = await stand.token(refuse_token=token)

    with pytest.raises(SignInTroubleError) as trouble:
        await refuse_each()
    assert stand.calls == CALLS_A_MINUTE
    assert isinstance(trouble.value.outcome, TryLater)
    assert trouble.value.outcome.until_us == stand.clock.now_us() + 60 * MICROSECONDS
    stand.clock.advance(60)
    assert await stand.token(refuse_token=f"access-{CALLS_A_MINUTE}-smtp") == f"access-{CALLS_A_MINUTE + 1}-smtp"


@pytest.mark.anyio
async def test_a_clock_that_was_set_back_does_not_make_us_wait_for_ever(stand: Stand) -> None:
    stand.entra.answers = [httpx2.Response(503)]
    await stand.trouble()
    stand.clock.advance(-30 * 86_400)
    assert await stand.token() == "access-2-smtp"


@pytest.mark.anyio
async def test_a_caller_who_gives_up_does_not_lose_the_rotated_token(stand: Stand) -> None:
    caller = asyncio.ensure_future(stand.token())
    while not stand.entra.forms:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await stand.keeper.close()
    assert stand.book.kept == ["refresh-1"]
    assert await stand.token() == "access-1-smtp"
    assert stand.calls == 1


# In the background


@pytest.mark.anyio
async def test_what_is_used_is_renewed_ahead_of_its_end(stand: Stand) -> None:
    await stand.token()
    stand.clock.advance(3599 - 601)
    await stand.keeper.renew_due()
    assert stand.calls == 1
    stand.clock.advance(1)
    await stand.keeper.renew_due()
    assert stand.calls == 2
    stand.clock.advance(600)
    assert await stand.token() == "access-2-smtp"
    assert stand.calls == 2


@pytest.mark.anyio
async def test_what_is_not_used_any_more_lapses_and_is_renewed_weekly(stand: Stand) -> None:
    await stand.token()
    for _ in range(8 * 24 * 6):
        stand.clock.advance(600)
        await stand.keeper.renew_due()
    assert stand.calls == 3, "the first, one ahead of its end, and one after a week"
    assert stand.book.kept[-1] == "refresh-3"


@pytest.mark.anyio
async def test_after_a_restart_an_idle_mailbox_is_renewed_when_its_week_is_over(stand: Stand) -> None:
    now_us = stand.clock.now_us()
    stand.book.change(granted_at_us=now_us - 60 * DAY_US, renewed_at_us=now_us - 7 * DAY_US)
    await stand.keeper.renew_due()
    await stand.keeper.renew_due()
    assert stand.calls == 1


@pytest.mark.anyio
async def test_the_background_stops_a_mailbox_whose_sign_in_has_ended(stand: Stand) -> None:
    stand.book.change(granted_at_us=0)
    stand.entra.answers = [entra_error("invalid_grant", 700082)]
    await stand.keeper.renew_due()
    assert stand.book.stopped == [("sign_in_ended", StopCause.SIGN_IN)]
    stand.clock.advance(600)
    await stand.keeper.renew_due()
    assert stand.calls == 1, "a mailbox that waits for a person is left alone"


@pytest.mark.anyio
async def test_the_background_stops_nothing_because_a_service_is_away(stand: Stand) -> None:
    stand.book.change(granted_at_us=0)
    stand.entra.answers = [httpx2.Response(503)]
    await stand.keeper.renew_due()
    assert stand.book.stopped == []


@pytest.mark.anyio
@pytest.mark.parametrize("state", [MailboxState.STOPPED, MailboxState.DISCONNECTED, MailboxState.READY])
async def test_a_mailbox_at_its_daily_limit_is_renewed_all_the_same(stand: Stand, state: MailboxState) -> None:
    stand.book.change(granted_at_us=0)
    stand.book.mailbox = msgspec.structs.replace(stand.book.mailbox, state=state, cause=StopCause.DAILY_LIMIT)
    await stand.keeper.renew_due()
    assert stand.calls == (0 if state is MailboxState.DISCONNECTED else 1)


@pytest.mark.anyio
async def test_run_goes_on_by_itself(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def advance(seconds: float) -> None:
        waits.append(seconds)
        stand.clock.advance(seconds)
        if len(waits) > 60:
            raise asyncio.CancelledError

    await stand.token()
    monkeypatch.setattr("postroom.identity.tokens.asyncio.sleep", advance)
    monkeypatch.setattr(stand.book, "keep_tokens", _keep_at_once(stand.book))
    with pytest.raises(asyncio.CancelledError):
        await stand.keeper.run()
    assert set(waits) == {60}
    assert stand.calls == 2


def _keep_at_once(book: MemoryBook) -> Any:
    async def keep(lease: RenewalLease, grant: Grant, refresh_token: str, access_tokens: object) -> None:
        book.change(refresh_token=refresh_token, renewed_at_us=book.clock.now_us())

    return keep


# A draft


@pytest.mark.anyio
async def test_an_error_of_ours_does_not_end_the_background(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    # When this task falls, the whole server stops.
    rounds = 0

    async def fall() -> None:
        nonlocal rounds
        rounds += 1
        raise RuntimeError("nobody thought of this")

    async def pass_time(seconds: float) -> None:
        if rounds == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(stand.keeper, "renew_due", fall)
    monkeypatch.setattr("postroom.identity.tokens.asyncio.sleep", pass_time)
    with pytest.raises(asyncio.CancelledError):
        await stand.keeper.run()
    assert rounds == 2


@pytest.mark.anyio
async def test_a_service_that_repeats_the_request_tells_no_secret(stand: Stand) -> None:
    stand.book.change(client_secret="p&l~nted secret", refresh_token="refresh/planted")

    def echo(form: dict[str, str]) -> httpx2.Response:
        words = f"Bad: {form['client_secret']} {httpx2.QueryParams(form)} {form['refresh_token']}"
        return httpx2.Response(400, json={"error": "invalid_grant", "error_description": words, "claims": words})

    stand.entra.answers = [echo]
    outcome = await stand.trouble()
    assert outcome.failure.text.startswith("Bad: (hidden) ")
    for planted in ("nted", "refresh/planted", "refresh%2Fplanted"):
        assert planted not in repr(outcome)


@pytest.mark.anyio
async def test_a_draft_keeps_its_rotated_token_through_the_callback(stand: Stand) -> None:
    kept: list[MailServerDraft] = []

    async def keep(draft: MailServerDraft) -> None:
        kept.append(draft)

    book = DraftBook(oauth_draft(refresh_token="refresh-0", mailbox_address=""), keep, stand.clock)
    keeper = TokenKeeper(book, stand.http, stand.clock)
    assert await keeper.sign_in_for(DRAFT_MAILBOX_ID) == Bearer("scanner@contoso.com", "access-1-smtp")
    assert [draft.refresh_token for draft in kept] == ["refresh-1"]
    assert book.draft == kept[0]
    await keeper.renew_due()


@pytest.mark.anyio
async def test_an_app_by_itself_asks_in_its_own_name_and_needs_no_refresh_token(stand: Stand) -> None:
    stand.book.change(grant_type=GrantType.CLIENT_SECRET, refresh_token="", scopes=(), user=None)
    assert await stand.token() == "access-1-smtp"
    [form] = stand.entra.forms
    assert form == {
        "grant_type": "client_credentials",
        "client_id": stand.book.grant.client_id,
        "client_secret": stand.book.grant.client_secret,
        "scope": "https://outlook.office365.com/.default",
    }
    await stand.keeper.graph_sign_in_for(MAILBOX)
    assert stand.entra.forms[1]["scope"] == "https://graph.microsoft.com/.default"
    assert stand.book.grant.refresh_token == "", "nothing of an app's token is kept"


@pytest.mark.anyio
async def test_an_app_with_a_certificate_sends_no_secret_and_hides_its_assertion(stand: Stand) -> None:
    made = make_client_certificate("Postroom", stand.clock.now_us())
    stand.book.change(
        grant_type=GrantType.CLIENT_CERTIFICATE,
        refresh_token="",
        certificate=made.certificate,
        private_key=made.private_key,
    )

    def repeat(form: dict[str, str]) -> httpx2.Response:
        return entra_error("invalid_client", 700027, error_description=f"AADSTS700027: {form['client_assertion']}")

    stand.entra.answers.append(repeat)
    outcome = await stand.trouble()
    [form] = stand.entra.forms
    assert "client_secret" not in form
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.CREDENTIAL
    assert form["client_assertion"] not in outcome.failure.text


@pytest.mark.anyio
async def test_a_national_cloud_is_asked_at_its_own_address_for_its_own_resource() -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json={"token_type": "Bearer", "access_token": "a", "expires_in": 3600})

    clock = ManualClock()
    book = MemoryBook(clock)
    book.change(grant_type=GrantType.CLIENT_SECRET, cloud=Cloud.GCC_HIGH, refresh_token="")
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        keeper = TokenKeeper(book, http, clock)
        await keeper.sign_in_for(MAILBOX)
        await keeper.close()
    [request] = asked
    assert request.url.host == "login.microsoftonline.us"
    assert "scope=https%3A%2F%2Foutlook.office365.us%2F.default" in request.content.decode()
