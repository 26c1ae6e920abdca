"""Programs that know only `sendmail` hand in mail unchanged: cron, git, PHP, mdadm, logwatch, smartd by mail(1)."""

import asyncio
import os
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from postroom.errors import SettingsError
from postroom.ids import public_id
from postroom.message import RecipientState
from postroom.server import Server
from postroom.store.records import MessageDetail
from tests.journeys.judges import needs
from tests.journeys.machine import Machine, a_machine
from tests.journeys.prepared import SCANNER, rehearsal_settings, set_up_mail_server

pytestmark = pytest.mark.anyio

NOBODY = 65534
GIT_PROGRAMS = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as machine:
        yield machine


@pytest.fixture
async def server(machine: Machine) -> AsyncIterator[Server]:
    server = await Server.start(rehearsal_settings(machine.folder))
    await set_up_mail_server(server)
    yield server
    await server.stop()


async def newest(server: Server) -> tuple[MessageDetail, str]:
    [row, *_], _ = await server.store.messages.search("")
    detail = await server.store.messages.find(row.message_id)
    assert detail is not None
    assert detail.body is not None
    content = b"".join([chunk async for chunk in server.store.bodies.read(detail.body)])
    return detail, content.decode()


async def until_deferred(server: Server, message_id: int) -> None:
    async with asyncio.timeout(20):
        while await server.store.messages.state_of(message_id) is not RecipientState.DEFERRED:
            await asyncio.sleep(0.01)


async def until_gone(path: Path) -> None:
    async with asyncio.timeout(20):
        while path.exists():
            await asyncio.sleep(0.01)


def recipients(detail: MessageDetail) -> list[str]:
    return [recipient.address for recipient in detail.recipients]


def succeeded(ended: "subprocess.CompletedProcess[str]") -> bool:
    assert ended.stderr == ""
    return ended.returncode == 0


# ---- as they really call it ----


