"""Dot-stuffing: the judge is a plain reading of RFC 5321 4.5.2, line by line, and Python's own reader of data."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.stuffing import BareLineEndError, DotStuffer

PIECES = st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r\n.", b".\r\n", b"\r\n.\r\n", b"text. "])


def stuff(*chunks: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*(stuffer.stuff(chunk) for chunk in chunks), stuffer.end()])


def stuff_by_lines(message: bytes) -> bytes:
    lines = message.split(b"\r\n")
    ends_in_a_line_end = lines[-1] == b""
    lines = [b"." + line if line.startswith(b".") else line for line in lines]
    body = b"\r\n".join(lines) if ends_in_a_line_end else b"\r\n".join(lines) + b"\r\n"
    return body + b".\r\n"


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(0, 40), max_size=8))
def test_it_does_not_matter_how_the_message_is_cut(pieces: list[bytes], cuts: list[int]) -> None:
    message = b"".join(pieces)
    places = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]
    assert stuff(*(message[start:end] for start, end in pairwise(places))) == stuff_by_lines(message)


@given(st.lists(PIECES, max_size=12))
def test_the_end_of_data_stands_at_the_end_only(pieces: list[bytes]) -> None:
    wire = b"\r\n" + stuff(b"".join(pieces))
    assert wire.find(b"\r\n.\r\n") == len(wire) - 5


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
    ],
)
def test_what_leaves(message: bytes, wire: bytes) -> None:
    assert stuff(message) == wire


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([b"a\nb\r\n"], "bare LF"),
        ([b"a\r\n", b"\n.\n"], "bare LF"),
        ([b"a\r.\rb\r\n"], "bare CR"),
        ([b"a\r", b"b\r\n"], "bare CR"),
        ([b"a\r\n.\r"], "bare CR"),
        ([b"\n\r"], "bare LF"),
    ],
)
def test_a_bare_line_end_never_leaves(chunks: list[bytes], reason: str) -> None:
    with pytest.raises(BareLineEndError, match=reason):
        stuff(*chunks)
