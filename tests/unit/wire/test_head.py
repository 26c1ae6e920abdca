"""Where a head ends, and its fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.head import FIELD_LIMIT, HeadError, find_head_end, read_head


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"\r\nbody", 2),
        (b"A: b\r\n\r\n", 8),
        (b"A: b\r\n", None),
        (b"A: b\r\n\r", None),
        (b"A: b\n\nbody", None),
    ],
)
def test_a_head_ends_at_its_empty_line(content: bytes, end: int | None) -> None:
    assert find_head_end(content) == end


@given(st.integers(0, 8))
def test_the_search_goes_on_where_it_stopped(searched: int) -> None:
    assert find_head_end(b"A: b\r\n\r\nbody", searched) == 8 or searched > 7


def test_fields_keep_their_folds_and_their_places() -> None:
    content = b"Subject: one\r\n two\r\n\tthree\r\nBCC : a@b.example\r\nEmpty:\r\n\r\n"
    head = read_head(content)
    assert [field.name for field in head.fields] == [b"subject", b"bcc", b"empty"]
    assert [content[field.start : field.end] for field in head.fields] == [
        b"Subject: one\r\n two\r\n\tthree\r\n",
        b"BCC : a@b.example\r\n",
        b"Empty:\r\n",
    ]
    assert head.value(head.fields[0]) == b"one two\tthree"
    assert head.value(head.fields[1]) == b"a@b.example"
    assert head.value(head.fields[2]) == b""


@pytest.mark.parametrize("content", [b"", b"\r\n"])
def test_a_head_may_be_empty(content: bytes) -> None:
    assert read_head(content).fields == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"Hello, this is the text\r\n", 'line 1 is no field such as "Subject: Hello": "Hello, this is the text"'),
        (b"A: b\r\nDear all,\r\n\r\n", "line 2 is no field"),
        (b" folded: first\r\n\r\n", "line 1 is no field"),
        (b"From user Mon Jan 1 10:00:00 2026\r\n\r\n", "line 1 is no field"),
        (b"S\xc3\xbcbject: x\r\n\r\n", "line 1 is no field"),
        (b"A:\r\n" * (FIELD_LIMIT + 1), f"more than {FIELD_LIMIT} fields"),
    ],
)
def test_what_is_no_field_is_named(content: bytes, reason: str) -> None:
    with pytest.raises(HeadError, match=reason):
        read_head(content)
