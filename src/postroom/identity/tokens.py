"""The TokenKeeper: one place that renews access tokens, for every mailbox, before they expire.

Each mailbox renews one at a time, in all processes over one store: by a lease there (`store/renewals.py`). Who does
not get it takes what the other one leaves. The rotated refresh token is on the disk before the access token that came
with it is used. A sign-in service that is away is asked again with patience, and never costs a mailbox its sign-in.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import httpx2
import msgspec
import structlog

from postroom.clock import DAY_US, MINUTE_US, Clock
from postroom.errors import LeaseLostError, PostroomError, SignInTroubleError, WrongStateError
from postroom.identity.client import client_of
from postroom.identity.desk import (
    Access,
    Desk,
    Resource,
    Wish,
    beside,
    make_access_token,
    not_signed_in,
    renewed_elsewhere,
)
from postroom.identity.grants import app_form, missing_scopes, refresh_form
from postroom.identity.providers import MICROSOFT, Provider, provider_of
from postroom.identity.sign_ins import Bearer, Password, SignIn
from postroom.identity.token_answers import TokenFailure, Tokens, no_answer
from postroom.identity.token_endpoint import ask_for_tokens
from postroom.identity.token_trouble import explain_token_failure
from postroom.message import MailboxState
from postroom.metrics import Metrics
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater
from postroom.store.records import AccessToken, Authentication, EmailType, Grant, Mailbox, RenewalLease

__all__ = ["GrantBook", "Resource", "TokenKeeper"]

Result = TypeVar("Result")

log = structlog.stdlib.get_logger("postroom.identity")

AHEAD_US = 10 * MINUTE_US
"""The background renews this early, so that nobody ever waits for it."""
IDLE_RENEWAL_US = 7 * DAY_US
"""An unused refresh token dies after 90 days (Microsoft Learn, "Refresh tokens"); renewing weekly prevents it."""
ROUND_SECONDS = 60
ASK_SECONDS = 40
"""For one answer: well within the lease."""
LOOK_SECONDS = 0.25
LEASE_PATIENCE_SECONDS = 90
"""A lease runs out after a minute, whoever held it."""

_NEEDS_A_PERSON = frozenset({StopCause.SIGN_IN, StopCause.CREDENTIAL, StopCause.CONFIGURATION, StopCause.NOT_SET_UP})
_PERHAPS_OUTDATED = frozenset({"sign_in_ended", "not_signed_in"})


KeepSecret = Callable[[Grant, str, RenewalLease], Awaitable[None]]
"""Makes a secret that was accepted durable: the grant as it was, the refresh token that came back or nothing, and the
lease under which it was tried."""


class GrantBook(Protocol):
    """Where grants are kept: the store's mailboxes, or a draft."""

    async def open_grant(self, mailbox_id: int) -> Grant:
        """WrongStateError when there is none."""
        ...

    async def take_renewal_lease(self, mailbox_id: int, owner: str) -> RenewalLease | None:
        """None while somebody else renews; a newer one for who has it already. WrongStateError without a grant."""
        ...

    async def free_renewal_lease(self, lease: RenewalLease) -> None: ...

    async def keep_tokens(
        self, lease: RenewalLease, grant: Grant, refresh_token: str, access_tokens: Sequence[AccessToken] = ()
    ) -> None:
        """Durable when it returns, and the lease is over. An empty refresh token leaves the one that is there.

        LeaseLostError when a later renewal has been kept; WrongStateError when the grant is gone or was replaced.
        """
        ...

    async def all(self) -> Sequence[Mailbox]: ...

    async def stop(
        self,
        mailbox_id: int,
        failure: Failure,
        cause: StopCause,
        until_us: int | None,
        granted_at_us: int | None = None,
    ) -> None:
        """Without effect when the grant of `granted_at_us` was replaced meanwhile."""
        ...


