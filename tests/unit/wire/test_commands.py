"""Command lines as servers read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.wire.commands import Command, CommandError, MailFrom, RcptTo, parse_command, parse_mail, parse_rcpt


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"QUIT", Command("QUIT", "")),
        (b"quit  ", Command("QUIT", "")),
        (b"EHLO two words", Command("EHLO", "two words")),
        (b"mail FROM:<a@b.example>", Command("MAIL", "FROM:<a@b.example>")),
        (b"", Command("", "")),
    ],
)
def test_a_line_is_a_verb_and_its_argument(line: bytes, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP", b"NOOP\0"])
def test_a_line_with_a_bare_line_end_is_refused(line: bytes) -> None:
    with pytest.raises(CommandError, match="bare CR, a bare LF or NUL") as caught:
        parse_command(line)
    assert (caught.value.code, caught.value.enhanced) == (500, "5.5.2")


def test_a_line_in_no_known_encoding_is_refused() -> None:
    with pytest.raises(CommandError, match="neither ASCII nor UTF-8"):
        parse_command(b"EHLO \xff\xfe")


@pytest.mark.parametrize(
    ("argument", "mail"),
    [
        ("FROM:<a@b.example>", MailFrom("a@b.example")),
        ("from: a@b.example", MailFrom("a@b.example")),
        ("FROM:<>", MailFrom("")),
        ("From : <a@b.example> size=10 body=8bitmime smtputf8", MailFrom("a@b.example", 10, True, True)),
        ("FROM:<a@b.example> BODY=7BIT AUTH=<>", MailFrom("a@b.example")),
        ("FROM:<root>", MailFrom("root")),
    ],
)
def test_mail_from_is_read(argument: str, mail: MailFrom) -> None:
    assert parse_mail(argument) == mail


@pytest.mark.parametrize(
    ("argument", "code", "reason"),
    [
        ("", 501, "write MAIL FROM:<name@example.com>"),
        ("FROM", 501, "write MAIL FROM"),
        ("FROM:", 501, "write MAIL FROM"),
        ("TO:<a@b.example>", 501, "write MAIL FROM"),
        ("FROM:<a@b.example> SIZE=abc", 501, "SIZE of MAIL FROM has a value"),
        ("FROM:<a@b.example> SIZE=-1", 501, "SIZE of MAIL FROM has a value"),
        ("FROM:<a@b.example> SIZE=" + "9" * 21, 501, "SIZE of MAIL FROM has a value"),
        ("FROM:<a@b.example> SIZE", 501, "SIZE of MAIL FROM has a value"),
        ("FROM:<a@b.example> BODY=BINARYMIME", 501, "BODY=BINARYMIME is not offered here"),
        ("FROM:<a@b.example> SMTPUTF8=yes", 501, "SMTPUTF8 of MAIL FROM has a value"),
        ("FROM:<a@b.example> RET=ALL", 501, "RET of MAIL FROM has a value"),
        ("FROM:<a@b.example> ENVID=a=b", 501, "ENVID of MAIL FROM has a value"),
        ("FROM:<a@b.example> ENVID=" + "x" * 101, 501, "ENVID of MAIL FROM has a value"),
        ("FROM:<a@b.example> ENVID", 501, "ENVID of MAIL FROM has a value"),
        ("FROM:<a@b.example> ENVID=a+0D+0AQUIT", 501, "ENVID of MAIL FROM has a value"),
        ("FROM:<a@b.example> ENVID=a+", 501, "ENVID of MAIL FROM has a value"),
        ("FROM:<a@b.example> RET=FULL RET=HDRS", 501, "Each of RET may be said once"),
        ("FROM:<a@b.example> HOLDFOR=5", 555, "HOLDFOR of MAIL FROM is not known"),
    ],
)
def test_mail_from_that_cannot_be_read_is_refused_with_the_reason(argument: str, code: int, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        parse_mail(argument)
    assert (caught.value.code, caught.value.enhanced) == (code, "5.5.4")


def test_rcpt_to_is_read() -> None:
    assert parse_rcpt("TO:<a@b.example>") == parse_rcpt("to: a@b.example") == RcptTo("a@b.example")


def test_wishes_for_notifications_are_read() -> None:
    mail = parse_mail("FROM:<a@b.example> ret=hdrs ENVID=QQ+2B314159")
    assert (mail.return_content, mail.envelope_id) == ("HDRS", "QQ+2B314159")
    rcpt = parse_rcpt("TO:<a@b.example> NOTIFY=success,Failure ORCPT=rfc822;old+2Bname@b.example")
    assert rcpt == RcptTo("a@b.example", ("SUCCESS", "FAILURE"), "rfc822;old+2Bname@b.example")
    assert parse_rcpt("TO:<a@b.example> NOTIFY=NEVER").notify == ("NEVER",)
    assert parse_mail("FROM:<a@b.example> ENVID=" + "+2B" * 100).envelope_id == "+2B" * 100
    assert parse_rcpt("TO:<a@b.example> ORCPT=utf-8;jörg@b.example").original_recipient == "utf-8;jörg@b.example"


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("FROM:user@b.example", MailFrom("user@b.example")),
        ("from: <user@b.example>", MailFrom("user@b.example")),
        ("FROM: <user@b.example> SIZE=12", MailFrom("user@b.example", size_bytes=12)),
        ("FROM:<user@b.example>   ", MailFrom("user@b.example")),
        ("FROM : <user@b.example>", MailFrom("user@b.example")),
        ("FROM:user@b.example SIZE=12", MailFrom("user@b.example", size_bytes=12)),
        ("from:\t<user@b.example>\tSIZE=12\t", MailFrom("user@b.example", size_bytes=12)),
        ("FROM: < user@b.example >", MailFrom("user@b.example")),
    ],
)
def test_the_ways_of_old_devices_are_read(argument: str, wanted: MailFrom) -> None:
    assert parse_mail(argument) == wanted


def test_a_tab_behind_the_verb_is_white_space() -> None:
    assert parse_command(b"mail\tFROM:<a@b.example>  ") == Command("MAIL", "FROM:<a@b.example>")
    assert parse_command(b"RCPT \t TO:\t<a@b.example> \t") == Command("RCPT", "TO: <a@b.example>")


@pytest.mark.parametrize(
    ("argument", "code", "reason"),
    [
        ("TO:<>", 501, "recipient is empty"),
        ("<a@b.example>", 501, "write RCPT TO"),
        ("TO:<a@b.example> NOTIFY=NEVER,DELAY", 501, "NOTIFY of RCPT TO is NEVER, or some of"),
        ("TO:<a@b.example> NOTIFY=", 501, "NOTIFY of RCPT TO is NEVER, or some of"),
        ("TO:<a@b.example> NOTIFY=DELAY,DELAY", 501, "NOTIFY of RCPT TO is NEVER, or some of"),
        ("TO:<a@b.example> ORCPT=a@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;a=b", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;a+b@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;a+0A", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;j\u00f6rg@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=utf-8;j\u202erg@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=utf-8;j\u009brg@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=;a@b.example", 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> ORCPT=rfc822;" + "x" * 494, 501, "ORCPT of RCPT TO is written"),
        ("TO:<a@b.example> NOTIFY=DELAY ORCPT=rfc822;a notify=DELAY", 501, "Each of NOTIFY, ORCPT may be said once"),
        ("TO:<a@b.example> SIZE=1", 555, "SIZE of RCPT TO is not known"),
    ],
)
def test_rcpt_to_that_cannot_be_read_is_refused_with_the_reason(argument: str, code: int, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        parse_rcpt(argument)
    assert caught.value.code == code


WORDS = [
    "FROM:",
    "TO:",
    "<a@b.example>",
    "<>",
    "SIZE=1",
    "BODY=",
    "RET=FULL",
    "ENVID=",
    "NOTIFY=",
    "ORCPT=rfc822;",
    "+",
]
ARGUMENTS = st.text(max_size=80) | st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=8).map(" ".join)


@given(ARGUMENTS | st.tuples(st.sampled_from(["FROM:<a@b> ", "TO:<a@b> "]), ARGUMENTS).map("".join))
def test_no_argument_makes_them_fall_and_what_is_read_cannot_break_a_line(argument: str) -> None:
    said: list[str] = []
    try:
        mail = parse_mail(argument)
        said += [mail.envelope_id, mail.return_content]
    except CommandError:
        pass
    try:
        rcpt = parse_rcpt(argument)
        said += [rcpt.original_recipient, *rcpt.notify]
    except CommandError:
        pass
    assert not any(letter.isspace() or not letter.isprintable() for letter in "".join(said))


@given(st.binary(max_size=100))
def test_no_line_makes_it_fall(line: bytes) -> None:
    try:
        command = parse_command(line)
    except CommandError:
        return
    assert " " not in command.verb
    assert command.argument == command.argument.strip()
