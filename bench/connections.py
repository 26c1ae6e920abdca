"""What an open connection costs the listener: resident memory of the server's process for each.

    .venv/bin/python bench/connections.py [connections]

Idle in clear, idle under TLS, and in the middle of a message whose disk is slow, which is the most it can hold.
"""

# ruff: noqa: T201 - it prints its figures
import asyncio
import datetime
import gc
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import structlog
import uvloop

from postroom.accept.certificate import load_or_make_certificate, tls_contexts
from postroom.accept.client import TlsContexts
from postroom.accept.profiles import IMPLICIT_TLS, ListenerLimits, local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.clock import SystemClock
from postroom.ids import IdMaker
from postroom.store import Store
from postroom.store.records import App

SENDER = "scanner@contoso.example"
APP = App(app_id=1, name="bench", login="bench", senders=(SENDER,))
NEVER = asyncio.Event()
ENVELOPE = f"EHLO x\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA\r\n".encode()
CONTENT = f"From: {SENDER}\r\n\r\n".encode() + b"A line of text as people write them.\r\n" * 30_000


class SlowWriter:
    """A disk that never takes the second chunk."""

    has_written = False

    async def write(self, chunk: bytes) -> None:
        if self.has_written:
            await NEVER.wait()
        self.has_written = True

    async def discard(self) -> None: ...


def slow_store() -> Store:
    async def nothing(*_: object) -> None: ...

    async def has_room() -> bool:
        return True

    async def found(mailbox_id: int = 1) -> Any:
        return SimpleNamespace(mailbox_id=mailbox_id, sender=SENDER, username=SENDER)

    return cast(
        Store,
        SimpleNamespace(
            ids=IdMaker(SystemClock()),
            bodies=SimpleNamespace(spool=SlowWriter),
            outbox=SimpleNamespace(has_room=has_room),
            apps=SimpleNamespace(find=nothing, at_address=nothing, note_use=nothing, use_by_minute=nothing),
            mail_servers=SimpleNamespace(default=found),
            mailboxes=SimpleNamespace(find=found),
        ),
    )


def resident_kib() -> int:
    gc.collect()
    line = next(it for it in Path("/proc/self/status").read_text().splitlines() if it.startswith("VmRSS"))
    return int(line.split()[1])


async def measure(name: str, tls: TlsContexts, count: int) -> None:
    store = slow_store()
    intake = Intake(store, SystemClock(), "relay.example", 40_000_000)
    limits = ListenerLimits(connection_limit=count + 100, client_connection_limit=count + 100)
    server = SmtpServer(intake, store.apps, tls, limits=limits)
    profile = IMPLICIT_TLS if name == "tls" else local_profile(APP)
    port = await server.start("127.0.0.1", 0, profile)
    await hold(port, name, 50)  # what is made once is not counted
    before = resident_kib()
    client, held = await begin(port, name, count)
    await asyncio.sleep(2)
    print(f"{name:10}{(resident_kib() - before) / held:8.1f} KiB a connection, {held} open")
    client.kill()
    await client.wait()
    await server.stop(0)


async def begin(port: int, name: str, count: int) -> tuple[asyncio.subprocess.Process, int]:
    command = [sys.executable, __file__, "--client", str(port), name, str(count)]
    client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert client.stdout is not None
    return client, int(await client.stdout.readline())


async def hold(port: int, name: str, count: int) -> None:
    client, _ = await begin(port, name, count)
    client.kill()
    await client.wait()
    await asyncio.sleep(1)


def be_client(port: int, name: str, count: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        if name == "tls":
            connection = context.wrap_socket(connection)
        connection.recv(500)
        if name == "message":
            connection.sendall(ENVELOPE)
            connection.recv(4000)
            connection.setblocking(False)
            sent = 0
            try:
                while sent < len(CONTENT):
                    sent += connection.send(CONTENT[sent : sent + 65536])
            except BlockingIOError:
                pass
        else:
            connection.sendall(b"EHLO x\r\n")
            connection.recv(4000)
        held.append(connection)
    print(len(held), flush=True)
    socket.create_server(("127.0.0.1", 0)).accept()


async def main(count: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        now = datetime.datetime.now(datetime.UTC)
        tls = tls_contexts(load_or_make_certificate(Path(folder), "relay.example", now))
        for name in ("clear", "tls", "message"):
            await measure(name, tls, count)


if __name__ == "__main__":
    if "--client" in sys.argv:
        be_client(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        uvloop.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 400))
