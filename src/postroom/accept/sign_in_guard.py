"""Slows guessing: the longer, the more sign-ins from one address have failed lately."""

import ipaddress
from collections import OrderedDict

ADDRESSES_REMEMBERED = 10_000
FORGET_SECONDS = 900.0
_DOUBLINGS_LIMIT = 20


class SignInGuard:
    """Counts failures by address; `now` is seconds of any clock that only goes forward."""

    def __init__(self, delay_seconds: float, limit_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self._limit_seconds = limit_seconds
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def note_failure(self, address: str, now: float) -> float:
        """How many seconds to wait with the answer."""
        network = network_of(address)
        count, last = self._failures.pop(network, (0, now))
        count = 0 if now - last > FORGET_SECONDS else count
        self._failures[network] = (count + 1, now)
        if len(self._failures) > ADDRESSES_REMEMBERED:
            self._failures.popitem(last=False)
        return float(min(self._delay_seconds * 2 ** min(count, _DOUBLINGS_LIMIT), self._limit_seconds))


def network_of(address: str) -> str:
    """What one client can choose its address from: an IPv4 address, or a /64 of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
