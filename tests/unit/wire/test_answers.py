"""Replies as bytes."""

from postroom.wire.answers import format_answer, format_lines, plain_text


def test_a_reply_is_one_line_with_its_enhanced_code() -> None:
    assert format_answer(250, "2.0.0", "OK") == b"250 2.0.0 OK\r\n"


def test_an_empty_challenge_keeps_its_blank() -> None:
    assert format_lines(334, [""]) == b"334 \r\n"


def test_a_long_sentence_becomes_lines_of_at_most_512_bytes() -> None:
    reply = format_answer(550, "5.7.1", "word " * 200 + "x" * 600)
    lines = reply.split(b"\r\n")[:-1]
    assert max(len(line) + 2 for line in lines) <= 512
    assert [line[:10] for line in lines[:-1]] == [b"550-5.7.1 "] * (len(lines) - 1)
    assert lines[-1].startswith(b"550 5.7.1 ")


def test_words_from_outside_cannot_end_a_line() -> None:
    assert format_answer(535, "5.7.8", "user\r\n250 OK\x1b[2J") == b"535 5.7.8 user??250 OK?[2J\r\n"


def test_letters_beyond_ascii_are_spelled_without_their_marks() -> None:
    assert plain_text("“Büro” – 用") == '"Buro" - ?'
