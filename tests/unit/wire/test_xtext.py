"""How DSN parameters write what has a meaning in a command line."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.xtext import decoded_length, embed_unicode, is_utf8_xtext, is_xtext


@pytest.mark.parametrize("text", ["QQ314159", "a+2Bb", "+20+7E", "rfc822;a\\{b}~!"])
def test_xtext_is_known(text: str) -> None:
    assert is_xtext(text)
    assert is_utf8_xtext(text)


@pytest.mark.parametrize("text", ["", "a b", "a=b", "+", "a+2", "a+2b", "a+GG", "a+0D", "a+7F", "a+FF", "a\n", "a\x7f"])
def test_anything_else_is_none(text: str) -> None:
    assert not is_xtext(text)
    assert not is_utf8_xtext(text)


def test_letters_beyond_ascii_stand_for_themselves_where_they_may() -> None:
    assert is_utf8_xtext("jörg+2B用@b.example")
    assert not is_xtext("jörg@b.example")
    assert not any(is_utf8_xtext(f"j{letter}rg") for letter in "\u0085\u009b\u00a0\u202e\u2028\ud800")


def test_its_length_is_that_of_what_it_stands_for() -> None:
    assert decoded_length("a+2Bb+3D") == 4


def test_unicode_is_embedded_in_ascii() -> None:
    assert embed_unicode("utf-8;jörg+2B用") == "utf-8;j\\x{F6}rg+2B\\x{7528}"


@given(st.text(st.characters(min_codepoint=0x21, exclude_categories=("C", "Z")), min_size=1, max_size=60))
def test_what_is_embedded_can_be_said_and_read_back(letters: str) -> None:
    text = "".join(f"+{ord(letter):02X}" if letter in "+=\\" else letter for letter in letters)
    assert is_utf8_xtext(text)
    said = embed_unicode(text)
    assert is_xtext(said)
    assert re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: chr(int(found[1], 16)), said) == text


@given(st.text())
def test_no_text_makes_it_fall(text: str) -> None:
    assert not is_xtext(text) or (text.isascii() and decoded_length(text) <= len(text))
    assert not is_utf8_xtext(text) or text.isprintable()
    assert embed_unicode(text).isascii()
