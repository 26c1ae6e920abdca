"""`postroom simulate`, as a stranger uses it: start it, trust its certificate, send through it."""

import asyncio
import re
import signal
import smtplib
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.anyio

FREE_PORTS = ("--http-port", "0", "--https-port", "0", "--smtp-port", "0")
PATIENCE_SECONDS = 30


@asynccontextmanager
async def simulating(*arguments: str) -> AsyncIterator[str]:
    """The running command, and what it printed; at the end it is told to stop and must do so cleanly."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "postroom", "simulate", *arguments), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "Certificate to trust" not in printed:
                line = await program.stdout.readline()
                assert line, f"it ended early after: {printed}"
                printed += line.decode()
        yield printed
    finally:
        program.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await program.wait()
    assert code == 0


def send(port: int, ca_file: Path) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "scanner@contoso.com", "ops@contoso.com", "From a stranger"
    mail.set_content("Hello\n")
    context = ssl.create_default_context(cafile=ca_file)
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_SECONDS) as client:
        client._host = "smtp.office365.com"  # type: ignore[attr-defined]  # the name that the certificate must carry
        client.starttls(context=context)
        client.login("scanner@contoso.com", "Scan-to-mail-1")
        client.send_message(mail)


async def test_a_strangers_program_sends_through_it(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    async with simulating(*FREE_PORTS, "--ca-file", str(ca_file)) as printed:
        found = re.search(r"smtp\.office365\.com:587 +127\.0\.0\.1:(\d+)", printed)
        pages = re.search(r"Pages +(\S+)", printed)
        assert found
        assert pages
        await asyncio.to_thread(send, int(found.group(1)), ca_file)
        async with httpx2.AsyncClient(trust_env=False) as client:
            inbox = await client.get(f"{pages.group(1)}/inbox")
        assert "From a stranger" in inbox.text


async def test_it_can_begin_with_an_empty_tenant() -> None:
    async with simulating(*FREE_PORTS, "--empty") as printed:
        pages = re.search(r"Pages +(\S+)", printed)
        assert pages
        async with httpx2.AsyncClient(trust_env=False) as client:
            users = await client.get(f"{pages.group(1)}/users")
        assert users.status_code == 200
        assert "scanner@contoso.com" not in users.text


async def test_a_port_that_is_taken_is_said_with_what_to_do() -> None:
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with taken:
        port = str(taken.sockets[0].getsockname()[1])
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "postroom", "simulate", *FREE_PORTS, "--smtp-port", port),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await program.communicate()
    assert program.returncode == 1
    assert "Choose other ports" in errors.decode()
