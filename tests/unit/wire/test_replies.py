"""Replies from bytes: however they are cut up, and with a bound on what is no reply at all."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.replies import (
    MAX_REPLY_BYTES,
    MAX_REPLY_LINES,
    Reply,
    ReplyError,
    ReplyReader,
    make_reply,
    parse_reply,
)

EHLO = (
    b"250-SY5P282CA0097.outlook.office365.com Hello [203.0.113.5]\r\n"
    b"250-SIZE 157286400\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n"
)
TWO_REPLIES = EHLO + b"550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [tag.example]\r\n"


def read_all(*chunks: bytes) -> list[Reply]:
    reader = ReplyReader()
    found = []
    for chunk in chunks:
        reader.feed(chunk)
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    assert reader.is_empty
    return found


def test_a_reply_of_one_line() -> None:
    assert read_all(b"250 2.1.0 Sender OK\r\n") == [Reply(250, ("Sender OK",), "2.1.0")]


def test_a_reply_of_several_lines_ends_with_the_line_that_has_a_space() -> None:
    ehlo, refusal = read_all(TWO_REPLIES)
    assert ehlo.lines[1:] == ("SIZE 157286400", "PIPELINING", "SMTPUTF8")
    assert (refusal.code, refusal.enhanced) == (550, "5.4.1")
    assert refusal.words.startswith("5.4.1 Recipient address rejected")


@given(st.lists(st.integers(0, len(TWO_REPLIES)), max_size=12))
def test_it_does_not_matter_how_the_bytes_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(TWO_REPLIES)]
    chunks = [TWO_REPLIES[start:end] for start, end in pairwise(places)]
    assert read_all(*chunks) == read_all(TWO_REPLIES)


def test_the_enhanced_code_of_each_line_is_taken_off() -> None:
    reply = parse_reply(
        "535-5.7.8 Username and Password not accepted. For more information, go to\r\n"
        "535 5.7.8  https://support.google.com/mail/?p=BadCredentials - gsmtp"
    )
    assert reply.enhanced == "5.7.8"
    assert reply.text == (
        "Username and Password not accepted. For more information, go to "
        "https://support.google.com/mail/?p=BadCredentials - gsmtp"
    )


@pytest.mark.parametrize("line", [b"250\r\n", b"250 \r\n", b"250\n"])
def test_a_reply_without_words(line: bytes) -> None:
    assert read_all(line) == [Reply(250, ("",))]


def test_str_is_the_reply_on_one_line() -> None:
    assert str(make_reply(550, ["5.7.1 No", "5.7.1 way"])) == "550 5.7.1 No way"


def test_control_characters_do_not_reach_logs_and_terminals() -> None:
    (reply,) = read_all(b"250 2.0.0 \x1b[31mred\x00\r\n")
    assert reply.text == "\ufffd[31mred\ufffd"


def test_words_in_another_encoding_are_kept_readable() -> None:
    assert read_all(b"550 5.1.1 Unbekannter Empf\xe4nger\r\n")[0].text == "Unbekannter Empf\ufffdnger"


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 too low\r\n",
        b"650 too high\r\n",
        b"\xff\xfe\x00\n",
        b"250+x\r\n",
    ],
)
def test_what_is_no_reply_is_an_error(garbage: bytes) -> None:
    with pytest.raises(ReplyError, match="no SMTP reply"):
        read_all(garbage)


def test_a_refusal_that_ends_like_an_acceptance_is_an_error() -> None:
    with pytest.raises(ReplyError, match="begin with 550 and 250"):
        read_all(b"550-no\r\n250 yes\r\n")


def test_a_reply_with_endless_lines_is_an_error_in_time() -> None:
    reader = ReplyReader()
    reader.feed(b"250-x\r\n" * (MAX_REPLY_LINES + 1))
    with pytest.raises(ReplyError, match="512 lines"):
        reader.next_reply()


def test_a_line_without_end_is_an_error_in_time() -> None:
    reader = ReplyReader()
    reader.feed(b"2" * (MAX_REPLY_BYTES + 1))
    assert reader.is_full
    with pytest.raises(ReplyError, match="longer than 64 KiB"):
        reader.next_reply()


def test_long_lines_add_up_to_the_bound_of_one_reply() -> None:
    reader = ReplyReader()
    reader.feed((b"250-" + b"x" * 4000 + b"\r\n") * 17)
    with pytest.raises(ReplyError, match="longer than 64 KiB"):
        reader.next_reply()


def test_the_bound_is_of_each_reply_not_of_all() -> None:
    assert len(read_all(*[b"250 " + b"x" * 4000 + b"\r\n"] * 40)) == 40


def test_a_text_with_two_replies_is_not_one() -> None:
    with pytest.raises(ReplyError, match="not exactly one reply"):
        parse_reply("250 ok\r\n250 ok")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reply_or_an_error(octets: bytes) -> None:
    reader = ReplyReader()
    reader.feed(octets)
    with contextlib.suppress(ReplyError):
        while (reply := reader.next_reply()) is not None:
            assert 200 <= reply.code < 600
