"""Sender, recipients, and the From field that is added."""

import io
import os
from email.header import decode_header, make_header
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.cli.sendmail_arguments import Arguments
from postroom.cli.sendmail_ending import SendmailError
from postroom.cli.sendmail_envelope import (
    Caller,
    envelope_of,
    fields_to_add,
    format_mailbox,
    this_caller,
    with_domain,
)
from postroom.cli.sendmail_message import Message, read_message

BOB = Caller("bob", "Bob Builder")


def message(head: str) -> Message:
    return read_message(io.BytesIO(f"{head}\n\nbody\n".encode()), ends_at_dot=False)


def test_recipients_of_the_header_are_added_to_those_of_the_command_line() -> None:
    found = envelope_of(
        Arguments(recipients=("a@x.example, b@x.example",), reads_recipients=True),
        BOB,
        message("To: c@x.example, a@x.example\nBcc: d@x.example"),
    )
    assert found.recipients == ("a@x.example", "b@x.example", "c@x.example", "d@x.example")
    assert found.sender == "bob"


def test_the_header_is_nobodys_business_without_t() -> None:
    assert envelope_of(Arguments(recipients=("a@x.example",)), BOB, message("To: c@x.example")).recipients == (
        "a@x.example",
    )


@pytest.mark.parametrize(
    ("given_sender", "sender"),
    [(None, "bob"), ("", ""), ("<>", ""), ("<a@x.example>", "a@x.example"), ("Ann <a@x.example>", "a@x.example")],
)
def test_the_sender_is_the_caller_unless_another_is_named(given_sender: str | None, sender: str) -> None:
    assert envelope_of(Arguments(recipients=("root",), sender=given_sender), BOB, message("a: b")).sender == sender


def test_two_senders_are_one_too_many() -> None:
    with pytest.raises(SendmailError) as caught:
        envelope_of(Arguments(recipients=("root",), sender="a@x.example,b@x.example"), BOB, message("a: b"))
    assert caught.value.exit_code == os.EX_USAGE


def test_a_message_that_names_nobody_is_not_sent() -> None:
    with pytest.raises(SendmailError, match="names no recipient") as caught:
        envelope_of(Arguments(reads_recipients=True), BOB, message("Subject: a"))
    assert caught.value.exit_code == os.EX_DATAERR


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (Arguments(recipients=("root",)), ("From: Bob Builder <bob>",)),
        (Arguments(recipients=("root",), full_name="CronDaemon"), ("From: CronDaemon <bob>",)),
        (Arguments(recipients=("root",), sender="a@x.example"), ("From: Bob Builder <a@x.example>",)),
        (Arguments(recipients=("root",), sender="<>"), ("From: Bob Builder <bob>",)),
    ],
)
def test_from_is_added_where_it_is_missing(arguments: Arguments, fields: tuple[str, ...]) -> None:
    mail = message("Subject: a")
    assert fields_to_add(arguments, BOB, envelope_of(arguments, BOB, mail), mail) == fields


def test_a_from_that_is_there_stays() -> None:
    mail = message("FROM: root (Cron Daemon)")
    arguments = Arguments(recipients=("root",), full_name="other")
    assert fields_to_add(arguments, BOB, envelope_of(arguments, BOB, mail), mail) == ()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("", "bob"),
        ("Bob", "Bob <bob>"),
        ("B. Builder", '"B. Builder" <bob>'),
        ('B "x" \\', '"B \\"x\\" \\\\" <bob>'),
        ("Jörg", "=?utf-8?B?SsO2cmc=?= <bob>"),
        ("Bob\r\nBcc: eve@x.example", '"BobBcc: eve@x.example" <bob>'),
    ],
)
def test_a_name_is_written_as_the_standards_have_it(name: str, written: str) -> None:
    assert format_mailbox(name, "bob") == written


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_name_is_read_back_and_ends_no_line(name: str) -> None:
    written = format_mailbox(name, "bob@x.example")
    assert written.isascii()
    assert written.isprintable()
    found, address = parseaddr(written)
    assert address == "bob@x.example"
    kept = "".join(letter for letter in name if letter.isprintable()).strip()
    assert str(make_header(decode_header(found))) == kept


def test_a_name_without_a_domain_gets_one_for_another_machine() -> None:
    envelope = envelope_of(Arguments(recipients=("root", "a@x.example")), BOB, message("a: b"))
    completed = with_domain(envelope, "host.example")
    assert (completed.sender, completed.recipients) == ("bob@host.example", ("root@host.example", "a@x.example"))
    null = envelope_of(Arguments(recipients=("root",), sender=""), BOB, message("a: b"))
    assert with_domain(null, "host.example").sender == ""


def test_the_caller_is_known_by_the_user_id_and_may_name_only_the_name() -> None:
    caller = this_caller({"LOGNAME": "eve", "USER": "eve", "NAME": "Called So"})
    assert caller.login != "eve"
    assert caller.full_name == "Called So"


def test_a_user_whom_nobody_wrote_down_has_a_name_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 48_151_623)
    assert this_caller({}).login == "uid-48151623"
