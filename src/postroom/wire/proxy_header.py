"""The PROXY protocol, versions 1 and 2: a load balancer says who the client is, before anything else.

By HAProxy's specification "The PROXY protocol", revision 2020/03/05.
"""

import ipaddress
import re

import msgspec

V1_LIMIT_BYTES = 107
"""The longest line of version 1, with its CRLF, as the specification counts it."""

V2_LIMIT_BYTES = 2048
"""Of the extras behind the addresses: more than any load balancer sends, and little to hold for a stranger."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES = 16
_V1 = re.compile(rb"PROXY (?:TCP([46]) (\S{1,45}) (\S{1,45}) (\d{1,5}) (\d{1,5})|UNKNOWN[^\r\n]*)\r\n")
_LOCAL, _PROXIED = 0, 1
_INET, _INET6 = 1, 2
_ADDRESS_BYTES = {_INET: 12, _INET6: 36}


class ProxyHeaderError(ValueError):
    """What came is no PROXY header; the text is half a sentence."""


class ProxyHeader(msgspec.Struct, frozen=True):
    """Who the client is, as its proxy says."""

    source_address: str | None
    """None when the proxy speaks for itself, or does not know."""
    length_bytes: int
    """How much of what came was the header."""


def read_proxy_header(content: bytes) -> ProxyHeader | None:
    """The header at the beginning of what a proxy sent; None while more of it must come. ProxyHeaderError."""
    if content.startswith(_V2_START[: len(content)]):
        return _read_v2(content)
    if content.startswith(_V1_START[: len(content)]):
        return _read_v1(content)
    raise ProxyHeaderError("the connection does not begin with a PROXY header")


def _read_v1(content: bytes) -> ProxyHeader | None:
    end = content.find(b"\n", 0, V1_LIMIT_BYTES)
    if end < 0:
        if len(content) >= V1_LIMIT_BYTES:
            raise ProxyHeaderError(f"the PROXY line has more than {V1_LIMIT_BYTES} bytes")
        return None
    found = _V1.fullmatch(content, 0, end + 1)
    if found is None:
        raise ProxyHeaderError("the PROXY line is not written as the protocol asks")
    if found[1] is None:
        return ProxyHeader(None, end + 1)
    return ProxyHeader(_parse_address(found[2].decode("ascii", "replace"), int(found[1])), end + 1)


def _parse_address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyHeaderError("the PROXY line names no address of a client") from None
    if address.version != version:
        raise ProxyHeaderError("the PROXY line names an address of another family")
    return _plain(address)


def _read_v2(content: bytes) -> ProxyHeader | None:
    if len(content) < _V2_HEAD_BYTES:
        return None
    version, command = divmod(content[12], 16)
    family, length = content[13] >> 4, int.from_bytes(content[14:16], "big")
    if version != 2 or command not in (_LOCAL, _PROXIED):
        raise ProxyHeaderError("the PROXY header has an unknown version or command")
    if length > V2_LIMIT_BYTES:
        raise ProxyHeaderError(f"the PROXY header has more than {V2_LIMIT_BYTES} bytes")
    end = _V2_HEAD_BYTES + length
    if len(content) < end:
        return None
    if command == _LOCAL or family not in _ADDRESS_BYTES:
        return ProxyHeader(None, end)
    if length < _ADDRESS_BYTES[family]:
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    packed = content[_V2_HEAD_BYTES : _V2_HEAD_BYTES + (4 if family == _INET else 16)]
    return ProxyHeader(_plain(ipaddress.ip_address(packed)), end)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """IPv4 in IPv6's clothes is IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
