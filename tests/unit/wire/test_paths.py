"""Addresses and paths, as standards write them and as devices do."""

import pytest

from postroom.wire.paths import AddressError, check_address, split_path


@pytest.mark.parametrize(
    ("text", "path", "rest"),
    [
        ("<a@b.example>", "a@b.example", ""),
        ("  <a@b.example> SIZE=12  BODY=7BIT", "a@b.example", "SIZE=12  BODY=7BIT"),
        ("<>", "", ""),
        ("< a@b.example >", "a@b.example", ""),
        ("a@b.example", "a@b.example", ""),
        (" a@b.example SIZE=5", "a@b.example", "SIZE=5"),
        ('<"a b> c"@d.example> X', '"a b> c"@d.example', "X"),
        ("<@one.example,@two.example:a@b.example>", "a@b.example", ""),
    ],
)
def test_a_path_is_read(text: str, path: str, rest: str) -> None:
    assert split_path(text) == (path, rest)


@pytest.mark.parametrize(
    "text", ["", "   ", "<a@b.example", "<a@b.example>SIZE=1", '<"a@b.example>', "<a<b@c.example>"]
)
def test_what_is_no_path_is_none(text: str) -> None:
    found = split_path(text)
    if found is not None:  # read as a path, it must not pass for an address
        with pytest.raises(AddressError):
            check_address(found[0])


@pytest.mark.parametrize(
    "address",
    [
        "a@b",
        "first.last+tag@mail.example.com",
        "o'neil/x=y@example.com",
        '"two words"@example.com',
        '"a\\"b"@example.com',
        "a@[192.0.2.1]",
        "a@[IPv6:2001:db8::1]",
        "jürgen@müller.example",
        "用户@例え.jp",
        "x" * 100 + "@reply.example.com",
    ],
)
def test_an_address_is_taken(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "not a complete address"),
        ("root", "not a complete address"),
        ("@example.com", "not a complete address"),
        ("a b@example.com", "before the @"),
        ("a..b@example.com", "before the @"),
        (".a@example.com", "before the @"),
        ("a@b@example.com", "before the @"),
        ('"a@example.com', "before the @"),
        ("a@", "after the @"),
        ("a@example..com", "after the @"),
        ("a@-example.com", "after the @"),
        ("a@example.com.", "after the @"),
        ("a@exa mple.com", "after the @"),
        ("a@[300.1.1.1]", "after the @"),
        ("a@[192.0.2.1", "after the @"),
        ("a@" + "x" * 64 + ".com", "after the @"),
        ("a\r\nRCPT TO:<b@c.d>@example.com", "characters that cannot be read"),
        ("a\0@example.com", "characters that cannot be read"),
        ("x" * 250 + "@example.com", "longer than 254 bytes"),
        ("a@exam\u00a0ple.com", "characters that cannot be read"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(address: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        check_address(address)