async def test_cron(machine: Machine, server: Server) -> None:
    """The words of Debian's cron, and its header."""
    ended = await machine.run(
        *(machine.sendmail, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"),
        message=(
            "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@db1> backup\nMIME-Version: 1.0\n"
            "Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n"
            "X-Cron-Env: <SHELL=/bin/sh>\nX-Cron-Env: <HOME=/root>\n\nfünf Dateien\n.\n"
        ),
    )
    assert succeeded(ended)
    detail, content = await newest(server)
    assert recipients(detail) == ["root@contoso.com"]
    assert detail.envelope_sender == SCANNER
    assert detail.reception.way == "sendmail"
    assert detail.reception.local_user == "root"
    assert "X-Original-From: root (Cron Daemon)" in content
    assert content.endswith("\r\n\r\nfünf Dateien\r\n.\r\n")
    assert "X-Idempotency-Key" not in content


async def test_the_older_cron_that_lets_the_header_name_the_recipient(machine: Machine, server: Server) -> None:
    ended = await machine.run(
        *(machine.sendmail, "-FCronDaemon", "-odi", "-oem", "-oi", "-t"),
        message="From: root\nTo: root, ops@fabrikam.example\nBcc: boss@fabrikam.example\nSubject: Cron\n\ndone\n",
    )
    assert succeeded(ended)
    detail, content = await newest(server)
    assert recipients(detail) == ["root@contoso.com", "ops@fabrikam.example", "boss@fabrikam.example"]
    assert "boss@fabrikam.example" not in content


@pytest.mark.parametrize("program", ["mdadm", "logwatch"])
async def test_mdadm_and_logwatch(machine: Machine, server: Server, program: str) -> None:
    """Both open a pipe to `sendmail -t`."""
    messages = {
        "mdadm": (
            "From: root\nTo: ops@fabrikam.example\nSubject: DegradedArray event on /dev/md0:db1\n\n"
            "This is an automatically generated mail message from mdadm\nrunning on db1\n"
        ),
        "logwatch": (
            "To: ops@fabrikam.example\nFrom: Logwatch\nSubject: Logwatch for db1 (Linux)\n"
            "Auto-Submitted: auto-generated\nContent-Transfer-Encoding: 7bit\n"
            'Content-Type: text/plain; charset="utf-8"\n\n'
            " ################### Logwatch 7.7 (07/22/22) ####################\n"
        ),
    }
    assert succeeded(await machine.run("sh", "-c", f"exec {machine.sendmail} -t", message=messages[program]))
    detail, _ = await newest(server)
    assert recipients(detail) == ["ops@fabrikam.example"]


@pytest.mark.skipif(not (GIT_PROGRAMS / "git-send-email").exists(), reason="needs git send-email (git-email)")
async def test_git_send_email(machine: Machine, server: Server) -> None:
    patch = machine.folder / "0001-fix.patch"
    patch.write_text(
        "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n"
        f"From: Anna <{SCANNER}>\nDate: Mon, 21 Sep 2026 14:13:20 +0000\nSubject: [PATCH] fix: a dot alone\n\n"
        "---\n a | 1 +\n\n--- a/a\n+++ b/a\n@@ -0,0 +1 @@\n+.\n-- \n2.39.5\n",
        encoding="utf-8",
    )
    ended = await machine.run(
        *("git", "-c", "user.name=Anna", "-c", f"user.email={SCANNER}", "send-email"),
        *(f"--sendmail-cmd={machine.sendmail}", "--confirm=never", "--suppress-cc=all"),
        *(f"--from=Anna <{SCANNER}>", "--to=ops@fabrikam.example", "--cc=list@fabrikam.example", patch),
    )
    assert ended.returncode == 0, ended.stderr
    detail, content = await newest(server)
    assert recipients(detail) == ["ops@fabrikam.example", "list@fabrikam.example"]
    assert detail.row.subject == "[PATCH] fix: a dot alone"
    assert "\r\n+.\r\n-- \r\n" in content


@needs("php")
async def test_php_mail(machine: Machine, server: Server) -> None:
    program = (
        'exit(mail("Anna <ops@fabrikam.example>", "Order 7", "one\\n.\\ntwo", '
        f'["From" => "{SCANNER}", "Bcc" => "boss@fabrikam.example"], "-f{SCANNER}") ? 0 : 1);'
    )
    ended = await machine.run("php", "-d", f"sendmail_path={machine.sendmail} -t -i", "-r", program)
    assert succeeded(ended)
    detail, content = await newest(server)
    assert recipients(detail) == ["ops@fabrikam.example", "boss@fabrikam.example"]
    assert "boss@fabrikam.example" not in content
    assert content.endswith("\r\n\r\none\r\n.\r\ntwo\r\n")


@needs("php")
async def test_php_is_told_when_a_message_is_refused(machine: Machine, server: Server) -> None:
    program = 'exit(mail("not an address", "Order 7", "text") ? 0 : 1);'
    ended = await machine.run("php", "-d", f"sendmail_path={machine.sendmail} -t -i", "-r", program)
    assert ended.returncode == 1
    assert "is no address" in ended.stderr


@needs("s-nail")
async def test_smartd_by_way_of_mail(machine: Machine, server: Server) -> None:
    ended = await machine.run(
        *("s-nail", "-:/", "-S", f"mta={machine.sendmail}", "-S", "v15-compat", "-s", "SMART error on /dev/sda"),
        "ops@fabrikam.example",
        message="The following warning was logged by the smartd daemon.\n",
        USER="root",
        LOGNAME="root",
    )
    assert ended.returncode == 0, ended.stderr
    detail, _ = await newest(server)
    assert recipients(detail) == ["ops@fabrikam.example"]
    assert detail.row.subject == "SMART error on /dev/sda"


async def test_a_mailer_that_speaks_smtp_with_it(machine: Machine, server: Server) -> None:
    lines = [
        *("EHLO db1", "MAIL FROM:<root>", "RCPT TO:<ops@fabrikam.example>", "DATA"),
        *("From: root", "Subject: by pipe", "", "text", ".", "QUIT", ""),
    ]
    ended = await machine.run(machine.sendmail, "-bs", message="\r\n".join(lines))
    assert succeeded(ended)
    codes = [line[:3] for line in ended.stdout.splitlines() if line[3:4] == " "]
    assert codes == ["220", "250", "250", "250", "354", "250", "221"]
    assert (await newest(server))[0].row.subject == "by pipe"


# ---- the queue ----


async def test_each_user_sees_and_sends_as_themselves(machine: Machine, server: Server) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    sendmail, mailq = (machine.command_of(NOBODY, name) for name in ("sendmail", "mailq"))
    assert succeeded(await machine.run(machine.sendmail, "451@fabrikam.example", message="of root\n"))
    assert succeeded(await machine.run(*sendmail, "451@fabrikam.example", message="of nobody\n", user=NOBODY))
    detail, content = await newest(server)
    assert detail.reception.local_user == "nobody"
    assert "X-Original-From: nobody" in content
    for row in (await server.store.messages.search(""))[0]:
        await until_deferred(server, row.message_id)
    own = (await machine.run(*mailq, user=NOBODY)).stdout
    everybodys = (await machine.run("mailq")).stdout
    assert public_id(detail.row.message_id) in own
    assert own.count("451@fabrikam.example") == 1
    assert everybodys.count("451@fabrikam.example") == 2
    assert "next try" in own
    refused = await machine.run(*sendmail, "-q", user=NOBODY)
    assert (refused.returncode, refused.stderr) == (
        os.EX_NOPERM,
        "sendmail: 550 5.7.1 nobody may not have all mail tried again; ask root, or press Retry in the console\n",
    )
    flushed = await machine.run(machine.sendmail, "-q", "-v")
    assert (flushed.returncode, flushed.stdout) == (0, "2 messages are tried again\n")


async def test_another_user_can_leave_mail_and_read_nobodys(machine: Machine, server: Server) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    sendmail = machine.command_of(NOBODY, "sendmail")
    await server.stop()
    assert succeeded(await machine.run(*sendmail, "ops@fabrikam.example", message="of nobody\n", user=NOBODY))
    [dropped] = machine.drop_folder.iterdir()
    found = dropped.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o640)
    assert (await machine.run("ls", machine.drop_folder, user=NOBODY)).returncode != 0
    assert (await machine.run("cat", dropped, user=NOBODY + 1)).returncode != 0
    assert (await machine.run("rm", "-f", dropped, user=NOBODY + 1)).returncode != 0
    again = await Server.start(rehearsal_settings(machine.folder))
    try:
        await until_gone(dropped)
        assert (await newest(again))[0].reception.local_user == "nobody"
    finally:
        await again.stop()


