"""Who is here: the session's cookie, the cookie of a visit before signing in, and a brake on guessing."""

import secrets
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from postroom.clock import MICROSECONDS, Clock
from postroom.store.records import Session

SESSION_COOKIE = "postroom_session"
LINK_COOKIE = "postroom_link"
"""Whoever opened a link to sign in to Microsoft for somebody else."""
VISIT_COOKIE = "postroom_visit"
"""Holds the form token of people who have not signed in yet."""


def session_token(request: Request, is_secure: bool) -> str:
    return request.cookies.get(_name(SESSION_COOKIE, is_secure), "")


def give_session(response: Response, token: str, session: Session, now_us: int, is_secure: bool) -> None:
    """Lax, because Microsoft's sign-in returns here by a link from elsewhere."""
    response.set_cookie(
        _name(SESSION_COOKIE, is_secure),
        token,
        max_age=max(0, (session.expires_at_us - now_us) // MICROSECONDS),
        httponly=True,
        samesite="lax",
        secure=is_secure,
    )


def take_session(response: Response, is_secure: bool) -> None:
    response.delete_cookie(_name(SESSION_COOKIE, is_secure), secure=is_secure, httponly=True, samesite="lax")


def visit_token(request: Request, is_secure: bool) -> str:
    """The visitor's form token, a new one when the browser has none."""
    return request.cookies.get(_name(VISIT_COOKIE, is_secure)) or secrets.token_urlsafe(24)


def give_visit(response: Response, token: str, is_secure: bool) -> None:
    response.set_cookie(_name(VISIT_COOKIE, is_secure), token, httponly=True, samesite="strict", secure=is_secure)


def link_cookie(request: Request, is_secure: bool) -> tuple[str, str]:
    """The token of a colleague's link, and what this browser alone knows; both empty when it opened none."""
    token, _, own = request.cookies.get(_name(LINK_COOKIE, is_secure), "").partition(".")
    return token, own


def give_link(response: Response, token: str, is_secure: bool) -> None:
    """Lax, because Microsoft's sign-in returns here by a link from elsewhere; with a secret of this browser's own."""
    value = f"{token}.{secrets.token_urlsafe(24)}"
    response.set_cookie(
        _name(LINK_COOKIE, is_secure), value, max_age=86_400, httponly=True, samesite="lax", secure=is_secure
    )


def _name(name: str, is_secure: bool) -> str:
    """The prefix makes browsers refuse a cookie that a neighbouring host tries to plant."""
    return f"__Host-{name}" if is_secure else name


@dataclass
class _Failures:
    count: int = 0
    last_us: int = 0


@dataclass
class Brake:
    """Slows whoever guesses: after three failures each further one doubles the wait, up to five minutes."""

    clock: Clock
    free_failures: int = 3
    longest_wait_seconds: int = 300
    forget_after_seconds: int = 1800
    size_limit: int = 10_000
    _by_key: dict[tuple[str, str], _Failures] = field(default_factory=dict)

    def wait_seconds(self, address: str, email: str) -> int:
        """How long this address must wait before it may try this e-mail again; 0 means now."""
        failures = self._by_key.get((address, email.casefold()))
        if failures is None or failures.count < self.free_failures:
            return 0
        pause = min(self.longest_wait_seconds, 1 << min(failures.count - self.free_failures, 20))
        now_us = self.clock.now_us()
        failures.last_us = min(failures.last_us, now_us)  # a clock that was set back locks nobody out
        remaining_us = failures.last_us + pause * MICROSECONDS - now_us
        return max(0, -(-remaining_us // MICROSECONDS))

    def note_failure(self, address: str, email: str) -> None:
        self._forget_old()
        failures = self._by_key.setdefault((address, email.casefold()), _Failures())
        failures.count += 1
        failures.last_us = self.clock.now_us()

    def note_success(self, address: str, email: str) -> None:
        self._by_key.pop((address, email.casefold()), None)

    def _forget_old(self) -> None:
        """Bounded, and never emptied at once: whoever guesses could otherwise push out their own failures."""
        if len(self._by_key) < self.size_limit:
            return
        oldest_us = self.clock.now_us() - self.forget_after_seconds * MICROSECONDS
        self._by_key = {key: failures for key, failures in self._by_key.items() if failures.last_us > oldest_us}
        while len(self._by_key) >= self.size_limit:
            del self._by_key[min(self._by_key, key=lambda key: self._by_key[key].last_us)]
