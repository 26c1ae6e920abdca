"""What one message costs our client, beside aiosmtplib in the same run: CPU of the sending process a message, and the
time it takes over a line on which each answer comes late.

    .venv/bin/python bench/deliver.py [messages]

Both keep one connection without TLS, sign in once and send to the same sinks, which run in a process of their own,
offer PIPELINING, and CHUNKING where it says so, acknowledge at once (TCP_QUICKACK) and throw messages away. Only the
ratio means anything.
"""

# ruff: noqa: T201 - it prints its figures
import asyncio
import contextlib
import multiprocessing
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

import aiosmtplib
import uvloop

from postroom.clock import SystemClock
from postroom.deliver.smtp_transport import Keeping, SmtpTransport
from postroom.deliver.transport import Parcel
from postroom.identity.sign_ins import Password, SignIn
from postroom.message import MailboxState
from postroom.network import Route, verifying_context
from postroom.outcome import Sent
from postroom.store.records import Authentication, EmailType, Mailbox, MailServer, SendRight

HOST, SENDER, RECIPIENT = "127.0.0.1", "scanner@contoso.example", "bob@fabrikam.example"
HEAD = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nSubject: bench\r\nMessage-ID: <1@x>\r\n\r\n".encode()
BODIES = {
    "4 KiB": HEAD + b"A line of text as people write them, some sixty letters.\r\n" * 68,
    "1 MB": HEAD + b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n" * 12_500,
}
CHUNK_BYTES = 64 * 1024
TLS = verifying_context()
LATE_SECONDS = 0.02


class Sink(asyncio.Protocol):
    """Says yes to everything."""

    def __init__(self, offers: bytes, late_seconds: float) -> None:
        self._offers = offers
        self._late_seconds = late_seconds
        self._chunk_left = 0
        self._in_data = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket: socket.socket = transport.get_extra_info("socket")
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self._chunk_left:
            data = self._skip_chunk(data)
        if self._in_data:
            self._tail = (self._tail + data[-5:])[-5:]
            if self._tail == b"\r\n.\r\n":
                self._in_data, self._tail = False, b""
                self._say(b"250 2.0.0 OK\r\n")
            return
        while data and not self._in_data:
            line, _, data = data.partition(b"\r\n")
            if line[:4] == b"BDAT":
                self._chunk_left = int(line.split()[1])
                data = self._skip_chunk(data)
            else:
                self._say(self._answer(line[:4].upper()))

    def _skip_chunk(self, data: bytes) -> bytes:
        taken = min(len(data), self._chunk_left)
        self._chunk_left -= taken
        if not self._chunk_left:
            self._say(b"250 2.0.0 OK\r\n")
        return data[taken:]

    def _say(self, reply: bytes) -> None:
        if self._late_seconds:
            asyncio.get_running_loop().call_later(self._late_seconds, self._transport.write, reply)
        else:
            self._transport.write(reply)

    def _answer(self, verb: bytes) -> bytes:
        if verb == b"EHLO":
            return b"250-sink\r\n250-SIZE 99999999\r\n250-PIPELINING\r\n250-8BITMIME\r\n" + self._offers
        if verb == b"AUTH":
            return b"235 2.7.0 OK\r\n"
        if verb == b"QUIT":
            return b"221 2.0.0 Bye\r\n"
        self._in_data = verb == b"DATA"
        return b"354 Go on\r\n" if self._in_data else b"250 2.0.0 OK\r\n"


_AUTH = b"250 AUTH PLAIN\r\n"
SINKS = {
    "data": (_AUTH, 0.0),
    "chunking": (b"250-CHUNKING\r\n" + _AUTH, 0.0),
    "late": (_AUTH, LATE_SECONDS),
    "late chunking": (b"250-CHUNKING\r\n" + _AUTH, LATE_SECONDS),
}


def serve(tell_port: Connection) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        ports = {}
        for name, (offers, late_seconds) in SINKS.items():
            listener = await loop.create_server(partial(Sink, offers, late_seconds), HOST, 0)
            ports[name] = listener.sockets[0].getsockname()[1]
        tell_port.send(ports)
        await asyncio.Event().wait()

    asyncio.run(run())


class Direct:
    is_rehearsal = False

    def route(self, host: str, port: int) -> Route:
        return Route(host, port, host, TLS)

    def browser_url(self, url: str) -> str:
        return url


class OnePassword:
    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        return Password(SENDER, "a password")


async def send_with_ours(port: int, body: bytes, messages: int) -> None:
    chunks = [body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)]

    async def read() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    server = MailServer(
        1, "bench", HOST, port, EmailType.SMTP, False, SENDER, "", SENDER, SendRight.OWN, 1, ehlo_name="bench.example"
    )
    mailbox = Mailbox(1, SENDER, SENDER, Authentication.BASIC, MailboxState.READY)
    keeping = Keeping(messages=messages + 1)
    transport = SmtpTransport(Direct(), OnePassword(), SystemClock(), server, mailbox, keeping=keeping)
    parcel = Parcel(SENDER, (RECIPIENT,), len(body), read)
    for _ in range(messages):
        report = await transport.send(parcel)
        assert isinstance(report.outcomes[0], Sent), report
    await transport.close()


async def send_with_aiosmtplib(port: int, body: bytes, messages: int) -> None:
    client = aiosmtplib.SMTP(hostname=HOST, port=port, local_hostname="bench.example", start_tls=False)
    await client.connect()
    await client.login(SENDER, "a password")
    for _ in range(messages):
        await client.sendmail(SENDER, [RECIPIENT], body)
    await client.quit()


Send = Callable[[int, bytes, int], Awaitable[None]]


def measure(send: Send, port: int, body: bytes, messages: int, clock: Callable[[], float] = time.process_time) -> float:
    """Microseconds a message, of CPU unless another clock is named."""

    async def run() -> float:
        await send(port, body, 1)
        before = clock()
        await send(port, body, messages)
        return (clock() - before) / messages * 1_000_000

    return uvloop.run(run())


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    ours_hears, sink_says = multiprocessing.Pipe(duplex=False)
    sink = multiprocessing.Process(target=serve, args=(sink_says,), daemon=True)
    sink.start()
    ports = ours_hears.recv()
    for name, body in BODIES.items():
        count = messages if name == "4 KiB" else max(messages // 50, 1)
        theirs = min(measure(send_with_aiosmtplib, ports["data"], body, count) for _ in range(3))
        for form in ("data", "chunking"):
            ours = min(measure(send_with_ours, ports[form], body, count) for _ in range(3))
            print(f"{name}, {form}: ours {ours:,.0f} µs, aiosmtplib {theirs:,.0f} µs: {theirs / ours:.1f} times")
    small, count = BODIES["4 KiB"], max(messages // 50, 1)
    theirs = measure(send_with_aiosmtplib, ports["late"], small, count, time.perf_counter)
    for form in ("late", "late chunking"):
        ours = measure(send_with_ours, ports[form], small, count, time.perf_counter)
        print(
            f"4 KiB, {form}: ours {ours / 1000:,.1f} ms, aiosmtplib {theirs / 1000:,.1f} ms: {theirs / ours:.1f} times"
        )
    sink.terminate()


if __name__ == "__main__":
    main()
