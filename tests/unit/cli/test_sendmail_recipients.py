"""Who gets a message, from arguments and from a header."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.cli.sendmail_ending import SendmailError
from postroom.cli.sendmail_recipients import read_list, recipients_of


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("root", ["root"]),
        ("anna@contoso.example", ["anna@contoso.example"]),
        ("Anna <a@x.example>, b@y.example", ["a@x.example", "b@y.example"]),
        ('"Meyer, Anna" <a@x.example>', ["a@x.example"]),
        ("=?utf-8?Q?M=C3=BCller,_Anna?= <a@x.example>", ["a@x.example"]),
        ("=?utf-8?B?TcO8bGxlcg==?= <a@x.example>, root", ["a@x.example", "root"]),
        ("root (Cron, Daemon), b@y.example (b (c) \\) d)", ["root", "b@y.example"]),
        ("team: a@x.example, b@y.example; , c@z.example", ["a@x.example", "b@y.example", "c@z.example"]),
        ("undisclosed-recipients:;", []),
        ("<@relay.example,@other.example:a@x.example>", ["a@x.example"]),
        ("a@[IPv6:2001:db8::1], <b@[192.0.2.1]>", ["a@[IPv6:2001:db8::1]", "b@[192.0.2.1]"]),
        ('"a b"@x.example', ['"a b"@x.example']),
        ("a @ x . example", ["a@x.example"]),
        ("änne@x.example", ["änne@x.example"]),
        ("a=b@x.example", ["a=b@x.example"]),
        (" , ,", []),
        ("<>", []),
    ],
)
def test_addresses_are_found_as_people_and_programs_write_them(text: str, addresses: list[str]) -> None:
    assert read_list(text, "To") == addresses


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Anna Meyer", "is no address"),
        ("a@x.example b@y.example", "is no address"),
        ("<a@x.example> <b@y.example>", "without a comma"),
        ("<a@x.example", "angle bracket is not closed"),
        ("a@x.example (b", "comment is not closed"),
        ("a@x.example) b", "closed that was not opened"),
        ('"a@x.example', "quotation mark is not closed"),
        ("=?utf-8?Q?a=40x.example?=", "is no address"),
        ("a\udcff@x.example", "is no address"),
        ("<a b@x.example>", "is no address"),
        ("a@x.example> SIZE=3", "is no address"),
    ],
)
def test_where_it_is_not_clear_who_is_meant_nobody_gets_it(text: str, part: str) -> None:
    with pytest.raises(SendmailError) as caught:
        read_list(text, "To")
    assert caught.value.exit_code == os.EX_DATAERR
    assert part in str(caught.value)


def test_to_cc_and_bcc_are_read_and_nothing_else() -> None:
    fields = [
        ("from", "me@x.example"),
        ("to", "a@x.example"),
        ("reply-to", "b@x.example"),
        ("cc", "c@x.example, d@x.example"),
        ("to", "e@x.example"),
        ("bcc", "f@x.example"),
    ]
    assert recipients_of(fields) == [f"{name}@x.example" for name in ("a", "c", "d", "e", "f")]


def test_what_is_sent_on_goes_only_to_whom_the_newest_block_names() -> None:
    fields = [
        ("resent-to", "new@x.example"),
        ("resent-from", "me@x.example"),
        ("resent-bcc", "hidden@x.example"),
        ("resent-from", "earlier@x.example"),
        ("resent-to", "old@x.example"),
        ("resent-cc", "old-too@x.example"),
        ("to", "first@x.example"),
    ]
    assert recipients_of(fields) == ["new@x.example", "hidden@x.example"]


def test_a_message_that_was_sent_on_to_nobody_names_nobody() -> None:
    assert recipients_of([("resent-from", "me@x.example"), ("to", "first@x.example")]) == []


local_parts = st.from_regex(r"[a-z][a-z0-9_+.\-]{0,8}[a-z0-9]", fullmatch=True).filter(lambda text: ".." not in text)
addresses = st.builds("{}@{}.example".format, local_parts, st.from_regex(r"[a-z]{1,8}", fullmatch=True))
names = st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters='"\\\x7f'), max_size=12)


@given(st.lists(st.tuples(names, addresses, st.booleans()), max_size=6))
def test_names_in_quotes_never_hide_or_add_an_address(entries: list[tuple[str, str, bool]]) -> None:
    written = ", ".join(f'"{name}" <{address}>' if bracketed else address for name, address, bracketed in entries)
    assert read_list(written, "To") == [address for _, address, _ in entries]


@given(st.text(alphabet=st.characters(max_codepoint=0x7F), max_size=60))
def test_no_address_can_break_out_of_the_command_that_it_goes_into(text: str) -> None:
    try:
        found = read_list(text, "To")
    except SendmailError:
        return
    for address in found:
        outside_quotes = "".join(address.split('"')[::2])
        assert not set(address) & {"\r", "\n", "\0"}
        assert not set(outside_quotes) & set("<> \t")
