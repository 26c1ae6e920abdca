"""Addresses and networks as people write them in settings and forms."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_INSIDE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",  # RFC 3927
        "::1/128",
        "fc00::/7",  # RFC 4193
        "fe80::/10",
    )
)
"""Not 100.64.0.0/10: the other customers of a provider share it (RFC 6598)."""


def parse_network(text: str) -> Network:
    """`10.2.3.14` or `10.2.3.0/24`; ValueError with a sentence."""
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"“{text}” is no address or network; write 10.2.3.14 or 10.2.3.0/24.") from None


def parse_networks(text: str) -> tuple[Network, ...]:
    """Several with blanks or commas between them; ValueError names the one that is none."""
    return tuple(parse_network(part) for part in text.replace(",", " ").split())


def holds(networks: Iterable[Network], address: str) -> bool:
    """Whether one of the networks holds the address; False for what is no address."""
    found = parse_address(address)
    return found is not None and any(found in network for network in networks)


def parse_address(text: str) -> Address | None:
    """Without its zone; IPv4 in IPv6's clothes is IPv4."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def is_loopback(address: str) -> bool:
    found = parse_address(address)
    return found is not None and found.is_loopback


def is_inside(address: str) -> bool:
    """An address that the internet does not route: private, link-local or loopback."""
    return holds(_INSIDE, address)


def is_inside_network(network: Network) -> bool:
    """Whether all of its addresses are."""
    first, last = network.network_address, network.broadcast_address
    return any(first in other and last in other for other in _INSIDE)


def network_of(address: str) -> str:
    """What one client can choose its address from: an IPv4 address, or a /64 of IPv6."""
    found = parse_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found) if found is not None else address
