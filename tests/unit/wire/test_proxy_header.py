"""The PROXY protocol, as load balancers speak it."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.proxy_header import ProxyHeader, ProxyHeaderError, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int, family: int, addresses: bytes, extras: bytes = b"") -> bytes:
    body = addresses + extras
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


def packed(source: str) -> bytes:
    address = ipaddress.ip_address(source).packed
    return address + bytes(len(address)) + struct.pack(">HH", 40_000, 25)


@pytest.mark.parametrize(
    ("content", "source"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 25\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN whatever stands here\r\n", None),
        (v2(1, 0x11, packed("192.0.2.7")), "192.0.2.7"),
        (v2(1, 0x21, packed("2001:db8::7")), "2001:db8::7"),
        (v2(1, 0x21, packed("::ffff:192.0.2.7"), b"\x04\x00\x03abc"), "192.0.2.7"),
        (v2(0, 0x00, b""), None),
        (v2(1, 0x31, bytes(216)), None),
    ],
)
def test_a_header_is_read_and_what_follows_is_left(content: bytes, source: str | None) -> None:
    assert read_proxy_header(content + b"EHLO x\r\n") == ProxyHeader(source, len(content))
    for length in range(len(content)):
        assert read_proxy_header(content[:length]) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"EHLO scanner\r\n", "does not begin with a PROXY header"),
        (b"PROXY TCP4 192.0.2.7\r\n", "not written as the protocol asks"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n", "not written as the protocol asks"),
        (b"PROXY TCP4 scanner 198.51.100.1 40000 25\r\n", "names no address"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n", "another family"),
        (b"PROXY TCP4 " + b"1" * 200, "more than 107 bytes"),
        (SIGNATURE + b"\x31\x11\x00\x00", "unknown version or command"),
        (SIGNATURE + b"\x22\x11\x00\x00", "unknown version or command"),
        (SIGNATURE + b"\x21\x11\xff\xff", "more than 2048 bytes"),
        (v2(1, 0x11, b"short"), "too short for its addresses"),
    ],
)
def test_anything_else_is_an_error(content: bytes, reason: str) -> None:
    with pytest.raises(ProxyHeaderError, match=reason):
        read_proxy_header(content)


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda rest: SIGNATURE + rest))
def test_nothing_makes_it_fall_or_read_beyond(content: bytes) -> None:
    try:
        header = read_proxy_header(content)
    except ProxyHeaderError:
        return
    assert header is None or 0 < header.length_bytes <= len(content)
