"""A person signs in once as the mailbox: to Microsoft and back, checked, matched and pinned.

Nothing is kept unless everything fits, and what fits is kept once. An attempt is bound to who began it, lives for 15
minutes and counts once; a callback that is repeated gets the same result and changes nothing.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import msgspec

from postroom.clock import DAY_US, MINUTE_US, Clock
from postroom.identity.addresses import normal_address
from postroom.identity.client import Client, Form, client_of
from postroom.identity.grants import (
    SignInAttempt,
    begin_sign_in,
    code_form,
    missing_scopes,
    refresh_form,
)
from postroom.identity.id_token import Expected, IdClaims, check_id_token
from postroom.identity.pasted import read_pasted_address
from postroom.identity.profile import Profile, read_profile
from postroom.identity.providers import MICROSOFT, Provider, explain_tenant, provider_of
from postroom.identity.refused import SignInRefused, refuse
from postroom.identity.token_answers import TokenFailure, Tokens, words_of
from postroom.identity.token_endpoint import ask_for_tokens
from postroom.identity.token_trouble import explain_token_failure, read_redirect_error
from postroom.network import Network
from postroom.outcome import FailureClass
from postroom.store.records import MailServerDraft, SignedInUser

__all__ = ["LIFETIME_US", "Begun", "Seat", "SignInRefused", "SignIns", "SignedIn"]

LIFETIME_US = 15 * MINUTE_US
PENDING_LIMIT = 200  # each holds a draft; nobody signs in to so many mailboxes within 15 minutes
REMEMBERED_US = DAY_US
"""So long we know of an attempt that is over, to say what became of it."""

KeepSignIn = Callable[[MailServerDraft], Awaitable[None]]
"""Takes what came of a sign-in to where it belongs; SignInRefused when it has no place there any more."""


class Seat(msgspec.Struct, frozen=True):
    """Who signs in for what: both must be the same at the beginning and at the end."""

    browser: str
    """A session, the cookie of a link, or who calls the API: never shown, never logged."""
    subject: str
    """What is signed in for, such as `draft`."""

    def __repr__(self) -> str:
        return f"Seat(for {self.subject})"


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that was begun."""

    url: str
    """The page of Microsoft that the person opens, in whichever browser."""
    state: str
    redirect_url: str
    expires_at_us: int

    def __repr__(self) -> str:
        return f"Begun(until {self.expires_at_us})"


class SignedIn(msgspec.Struct, frozen=True):
    """What came of it."""

    draft: MailServerDraft
    """With user, refresh token, scopes and time filled in."""
    is_repeated: bool = False
    """It had been told, and kept, before."""


@dataclass
class _Pending:
    """A sign-in under way, or one that has just come to its result."""

    attempt: SignInAttempt
    seat: Seat
    draft: MailServerDraft
    keep: KeepSignIn
    expires_at_us: int
    code: str | None = field(default=None, repr=False)
    result: asyncio.Task[MailServerDraft] | None = None


