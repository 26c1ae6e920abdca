"""Only CR LF dot CR LF ends a message, however it is cut into chunks."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroom.wire.data import DataReader


def read_at_once(data: bytes) -> tuple[bytes, bool, bytes]:
    reader = DataReader()
    content = reader.feed(data)
    return content, reader.is_complete, reader.rest


def test_a_message_ends_at_its_dot_and_the_next_commands_are_kept() -> None:
    assert read_at_once(b"a\r\nb\r\n.\r\nQUIT\r\n") == (b"a\r\nb\r\n", True, b"QUIT\r\n")


def test_an_empty_message_ends_at_once() -> None:
    assert read_at_once(b".\r\n") == (b"", True, b"")


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
        (b"a\r\n..\r\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\nb.c\r\n.\r\n", b"a.\r\nb.c\r\n"),
    ],
)
def test_the_dot_before_a_line_is_taken_back(sent: bytes, meant: bytes) -> None:
    assert read_at_once(sent) == (meant, True, b"")


@pytest.mark.parametrize(
    "false_end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\n\n.\r\n",
        b"\r\n\x00.\r\n",
        b"\r\n.\x00\r\n",
    ],
)
def test_a_false_end_ends_nothing(false_end: bytes) -> None:
    _, is_complete, _ = read_at_once(b"a" + false_end + b"MAIL FROM:<evil@example.com>\r\n")
    assert not is_complete


def test_a_bare_line_feed_is_passed_on_for_the_checks_to_see() -> None:
    content, is_complete, _ = read_at_once(b"a\n.\nb\r\n.\r\n")
    assert (content, is_complete) == (b"a\n.\nb\r\n", True)


def reference(data: bytes) -> tuple[bytes, bool, bytes]:
    """RFC 5321 4.5.2 line by line, as slow as it is plain."""
    lines = data.split(b"\r\n")
    content = b""
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            return content, True, b"\r\n".join(lines[number + 1 :])
        content += line.removeprefix(b".") + b"\r\n"
    return content, False, lines[-1]


pieces = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"QUIT"]), max_size=20)


@given(pieces.map(b"".join), st.lists(st.integers(1, 7), max_size=30))
@example(b".\r\n", [1, 1, 1])
@example(b"\r\n.\r\n.\r\n", [2, 2, 2, 2])
def test_chunks_do_not_matter(data: bytes, sizes: list[int]) -> None:
    reader = DataReader()
    content, rest = b"", data
    while rest and not reader.is_complete:
        size = sizes.pop() if sizes else 3
        content += reader.feed(rest[:size])
        rest = rest[size:]
    expected, is_complete, behind = reference(data)
    assert reader.is_complete == is_complete
    if is_complete:
        assert (content, reader.rest + rest) == (expected, behind)
    else:
        assert (expected + behind.removeprefix(b".")).startswith(content)
