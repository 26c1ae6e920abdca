"""Lines of a message: what is refused, in which line, however the message is cut into chunks."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.lines import LineError, LineScanner


def trouble_of(message: bytes, size: int = 1 << 20) -> tuple[str, int] | None:
    scanner = LineScanner()
    try:
        for start in range(0, len(message), size):
            scanner.scan(message[start : start + size])
        scanner.finish()
    except LineError as trouble:
        return trouble.kind, trouble.line
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 999, 1 << 20])
@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        (b"", None),
        (b"a\r\n\r\nb\r\n", None),
        (b"no end", None),
        (b"a\r\nb\nc\r\n", ("bare_lf", 2)),
        (b"\n", ("bare_lf", 1)),
        (b"a\r\nb\rc\r\n", ("bare_cr", 2)),
        (b"a\r\n\r\r\n", ("bare_cr", 2)),
        (b"a\r\nb\r", ("bare_cr", 2)),
        (b"a\r\nb\r\nc\0\r\n", ("nul", 3)),
        (b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n", None),
        (b"x" * 998, None),
        (b"a\r\n" + b"x" * 999 + b"\r\n", ("long_line", 2)),
        (b"a\r\n" + b"x" * 5000, ("long_line", 2)),
        (b"a\r\n" * 5000 + b"x" * 999 + b"\r\n", ("long_line", 5001)),
    ],
)
def test_each_line_is_judged(message: bytes, trouble: tuple[str, int] | None, size: int) -> None:
    assert trouble_of(message, size) == trouble


def test_eight_bit_is_seen_and_is_no_trouble() -> None:
    scanner = LineScanner()
    scanner.scan(b"Gr\xc3\xbc\xc3\x9fe\r\n")
    assert scanner.is_eight_bit


def test_it_knows_whether_the_last_line_has_its_end() -> None:
    scanner = LineScanner()
    scanner.scan(b"a\r")
    assert not scanner.ends_with_line_end
    scanner.scan(b"\n")
    assert scanner.ends_with_line_end


pieces = st.lists(st.sampled_from([b"\r\n", b"a", b"\r", b"\n", b"\0", b"x" * 500, b"x" * 998, b"\xff"]), max_size=12)


@given(pieces.map(b"".join), st.integers(1, 1200))
def test_a_message_is_allowed_exactly_when_each_of_its_lines_is(message: bytes, size: int) -> None:
    lines = message.split(b"\r\n")
    is_allowed = not any(re.search(rb"[\r\n\0]", line) or len(line) > 998 for line in lines)
    assert (trouble_of(message, size) is None) == is_allowed


PARTS = st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n", b"\0", b"a", b"b" * 400, b"c" * 998])


def verdict(chunks: list[bytes]) -> tuple[str, int] | None:
    scanner = LineScanner()
    try:
        for chunk in chunks:
            scanner.scan(chunk)
        scanner.finish()
    except LineError as trouble:
        return trouble.kind, trouble.line
    return None


@given(st.lists(PARTS, max_size=15), st.lists(st.integers(0, 3000), max_size=8))
def test_which_trouble_is_told_does_not_depend_on_the_chunks(parts: list[bytes], cuts: list[int]) -> None:
    content = b"".join(parts)
    places = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    assert verdict([content[a:b] for a, b in pairwise(places)]) == verdict([content])
