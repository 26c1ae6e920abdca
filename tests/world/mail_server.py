"""The world's mail server: takes mail over an in-memory connection, by the seed well or badly, and writes down what
arrived. Deliberately not built from our own wire code: it is the witness."""

import asyncio
import random
import re
from collections import Counter
from typing import cast

from tests.world.loop import VirtualLoop

ADDRESS = ("mail.world.test", 587)
SECOND = ("second.world.test", 587)
_MESSAGE_ID = re.compile(rb"^Message-ID: *(<[^>]+>)", re.IGNORECASE | re.MULTILINE)


class Witness:
    """What really arrived: how often each message reached each recipient."""

    def __init__(self) -> None:
        self.arrived: Counter[tuple[str, str]] = Counter()
        self.refused: set[tuple[str, str]] = set()
        self.damaged: list[str] = []
        self.taken: list[tuple[float, str, str]] = []
        """When, by which mail server, which message."""

    def take(self, content: bytes, recipients: list[str], name: str, now: float) -> None:
        found = _MESSAGE_ID.search(content)
        message_id = found.group(1).decode() if found else "(none)"
        if not content.endswith(b"\r\nthe end\r\n"):
            self.damaged.append(message_id)
        self.taken.append((now, name, message_id))
        for recipient in recipients:
            self.arrived[message_id, recipient] += 1


class Weather:
    """What goes wrong at the mail server, with which probability a message; it changes as the world goes on."""

    def __init__(self) -> None:
        self.temporary = 0.0
        self.drop_after_dot = 0.0
        self.drop_before_dot = 0.0
        self.throttles = 0.0
        self.sign_in_fails = False
        self.offers_chunking = True
        self.reply_delay_seconds = 0.02


class MailServerProtocol(asyncio.Protocol):
    """One conversation. Recipients beginning with `never` are refused for good, one by one."""

    def __init__(self, witness: Witness, weather: Weather, chance: random.Random, name: str = ADDRESS[0]) -> None:
        self._witness = witness
        self._name = name
        self._weather = weather
        self._chance = chance
        self._buffer = b""
        self._in_data = False
        self._chunk_left: int | None = None
        self._chunk_is_last = False
        self._content = b""
        self._recipients: list[str] = []
        self._has_sender = False
        self._login_steps = 0
        self._ready_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = cast(VirtualLoop, asyncio.get_running_loop())
        self._say("220 mail.world.test ESMTP")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._read_step():
            pass

    def _read_step(self) -> bool:
        """Take one thing out of the buffer: the end of the data, a chunk, or a command."""
        if self._chunk_left is not None:
            return self._read_chunk(self._chunk_left)
        if self._in_data:
            content, dot, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
            if dot:
                self._buffer, self._in_data = rest, False
                self._end_of_data(content.replace(b"\r\n..", b"\r\n.")[2:] + b"\r\n")
            return bool(dot)
        line, ended, rest = self._buffer.partition(b"\r\n")
        if ended:
            self._buffer = rest
            self._answer(line.decode())
        return bool(ended)

    def _read_chunk(self, size: int) -> bool:
        """RFC 3030: a chunk is taken whole, whatever the answer to it is."""
        if len(self._buffer) < size:
            return False
        chunk, self._buffer, self._chunk_left = self._buffer[:size], self._buffer[size:], None
        self._content += chunk
        if not self._recipients:
            self._content = b""
            self._say("503 5.5.1 No recipients")
        elif self._chunk_is_last:
            content, self._content = self._content, b""
            self._end_of_data(content)
            self._recipients = []
        else:
            self._say(f"250 2.6.0 CHUNK received OK, {size} octets")
        return True

    def _say(self, text: str) -> None:
        """Replies leave in order, each after the server's delay."""
        delay = self._weather.reply_delay_seconds * self._chance.random()
        self._ready_at = max(self._ready_at, self._loop.time()) + delay
        self._loop.call_at(self._ready_at, self._transport.write, (text + "\r\n").encode())

    def _answer(self, line: str) -> None:
        if self._login_steps:
            self._login_steps -= 1
            self._say(self._signed_in() if not self._login_steps else "334 UGFzc3dvcmQ6")
            return
        verb = line[:4].upper()
        if verb == "EHLO":
            chunking = "250-CHUNKING\r\n" if self._weather.offers_chunking else ""
            offers = f"250-PIPELINING\r\n250-SIZE 50000000\r\n{chunking}250-8BITMIME\r\n250 AUTH LOGIN"
            self._say(f"250-mail.world.test\r\n{offers}")
        elif verb == "AUTH":
            self._login_steps = 1 if len(line.split()) > 2 else 2
            self._say("334 VXNlcm5hbWU6" if self._login_steps == 2 else "334 UGFzc3dvcmQ6")
        elif verb == "MAIL":
            self._recipients, self._content = [], b""
            self._has_sender = self._chance.random() >= self._weather.temporary
            self._say("451 4.7.0 Temporary server error" if not self._has_sender else "250 2.1.0 Sender OK")
        elif verb == "RCPT":
            self._take_recipient(line.partition("<")[2].partition(">")[0])
        elif verb == "DATA":
            self._in_data = bool(self._recipients)
            self._say("354 Start" if self._in_data else "503 5.5.1 No recipients")
        elif verb == "BDAT":
            size, *last = line.split()[1:]
            self._chunk_left, self._chunk_is_last = int(size), bool(last)
        elif verb == "QUIT":
            self._say("221 2.0.0 Bye")
            self._loop.call_at(self._ready_at, self._transport.close)
        elif verb in ("RSET", "NOOP"):
            self._recipients, self._content = [], b""
            self._say("250 2.0.0 OK")
        else:
            self._say("500 5.3.3 Unrecognized command")

    def _signed_in(self) -> str:
        if self._weather.sign_in_fails:
            return "535 5.7.3 Authentication unsuccessful [WORLD]"
        return "235 2.7.0 Authentication successful"

    def _take_recipient(self, address: str) -> None:
        if not self._has_sender:
            self._say("503 5.5.1 Bad sequence of commands")  # no transaction began (RFC 5321 4.1.4)
        elif address.startswith("never"):
            self._say("550 5.1.10 Recipient not found")
        elif self._chance.random() < self._weather.temporary:
            self._say("451 4.3.2 Try again later")
        else:
            self._recipients.append(address)
            self._say("250 2.1.5 Recipient OK")

    def _end_of_data(self, content: bytes) -> None:
        if self._chance.random() < self._weather.drop_before_dot:
            self._cut()
            return
        if self._chance.random() < self._weather.temporary:
            self._say("451 4.7.0 Temporary server error")
            return
        if self._chance.random() < self._weather.throttles:
            self._say("451 4.7.500 Server busy. Please try again later")
            return
        self._witness.take(content, self._recipients, self._name, self._loop.time())
        if self._chance.random() < self._weather.drop_after_dot:
            self._cut()
            return
        self._say("250 2.0.0 OK <world> [Hostname=mail.world.test]")

    def _cut(self) -> None:
        self._loop.call_at(self._ready_at, self._transport.cut)  # type: ignore[attr-defined]
