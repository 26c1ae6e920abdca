"""Addresses in From and Sender: what counts, and what is refused because two readers could differ."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.address_fields import AddressFieldError, read_addresses


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        (b"a@b.example", ("a@b.example",)),
        (b"<a@b.example>", ("a@b.example",)),
        (b"Backup <a@b.example>", ("a@b.example",)),
        (b'"Last, First" <a@b.example>', ("a@b.example",)),
        (b"Last, First <a@b.example>", ("a@b.example",)),
        (b"=?utf-8?q?J=C3=BCrgen?= <a@b.example>", ("a@b.example",)),
        (b"scanner@b.example <a@b.example>", ("a@b.example",)),
        (b"a@b.example (the scanner)", ("a@b.example",)),
        (b"a@b.example (one (two) <x@y.example>)", ("a@b.example",)),
        (b"a@b.example, C <c@d.example>", ("a@b.example", "c@d.example")),
        (b"Team: a@b.example, c@d.example;", ("a@b.example", "c@d.example")),
        (b"Nobody:;", ()),
        (b'"odd name"@b.example', ('"odd name"@b.example',)),
        (b"<@relay.example:a@b.example>", ("a@b.example",)),
        (b"<@one.example, @two.example:a@b.example>", ("a@b.example",)),
        ("Jürgen <jürgen@müller.example>".encode(), ("jürgen@müller.example",)),
        (b"root", ()),
        (b"", ()),
        (b"<>", ()),
        # A quotation mark means nothing in a comment: the second address is one.
        (b'a@b.example, (x ") <evil@y.example> (" z)', ("a@b.example", "evil@y.example")),
    ],
)
def test_every_address_is_found(value: bytes, addresses: tuple[str, ...]) -> None:
    assert read_addresses(value) == addresses


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"A <a@b.example> <c@d.example>", "two addresses in angle brackets"),
        (b"<a@b.example> c@d.example", "after the angle brackets"),
        (b'"(" <a@b.example> ")", c@d.example', "after the angle brackets"),
        (b"<a@b.example", "not closed"),
        (b"<a<c@d.example>@b.example>", "inside angle brackets"),
        (b"a@b.example (comment", "comment is not closed"),
        (b"a@b.example)", "closed that was not opened"),
        (b'"a@b.example', "inside a quotation"),
        (b"a@b.example c@d.example", "beside other words"),
        (b"<evil@y.example:a@b.example>", "a colon stands in an address"),
        (b"<@evil@y.example:a@b.example>", "a colon stands in an address"),
        (b"<@relay.example:evil@y.example:a@b.example>", "a colon stands in an address"),
        (b"\\<evil@y.example\\> <a@b.example>", "a backslash stands outside"),
        (b"evil@y.example <>, <a@b.example>", "before empty angle brackets"),
        (b"x" * 16_385, "longer than 16384 bytes"),
    ],
)
def test_what_cannot_be_read_with_certainty_is_refused(value: bytes, reason: str) -> None:
    with pytest.raises(AddressFieldError, match=reason):
        read_addresses(value)


@given(st.lists(st.sampled_from(['"', "(", ")", "<", ">", ",", ":", ";", "\\", " ", "a@b.c", "x", "é"]), max_size=25))
def test_any_value_is_read_or_refused(marks: list[str]) -> None:
    with suppress(AddressFieldError):
        assert all(read_addresses("".join(marks).encode()))
