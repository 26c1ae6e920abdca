"""A mail server for loopback, in a process of its own, that writes down what arrived: the witness of the fault tests.

`python -m tests.faults.witness LEDGER [SECONDS]` prints its port and serves until it is ended. Each message becomes
one line of LEDGER before it is answered; the answer follows after a pause of at most SECONDS. `550@` is refused,
`451@` put off, `later@` put off the first time, and a message to `hold@` is not answered the first time. Nothing here
comes from our own wire code.
"""

import asyncio
import hashlib
import os
import random
import re
import sys
from pathlib import Path
from typing import cast

import msgspec

SIZE_LIMIT_BYTES = 40_000_000
_END = b"\r\n.\r\n"
_EHLO = f"250-witness.test\r\n250-PIPELINING\r\n250-SIZE {SIZE_LIMIT_BYTES}\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n"
_ADDRESS = re.compile(rb"<([^>]*)>")
_MESSAGE_ID = re.compile(rb"^Message-ID: *(<[^>]+>)", re.IGNORECASE | re.MULTILINE)


class Arrival(msgspec.Struct, frozen=True):
    """One message as it arrived; the digest is of what follows the head."""

    message_id: str
    recipients: tuple[str, ...]
    size_bytes: int
    digest: str


class Body:
    """Takes the bytes of one message as they come, keeps its head and counts the rest."""

    def __init__(self) -> None:
        self._held = b"\r\n"  # the line before the first, so that a dot on the first line is found like any other
        self._is_first = True
        self._digest = hashlib.sha256()
        self.head = b""
        self._in_head = True
        self.size_bytes = 0

    def feed(self, octets: bytes) -> bytes | None:
        """What follows the end of the message; None while it goes on."""
        octets = self._held + octets
        end = octets.find(_END)
        # Never between a line end and the dot behind it.
        cut = end + 2 if end >= 0 else max(octets.rfind(b"\r\n", 0, len(octets) - 4), 0)
        self._held = octets[cut:]
        self._take(octets[:cut].replace(b"\r\n.", b"\r\n"))
        return octets[end + len(_END) :] if end >= 0 else None

    def _take(self, octets: bytes) -> None:
        if self._is_first and octets:
            self._is_first, octets = False, octets[2:]
        self.size_bytes += len(octets)
        if self._in_head:
            self.head += octets
            self.head, blank, octets = self.head.partition(b"\r\n\r\n")
            self._in_head = not blank
            if self._in_head:
                return
        self._digest.update(octets)

    def arrival(self, recipients: tuple[str, ...]) -> Arrival:
        found = _MESSAGE_ID.search(self.head)
        message_id = found[1].decode() if found else ""
        return Arrival(message_id, recipients, self.size_bytes, self._digest.hexdigest())


class Conversation(asyncio.Protocol):
    def __init__(self, ledger: int, pause_seconds: float, held: set[str]) -> None:
        self._ledger = ledger
        self._held_once = held
        self._pause_seconds = pause_seconds
        self._input = b""
        self._body: Body | None = None
        self._recipients: list[str] = []
        self._is_waiting = False
        self._in_auth = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._say("220 witness.test ESMTP")

    def data_received(self, data: bytes) -> None:
        self._input += data
        self._go_on()

    def _go_on(self) -> None:
        while self._input and not self._is_waiting:
            if self._body is not None:
                taken, self._input = self._input, b""
                rest = self._body.feed(taken)
                if rest is None:
                    return
                self._input = rest
                self._write_down(self._body)
            else:
                line, end, rest = self._input.partition(b"\r\n")
                if not end:
                    return
                self._input = rest
                self._obey(line)

    def _obey(self, line: bytes) -> None:
        verb = line.split(b" ")[0].split(b":")[0].upper()
        if self._in_auth:
            self._in_auth = False
            self._say("235 2.7.0 Welcome")
        elif verb == b"EHLO":
            self._transport.write(_EHLO.encode())
        elif verb == b"AUTH":
            self._in_auth = line.count(b" ") < 2
            self._say("334 " if self._in_auth else "235 2.7.0 Welcome")
        elif verb == b"RCPT":
            self._take_recipient(line)
        elif verb == b"DATA" and not self._recipients:
            self._say("503 5.5.1 No recipients")
        elif verb == b"DATA":
            self._body = Body()
            self._say("354 Go on")
        else:
            if verb in (b"MAIL", b"RSET"):
                self._recipients.clear()
            self._say("221 2.0.0 Bye" if verb == b"QUIT" else "250 2.0.0 OK")

    def _take_recipient(self, line: bytes) -> None:
        found = _ADDRESS.search(line)
        address = found[1].decode() if found else ""
        if address.startswith("550"):
            self._say("550 5.1.1 No such person")
        elif address.startswith("451") or (address.startswith("later") and address not in self._held_once):
            self._held_once.add(address)
            self._say("451 4.7.0 Come back later")
        else:
            self._recipients.append(address)
            self._say("250 2.1.5 OK")

    def _write_down(self, body: Body) -> None:
        self._body = None
        arrival = body.arrival(tuple(self._recipients))
        os.write(self._ledger, msgspec.json.encode(arrival) + b"\n")
        self._is_waiting = True
        is_to_hold = any(recipient.startswith("hold") for recipient in self._recipients)
        if is_to_hold and arrival.message_id not in self._held_once:
            self._held_once.add(arrival.message_id)
        else:
            pause = random.uniform(0, self._pause_seconds)
            asyncio.get_running_loop().call_later(pause, self._answer)

    def _answer(self) -> None:
        self._is_waiting = False
        self._recipients.clear()
        self._say("250 2.0.0 OK")
        self._go_on()

    def _say(self, line: str) -> None:
        self._transport.write(line.encode() + b"\r\n")


async def serve(ledger: int, pause_seconds: float) -> None:
    held: set[str] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Conversation(ledger, pause_seconds, held), "127.0.0.1", 0, backlog=100
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def read_ledger(path: Path) -> list[Arrival]:
    """What arrived until now; a line that is being written is not there yet."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Arrival) for line in lines]


if __name__ == "__main__":
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(serve(descriptor, float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
