"""Command lines as servers read them."""

import pytest

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
    assert parse_rcpt("TO:<a@b.example> ORCPT=utf-8;jörg@b.example").original_recipient == "utf-8;jörg@b.example"


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("FROM:user@b.example", MailFrom("user@b.example")),
        ("from: <user@b.example>", MailFrom("user@b.example")),
        ("FROM: <user@b.example> SIZE=12", MailFrom("user@b.example", size_bytes=12)),
        ("FROM:<user@b.example>   ", MailFrom("user@b.example")),
        ("FROM : <user@b.example>", MailFrom("user@b.example")),
    ],
)
def test_the_ways_of_old_devices_are_read(argument: str, wanted: MailFrom) -> None:
    assert parse_mail(argument) == wanted


def test_a_tab_behind_the_verb_is_white_space() -> None:
    assert parse_command(b"mail\tFROM:<a@b.example>  ") == Command("MAIL", "FROM:<a@b.example>")


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
        ("TO:<a@b.example> SIZE=1", 555, "SIZE of RCPT TO is not known"),
    ],
)
def test_rcpt_to_that_cannot_be_read_is_refused_with_the_reason(argument: str, code: int, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as caught:
        parse_rcpt(argument)
    assert caught.value.code == code
