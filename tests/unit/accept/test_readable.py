"""Subjects as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.accept.readable import DISPLAY_LIMIT_BYTES, readable_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?UTF-8?q?Gr=C3=BC=C3=9Fe_aus?= Bonn", "Grüße aus Bonn"),
        (b"=?iso-8859-1?Q?Gr=FC=DFe?=", "Grüße"),
        (b"=?utf-8?q?a?=  =?utf-8?q?b?= c", "ab c"),
        (b"=?utf-8*en?q?a?=", "a"),
        ("Grüße".encode(), "Grüße"),
        (b"Gr\xfc\xdfe", "Grüße"),
        (b"=?zlib?B?eJw=?=", "=?zlib?B?eJw=?="),
        (b"=?rot13?q?abc?=", "=?rot13?q?abc?="),
        (b"=?utf-8?B?a?=", "=?utf-8?B?a?="),
        (b"=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        (b"=?utf-8?q?a=0D=0Ab=1B[2J?=", "a  b [2J"),
        (b"x" * 5000, "x" * DISPLAY_LIMIT_BYTES),
        ("ü".encode() * 3000, "ü" * (DISPLAY_LIMIT_BYTES // 2)),
    ],
)
def test_a_value_is_decoded_for_display(value: bytes, text: str) -> None:
    assert readable_text(value) == text


@given(st.binary(max_size=60) | st.builds(lambda a, b: b"=?" + a + b"?q?" + b + b"?=", st.binary(), st.binary()))
def test_it_never_fails_and_shows_no_control_character(value: bytes) -> None:
    assert readable_text(value).isprintable()
