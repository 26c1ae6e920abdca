"""A mail server that says what a test wrote down, and the ways to it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import trustme

from postroom.deliver.transport import Parcel
from postroom.message import MailboxState
from postroom.network import Route, verifying_context
from postroom.store.records import Authentication, EmailType, Mailbox, MailServer, SendRight

HOST = "mail.example.test"
EHLO = ("250-mail.example.test Hello", "250-SIZE 50000000", "250-PIPELINING", "250-8BITMIME", "250-SMTPUTF8")
MESSAGE = b"From: a@example.test\r\nSubject: x\r\n\r\nHello\r\n"


class Hung(Exception):
    """The client hung up."""


class Peer:
    """The server's side of one connection, driven line by line by a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None) -> None:
        self.reader = reader
        self.writer = writer
        self._tls = tls
        self.heard: list[str] = []
        self.sent_bytes = 0

    async def say(self, *lines: str) -> None:
        await self.say_bytes("".join(f"{line}\r\n" for line in lines).encode())

    async def say_bytes(self, octets: bytes) -> None:
        try:
            self.writer.write(octets)
            await self.writer.drain()
        except OSError:
            raise Hung from None
        await asyncio.sleep(0)  # after start_tls drain neither waits nor tells that the client is gone
        if self.writer.transport.is_closing():
            raise Hung
        self.sent_bytes += len(octets)

    async def hear(self) -> str:
        try:
            line = (await self.reader.readuntil(b"\r\n"))[:-2].decode()
        except (asyncio.IncompleteReadError, OSError):
            raise Hung from None
        self.heard.append(line)
        return line

    async def hear_message(self) -> bytes:
        """All up to the final dot, as it came over the wire."""
        octets = b"\r\n"
        while not octets.endswith(b"\r\n.\r\n"):
            try:
                octets += await self.reader.readuntil(b"\r\n")
            except (asyncio.IncompleteReadError, OSError):
                raise Hung from None
        return octets[2:]

    async def start_tls(self) -> None:
        assert self._tls is not None
        await self.writer.start_tls(self._tls)

    async def greet(self, *extensions: str) -> None:
        """Greeting and EHLO in clear, with AUTH PLAIN unless the extensions say otherwise."""
        await self.say("220 mail.example.test ESMTP")
        assert (await self.hear()).startswith("EHLO ")
        await self.say(*(extensions or (*EHLO, "250 AUTH PLAIN")))

    async def sign_in(self, *extensions: str) -> None:
        """All that comes before the first message."""
        await self.greet(*extensions)
        assert (await self.hear()).startswith("AUTH PLAIN ")
        await self.say("235 2.7.0 Authentication successful")

    async def take_envelope(self, recipients: int = 1, *, data: str = "354 Go on") -> None:
        """MAIL, RCPT and DATA in one flight, all accepted; or QUIT, which ends the script."""
        for _ in range(recipients + 2):
            if await self.hear() == "QUIT":
                await self.say("221 2.0.0 Bye")
                raise Hung
        await self.say("250 2.1.0 Sender OK", *["250 2.1.5 Recipient OK"] * recipients, data)

    def drop(self) -> None:
        """Close without a word."""
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Listens on loopback; each connection runs the next script, the last one again and again."""

    scripts: tuple[Script, ...]
    tls: ssl.SSLContext | None = None
    is_smtps: bool = False
    peers: list[Peer] = field(default_factory=list)
    troubles: list[BaseException] = field(default_factory=list)
    port: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def listen(
        cls, *scripts: Script, tls: ssl.SSLContext | None = None, is_smtps: bool = False
    ) -> AsyncIterator[Self]:
        """Serve; a script's failed assertion fails the test."""
        server = cls(scripts, tls, is_smtps)
        listener = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=tls if is_smtps else None)
        server.port = listener.sockets[0].getsockname()[1]
        server._tasks = set()
        try:
            yield server
        finally:
            listener.close()
            for peer in server.peers:
                peer.drop()
            for task in server._tasks:
                task.cancel()
            await asyncio.gather(*server._tasks, return_exceptions=True)
        for trouble in server.troubles:
            raise trouble

    def __post_init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        peer = Peer(reader, writer, self.tls)
        self.peers.append(peer)
        self._tasks.add(asyncio.create_task(self._run(script, peer)))

    async def _run(self, script: Script, peer: Peer) -> None:
        try:
            with contextlib.suppress(Hung, ConnectionError, ssl.SSLError):
                await script(peer)
        except asyncio.CancelledError:
            raise
        except BaseException as trouble:
            self.troubles.append(trouble)
        finally:
            peer.writer.transport.close()


@dataclass(frozen=True)
class Loopback:
    """Every name leads to one port of this machine."""

    port: int
    tls: ssl.SSLContext
    is_rehearsal: bool = True
    server_name: str = HOST

    def route(self, host: str, port: int) -> Route:
        return Route("127.0.0.1", self.port, self.server_name, self.tls)

    def browser_url(self, url: str) -> str:
        return url


def loopback(port: int, authority: trustme.CA | None = None) -> Loopback:
    pem = authority.cert_pem.bytes().decode() if authority else None
    return Loopback(port, verifying_context(pem))


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or (HOST,))).configure_cert(context)
    return context


def a_mail_server(port: int = 587, **changes: Any) -> MailServer:
    known: dict[str, Any] = {
        "mail_server_id": 1,
        "name": "Example",
        "host": HOST,
        "port": port,
        "email_type": EmailType.SMTP,
        "use_tls": False,
        "sender": "noreply@example.test",
        "sender_name": "",
        "test_address": "a@example.test",
        "send_right": SendRight.OWN,
        "mailbox_id": 7,
        "ehlo_name": "postroom.example.test",
    }
    return MailServer(**(known | changes))


def a_mailbox() -> Mailbox:
    return Mailbox(7, "scanner@example.test", "scanner@example.test", Authentication.BASIC, MailboxState.READY)


def a_parcel(*recipients: str, body: Iterable[bytes] = (MESSAGE,), **changes: Any) -> Parcel:
    chunks = list(body)

    async def read() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    known: dict[str, Any] = {
        "envelope_sender": "noreply@example.test",
        "recipients": recipients or ("b@example.net",),
        "size_bytes": sum(map(len, chunks)),
        "open_body": read,
    }
    return Parcel(**(known | changes))
