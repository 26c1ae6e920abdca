"""`postroom app`, `send` and `messages` as people and scripts call them, beside a server that runs."""

import asyncio
import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

from postroom.server import Server
from tests.journeys.prepared import OPS, SCANNER, rehearsal_settings, set_up_mail_server

pytestmark = pytest.mark.anyio


class Shell:
    """Runs commands against one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        environment = {**os.environ, "POSTROOM_DATA_FOLDER": str(self._folder / "data"), "NO_COLOR": "1"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "postroom", *words),
            cwd=self._folder,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def json(self, *words: str, stdin: str = "") -> dict[str, object]:
        code, out, err = await self.run(*words, "--json", stdin=stdin)
        assert code == 0, err
        told: dict[str, object] = json.loads(out)
        return told


async def test_an_app_is_made_mail_is_sent_and_looked_at(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    server = await Server.start(rehearsal_settings(tmp_path))
    try:
        await set_up_mail_server(server)
        code, out, _ = await shell.run("app", "add", "HP 2nd floor", "--sender", SCANNER, "--kind", "Printer")
        assert code == 0
        assert "hp-2nd-floor" in out
        assert "shown this once" in out
        code, out, _ = await shell.run("app", "list")
        assert out.splitlines()[1].startswith("HP 2nd floor  hp-2nd-floor  enabled")

        sent = ("send", "--to", OPS, "--subject", "Scan done", "--app", "hp-2nd-floor", "--wait", "20")
        code, out, err = await shell.run(*sent, stdin="All pages.\n")
        assert code == 0, err
        message_id, status = out.split()
        assert status == "sent"

        code, out, _ = await shell.run("messages", "list", "status:sent", "subject:Scan done")
        assert message_id in out
        code, out, _ = await shell.run("messages", "timeline", message_id)
        assert "Attempt 1 at smtp.office365.com:587" in out
        code, out, _ = await shell.run("messages", "raw", message_id)
        assert out.rstrip().endswith("All pages.")
        code, out, err = await shell.run("messages", "cancel", message_id)
        assert (code, out) == (1, "")
        assert "it is sent" in err
        assert "[wrong_state]" in err
        code, out, _ = await shell.run("messages", "export", "--format", "csv")
        assert [row["id"] for row in csv.DictReader(io.StringIO(out))] == [message_id]
    finally:
        await server.stop()


async def test_passwords_keys_and_switches(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    server = await Server.start(rehearsal_settings(tmp_path))
    try:
        password_file = tmp_path / "password"
        password_file.write_text("Sommer 2019\n")
        made = await shell.json(
            "app", "add", "Old", "--login", "old@contoso.com", "--password-file", str(password_file)
        )
        assert "Sommer" not in json.dumps({**made, "password": ""})
        assert await server.store.apps.authenticate("old@contoso.com", "Sommer 2019") is not None
        code, out, _ = await shell.run("app", "rotate", "Old", "--short")
        assert await server.store.apps.authenticate("old@contoso.com", out.split("Password")[1].split()[0]) is not None
        key = str((await shell.json("app", "key", "Old", "--scope", "messages:read"))["secret"])
        token_file = tmp_path / "key"
        token_file.write_text(key)
        elsewhere = ("--url", server.console_url, "--token-file", str(token_file))
        assert (await shell.run("messages", "list", *elsewhere))[0] == 0
        code, _, err = await shell.run("messages", "cancel", "--filter", "status:queued", *elsewhere)
        assert code == 77
        assert "[insufficient_scope]" in err
        code, _, err = await shell.run("app", "add", "Open", "--no-sign-in")
        assert code == 1
        assert "needs the address" in err
        assert (await shell.run("app", "disable", "Old"))[0] == 0
        assert (await shell.run("messages", "list", *elsewhere))[0] == 77
    finally:
        await server.stop()


async def test_without_a_server_the_commands_say_how_to_start_one(tmp_path: Path) -> None:
    code, out, err = await Shell(tmp_path).run("messages", "list")
    assert (code, out) == (69, "")
    assert "No server runs on" in err
    assert "postroom serve" in err


async def test_mail_servers_are_looked_at_paused_and_get_a_new_secret(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    server = await Server.start(rehearsal_settings(tmp_path))
    try:
        await set_up_mail_server(server)
        code, out, err = await shell.run("mail-server", "list")
        assert code == 0, err
        assert "smtp.office365.com:587" in out.splitlines()[1]
        code, out, _ = await shell.run("mail-server", "set", "--pause")
        assert "stopped: paused" in out
        code, out, _ = await shell.run("mail-server", "set", "--resume")
        assert "ready" in out
        code, out, _ = await shell.run("mail-server", "show")
        assert f"Username      {SCANNER}" in out

        renew = ("mail-server", "renew-secret", "--ends-on", "2029-01-31", "--secret-file", "-")
        code, out, err = await shell.run(*renew, stdin="wrong~secret\n")
        assert code == 1
        assert "Nothing was changed. [client_secret_refused] Create a new client secret" in err
        assert "wrong~secret" not in out + err
        code, _, err = await shell.run("mail-server", "renew-secret", "--ends-on", "2029-01-31")
        assert (code, "a secret never stands on the command line" in err) == (2, True)
        code, _, err = await shell.run("mail-server", "take-secret-back")
        assert (code, "[wrong_state]" in err) == (1, True)
        assert (await shell.run("mail-server", "set"))[0] == 2
        code, _, err = await shell.run("mail-server", "remove", "default")
        assert (code, "[" in err) == (1, True), "what mail leaves through stays"
    finally:
        await server.stop()
