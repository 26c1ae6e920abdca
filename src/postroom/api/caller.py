"""Who calls the API, and what the key allows."""

import asyncio
import base64
import binascii
from dataclasses import dataclass

import structlog
from starlette.requests import Request

from postroom.accept.networks import holds, parse_networks
from postroom.accept.sign_in_guard import SignInGuard
from postroom.api.problems import ApiError
from postroom.clock import Clock
from postroom.store import Store
from postroom.store.api_keys import KEY_START, SHOWN_LETTERS
from postroom.store.records import SCOPES, App

log = structlog.stdlib.get_logger("postroom.api")

ADMINISTRATOR = "administrator on this machine"
_DELAY_LIMIT_SECONDS = 2.0
_SHORTEST_REFUSAL_SECONDS = 0.1
"""No wrong key is answered sooner: whether a user name exists must not be told by the clock."""


@dataclass(frozen=True)
class Caller:
    """One request's caller."""

    scopes: frozenset[str]
    who: str
    """As audit and timeline name them."""
    address: str
    app: App | None = None
    """None for the administrator, who sees the mail of all apps."""

    def require(self, scope: str) -> None:
        if scope and scope not in self.scopes:
            raise ApiError(
                "insufficient_scope",
                f"The key does not have the scope {scope}.",
                f"Make a key with the scope {scope} under Apps & devices, and use that one.",
            )

    def may_see(self, app_id: int) -> bool:
        return self.app is None or self.app.app_id == app_id


def administrator() -> Caller:
    """Behind the socket in the data folder: whoever can open it could read the database as well."""
    return Caller(frozenset(SCOPES), ADMINISTRATOR, "")


class Doorkeeper:
    """Knows callers by their key, or by an app's user name and password."""

    def __init__(self, store: Store, clock: Clock, guard: SignInGuard) -> None:
        self._store = store
        self._clock = clock
        self._guard = guard

    async def recognise(self, request: Request) -> Caller:
        """ApiError 401, 403, or 429 for an address that guesses."""
        address = request.client.host if request.client is not None else ""
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        login, secret = _read_credentials(kind.lower(), value.strip())
        if kind.lower() == "basic":
            _require_same_site(request)
        guessed = _guessed_name(login, secret)
        now = asyncio.get_running_loop().time()
        seconds = self._guard.banned_seconds(address, now) or self._guard.locked_seconds(address, guessed, now)
        if seconds:
            raise ApiError(
                "rate_limit_exceeded",
                "Too many wrong keys came from here.",
                "Wait, then use the right key.",
                retry_after_seconds=int(seconds) + 1,
            )
        caller = await self._find(login, secret, address)
        if caller is None:
            raise await self._refused(address, guessed, now)
        self._guard.note_success(address, guessed)
        return caller

    async def _find(self, login: str, secret: str, address: str) -> Caller | None:
        if secret.startswith(KEY_START):
            found = await self._store.api_keys.authenticate(secret)
            if found is None:
                return None
            key, app = found
            if key.expires_at_us is not None and key.expires_at_us <= self._clock.now_us():
                raise ApiError("expired_api_key", "This key has expired.", "Make a new one under Apps & devices.")
            await self._store.api_keys.note_use(key.api_key_id, address)
            scopes, name = frozenset(key.scopes), f"{app.name}, key {key.name or key.shown_start}"
            _require_place(app, address)
        else:
            signed_in = await self._store.apps.authenticate(login, secret) if login else None
            # A password may be guessed: who tries from elsewhere does not learn that it was the right one.
            if signed_in is None or not _is_its_place(signed_in, address):
                return None
            app, scopes, name = signed_in, frozenset({"send"}), signed_in.name
        await self._store.apps.note_use(app.app_id, address, "", "HTTP")
        return Caller(scopes, name, address, app)

    async def _refused(self, address: str, guessed: str, began: float) -> ApiError:
        now = asyncio.get_running_loop().time()
        delay = self._guard.note_failure(address, guessed, now)
        log.warning("api key refused", peer=address, login=guessed[:64])
        await asyncio.sleep(max(min(delay, _DELAY_LIMIT_SECONDS), began + _SHORTEST_REFUSAL_SECONDS - now))
        return ApiError(
            "invalid_api_key",
            "This key is not known; it may have been revoked, or its app switched off.",
            "Make a key under Apps & devices > the app > API keys.",
        )


def _guessed_name(login: str, secret: str) -> str:
    """Under which name failures are counted: all keys under one would lock out every key for a guesser's sake."""
    return login or secret[: len(KEY_START) + SHOWN_LETTERS]


def _read_credentials(kind: str, value: str) -> tuple[str, str]:
    """A user name, empty for a key, and what proves it."""
    if kind == "bearer" and value:
        return "", value
    if kind == "basic" and value:
        try:
            login, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            login, secret = "", ""
        # Programs that know Basic only put a key on either side, and some insist on anything on the other.
        for key in (login, secret):
            if key.startswith(KEY_START):
                return "", key
        return login, secret
    raise ApiError(
        "missing_api_key",
        "The request has no key.",
        "Send the header Authorization: Bearer pr_live_...; keys are made under Apps & devices.",
    )


def _is_its_place(app: App, address: str) -> bool:
    return not app.addresses or holds(parse_networks(" ".join(app.addresses)), address)


def _require_place(app: App, address: str) -> None:
    if not _is_its_place(app, address):
        raise ApiError(
            "ip_not_allowed",
            f"“{app.name}” may not send from {address}.",
            f"Add the address under Apps & devices > {app.name}.",
        )


def _require_same_site(request: Request) -> None:
    """A browser adds a password that it remembers to what a page from elsewhere asks for; a key it never adds."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise ApiError(
            "cross_site_request",
            "A page from elsewhere may not use the password that a browser remembers.",
            "Send from a program, or with a key in Authorization: Bearer.",
        )
