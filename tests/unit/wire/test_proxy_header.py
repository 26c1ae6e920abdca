"""The PROXY protocol, as load balancers speak it."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.proxy_header import (
    V1_LIMIT_BYTES,
    V2_LIMIT_BYTES,
    ProxyHeader,
    ProxyHeaderError,
    read_proxy_header,
)

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
        (v2(0, 0xFF, b"whatever"), None),
        (v2(1, 0x00, b""), None),
        (v2(1, 0x12, packed("192.0.2.7")), None),
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
        (b"PROXY UNKNOWNS\r\n", "not written as the protocol asks"),
        (b"PROXY TCP4 scanner 198.51.100.1 40000 25\r\n", "not written as the protocol asks"),
        (b"PROXY TCP6 fe80::7%\x1b[2J ::1 40000 25\r\n", "not written as the protocol asks"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 040000 25\r\n", "not written as the protocol asks"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 65536\r\n", "a port that does not exist"),
        (b"PROXY TCP4 300.0.2.7 198.51.100.1 40000 25\r\n", "no address"),
        (b"PROXY TCP4 192.0.2.7 ::1 40000 25\r\n", "another family"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n", "another family"),
        (b"PROXY TCP4 " + b"1" * 200, "more than 107 bytes"),
        (SIGNATURE + b"\x31\x11\x00\x00", "unknown version or command"),
        (SIGNATURE + b"\x22\x11\x00\x00", "unknown version or command"),
        (SIGNATURE + b"\x21\x41\x00\x00", "unknown family or transport"),
        (SIGNATURE + b"\x21\x13\x00\x00", "unknown family or transport"),
        (SIGNATURE + b"\x21\x11\xff\xff", "more than 2048 bytes"),
        (v2(1, 0x11, b"short"), "too short for its addresses"),
    ],
)
def test_anything_else_is_an_error(content: bytes, reason: str) -> None:
    with pytest.raises(ProxyHeaderError, match=reason):
        read_proxy_header(content)


def read_in_pieces(content: bytes, cuts: list[int]) -> ProxyHeader | str | None:
    """What comes of it when more and more of it has come."""
    for end in [*sorted(cuts), len(content)]:
        try:
            header = read_proxy_header(content[:end])
        except ProxyHeaderError as error:
            return str(error)
        if header is not None:
            return header
    return None


V1_LINES = st.from_regex(rb"PROXY (TCP4|TCP6|UNKNOWN)( [0-9a-f.:]{0,20}){0,3}( [0-9]{1,6}){0,3}\r?\n", fullmatch=True)
V2_HEADERS = st.builds(
    lambda head, rest: SIGNATURE + bytes(head) + rest,
    st.tuples(
        st.sampled_from([0x20, 0x21, 0x22, 0x11]), st.integers(0, 255), st.sampled_from([0, 8, 255]), st.integers(0, 60)
    ),
    st.binary(max_size=80),
)


@given(
    st.binary(max_size=300) | st.binary(max_size=40).map(lambda rest: SIGNATURE + rest) | V1_LINES | V2_HEADERS,
    st.lists(st.integers(0, 60), max_size=5),
    st.binary(max_size=200),
)
def test_nothing_makes_it_fall_or_read_beyond_and_pieces_change_nothing(
    content: bytes, cuts: list[int], more: bytes
) -> None:
    whole = read_in_pieces(content, [])
    assert read_in_pieces(content, cuts) == whole
    if isinstance(whole, ProxyHeader):
        assert 0 < whole.length_bytes <= len(content)
        assert whole.source_address is None or ipaddress.ip_address(whole.source_address)
        assert read_in_pieces(content + more, []) == whole
        assert read_in_pieces(content[: whole.length_bytes], []) == whole


@given(st.ip_addresses(), st.integers(0, 65_535), st.binary(max_size=60))
def test_both_forms_say_the_same(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, extras: bytes
) -> None:
    line = f"PROXY TCP{address.version} {address} {address} {port} 25\r\n".encode()
    code = 0x11 if address.version == 4 else 0x21
    ends = address.packed * 2 + struct.pack(">HH", port, 25)
    first, second = read_proxy_header(line), read_proxy_header(v2(1, code, ends, extras))
    assert first is not None
    assert second is not None
    assert first.source_address == second.source_address
    mapped = getattr(address, "ipv4_mapped", None)
    assert first.source_address == str(mapped or address)


def test_what_never_ends_is_an_error_before_it_is_much() -> None:
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(b"PROXY UNKNOWN ".ljust(V1_LIMIT_BYTES, b"x"))
    assert read_proxy_header(b"PROXY UNKNOWN ".ljust(V1_LIMIT_BYTES - 1, b"x")) is None
    longest = v2(0, 0, bytes(V2_LIMIT_BYTES))
    assert read_proxy_header(longest[:-1]) is None
    assert read_proxy_header(longest) == ProxyHeader(None, len(longest))