class TokenKeeper:
    """Hands out sign-ins that can be used now: a SignInSource.

    It never stops a mailbox because of a caller, whose own settling does; only what `run` finds out in the
    background it stops itself.
    """

    def __init__(
        self,
        book: GrantBook,
        http: httpx2.AsyncClient,
        clock: Clock,
        provider: Provider = MICROSOFT,
        metrics: Metrics | None = None,
    ) -> None:
        self._book = book
        self._http = http
        self._clock = clock
        self._provider = provider
        self._metrics = metrics or Metrics()
        self._owner = secrets.token_hex(6)
        """Two keepers of one process are two owners."""
        self._desks: dict[int, Desk] = {}
        self._renewals: set[asyncio.Task[Any]] = set()

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        """What the mailbox signs in with; see SignInSource."""
        grant = await self._open(mailbox_id)
        if grant.authentication is Authentication.BASIC:
            return Password(grant.username, grant.password)
        token = await self._token(grant, Resource.SMTP, refuse_token)
        return Bearer(grant.address or grant.username, token)

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        """A token that may send by Graph; see GraphSignInSource."""
        grant = await self._open(mailbox_id)
        return Bearer(grant.address or grant.username, await self._token(grant, Resource.GRAPH_MAIL, refuse_token))

    async def access_token(
        self, mailbox_id: int, resource: Resource = Resource.SMTP, *, refuse_token: str | None = None
    ) -> str:
        """An access token that is good for five minutes at least, as far as its life allows.

        SignInTroubleError when there is none to be had.
        """
        return await self._token(await self._open(mailbox_id), resource, refuse_token)

    async def try_secret(self, mailbox_id: int, client_secret: str, keep: KeepSecret) -> Stopped | None:
        """Sign in with another client secret, and have it kept when Microsoft accepts it; nobody else renews meanwhile.

        None: the mailbox can send with it. Stopped: it is accepted and kept, but somebody has to sign in anew.
        SignInTroubleError: it was refused, or nobody answered; nothing was kept.
        """
        trial = asyncio.ensure_future(self._try_secret(mailbox_id, client_secret, keep))
        return await self._shielded(trial)

    def token_ends(self) -> dict[tuple[int, Resource], int]:
        """When each access token that is held ends, by mailbox and resource."""
        return {
            (mailbox_id, resource): access.expires_at_us
            for mailbox_id, desk in self._desks.items()
            for resource, access in desk.access.items()
        }

    async def run(self) -> NoReturn:
        """Renew for ever: in use, ahead of expiry; unused, weekly."""
        while True:
            try:
                await self.renew_due()
            except Exception:  # whoever sends next meets the same, and the rest of the server goes on
                log.exception("renewal_failed_unexpectedly")
            await asyncio.sleep(ROUND_SECONDS)

    async def renew_due(self) -> None:
        """One round of the background's renewals. A store that is away is asked again in the next."""
        try:
            mailboxes = await self._book.all()
        except PostroomError:
            return
        for mailbox in mailboxes:
            if mailbox.authentication is Authentication.OAUTH and not _needs_a_person(mailbox):
                await self._renew_in_background(mailbox.mailbox_id)

    async def close(self) -> None:
        """Wait until no renewal is under way, so that no rotated token is lost."""
        while self._renewals:
            await asyncio.wait(self._renewals)

    async def _renew_in_background(self, mailbox_id: int) -> None:
        grant: Grant | None = None
        try:
            grant = await self._open(mailbox_id)
            for resource in self._due_resources(grant):
                await self._renew_apart(grant, Wish(resource, ahead_us=AHEAD_US))
        except SignInTroubleError as trouble:
            if grant is not None and isinstance(trouble.outcome, Stopped):
                await self._stop(grant, trouble.outcome)

    def _due_resources(self, grant: Grant) -> list[Resource]:
        now_us = self._clock.now_us()
        self._desk(grant).adopt(grant)
        due = self._desk(grant).find_due(grant, now_us, AHEAD_US)
        renewed_at_us = max(grant.renewed_at_us or 0, grant.granted_at_us or 0)
        is_idle = bool(grant.refresh_token) and now_us - renewed_at_us >= IDLE_RENEWAL_US
        return due or ([_sending_resource(grant)] if is_idle else [])

    async def _stop(self, grant: Grant, outcome: Stopped) -> None:
        try:
            await self._book.stop(
                grant.mailbox_id, outcome.failure, outcome.cause, outcome.until_us, grant.granted_at_us
            )
        except PostroomError:
            return  # whoever sends next finds out the same

    async def _open(self, mailbox_id: int) -> Grant:
        try:
            return await self._book.open_grant(mailbox_id)
        except WrongStateError as trouble:
            raise SignInTroubleError(not_signed_in()) from trouble
        except PostroomError as trouble:
            raise SignInTroubleError(_store_trouble(trouble)) from trouble

    async def _token(self, grant: Grant, resource: Resource, refuse_token: str | None) -> str:
        wish = Wish(resource, refuse_token)
        access = self._desk(grant).find_ready(grant, wish, self._clock.now_us())
        if access is None:
            access = await self._renew_apart(grant, wish)
        access.is_used = True
        return access.token

    async def _renew_apart(self, grant: Grant, wish: Wish) -> Access:
        # Whoever asks may be cancelled; the renewal goes on, because its refresh token must not be lost.
        return await self._shielded(asyncio.ensure_future(self._renew(grant, wish)))

    async def _shielded(self, renewal: "asyncio.Task[Result]") -> Result:
        self._renewals.add(renewal)
        renewal.add_done_callback(self._forget_renewal)
        return await asyncio.shield(renewal)

    def _forget_renewal(self, renewal: "asyncio.Task[Any]") -> None:
        self._renewals.discard(renewal)
        if not renewal.cancelled():
            renewal.exception()

    async def _try_secret(self, mailbox_id: int, client_secret: str, keep: KeepSecret) -> Stopped | None:
        grant = await self._open(mailbox_id)
        desk = self._desk(grant)
        async with desk.lock, self._leased(await self._wait_for_lease(mailbox_id)) as lease:
            grant = await self._open(mailbox_id)
            resource = _sending_resource(grant)
            changed = msgspec.structs.replace(grant, client_secret=client_secret)
            desk.check_may_ask(changed, resource, self._clock.now_us())
            answer = await self._ask_once(desk, changed, resource)
            if isinstance(answer, Tokens):
                await self._have_kept(keep, grant, answer.refresh_token, lease)
                token = make_access_token(changed, resource, answer, lease, self._clock.now_us())
                desk.take_token(resource, token)
                return None
            if isinstance(answer, Stopped) and answer.cause is StopCause.SIGN_IN:
                # Entra looks at the app before it looks at the sign-in: an ended sign-in proves the secret, too.
                await self._have_kept(keep, grant, "", lease)
                return answer
            raise SignInTroubleError(answer)

    async def _have_kept(self, keep: KeepSecret, grant: Grant, refresh_token: str, lease: RenewalLease) -> None:
        try:
            await keep(grant, refresh_token, lease)
        except PostroomError as trouble:
            raise SignInTroubleError(_store_trouble(trouble)) from trouble

    async def _renew(self, grant: Grant, wish: Wish) -> Access:
        desk = self._desk(grant)
        async with desk.lock:
            gives_up_at = asyncio.get_running_loop().time() + LEASE_PATIENCE_SECONDS
            while True:
                # Whoever had the lock or the lease before may have done it.
                grant = await self._open(grant.mailbox_id)
                try:
                    access = desk.find_ready(grant, wish, self._clock.now_us())
                    access = access or await self._renew_leased(desk, grant, wish)
                    if access is None and asyncio.get_running_loop().time() > gives_up_at:
                        raise SignInTroubleError(renewed_elsewhere())
                except SignInTroubleError as trouble:
                    access = desk.find_usable(grant, wish.resource, self._clock.now_us(), wish.refuse_token)
                    if access is None or isinstance(trouble.outcome, Stopped):
                        raise
                if access is not None:
                    return access
                await asyncio.sleep(LOOK_SECONDS)

    async def _renew_leased(self, desk: Desk, grant: Grant, wish: Wish) -> Access | None:
        """None while somebody else renews, or when they were faster."""
        desk.check_may_ask(grant, wish.resource, self._clock.now_us())
        lease = await self._take_lease(grant.mailbox_id)
        if lease is None:
            return None
        async with self._leased(lease):
            # Between the reading and the lease somebody may have renewed.
            grant = await self._open(grant.mailbox_id)
            access = desk.find_ready(grant, wish, self._clock.now_us())
            if access is not None:
                return access
            desk.check_may_ask(grant, wish.resource, self._clock.now_us())
            return await self._ask(desk, grant, wish.resource, lease)

    async def _wait_for_lease(self, mailbox_id: int) -> RenewalLease:
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + LEASE_PATIENCE_SECONDS
        while True:
            lease = await self._take_lease(mailbox_id)
            if lease is not None:
                return lease
            if loop.time() > gives_up_at:
                raise SignInTroubleError(renewed_elsewhere())
            await asyncio.sleep(LOOK_SECONDS)

    async def _take_lease(self, mailbox_id: int) -> RenewalLease | None:
        try:
            return await self._book.take_renewal_lease(mailbox_id, self._owner)
        except WrongStateError as trouble:
            raise SignInTroubleError(not_signed_in()) from trouble
        except PostroomError as trouble:
            raise SignInTroubleError(_store_trouble(trouble)) from trouble

    @contextlib.asynccontextmanager
    async def _leased(self, lease: RenewalLease) -> AsyncIterator[RenewalLease]:
        """Free at the end, unless what it yielded was kept; where the store is away it runs out."""
        try:
            yield lease
        finally:
            with contextlib.suppress(PostroomError):
                await self._book.free_renewal_lease(lease)

    async def _ask(self, desk: Desk, grant: Grant, resource: Resource, lease: RenewalLease) -> Access | None:
        """Ask; and before giving up, once more with a grant that was renewed or signed in anew meanwhile.

        None when another renewal, which began later, came first: what it left is used.
        """
        try:
            answer = await self._ask_and_keep(desk, grant, resource, lease)
            if isinstance(answer, Stopped) and answer.failure.code in _PERHAPS_OUTDATED:
                newer = await self._open(grant.mailbox_id)
                if newer.refresh_token and newer.refresh_token != grant.refresh_token:
                    longer = await self._take_lease(grant.mailbox_id)
                    if longer is None:
                        return None
                    async with self._leased(longer):
                        grant, answer = newer, await self._ask_and_keep(desk, newer, resource, longer)
        except LeaseLostError:
            return None
        if isinstance(answer, AccessToken):
            return desk.take_token(resource, answer)
        raise SignInTroubleError(desk.note_trouble(grant, resource, answer, self._clock.now_us()))

    async def _ask_and_keep(
        self, desk: Desk, grant: Grant, resource: Resource, lease: RenewalLease
    ) -> AccessToken | Stopped | TryLater:
        answer = await self._ask_once(desk, grant, resource)
        return await self._keep(grant, resource, answer, lease) if isinstance(answer, Tokens) else answer

    async def _ask_once(self, desk: Desk, grant: Grant, resource: Resource) -> Tokens | Stopped | TryLater:
        desk.calls_us.append(self._clock.now_us())
        provider, client = provider_of(grant.cloud, self._provider), client_of(grant)
        if grant.grant_type.is_app_only:
            form = app_form(provider.app_scope(_email_type_of(resource)))
        else:
            form = refresh_form(grant.refresh_token, " ".join(self._scopes_of(grant, resource)))
        try:
            async with asyncio.timeout(ASK_SECONDS):
                answer = await ask_for_tokens(self._http, provider, client, form, self._clock)
        except TimeoutError as trouble:
            answer = no_answer(trouble)
        if isinstance(answer, TokenFailure):
            explained = explain_token_failure(answer, self._clock.now_us(), provider.login_host)
            self._metrics.oauth_refresh.labels(explained.failure.code).inc()
            return explained
        self._metrics.oauth_refresh.labels("renewed").inc()
        return answer

    async def _keep(
        self, grant: Grant, resource: Resource, answer: Tokens, lease: RenewalLease
    ) -> AccessToken | Stopped | TryLater:
        """Put the rotated refresh token on the disk; an answer that cannot be kept is not used.

        LeaseLostError when a later renewal was kept before it.
        """
        provider = provider_of(grant.cloud, self._provider)
        scope = _scope_of(provider, resource)
        # An app's token without its role may send all the same: Exchange has rights of its own for apps.
        is_person = not grant.grant_type.is_app_only
        is_missing = is_person and bool(answer.scopes) and bool(missing_scopes([scope], answer.scopes))
        token = make_access_token(grant, resource, answer, lease, self._clock.now_us())
        living = () if is_missing else beside(grant, token, self._clock.now_us())
        try:
            # Nothing of an app's rotates.
            await self._book.keep_tokens(lease, grant, answer.refresh_token if is_person else "", living)
        except WrongStateError:
            return not_signed_in()
        except LeaseLostError:
            raise
        except PostroomError as trouble:
            return _store_trouble(trouble)
        return _scope_missing(scope, answer.scopes, provider.login_host) if is_missing else token

    def _scopes_of(self, grant: Grant, resource: Resource) -> tuple[str, ...]:
        """What is asked for: drafts, and other people's mailboxes, too, where a person consented to them."""
        provider = provider_of(grant.cloud, self._provider)
        if resource is not Resource.GRAPH_MAIL:
            return (_scope_of(provider, resource),)
        more = (provider.graph_drafts_scope, provider.graph_shared_mail_scope)
        return (_scope_of(provider, resource), *(scope for scope in more if not missing_scopes([scope], grant.scopes)))

    def _desk(self, grant: Grant) -> Desk:
        return self._desks.setdefault(grant.mailbox_id, Desk())


