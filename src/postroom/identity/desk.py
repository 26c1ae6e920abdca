"""What the TokenKeeper remembers of one mailbox: its access tokens, its trouble, and how often it asked.

Pure: every method is given the time.
"""

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from postroom.clock import HOUR_US, MICROSECONDS, MINUTE_US
from postroom.errors import SignInTroubleError
from postroom.identity.token_answers import Tokens
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater
from postroom.store.records import AccessToken, Grant, RenewalLease

MARGIN_US = 5 * MINUTE_US
"""A token that ends within this time is renewed before it is handed out."""
USABLE_US = MINUTE_US // 2
"""When nothing newer can be had, a token is handed out as long as this is left of it."""
FIRST_WAIT_US = 5 * MICROSECONDS
LONGEST_WAIT_US = 5 * MINUTE_US
STOPPED_WAIT_US = 5 * MICROSECONDS
"""All who ask at the same time share one refusal; a person's remedy is felt at once nevertheless."""
CALLS_A_MINUTE = 10
"""Per mailbox, whatever happens."""


class Resource(StrEnum):
    """What an access token is for."""

    SMTP = "smtp"
    GRAPH = "graph"
    """To read who signed in."""
    GRAPH_MAIL = "graph mail"
    """To send by Graph."""


class Wish(msgspec.Struct, frozen=True):
    """Which token is asked for."""

    resource: Resource
    refuse_token: str | None = None
    """One that the mail server did not accept."""
    ahead_us: int = 0
    """It must live for longer than this."""


@dataclass
class Access:
    """An access token, and whether anybody asked for it since it was got."""

    token: str
    expires_at_us: int
    margin_us: int
    grant_key: str
    fence: int
    """Of the lease under which it was got: the greatest is the newest."""
    is_used: bool = False

    def __repr__(self) -> str:
        return f"Access(until {self.expires_at_us})"


@dataclass
class Trouble:
    """Why a grant is left alone until `until_us`, unless it changes."""

    outcome: Stopped | TryLater
    until_us: int
    secrets_key: bytes
    failures: int = 1


