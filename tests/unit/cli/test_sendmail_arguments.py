"""What stands behind `sendmail`, as the programs that call it write it."""

import os

import pytest

from postroom.cli.sendmail_arguments import Arguments, parse_arguments
from postroom.cli.sendmail_ending import SendmailError

ANNA = "anna@contoso.example"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("anna@contoso.example", Arguments(recipients=(ANNA,))),
        ("-bm anna@contoso.example", Arguments(recipients=(ANNA,))),
        ("-t", Arguments(reads_recipients=True)),
        ("-t -i", Arguments(reads_recipients=True, ends_at_dot=False)),
        ("-ti", Arguments(reads_recipients=True, ends_at_dot=False)),
        ("-oi -t", Arguments(reads_recipients=True, ends_at_dot=False)),
        (
            "-FCronDaemon -odi -oem -oi -t",
            Arguments(reads_recipients=True, ends_at_dot=False, full_name="CronDaemon"),
        ),
        ("-F Cron root", Arguments(full_name="Cron", recipients=("root",))),
        ("-f a@x.example root", Arguments(sender="a@x.example", recipients=("root",))),
        ("-fa@x.example root", Arguments(sender="a@x.example", recipients=("root",))),
        ("-ra@x.example root", Arguments(sender="a@x.example", recipients=("root",))),
        ("-f <> root", Arguments(sender="<>", recipients=("root",))),
        ("-i -- -odd@x.example", Arguments(ends_at_dot=False, recipients=("-odd@x.example",))),
        ("root -i", Arguments(ends_at_dot=False, recipients=("root",))),
        ("-B 8BITMIME root", Arguments(is_eight_bit=True, recipients=("root",))),
        ("-B7BIT root", Arguments(recipients=("root",))),
        ("-N never root", Arguments(notify=("NEVER",), recipients=("root",))),
        ("-N success,delay root", Arguments(notify=("SUCCESS", "DELAY"), recipients=("root",))),
        ("-R hdrs -V a+b=c root", Arguments(return_content="HDRS", envelope_id="a+2Bb+3Dc", recipients=("root",))),
        ("-R full root", Arguments(return_content="FULL", recipients=("root",))),
        ("-v root", Arguments(is_verbose=True, recipients=("root",))),
        ("--idempotency-key order-7 root", Arguments(idempotency_key="order-7", recipients=("root",))),
        ("--idempotency-key=order-7 root", Arguments(idempotency_key="order-7", recipients=("root",))),
        ("-bs", Arguments(mode="smtp")),
        ("-bp", Arguments(mode="list")),
        ("-bv root", Arguments(mode="check", recipients=("root",))),
        ("-bi", Arguments(mode="nothing")),
        ("-I", Arguments(mode="nothing")),
        ("-q", Arguments(mode="flush")),
        ("-qI01HZX3M2K4P5Q", Arguments(mode="flush", flush_only="01HZX3M2K4P5Q")),
        ("-qRfabrikam.example", Arguments(mode="flush", flush_only="fabrikam.example")),
    ],
)  # fmt: skip
def test_arguments_are_read_as_their_writers_mean_them(words: str, expected: Arguments) -> None:
    assert parse_arguments("sendmail", words.split(" ")) == expected


@pytest.mark.parametrize(
    "ignored",
    [
        "-odi", "-odb", "-odq", "-oem", "-oep", "-om", "-o7", "-o8", "-oX v", "-oA /etc/aliases", "-oQ/var/spool",
        "-O k=v", "-G", "-U", "-m", "-n", "-h 3", "-L tag", "-X /tmp/log", "-C /etc/x.cf", "-A c", "-Am", "-Ac",
        "-em", "-e m", "-p ESMTP", "-d21.12", "-d", "-c",
    ],
)  # fmt: skip
def test_what_other_mail_systems_know_is_taken_and_ignored(ignored: str) -> None:
    assert parse_arguments("sendmail", [*ignored.split(), ANNA]) == Arguments(recipients=(ANNA,))


def test_an_empty_word_behind_f_is_the_null_sender() -> None:
    assert parse_arguments("sendmail", ["-f", "", ANNA]).sender == ""


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("", "Nobody is named"),
        ("-i", "Nobody is named"),
        ("-bv", "Nobody is named"),
        ("-Z root", "-Z is not known"),
        ("--verbose root", "--verbose is not known"),
        ("root -f", "-f needs a value"),
        ("root --idempotency-key", "--idempotency-key needs a value"),
        ("--idempotency-key= root", "1 to 256"),
        ("-bd", "systemctl start postroom"),
        ("-bl", "systemctl start postroom"),
        ("-bD", "systemctl start postroom"),
        ("-q30m", "systemctl start postroom"),
        ("-bd -q30m", "systemctl start postroom"),
        ("-bz", "-bz is not known"),
        ("-B BINARYMIME root", "BINARYMIME is not known"),
        ("-N never,success root", "-N never"),
        ("-N often root", "-N never"),
        ("-R some root", "-R hdrs"),
        ("-qSsender", "-qI"),
    ],
)
def test_what_is_not_understood_is_a_matter_of_usage_and_named(words: str, part: str) -> None:
    with pytest.raises(SendmailError) as caught:
        parse_arguments("sendmail", words.split())
    assert caught.value.exit_code == os.EX_USAGE
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["-V", "--idempotency-key"])
def test_what_goes_into_a_command_or_a_field_cannot_end_it(name: str) -> None:
    with pytest.raises(SendmailError) as caught:
        parse_arguments("sendmail", [name, "a\r\nRCPT TO:<eve@x.example>", "root"])
    assert caught.value.exit_code == os.EX_USAGE


@pytest.mark.parametrize(
    ("name", "words", "mode"),
    [("mailq", "", "list"), ("mailq", "-q", "flush"), ("newaliases", "", "nothing"), ("newaliases", "-v", "nothing")],
)
def test_the_program_is_known_by_its_name(name: str, words: str, mode: str) -> None:
    assert parse_arguments(name, words.split()).mode == mode
