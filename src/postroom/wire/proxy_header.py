"""The PROXY protocol, versions 1 and 2: a load balancer says who the client is, before anything else.

By HAProxy's specification "The PROXY protocol", revision 2020/03/05. What differs from it by a byte is an error: the
address decides who the client is. Ports and the destination are checked, and not kept.
"""

import ipaddress
import re

import msgspec

V1_LIMIT_BYTES = 107
"""The longest line of version 1, with its CRLF, as the specification counts it."""

V2_LIMIT_BYTES = 2048
"""Of what follows the 16 bytes: the specification wants a header smaller than one segment of TCP (536 bytes or more);
some balancers add what they know of TLS. This is more than they send, and little to hold."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD_BYTES = 16
_ADDRESS = rb"([0-9A-Fa-f.:]{2,45})"
_PORT = rb"(0|[1-9][0-9]{0,4})"
_V1 = re.compile(rb"PROXY (?:TCP([46]) %b %b %b %b|UNKNOWN(?: [^\r\n]*)?)\r\n" % (_ADDRESS, _ADDRESS, _PORT, _PORT))
_PORT_LIMIT = 65_535
_VERSION = 2
_LOCAL, _PROXIED = 0, 1
_TCP_OVER_IPV4, _TCP_OVER_IPV6 = 0x11, 0x21
_ADDRESSES_BYTES = {_TCP_OVER_IPV4: 12, _TCP_OVER_IPV6: 36}
"""Of both ends with their ports."""
_LAST_FAMILY, _LAST_TRANSPORT = 3, 2
"""A Unix socket, a datagram: the last that version 2 knows."""


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
    version, *texts = [text.decode("ascii") if text else "" for text in found.groups()]
    if not version:
        return ProxyHeader(None, end + 1)
    source, _ = [_parse_address(text, int(version)) for text in texts[:2]]
    if any(int(port) > _PORT_LIMIT for port in texts[2:]):
        raise ProxyHeaderError("the PROXY line names a port that does not exist")
    return ProxyHeader(source, end + 1)


def _parse_address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyHeaderError("the PROXY line names something that is no address") from None
    if address.version != version:
        raise ProxyHeaderError("the PROXY line names an address of another family")
    return _plain(address)


def _read_v2(content: bytes) -> ProxyHeader | None:
    if len(content) < _V2_HEAD_BYTES:
        return None
    version, command = divmod(content[12], 16)
    family, transport = divmod(content[13], 16)
    length = int.from_bytes(content[14:16], "big")
    if version != _VERSION or command not in (_LOCAL, _PROXIED):
        raise ProxyHeaderError("the PROXY header has an unknown version or command")
    if command == _PROXIED and (family > _LAST_FAMILY or transport > _LAST_TRANSPORT):
        raise ProxyHeaderError("the PROXY header has an unknown family or transport")
    if length > V2_LIMIT_BYTES:
        raise ProxyHeaderError(f"the PROXY header has more than {V2_LIMIT_BYTES} bytes")
    end = _V2_HEAD_BYTES + length
    if len(content) < end:
        return None
    needed = _ADDRESSES_BYTES.get(content[13])
    if command == _LOCAL or needed is None:
        return ProxyHeader(None, end)
    if length < needed:
        raise ProxyHeaderError("the PROXY header is too short for its addresses")
    source_bytes = 4 if content[13] == _TCP_OVER_IPV4 else 16
    packed = content[_V2_HEAD_BYTES : _V2_HEAD_BYTES + source_bytes]
    return ProxyHeader(_plain(ipaddress.ip_address(packed)), end)


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """IPv4 in IPv6's clothes is IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)
