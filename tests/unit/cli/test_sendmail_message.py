"""A message on standard input, as it is made ready for the wire."""

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.cli import sendmail_message
from postroom.cli.sendmail_ending import SendmailError
from postroom.cli.sendmail_message import Message, read_message


def read(content: bytes, *, ends_at_dot: bool = False) -> Message:
    return read_message(io.BytesIO(content), ends_at_dot=ends_at_dot)


def content_of(content: bytes, *, ends_at_dot: bool = False) -> bytes:
    return b"".join(read(content, ends_at_dot=ends_at_dot).chunks())


@pytest.mark.parametrize(
    ("given_content", "kept"),
    [
        (b"Subject: a\n\nb\n", b"Subject: a\r\n\r\nb\r\n"),
        (b"Subject: a\r\n\r\nb\r\n", b"Subject: a\r\n\r\nb\r\n"),
        (b"Subject: a\r\n\nb\nc\r\n", b"Subject: a\r\n\r\nb\r\nc\r\n"),  # PHP: header CR LF, body LF
        (b"Subject: a\n\nb", b"Subject: a\r\n\r\nb\r\n"),
        (b"Subject: a", b"Subject: a\r\n"),
        (b"\nonly a body\n", b"\r\nonly a body\r\n"),
        (b"", b""),
        (b"disk full\n", b"\r\ndisk full\r\n"),
        (b"Subject: a\nno field\n", b"Subject: a\r\n\r\nno field\r\n"),
        (b" begins with a blank\n", b"\r\n begins with a blank\r\n"),
        (b"From root Mon Nov 23 05:12:40\nSubject: a\n\nb\n", b"Subject: a\r\n\r\nb\r\n"),
        (b">From root Mon Nov 23\nSubject: a\n\nFrom here\n", b"Subject: a\r\n\r\nFrom here\r\n"),
        (b"Subject: a\n\n\x00\xff\n", b"Subject: a\r\n\r\n\x00\xff\r\n"),
        (b"Subject: a\n\nb\rc\n", b"Subject: a\r\n\r\nb\rc\r\n"),  # a bare CR is the server's to judge
        (b"Subject: a\n\nb\r", b"Subject: a\r\n\r\nb\r\n"),
    ],
)
def test_lines_end_with_cr_lf_and_the_header_ends_with_an_empty_line(given_content: bytes, kept: bytes) -> None:
    assert content_of(given_content) == kept
    assert read(given_content).size_bytes == len(kept)


@pytest.mark.parametrize(
    ("given_content", "kept"),
    [
        (b"a: b\n\nc\n.\nnever\n", b"a: b\r\n\r\nc\r\n"),
        (b"a: b\n\nc\r\n.\r\nnever\r\n", b"a: b\r\n\r\nc\r\n"),
        (b"a: b\n.\nnever\n", b"a: b\r\n"),
        (b".\nnever\n", b""),
        (b"a: b\n\n..\n.x\n .\n", b"a: b\r\n\r\n..\r\n.x\r\n .\r\n"),
        (b"a: b\n\nc\n.", b"a: b\r\n\r\nc\r\n"),
    ],
)
def test_a_dot_alone_ends_the_message_unless_dots_are_ignored(given_content: bytes, kept: bytes) -> None:
    assert content_of(given_content, ends_at_dot=True) == kept


def test_a_dot_is_a_line_like_any_other_when_dots_are_ignored() -> None:
    assert content_of(b"a: b\n\nc\n.\nd\n") == b"a: b\r\n\r\nc\r\n.\r\nd\r\n"


def test_a_dot_where_a_long_line_was_cut_ends_nothing() -> None:
    line = b"x" * sendmail_message.CHUNK_BYTES + b".\n"
    assert content_of(b"a: b\n\n" + line + b"end\n", ends_at_dot=True).endswith(b"x.\r\nend\r\n")


def test_fields_are_unfolded_and_named_in_small_letters() -> None:
    found = read(b"To: a@x.example,\n\tb@x.example\nSUBJECT : gr\xc3\xbc\xc3\x9fe\nX:\n\nTo: c@x.example\n").fields
    assert found == (("to", "a@x.example,\tb@x.example"), ("subject", "grüße"), ("x", ""))


def test_a_field_that_is_longer_than_a_piece_is_one_field() -> None:
    value = b"a" * (sendmail_message.CHUNK_BYTES + 10)
    [(name, found)] = read(b"To: " + value + b"\n\nbody\n").fields
    assert (name, len(found)) == ("to", len(value))


def test_eight_bit_content_is_noticed() -> None:
    assert read(b"a: b\n\n\xc3\xa9\n").is_eight_bit
    assert not read(b"a: b\n\ne\n").is_eight_bit


def test_a_large_message_is_kept_on_the_disk_and_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendmail_message, "MEMORY_LIMIT_BYTES", 100_000)
    body = b"0123456789abcdef\n" * 20_000
    message = read(b"a: b\n\n" + body)
    assert not isinstance(message.file, io.BytesIO)
    assert b"".join(message.chunks()) == b"a: b\r\n\r\n" + body.replace(b"\n", b"\r\n")
    message.file.close()


def test_a_program_that_never_stops_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendmail_message, "INPUT_LIMIT_BYTES", 1000)
    with pytest.raises(SendmailError) as caught:
        read(b"a: b\n\n" + b"yes\n" * 1000)
    assert caught.value.exit_code == os.EX_DATAERR


def test_input_that_cannot_be_read_is_told() -> None:
    class Broken(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(SendmailError, match="cannot be read: Input/output error") as caught:
        read_message(Broken(), ends_at_dot=True)
    assert caught.value.exit_code == os.EX_NOINPUT


pieces = st.lists(st.sampled_from([b"a", b": ", b"\n", b"\r\n", b"\r", b".", b"From ", b" ", b"\x00"]), max_size=30)


@given(pieces, st.booleans())
def test_whatever_comes_every_line_feed_follows_a_cr(parts: list[bytes], ends_at_dot: bool) -> None:
    kept = content_of(b"".join(parts), ends_at_dot=ends_at_dot)
    assert kept.count(b"\n") == kept.count(b"\r\n")
    assert not kept or kept.endswith(b"\r\n")


@given(pieces)
def test_a_body_comes_through_as_it_is_but_for_its_line_ends(parts: list[bytes]) -> None:
    body = b"".join(parts)
    kept = content_of(b"a: b\n\n" + body)
    assert kept.removeprefix(b"a: b\r\n\r\n").replace(b"\r\n", b"\n").rstrip(b"\r\n") == body.replace(
        b"\r\n", b"\n"
    ).rstrip(b"\r\n")