def _scope_of(provider: Provider, resource: Resource) -> str:
    return {
        Resource.SMTP: provider.smtp_scope,
        Resource.GRAPH: provider.graph_scope,
        Resource.GRAPH_MAIL: provider.graph_mail_scope,
    }[resource]


def _email_type_of(resource: Resource) -> EmailType:
    return EmailType.SMTP if resource is Resource.SMTP else EmailType.GRAPH


def _sending_resource(grant: Grant) -> Resource:
    """What its consent is for: a mailbox that sends by Graph alone was never asked for SMTP."""
    names = {scope.rpartition("/")[2].lower() for scope in grant.scopes}
    return Resource.GRAPH_MAIL if "mail.send" in names and "smtp.send" not in names else Resource.SMTP


def _needs_a_person(mailbox: Mailbox) -> bool:
    if mailbox.state is MailboxState.DISCONNECTED:
        return True
    return mailbox.state is MailboxState.STOPPED and mailbox.cause in _NEEDS_A_PERSON


def _store_trouble(trouble: PostroomError) -> TryLater:
    text = f"The sign-in cannot be read or kept: {trouble}"
    return TryLater(Failure(FailureClass.LOCAL, "store_unavailable", text, "store_unavailable"))


def _scope_missing(scope: str, granted: tuple[str, ...], server: str) -> Stopped:
    text = f"Microsoft's token does not allow {scope.rpartition('/')[2]}; it allows {' '.join(granted)}."
    failure = Failure(FailureClass.PERMISSION, "scope_missing", text, "permission_missing", server=server)
    return Stopped(failure, StopCause.SIGN_IN)
