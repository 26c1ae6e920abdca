"""What BDAT announces."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.bdat import BdatChunk, parse_bdat
from postroom.wire.commands import CommandError


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("1000", BdatChunk(1000, False)),
        ("0 LAST", BdatChunk(0, True)),
        ("86 last", BdatChunk(86, True)),
        ("18446744073709551615", BdatChunk(2**64 - 1, False)),
    ],
)
def test_a_chunk_is_read(argument: str, wanted: BdatChunk) -> None:
    assert parse_bdat(argument) == wanted


@pytest.mark.parametrize("argument", ["", "LAST", "-1", "+1", "1e3", "0x10", "10 LAST LAST", "10 NOW", "1" * 21, "١"])
def test_anything_else_is_refused(argument: str) -> None:
    with pytest.raises(CommandError, match="Write BDAT and the chunk's size") as caught:
        parse_bdat(argument)
    assert (caught.value.code, caught.value.enhanced) == (501, "5.5.4")


@given(st.text(max_size=40) | st.from_regex(r"[0-9]{0,25} *(LAST|last)? *.?", fullmatch=True))
def test_no_argument_makes_it_fall(argument: str) -> None:
    with contextlib.suppress(CommandError):
        assert 0 <= parse_bdat(argument).size_bytes < 10**20
