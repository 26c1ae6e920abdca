"""A person signs in once as the mailbox: to Microsoft and back, checked, matched and pinned.

Nothing is kept unless everything fits. An attempt is bound to the browser's session, lives for 15 minutes and counts
once; a callback that is repeated gets the same result.
"""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
import msgspec

from postroom.clock import MINUTE_US, Clock
from postroom.identity.addresses import normal_address
from postroom.identity.grants import (
    Client,
    Form,
    SignInAttempt,
    begin_sign_in,
    code_form,
    missing_scopes,
    refresh_form,
)
from postroom.identity.id_token import Expected, IdClaims, check_id_token
from postroom.identity.profile import Profile, read_profile
from postroom.identity.providers import MICROSOFT, Provider, explain_tenant
from postroom.identity.refused import SignInRefused, refuse
from postroom.identity.token_answers import TokenFailure, Tokens, words_of
from postroom.identity.token_endpoint import post_form
from postroom.identity.token_trouble import explain_token_failure, read_redirect_error
from postroom.network import Network
from postroom.outcome import FailureClass
from postroom.store.records import MailServerDraft, SignedInUser

__all__ = ["LIFETIME_US", "SignInRefused", "SignIns"]

LIFETIME_US = 15 * MINUTE_US
PENDING_LIMIT = 200  # each holds a draft; nobody signs in to so many mailboxes within 15 minutes


@dataclass
class _Pending:
    """A sign-in under way, or one that has just come to its result."""

    attempt: SignInAttempt
    session_id: str
    draft: MailServerDraft
    expires_at_us: int
    params: dict[str, str] | None = None
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

    def start(self, draft: MailServerDraft, session_id: str, redirect_url: str, select_account: bool = False) -> str:
        """The address to send this session's browser to.

        SignInRefused with `settings_do_not_fit` when tenant, client or username are not filled in.
        """
        _check_fields(draft)
        self._forget_old()
        attempt, url = begin_sign_in(
            self._provider,
            _client_of(draft),
            redirect_url,
            username=draft.username,
            select_account=select_account,
            email_type=draft.email_type,
            takes_large_mail=draft.takes_large_mail,
        )
        expires_at_us = self._clock.now_us() + LIFETIME_US
        self._pending[attempt.state] = _Pending(attempt, session_id, draft, expires_at_us)
        return self._network.browser_url(url)

    async def complete(self, session_id: str, params: Mapping[str, str]) -> MailServerDraft:
        """The draft that was started with, signed in: user, refresh token, scopes and time filled in.

        `params` is the query with which Microsoft sent the browser back. SignInRefused tells what is wrong.
        """
        pending = self._find(session_id, dict(params))
        if pending.result is None:
            pending.params = dict(params)
            pending.result = asyncio.ensure_future(self._finish(pending, pending.params))
            pending.result.add_done_callback(_note_result)
        # A browser that goes away must not leave a code half redeemed.
        return await asyncio.shield(pending.result)

    def _find(self, session_id: str, params: dict[str, str]) -> _Pending:
        self._forget_old()
        pending = self._pending.get(params.get("state", ""))
        if pending is None:
            raise _restart("This sign-in is not known any more: it took too long, or Postroom was restarted.")
        if not secrets.compare_digest(pending.session_id.encode(), session_id.encode()):
            raise _restart("This sign-in was begun in another browser or session.")
        if pending.params is not None and pending.params.get("code") != params.get("code"):
            raise _restart("This sign-in has already been used.")
        return pending

    def _forget_old(self) -> None:
        now_us = self._clock.now_us()
        living = [(state, it) for state, it in self._pending.items() if it.expires_at_us > now_us]
        self._pending = dict(living[-PENDING_LIMIT:])

    async def _finish(self, pending: _Pending, params: dict[str, str]) -> MailServerDraft:
        draft, provider = pending.draft, self._provider
        if "error" in params:
            raise self._refuse_token(read_redirect_error(params))
        code = params.get("code")
        if not code:
            raise _restart("Microsoft sent no code back.")
        client = _client_of(draft)
        scopes = provider.sending_scopes(draft.email_type, takes_large_mail=draft.takes_large_mail)
        sending = await self._ask(client, code_form(client, pending.attempt, code, " ".join(scopes)))
        self._check_scopes(draft, sending, scopes)
        who = await self._check_id_token(client, sending.id_token, pending.attempt.nonce)
        graph = await self._ask(client, refresh_form(client, sending.refresh_token, provider.graph_scope))
        profile = await read_profile(self._http, provider, graph.access_token)
        _match_account(draft, who, profile)
        return msgspec.structs.replace(
            draft,
            user=_user_of(who, profile),
            refresh_token=graph.refresh_token or sending.refresh_token,
            scopes=tuple(dict.fromkeys((*sending.scopes, *graph.scopes))),
            granted_at_us=self._clock.now_us(),
            verified_at_us=None,
        )

    async def _ask(self, client: Client, form: Form) -> Tokens:
        answer = await post_form(self._http, self._provider.token_url(client.tenant), form, self._clock)
        if isinstance(answer, TokenFailure):
            raise self._refuse_token(answer)
        return answer

    def _refuse_token(self, failure: TokenFailure) -> SignInRefused:
        outcome = explain_token_failure(failure, self._clock.now_us(), self._provider.login_host)
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
                server=self._provider.login_host,
            )

    async def _check_id_token(self, client: Client, id_token: str, nonce: str) -> IdClaims:
        issuer = (await self._fetch(self._provider.discovery_url(client.tenant))).get("issuer")
        key_set = await self._fetch(self._provider.keys_url(client.tenant))
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
            server=self._provider.login_host,
        )


def _client_of(draft: MailServerDraft) -> Client:
    return Client(draft.tenant, draft.client_id, draft.client_secret)


def _check_fields(draft: MailServerDraft) -> None:
    missing = {
        "Username": not draft.username,
        "Client ID": not draft.client_id,
        "Client Secret": not draft.client_secret,
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


def _restart(text: str) -> SignInRefused:
    return refuse("sign_in_restart", f"{text} Start it again; nothing was saved.", "sign_in_restart")


def _note_result(result: "asyncio.Task[MailServerDraft]") -> None:
    # Whoever waited may be gone; the result is kept for a repeated callback, and its error is not lost news.
    if not result.cancelled():
        result.exception()