class SignIns:
    """The sign-ins under way."""

    def __init__(
        self, http: httpx2.AsyncClient, clock: Clock, network: Network, provider: Provider = MICROSOFT
    ) -> None:
        self._http = http
        self._clock = clock
        self._network = network
        self._provider = provider
        self._pending: dict[str, _Pending] = {}
        self._over: dict[str, tuple[Seat, int]] = {}
        """By its state, whose attempt ran out of time and when; no secrets."""

    def begin(
        self,
        draft: MailServerDraft,
        seat: Seat,
        redirect_url: str,
        keep: KeepSignIn,
        *,
        select_account: bool = False,
    ) -> Begun:
        """A new attempt for these settings, whose yield `keep` takes.

        SignInRefused with `settings_do_not_fit` when tenant, client or username are not filled in.
        """
        _check_fields(draft)
        self._forget_old()
        attempt, url = begin_sign_in(
            provider_of(draft.cloud, self._provider),
            client_of(draft),
            redirect_url,
            username=draft.username,
            scopes=self._provider.sign_in_scopes(draft),
            select_account=select_account,
        )
        expires_at_us = self._clock.now_us() + LIFETIME_US
        self._pending[attempt.state] = _Pending(attempt, seat, draft, keep, expires_at_us)
        return Begun(self._network.browser_url(url), attempt.state, redirect_url, expires_at_us)

    def subject_of(self, state: str) -> str:
        """For what the attempt of this state signs in; empty when there is none."""
        pending = self._pending.get(state)
        return pending.seat.subject if pending is not None else ""

    def waiting_until_us(self, seat: Seat) -> int | None:
        """Until when an attempt that was begun here may still be completed; None when there is none."""
        self._forget_old()
        ends = [it.expires_at_us for it in self._pending.values() if it.seat == seat and it.result is None]
        return max(ends, default=None)

    def give_up(self, subject: str) -> None:
        """Whoever has begun for this can end it no more."""
        for state, pending in list(self._pending.items()):
            if pending.seat.subject == subject:
                del self._pending[state]

    async def complete(self, seat: Seat, params: Mapping[str, str]) -> SignedIn:
        """What comes of it, once it is kept.

        `params` is the query with which Microsoft sent the browser back. SignInRefused tells what is wrong.
        """
        pending = self._find(seat, dict(params))
        is_repeated = pending.result is not None and pending.result.done()
        if pending.result is None:
            pending.code = params.get("code")
            pending.result = asyncio.ensure_future(self._finish(pending, dict(params)))
            pending.result.add_done_callback(_note_result)
        # A browser that goes away must not leave a code half redeemed.
        return SignedIn(await asyncio.shield(pending.result), is_repeated)

    async def complete_pasted(self, seat: Seat, text: str, redirect_url: str) -> SignedIn:
        """The same with the address that a person copied from the browser in which they signed in."""
        params = read_pasted_address(text, redirect_url)
        pending = self._pending.get(params["state"])
        if pending is not None and pending.result is not None and pending.result.done() and pending.seat == seat:
            trouble = pending.result.exception()
            if trouble is not None and pending.code == params.get("code"):
                raise _restart("used", f"This address was pasted before, and did not help: {_told(trouble)}") from None
        return await self.complete(seat, params)

    def _find(self, seat: Seat, params: dict[str, str]) -> _Pending:
        self._forget_old()
        state = params.get("state", "")
        pending = self._pending.get(state)
        if pending is None:
            if state in self._over and self._over[state][0] == seat:
                raise _restart("expired", "This sign-in was begun more than 15 minutes ago: it took too long.")
            raise _restart("unknown", "This sign-in is not known any more: it took too long, or we restarted.")
        if not secrets.compare_digest(pending.seat.browser.encode(), seat.browser.encode()):
            raise _restart("elsewhere", "This sign-in was begun in another browser or session.")
        if pending.seat.subject != seat.subject:
            raise _restart("for_another", f"This answer belongs to another sign-in, as {pending.draft.username}.")
        if pending.result is not None and pending.code != params.get("code"):
            raise _restart("used", "This sign-in has already been used.")
        return pending

    def _forget_old(self) -> None:
        now_us = self._clock.now_us()
        for state, it in self._pending.items():
            if it.expires_at_us <= now_us:
                self._over[state] = it.seat, it.expires_at_us
        living = [(state, it) for state, it in self._pending.items() if it.expires_at_us > now_us]
        self._pending = dict(living[-PENDING_LIMIT:])
        remembered = [(state, it) for state, it in self._over.items() if it[1] > now_us - REMEMBERED_US]
        self._over = dict(remembered[-PENDING_LIMIT:])

    async def _finish(self, pending: _Pending, params: dict[str, str]) -> MailServerDraft:
        draft, provider = pending.draft, provider_of(pending.draft.cloud, self._provider)
        if "error" in params:
            raise self._refuse_token(read_redirect_error(params), provider)
        code = params.get("code")
        if not code:
            raise _restart("without_code", "Microsoft sent no code back.")
        client = client_of(draft)
        scopes = provider.sending_scopes(draft)
        sending = await self._ask(client, code_form(pending.attempt, code, " ".join(scopes)))
        self._check_scopes(draft, sending, scopes)
        who = await self._check_id_token(client, sending.id_token, pending.attempt.nonce)
        graph = await self._ask(client, refresh_form(sending.refresh_token, provider.graph_scope))
        profile = await read_profile(self._http, provider, graph.access_token)
        _match_account(draft, who, profile)
        signed_in = msgspec.structs.replace(
            draft,
            user=_user_of(who, profile),
            refresh_token=graph.refresh_token or sending.refresh_token,
            scopes=tuple(dict.fromkeys((*sending.scopes, *graph.scopes))),
            granted_at_us=self._clock.now_us(),
            verified_at_us=None,
        )
        await pending.keep(signed_in)
        return signed_in

    async def _ask(self, client: Client, form: Form) -> Tokens:
        provider = provider_of(client.cloud, self._provider)
        answer = await ask_for_tokens(self._http, provider, client, form, self._clock)
        if isinstance(answer, TokenFailure):
            raise self._refuse_token(answer, provider)
        return answer

    def _refuse_token(self, failure: TokenFailure, provider: Provider) -> SignInRefused:
        outcome = explain_token_failure(failure, self._clock.now_us(), provider.login_host)
        text = f"{outcome.failure.text.rstrip('.')}. Nothing was saved."
        code = outcome.failure.remedy_id if failure.error else outcome.failure.code
        return SignInRefused(msgspec.structs.replace(outcome.failure, text=text, code=code))

    def _check_scopes(self, draft: MailServerDraft, tokens: Tokens, scopes: tuple[str, ...]) -> None:
        missing = missing_scopes(scopes, tokens.scopes)
        if not tokens.refresh_token:
            missing += ("offline_access",)
        if missing:
            granted = ", ".join(name.rpartition("/")[2] for name in tokens.scopes) or "none"
            raise refuse(
                "scope_missing",
                f"Microsoft did not grant {' and '.join(missing)} to the app {draft.client_id} (granted: {granted}). "
                "Add it to the app's API permissions, grant admin consent, and sign in again. Nothing was saved.",
                "permission_missing",
                failure_class=FailureClass.PERMISSION,
                server=provider_of(draft.cloud, self._provider).login_host,
            )

    async def _check_id_token(self, client: Client, id_token: str, nonce: str) -> IdClaims:
        provider = provider_of(client.cloud, self._provider)
        issuer = (await self._fetch(provider.discovery_url(client.tenant))).get("issuer")
        key_set = await self._fetch(provider.keys_url(client.tenant))
        expected = Expected(client.client_id, client.tenant, str(issuer), nonce)
        return check_id_token(id_token, key_set, expected, self._clock.now_us())

    async def _fetch(self, url: str) -> dict[str, object]:
        try:
            response = await self._http.get(url)
            if response.status_code == 200:
                return msgspec.json.decode(response.content, type=dict[str, object])
            trouble = f"it answered {response.status_code}"
        except (httpx2.HTTPError, msgspec.DecodeError, OSError) as error:
            trouble = words_of(error)
        raise refuse(
            "sign_in_unavailable",
            f"Microsoft's sign-in service cannot be asked for its keys: {trouble}. Nothing was saved.",
            "microsoft_unavailable",
            failure_class=FailureClass.NETWORK,
            server=urlsplit(url).hostname,
        )