# ---- the server's start and end ----


async def test_what_was_left_while_the_server_was_down_is_taken_at_its_start(machine: Machine) -> None:
    server = await Server.start(rehearsal_settings(machine.folder))
    await set_up_mail_server(server)
    found = (machine.folder / "run" / "s").stat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o666)
    await server.stop()
    assert not (machine.folder / "run" / "s").exists()
    assert succeeded(await machine.run(machine.sendmail, "-t", message="To: ops@fabrikam.example\n\nwhile down\n"))
    [dropped] = machine.drop_folder.iterdir()
    server = await Server.start(rehearsal_settings(machine.folder))
    try:
        await until_gone(dropped)
        assert (await newest(server))[1].endswith("while down\r\n")
    finally:
        await server.stop()


async def test_a_message_on_its_way_is_finished_when_the_server_stops(machine: Machine, server: Server) -> None:
    reader, writer = await asyncio.open_unix_connection(machine.folder / "run" / "s")
    writer.write(b"EHLO db1\r\nMAIL FROM:<root>\r\nRCPT TO:<ops@fabrikam.example>\r\nDATA\r\n")
    await reader.readuntil(b"354 ")
    stopping = asyncio.create_task(server.smtp_server.stop(10))
    await asyncio.sleep(0)
    writer.write(b"From: root\r\n\r\ntext\r\n.\r\n")
    assert b"250 2.0.0 OK queued as" in await reader.readuntil(b"queued as")
    writer.close()
    await stopping


async def test_a_socket_that_cannot_be_is_a_setting_that_is_named(machine: Machine) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        (machine.folder / "run").mkdir()
        other.bind(str(machine.folder / "run" / "s"))
        other.listen()
        with pytest.raises(SettingsError, match=r"another Postroom answers there\. Choose another sendmail\.socket"):
            await Server.start(rehearsal_settings(machine.folder))
