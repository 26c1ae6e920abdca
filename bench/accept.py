"""What one message costs our listener, beside aiosmtpd in the same run: CPU of the server's process a message.

    .venv/bin/python bench/accept.py [messages]

Both speak without TLS and sign-in to the same client, which runs in a process of its own. `protocol` throws messages
away, so that only SMTP is measured; `store` keeps them in SQLite on the disk, by real group commit.
"""

# ruff: noqa: T201 - it prints its figures
import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import structlog
from aiosmtpd.smtp import SMTP

from postroom.accept.profiles import local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.clock import SystemClock
from postroom.ids import IdMaker
from postroom.store import Store
from postroom.store.records import App, AppSettings, NewMessage, StoredBody
from postroom.vault import Vault

SENDER = "scanner@contoso.example"
APP = App(app_id=1, name="bench", login="bench", senders=(SENDER,))
CONNECTIONS = 8
HEAD = (
    f"From: {SENDER}\r\nTo: bob@fabrikam.example\r\nSubject: bench\r\nDate: {formatdate()}\r\n"
    "Message-ID: <1@x.example>\r\nMIME-Version: 1.0\r\n\r\n"
).encode()
"""Nothing of it needs repair."""
BODY_4K = HEAD + b"A line of text as people write them, some sixty letters.\r\n" * 68
BODY_25M = HEAD + b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n" * 330_000


class NullWriter:
    size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)

    async def finish(self) -> StoredBody:
        return StoredBody(self.size_bytes, content=b"")

    async def discard(self) -> None: ...


class NullOutbox:
    async def has_room(self) -> bool:
        return True

    async def keep(self, new: NewMessage) -> None: ...


def null_store() -> Store:
    async def nothing(*_: object) -> None: ...

    async def found(mailbox_id: int = 1) -> Any:
        return SimpleNamespace(mailbox_id=mailbox_id, sender=SENDER, username=SENDER)

    return cast(
        Store,
        SimpleNamespace(
            ids=IdMaker(SystemClock()),
            bodies=SimpleNamespace(spool=NullWriter),
            outbox=NullOutbox(),
            apps=SimpleNamespace(find=nothing, note_use=nothing, use_by_minute=nothing),
            mail_servers=SimpleNamespace(default=found),
            mailboxes=SimpleNamespace(find=found),
        ),
    )


class NullHandler:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "250 2.0.0 OK"


async def start_aiosmtpd() -> tuple[int, Callable[[], Awaitable[None]]]:
    loop = asyncio.get_running_loop()
    handler = NullHandler()
    server = await loop.create_server(lambda: SMTP(handler, data_size_limit=40_000_000), "127.0.0.1", 0)

    async def stop() -> None:
        server.close()
        await server.wait_closed()

    return server.sockets[0].getsockname()[1], stop


async def start_ours(store: Store, app: App = APP) -> tuple[int, Callable[[], Awaitable[None]]]:
    intake = Intake(store, SystemClock(), "relay.example", 40_000_000)
    server = SmtpServer(intake, store.apps, profile=local_profile(app))
    await server.start("127.0.0.1", 0)
    return server.port, lambda: server.stop(5)


async def measure(port: int, size: str, messages: int) -> tuple[float, float]:
    """CPU seconds of this process a message, and messages a second."""
    command = [sys.executable, __file__, "--client", str(port), size, str(messages)]
    client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
    cpu, wall = time.process_time(), time.perf_counter()
    if await client.wait():
        raise SystemExit("the client failed")
    return (time.process_time() - cpu) / messages, messages / (time.perf_counter() - wall)


async def compare(messages: int) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        store = await Store.open(Path(folder) / "data", SystemClock(), Vault(bytes(32)))
        app, _ = await store.apps.create(AppSettings(name="bench", senders=(SENDER,)), "bench")
        print(f"{'':28}{'4 KiB':>12}{'':>12}{'25 MB':>12}")
        figures = {}
        for name, start in (
            ("aiosmtpd, protocol", start_aiosmtpd),
            ("postroom, protocol", lambda: start_ours(null_store())),
            ("postroom, store", lambda: start_ours(store, app)),
        ):
            port, stop = await start()
            await measure(port, "4k", 200)
            small, rate = await measure(port, "4k", messages)
            large, _ = await measure(port, "25m", 8)
            figures[name] = small
            print(f"{name:28}{small * 1e6:9.0f} µs{rate:10.0f}/s{large * 1e3:9.0f} ms")
            await stop()
        await store.close()
    ratio = figures["aiosmtpd, protocol"] / figures["postroom, protocol"]
    print(f"aiosmtpd needs {ratio:.1f} times the CPU for a small message")


def run_client(port: int, size: str, messages: int) -> None:
    """A few blocking connections by turns; a message is MAIL to DATA in one packet, then the text."""
    body = {"4k": BODY_4K, "25m": BODY_25M}[size] + b".\r\n"
    envelope = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA\r\n".encode()
    files = []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = connection.makefile("rwb")
        file.readline()
        say(file, b"HELO bench\r\n", 1)
        files.append(file)
    for start in range(0, messages, CONNECTIONS):
        turn = files[: messages - start]
        for file in turn:
            file.write(envelope)
            file.flush()
        for file in turn:
            for _ in range(3):
                assert file.readline()[:1] in b"23"
            file.write(body)
            file.flush()
        for file in turn:
            reply = file.readline()
            assert reply[:3] == b"250", reply


def say(file: Any, command: bytes, replies: int) -> None:
    file.write(command)
    file.flush()
    for _ in range(replies):
        assert file.readline()[:3] == b"250"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        run_client(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
        asyncio.run(compare(int(sys.argv[1]) if len(sys.argv) > 1 else 4000))
