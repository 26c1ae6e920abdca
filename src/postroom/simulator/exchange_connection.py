"""One TCP connection to the simulated Exchange Online: lines in, replies out, TLS in between, and its patience.

What is said is the session's affair. `reader` is its state: it takes what it can from `input` and says
whether it got on.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from postroom.simulator import exchange_replies as replies
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.exchange_dialogue import Dialogue
from postroom.simulator.organisation_settings import FrontEnd

log = logging.getLogger("postroom.simulator.exchange")

# RFC 4954 4 asks for 12,288 octets in a line of AUTH; tokens with many claims are longer still.
MAX_LINE_BYTES = 65_536
HANDSHAKE_SECONDS = 10

Reader = Callable[[], bool]


class Owner(Protocol):
    """Who speaks on the connection."""

    def start(self) -> Reader:
        """The connection stands: say what there is to say, and return the first reader."""

    def start_anew(self) -> Reader:
        """TLS has begun: forget what was said before it (RFC 3207 4.2)."""

    def end(self) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    def __init__(self, owner: Owner, clock: SimulatorClock, front_end: FrontEnd) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dialogue = Dialogue()
        self.tls_version = ""
        self.input = bytearray()
        self.reader: Reader = self._wait
        self._owner = owner
        self._clock = clock
        self._front_end = front_end
        # The client finds the id of the banner again in the tag of each refusal.
        self.session_id = f"08DE{secrets.token_hex(6).upper()}"
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened_at = self._heard_at = clock.now()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, though they do the same.
        self._transport = cast(asyncio.Transport, transport)
        self.reader = self._owner.start()
        self.check_patience()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._clock.now()
        self.input += data
        self.advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._transport = None
        self._owner.end()
        if not self.ended.done():
            self.ended.set_result(None)

    # Reading

    def advance(self) -> None:
        """Let the reader take what it can."""
        while self.input and self._transport and not self._transport.is_closing() and self.reader():
            pass

    def wait(self) -> None:
        """Leave the input alone until somebody sets another reader."""
        self.reader = self._wait

    def _wait(self) -> bool:
        return False

    def take_line(self) -> bytes | None:
        """The next line without its CRLF; None until it is whole. A line without end breaks the connection."""
        end = self.input.find(b"\n")
        if end < 0:
            if len(self.input) > MAX_LINE_BYTES:
                self.refuse(replies.UNRECOGNIZED)
                self.hang_up()
            return None
        line = bytes(self.input[: end + 1])
        del self.input[: end + 1]
        return line.removesuffix(b"\r\n")

    # Speaking

    @property
    def peer_address(self) -> str:
        assert self._transport is not None
        return str(self._transport.get_extra_info("peername")[0])

    def say(self, *lines: str) -> None:
        for line in lines:
            self.dialogue.note_server(line)
        self.write(*lines)

    def write(self, *lines: str) -> None:
        """Say what the dialogue has noted already."""
        if self._transport:
            self._transport.write("".join(f"{line}\r\n" for line in lines).encode())

    def refuse(self, reply: str) -> None:
        """A reply with the front end's tag behind it."""
        self.say(f"{reply} {replies.front_end_tag(self.session_id, self._clock.now())}")

    def hang_up(self) -> None:
        """Close the connection once everything is said."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Break the connection without a word."""
        if self._transport:
            self._transport.abort()

    # TLS

    def pause(self) -> None:
        """Read nothing until the handshake takes over."""
        if self._transport:
            self._transport.pause_reading()
        self.wait()

    async def upgrade(self, context: ssl.SSLContext) -> None:
        """The server's half of the TLS handshake; then the session begins anew."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, asyncio.CancelledError) as problem:
            log.info("the TLS handshake failed: %s", problem)
            # asyncio tells a protocol nothing of a handshake that failed.
            self.abort()
            self.connection_lost(None)
            return
        assert transport is not None
        self._transport = transport
        self.tls_version = str(transport.get_extra_info("ssl_object").version())
        self.dialogue.note_event(f"{self.tls_version} begins")
        self.reader = self._owner.start_anew()
        self.advance()

    # Patience

    def check_patience(self) -> None:
        """Part from a client that is silent for too long, or has been here for too long; else look again in time."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._transport is None or self._transport.is_closing():
            return
        now = self._clock.now()
        idle_seconds, longest = self._front_end.idle_seconds, self._front_end.connection_seconds
        remaining = [self._heard_at + idle_seconds - now]
        if longest is not None:
            remaining.append(self._opened_at + longest - now)
        is_awaited = self.reader != self._wait
        if is_awaited and min(remaining) <= 0:
            self.refuse(replies.IDLE_TOO_LONG if remaining[0] <= 0 else replies.CONNECTED_TOO_LONG)
            self.hang_up()
            return
        # While the client waits for us it owes us nothing.
        delay_seconds = min(remaining) if is_awaited else idle_seconds
        self._timer = asyncio.get_running_loop().call_later(max(delay_seconds, 0.001), self.check_patience)