@dataclass
class Desk:
    """One mailbox."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    access: dict[Resource, Access] = field(default_factory=dict)
    trouble: dict[Resource, Trouble] = field(default_factory=dict)
    calls_us: deque[int] = field(default_factory=lambda: deque(maxlen=CALLS_A_MINUTE))

    def adopt(self, grant: Grant) -> None:
        """Take what another keeper left with the grant, or this one before a restart, where it is newer."""
        for kept in grant.access_tokens:
            held = self.access.get(Resource(kept.resource))
            if kept.grant_key == grant_key(grant) and (held is None or held.fence < kept.fence):
                is_used = held is not None and held.is_used
                self.access[Resource(kept.resource)] = _access_of(kept, is_used=is_used)

    def find_ready(self, grant: Grant, wish: Wish, now_us: int) -> Access | None:
        """The token that can be handed out as it is, whoever got it."""
        self.adopt(grant)
        access = self._find(grant, wish.resource, wish.refuse_token)
        if access is None:
            return None
        return access if access.expires_at_us - now_us > max(access.margin_us, wish.ahead_us) else None

    def find_usable(self, grant: Grant, resource: Resource, now_us: int, refuse_token: str | None) -> Access | None:
        """The token of before, when it lives on within its margin."""
        access = self._find(grant, resource, refuse_token)
        return access if access is not None and access.expires_at_us - now_us > USABLE_US else None

    def find_due(self, grant: Grant, now_us: int, ahead_us: int) -> list[Resource]:
        """The resources whose token was used, and ends soon."""
        key = grant_key(grant)
        return [
            resource
            for resource, it in self.access.items()
            if it.is_used and it.grant_key == key and it.expires_at_us - now_us <= max(ahead_us, it.margin_us)
        ]

    def check_may_ask(self, grant: Grant, resource: Resource, now_us: int) -> None:
        """SignInTroubleError when the answer is known already, or when we have asked often enough."""
        if not grant.can_ask:
            raise SignInTroubleError(not_signed_in())
        # A clock that was set back must not make us wait for ever: hence both ends of the intervals.
        trouble = self.trouble.get(resource)
        is_fresh = trouble is not None and 0 < trouble.until_us - now_us <= HOUR_US
        if trouble is not None and is_fresh and trouble.secrets_key == _secrets_key(grant):
            raise SignInTroubleError(trouble.outcome)
        if len(self.calls_us) == CALLS_A_MINUTE and 0 <= now_us - self.calls_us[0] < MINUTE_US:
            raise SignInTroubleError(_asked_too_often(self.calls_us[0] + MINUTE_US))

    def take_token(self, resource: Resource, token: AccessToken) -> Access:
        """A new token, and an end to trouble."""
        access = _access_of(token, is_used=False)
        self.access[resource] = access
        self.trouble.pop(resource, None)
        return access

    def note_trouble(
        self, grant: Grant, resource: Resource, outcome: Stopped | TryLater, now_us: int
    ) -> Stopped | TryLater:
        """Remember it, so that nobody asks again too soon; a wait without its time gets one that doubles."""
        before, key = self.trouble.get(resource), _secrets_key(grant)
        failures = before.failures + 1 if before is not None and before.secrets_key == key else 1
        until_us = now_us + STOPPED_WAIT_US
        if isinstance(outcome, TryLater):
            wait_us = min(FIRST_WAIT_US << min(failures - 1, 10), LONGEST_WAIT_US)
            until_us = max(outcome.until_us or 0, now_us + wait_us)
            outcome = msgspec.structs.replace(outcome, until_us=until_us)
        self.trouble[resource] = Trouble(outcome, until_us, key, failures)
        return outcome

    def _find(self, grant: Grant, resource: Resource, refuse_token: str | None) -> Access | None:
        access = self.access.get(resource)
        if access is None or access.token == refuse_token or access.grant_key != grant_key(grant):
            return None
        return access


def make_access_token(
    grant: Grant, resource: Resource, tokens: Tokens, lease: RenewalLease, now_us: int
) -> AccessToken:
    """As it is kept for everybody who sends."""
    return AccessToken(resource.value, tokens.access_token, now_us, tokens.expires_at_us, grant_key(grant), lease.fence)


def beside(grant: Grant, token: AccessToken, now_us: int) -> tuple[AccessToken, ...]:
    """A new token, and those of other resources that live on."""
    others = [
        it
        for it in grant.access_tokens
        if it.resource != token.resource and it.grant_key == token.grant_key and it.expires_at_us > now_us
    ]
    return (*others, token)


def _access_of(token: AccessToken, *, is_used: bool) -> Access:
    # A token that lives shorter than the margin is used for the first half of its life.
    margin_us = min(MARGIN_US, (token.expires_at_us - token.got_at_us) // 2)
    return Access(token.token, token.expires_at_us, margin_us, token.grant_key, token.fence, is_used)


def grant_key(grant: Grant) -> str:
    """Changes when somebody else signs in, or the same person anew: tokens got before are then not used."""
    user = grant.user
    parts = (
        grant.tenant,
        grant.client_id,
        grant.username,
        grant.address,
        grant.granted_at_us,
        grant.grant_type,
        grant.cloud,
        (user.object_id, user.tenant_id) if user else None,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def not_signed_in() -> Stopped:
    text = "Nobody has signed in for this mailbox yet."
    return Stopped(Failure(FailureClass.IDENTITY, "not_signed_in", text, "not_set_up"), StopCause.NOT_SET_UP)


def _secrets_key(grant: Grant) -> bytes:
    """Changes with anything that could cure a refusal, and when a person says that it is cured."""
    parts = (grant.client_secret, grant.certificate, grant.refresh_token, grant.revision)
    return hashlib.sha256((grant_key(grant) + repr(parts)).encode()).digest()


def renewed_elsewhere() -> TryLater:
    text = "Another part of Postroom is renewing this sign-in: what it gets is used as soon as it is there."
    return TryLater(Failure(FailureClass.LOCAL, "sign_in_renewed_elsewhere", text, "microsoft_unavailable"))


def _asked_too_often(until_us: int) -> TryLater:
    text = f"The sign-in was renewed {CALLS_A_MINUTE} times within a minute; we wait before asking Microsoft again."
    return TryLater(Failure(FailureClass.LOCAL, "sign_in_paced", text, "token_not_accepted"), until_us)
