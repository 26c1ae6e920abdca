"""Slows guessing, and stops it for a while: by the address that guesses, and by the user name that is guessed.

Who has signed in from an address under a name can go on doing so there: neither a guesser behind the same
translated address nor one elsewhere locks a printer out. Everything is bounded, and forgotten at a restart.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

import msgspec

from postroom.accept.networks import network_of

REMEMBERED = 10_000
"""Addresses, names, and pairs of them; the longest silent is forgotten first."""
_DOUBLINGS_LIMIT = 20
_LOGIN_LENGTH = 254

V = TypeVar("V")


class GuardLimits(msgspec.Struct, frozen=True):
    """Each with its reason."""

    window_seconds: float = 900
    """How long failures are counted together."""
    address_limit: int = 10
    """Failures of one address in the window: a person who mistypes needs fewer, a guesser gets nowhere."""
    login_limit: int = 50
    """Failures under one name, from wherever: more addresses than a person has."""
    ban_seconds: float = 900
    """A guesser then has some 40 tries an hour; a person who mended the password does not wait for a day."""


class _Failures(msgspec.Struct):
    """Of one address, or under one name."""

    began_at: float
    count: int = 0
    banned_until: float = 0


class _Memory(OrderedDict[str, V], Generic[V]):
    """The newest so many."""

    def remember(self, key: str, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        if len(self) > REMEMBERED:
            self.popitem(last=False)


class SignInGuard:
    """`now` is seconds of any clock that only goes forward."""

    def __init__(self, delay_seconds: float, limit_seconds: float, limits: GuardLimits | None = None) -> None:
        """A failed sign-in waits `delay_seconds`, doubled with each more up to `limit_seconds`."""
        self._delay_seconds = delay_seconds
        self._limit_seconds = limit_seconds
        self._limits = limits or GuardLimits()
        self._by_address: _Memory[_Failures] = _Memory()
        self._by_login: _Memory[_Failures] = _Memory()
        self._by_pair: _Memory[_Failures] = _Memory()
        self._worked: _Memory[bool] = _Memory()
        """Addresses, and addresses with a name, from which a sign-in has worked."""

    def note_failure(self, address: str, login: str, now: float) -> float:
        """How many seconds to wait with the answer."""
        place, name = network_of(address), _name(login)
        by_address = self._count(self._by_address, place, self._limits.address_limit, now)
        by_login = self._count(self._by_login, name, self._limits.login_limit, now)
        self._count(self._by_pair, _pair(place, name), self._limits.address_limit, now)
        # Under one name many addresses may fail once each, as after a change of password: it is slowed later.
        doublings = max(by_address - 1, by_login - self._limits.address_limit, 0)
        return float(min(self._delay_seconds * 2 ** min(doublings, _DOUBLINGS_LIMIT), self._limit_seconds))

    def note_success(self, address: str, login: str) -> None:
        """It vouches for this name at this address. It takes no failure back: a guesser may own one app."""
        place = network_of(address)
        self._worked.remember(place, True)
        self._worked.remember(_pair(place, _name(login)), True)

    def banned_seconds(self, address: str, now: float) -> float:
        """How long it is still refused at once; 0 when it is not, or when a sign-in from there has worked."""
        place = network_of(address)
        return 0 if place in self._worked else self._left(self._by_address, place, now)

    def locked_seconds(self, address: str, login: str, now: float) -> float:
        """How long a sign-in from there under this name is still refused unseen; 0 when it may be tried.

        What has worked there is stopped by its own failures only.
        """
        place, name = network_of(address), _name(login)
        pair = _pair(place, name)
        if pair in self._worked:
            return self._left(self._by_pair, pair, now)
        return max(self._left(self._by_address, place, now), self._left(self._by_login, name, now))

    def _count(self, memory: "_Memory[_Failures]", key: str, limit: int, now: float) -> int:
        found = memory.get(key)
        if found is None or now - found.began_at > self._limits.window_seconds:
            found = _Failures(now)
        found.count += 1
        if found.count >= limit and found.banned_until <= now:
            found.banned_until = now + self._limits.ban_seconds
        memory.remember(key, found)
        return found.count

    def _left(self, memory: "_Memory[_Failures]", key: str, now: float) -> float:
        found = memory.get(key)
        return max(0.0, found.banned_until - now) if found is not None else 0.0


def _name(login: str) -> str:
    """As the store reads it: in any case of letters, with or without a domain."""
    return login[:_LOGIN_LENGTH].strip().casefold().partition("@")[0]


def _pair(place: str, name: str) -> str:
    return f"{place} {name}"