def _check_fields(draft: MailServerDraft) -> None:
    missing = {
        "Username": not draft.username,
        "Client ID": not draft.client_id,
        "Client Secret": not client_of(draft).can_prove_itself,
    }
    sentence = explain_tenant(draft.tenant)
    named = [name for name, is_missing in missing.items() if is_missing]
    if named:
        sentence = f"Fill in {' and '.join(named)} before signing in."
    if sentence:
        raise refuse("settings_do_not_fit", sentence, "settings_do_not_fit", failure_class=FailureClass.CONFIG)


def _match_account(draft: MailServerDraft, who: IdClaims, profile: Profile) -> None:
    """SignInRefused unless the account is the Username, and the one pinned before if there is one."""
    if profile.object_id.lower() != who.object_id.lower():
        text = "Microsoft named two different accounts for one sign-in. Nothing was saved."
        raise refuse("id_token_refused", text, "id_token_refused")
    username = normal_address(draft.username)
    if username not in profile.addresses:
        raise refuse(
            "account_mismatch",
            f"You signed in as {profile.user_principal_name} but the username is {draft.username}. Nothing was saved.",
            "account_mismatch",
        )
    pinned = draft.user
    # A username that was changed on purpose unpins; the same name with another object behind it does not.
    if pinned is None or (pinned.addresses and username not in pinned.addresses):
        return
    if (pinned.object_id, pinned.tenant_id) != (who.object_id, who.tenant_id):
        raise refuse(
            "account_changed",
            f"{draft.username} is not the account any more that was connected before "
            f"({pinned.user_principal_name}, object {pinned.object_id}): it is now object {who.object_id}. "
            "If that is right, disconnect the mail server first. Nothing was saved.",
            "account_changed",
        )


def _user_of(who: IdClaims, profile: Profile) -> SignedInUser:
    return SignedInUser(
        object_id=who.object_id,
        tenant_id=who.tenant_id,
        user_principal_name=profile.user_principal_name,
        display_name=profile.display_name or who.name,
        mail=profile.mail,
        addresses=profile.addresses,
    )


def _told(trouble: BaseException) -> str:
    return str(trouble).removesuffix(" Nothing was saved.").removesuffix(" Start it again.")


def settings_changed() -> SignInRefused:
    """For a KeepSignIn that finds its place changed."""
    return _restart("settings_changed", "The settings were changed during the sign-in, so it was not kept.")


def _restart(why: str, text: str) -> SignInRefused:
    return refuse(f"sign_in_{why}", f"{text} Start it again. Nothing was saved.", "sign_in_restart")


def _note_result(result: "asyncio.Task[MailServerDraft]") -> None:
    # Whoever waited may be gone; the result is kept for a repeated callback, and its error is not lost news.
    if not result.cancelled():
        result.exception()
