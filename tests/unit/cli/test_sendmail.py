"""The `sendmail` command against a server that answers as told, and without one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from postroom.cli import sendmail_way
from postroom.cli.sendmail import main
from postroom.wire.drop_file import READY, parse_envelope
from tests.unit.cli.conftest import RunSendmail
from tests.unit.cli.scripted_server import CONTENT, HANG_UP, scripted

KEY = "X-Idempotency-Key: sendmail-"


def dropped(folder: Path) -> list[tuple[list[str], bytes]]:
    """The commands and the content of each file that waits, in their order."""
    found = []
    for path in sorted((folder / "drop").iterdir()):
        assert path.suffix == READY
        content = path.read_bytes()
        commands, start = parse_envelope(content, len(content))
        found.append((commands, content[start:]))
    return found


def test_a_message_is_handed_in_over_the_socket(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s") as server:
        ended = run_sendmail("-v -i -f me@x.example a@x.example b@x.example", b"From: me\nTo: a\n\n.\n..\nend")
    assert ended == (0, "Queued as ID1\n", "")
    assert server.commands[:4] == [
        "EHLO localhost",
        f"MAIL FROM:<me@x.example> SIZE={len(server.contents[0])}",
        "RCPT TO:<a@x.example>",
        "RCPT TO:<b@x.example>",
    ]
    [content] = server.contents
    first, rest = content.split(b"\r\n", 1)
    assert first.startswith(KEY.encode())
    assert rest == b"From: me\r\nTo: a\r\n\r\n.\r\n..\r\nend\r\n"


def test_what_is_asked_about_delivery_goes_along(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s") as server:
        run_sendmail("-f me@x.example -N delay,failure -R hdrs -V order+7 a@x.example", b"\n\xc3\xa9\n")
    size = len(server.contents[0])
    assert server.commands[1] == f"MAIL FROM:<me@x.example> SIZE={size} BODY=8BITMIME RET=HDRS ENVID=order+2B7"
    assert server.commands[2] == "RCPT TO:<a@x.example> NOTIFY=DELAY,FAILURE"


def test_an_address_with_letters_beyond_ascii_is_announced(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s") as server:
        run_sendmail("-f me@x.example änne@x.example")
    assert server.commands[1].endswith(" SMTPUTF8")
    with scripted(folder / "t", {"EHLO": "250 postroom.example"}) as server:
        (folder / "t").rename(folder / "s")
        ended = run_sendmail("änne@x.example")
    assert (ended.exit_code, ended.complaint) == (
        os.EX_DATAERR,
        "sendmail: The server takes no addresses with letters beyond ASCII.\n",
    )


@pytest.mark.parametrize(
    ("script", "exit_code", "complaint"),
    [
        ({"MAIL": "550 5.7.1 Not as me"}, os.EX_NOPERM, "550 5.7.1 Not as me"),
        ({"MAIL": "451 4.7.1 Slow down"}, os.EX_TEMPFAIL, "451 4.7.1 Slow down"),
        ({"RCPT": "501 5.1.3 No address"}, os.EX_NOUSER, "a@x.example: 501 5.1.3 No address"),
        ({"RCPT": "450 4.2.1 Later"}, os.EX_TEMPFAIL, "450 4.2.1 Later"),
        ({"DATA": "554 5.5.1 No"}, os.EX_UNAVAILABLE, "554 5.5.1 No"),
        ({CONTENT: "552-5.3.4 Too\r\n552 5.3.4 large"}, os.EX_DATAERR, "552 5.3.4 Too large"),
        ({CONTENT: "452 4.3.1 Full"}, os.EX_TEMPFAIL, "452 4.3.1 Full"),
    ],
)
def test_a_refusal_is_told_with_the_servers_words_and_its_exit_code(
    folder: Path, run_sendmail: RunSendmail, script: dict[str, str], exit_code: int, complaint: str
) -> None:
    (folder / "drop").mkdir()
    with scripted(folder / "s", script):
        ended = run_sendmail("a@x.example")
    assert ended == (exit_code, "", f"sendmail: {complaint}\n")
    assert dropped(folder) == []


def test_the_others_get_what_one_cannot(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s", {"RCPT TO:<b@": "501 5.1.3 No address"}) as server:
        ended = run_sendmail("a@x.example b@x.example c@x.example")
    assert len(server.contents) == 1
    assert ended == (os.EX_NOUSER, "", "sendmail: b@x.example: 501 5.1.3 No address\n")


def test_many_recipients_go_in_several_messages_each_with_a_key_of_its_own(
    folder: Path, run_sendmail: RunSendmail
) -> None:
    script: dict[str, str | list[str]] = {"RCPT": ["250 OK", "250 OK", "452 4.5.3 Enough", "250 OK"]}
    with scripted(folder / "s", script) as server:
        ended = run_sendmail("-v a@x.example b@x.example c@x.example")
    assert ended == (0, "Queued as ID1\nQueued as ID2\n", "")
    keys = [content.split(b"X-Idempotency-Key: ")[1].split(b"\r\n")[0] for content in server.contents]
    assert keys[1] == keys[0] + b"/2"


def test_a_key_that_was_given_is_used(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s") as server:
        run_sendmail("--idempotency-key order-7 -f me a@x.example", b"From: me\n\nb\n")
        run_sendmail("-f me a@x.example", b"From: me\nX-Idempotency-Key: order-8\n\nb\n")
    assert server.contents[0] == b"X-Idempotency-Key: order-7\r\nFrom: me\r\n\r\nb\r\n"
    assert server.contents[1] == b"From: me\r\nX-Idempotency-Key: order-8\r\n\r\nb\r\n"


# ---- the drop folder ----


def test_while_the_server_is_down_the_message_waits_in_the_drop_folder(folder: Path, run_sendmail: RunSendmail) -> None:
    (folder / "drop").mkdir()
    ended = run_sendmail("-f me@x.example -N never a@x.example b@x.example", b"From: me\n\n\xc3\xa9\n.\nnot this\n")
    assert ended == (0, "", "")
    [(commands, content)] = dropped(folder)
    assert commands == [
        "MAIL FROM:<me@x.example> BODY=8BITMIME",
        "RCPT TO:<a@x.example> NOTIFY=NEVER",
        "RCPT TO:<b@x.example> NOTIFY=NEVER",
    ]
    assert content.startswith(KEY.encode())
    assert content.endswith(b"From: me\r\n\r\n\xc3\xa9\r\n")


@pytest.mark.parametrize(
    "script",
    [
        {"greeting": "421 4.3.2 Stopping"},
        {"greeting": "hello"},
        {"EHLO": HANG_UP},
        {"MAIL": "451 4.3.5 Not set up"},
        {"RCPT": HANG_UP},
        {"DATA": "421 4.3.2 Stopping"},
        {CONTENT: "451 4.3.0 Not now"},
    ],
)
def test_a_server_that_is_not_ready_is_not_waited_for(
    folder: Path, run_sendmail: RunSendmail, script: dict[str, str]
) -> None:
    (folder / "drop").mkdir()
    with scripted(folder / "s", script):
        assert run_sendmail("a@x.example") == (0, "", "")
    assert len(dropped(folder)) == 1


def test_what_may_have_arrived_is_left_again_under_the_same_key(folder: Path, run_sendmail: RunSendmail) -> None:
    (folder / "drop").mkdir()
    script: dict[str, str | list[str]] = {
        "RCPT": ["250 OK", "452 4.5.3 Enough", "501 5.1.3 No", "250 OK", "452 4.5.3 Enough"],
        CONTENT: ["250 OK", HANG_UP],
    }
    with scripted(folder / "s", script) as server:
        ended = run_sendmail("a@x.example b@x.example c@x.example d@x.example")
    assert ended == (os.EX_NOUSER, "", "sendmail: b@x.example: 501 5.1.3 No\n")
    [(commands, content)] = dropped(folder)
    assert commands[1:] == ["RCPT TO:<c@x.example>", "RCPT TO:<d@x.example>"]
    assert content == server.contents[1]


def test_a_silent_server_is_not_waited_for_longer_than_a_job_may_wait(
    folder: Path, run_sendmail: RunSendmail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendmail_way, "LOCAL_PATIENCE_SECONDS", 0.05)
    (folder / "drop").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "s"))
        silent.listen(1)
        assert run_sendmail("a@x.example").exit_code == 0
    assert len(dropped(folder)) == 1


def test_recipients_beyond_what_one_file_may_have_go_into_the_next(folder: Path, run_sendmail: RunSendmail) -> None:
    (folder / "drop").mkdir()
    run_sendmail(" ".join(f"u{number}@x.example" for number in range(1001)))
    files = dropped(folder)
    assert [len(commands) - 1 for commands, _ in files] == [500, 500, 1]
    assert len({content for _, content in files}) == 3


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o3777, 0o640), (0o1777, 0o600)])
def test_nobody_else_can_read_what_waits(
    folder: Path, run_sendmail: RunSendmail, folder_mode: int, file_mode: int
) -> None:
    (folder / "drop").mkdir()
    (folder / "drop").chmod(folder_mode)
    run_sendmail("a@x.example")
    [path] = (folder / "drop").iterdir()
    assert path.stat().st_mode & 0o777 == file_mode


def test_where_no_way_is_left_the_caller_keeps_the_message(folder: Path, run_sendmail: RunSendmail) -> None:
    ended = run_sendmail("a@x.example")
    assert ended.exit_code == os.EX_TEMPFAIL
    assert ended.complaint == (
        f"sendmail: The mail was not taken: Postroom is not there ({folder}/s: No such file or directory), and the "
        f"drop folder cannot be used ({folder}/drop: No such file or directory). Start Postroom (systemctl start "
        "postroom), then send again.\n"
    )


def test_a_disk_that_is_full_leaves_nothing_behind(
    folder: Path, run_sendmail: RunSendmail, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "drop").mkdir()

    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    ended = run_sendmail(" ".join(f"u{number}@x.example" for number in range(501)))
    assert (ended.exit_code, "No space left on device" in ended.complaint) == (os.EX_TEMPFAIL, True)
    assert list((folder / "drop").iterdir()) == []


def test_a_path_too_long_for_a_socket_is_a_server_that_is_away(folder: Path, run_sendmail: RunSendmail) -> None:
    (folder / "drop").mkdir()
    (folder / "sendmail.toml").write_text(f'socket = "/{"s" * 200}"\ndrop_folder = "{folder}/drop"\n')
    assert run_sendmail("a@x.example").exit_code == 0
    assert len(dropped(folder)) == 1


# ---- the other modes ----


def test_checking_asks_and_hands_in_nothing(folder: Path, run_sendmail: RunSendmail) -> None:
    with scripted(folder / "s", {"RCPT TO:<b@": "501 5.1.3 No address"}) as server:
        ended = run_sendmail("-bv -f me@x.example a@x.example b@x.example")
    assert ended == (os.EX_NOUSER, "a@x.example: would be taken\n", "sendmail: b@x.example: 501 5.1.3 No address\n")
    assert server.contents == []
    assert "RSET" in server.commands


def test_mailq_lists_what_the_server_tells(folder: Path, run_sendmail: RunSendmail) -> None:
    told = (
        '{"id":"01JD8Z4G5H6J7","state":"queued","size_bytes":10,"received_at":0,"sender":"a@x.example",'
        '"recipients":[["b@x.example","waits for sign-in",null]]}'
    )
    with scripted(folder / "s", {"XQUEUE": f"250-1 messages\r\n250 {told}"}):
        lines = run_sendmail("", name="mailq").output.splitlines()
    assert lines[1].startswith("01JD8Z4G5H6J7 ")
    assert lines[2:4] == ["           (waits for sign-in)", f"{'':42}b@x.example"]
    with scripted(folder / "t", {"XQUEUE": "250 0 messages"}):
        (folder / "t").rename(folder / "s")
        assert run_sendmail("-bp") == (0, "Mail queue is empty\n", "")


def test_a_flush_is_asked_for_and_may_be_refused(folder: Path, run_sendmail: RunSendmail) -> None:
    script = {"XFLUSH x": "250 2.0.0 2 messages are tried again", "XFLUSH": "550 5.7.1 Ask root"}
    with scripted(folder / "s", script) as server:
        assert run_sendmail("-v -qRx.example") == (0, "2 messages are tried again\n", "")
        assert run_sendmail("-q") == (os.EX_NOPERM, "", "sendmail: 550 5.7.1 Ask root\n")
    assert [command for command in server.commands if command.startswith("X")] == ["XFLUSH x.example", "XFLUSH"]


@pytest.mark.parametrize(("words", "name"), [("", "mailq"), ("-q", "sendmail")])
def test_a_queue_that_cannot_be_asked_is_unavailable(run_sendmail: RunSendmail, words: str, name: str) -> None:
    ended = run_sendmail(words, name=name)
    assert ended.exit_code == os.EX_UNAVAILABLE
    assert ended.complaint.startswith(f"{name}: Postroom is not there")


def test_newaliases_has_nothing_to_do(run_sendmail: RunSendmail) -> None:
    assert run_sendmail("", name="newaliases") == (0, "", "")


def test_a_standard_input_that_is_closed_is_told(
    run_sendmail: RunSendmail, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main("sendmail", ["root"]) == os.EX_NOINPUT
    assert "no standard input" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["-q", "-qI\u00e4", "-qRa\r\nXQUEUE"])
def test_a_flush_can_only_say_what_it_is_for(folder: Path, run_sendmail: RunSendmail, words: str) -> None:
    with scripted(folder / "s") as server:
        ended = main("sendmail", [words])
    assert ended == (os.EX_OK if words == "-q" else os.EX_USAGE)
    assert [command for command in server.commands if command.startswith("X")] == (["XFLUSH"] if words == "-q" else [])


# ---- as a program ----


def test_a_closed_output_is_no_failure(folder: Path) -> None:
    with scripted(folder / "s") as server:
        ended = subprocess.run(
            ["sh", "-c", f"exec {sys.executable} -m postroom sendmail -v a@x.example >&- 2>&-"],
            input=b"text\n",
            check=False,
        )
    assert ended.returncode == 0
    assert len(server.contents) == 1


def test_addresses_are_utf8_whatever_the_language(folder: Path) -> None:
    told = '{"id":"1","state":"queued","size_bytes":1,"received_at":0,"sender":"\\u00e4@x","recipients":[]}'
    with scripted(folder / "s", {"XQUEUE": f"250-1\r\n250 {told}"}) as server:
        for words in (["sendmail", "änne@x.example".encode()], ["mailq"]):
            ended = subprocess.run(
                [sys.executable, "-X", "utf8=0", "-m", "postroom", *words],
                input=b"text\n",
                capture_output=True,
                env=os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
                check=False,
            )
            assert (ended.returncode, ended.stderr) == (0, b"")
    assert "RCPT TO:<änne@x.example>" in server.commands
    assert b"\\xe4@x" in ended.stdout


def test_the_program_is_chosen_by_its_name_and_loads_little(folder: Path) -> None:
    """cron starts it for every mail: what it loads is what each job waits for."""
    program = (
        "import sys; sys.argv = [sys.argv[1], '-bp']\n"
        "from postroom.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)), len(sys.modules))"
    )
    for name in ("/usr/sbin/sendmail", "postroom-sendmail", "mailq"):
        ended = subprocess.run(
            [sys.executable, "-I", "-c", program, name], capture_output=True, text=True, check=True, cwd=folder
        )
        exit_code, loaded = ended.stdout.splitlines()
        assert int(exit_code) == os.EX_UNAVAILABLE
        names, number = loaded.rsplit(" ", 1)
        assert set(eval(names)) <= {"__main__", "postroom"} | _of_the_environment()
        assert int(number) < 150


def _of_the_environment() -> set[str]:
    """What Python itself loads at the start: paths of the environment."""
    probe = "import sys; print(sorted({name.split('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True)
    return set(eval(ended.stdout))
