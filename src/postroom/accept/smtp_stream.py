"""The bytes of one SMTP connection, both ways: TLS, time limits and backpressure; the session makes sense of them."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from postroom.accept.local_users import peer_user_id
from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_tls import TlsError, TlsLayer
from postroom.wire.answers import format_answer

HIGH_WATER_BYTES = 128 * 1024
"""More than this waits in the kernel, and so at the client."""
_REPLIES_HELD_BYTES = 16 * 1024


class ConversationEnded(Exception):
    """Nothing more will be read; `goodbye` is the last reply, if the client should get one."""

    def __init__(self, reason: str, goodbye: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.goodbye = goodbye


class HandshakeFailed(ConversationEnded):
    """No TLS came about; the reason is OpenSSL's."""


class SmtpStream(asyncio.Protocol):
    """The transport's end of a connection."""

    def __init__(self, limits: ListenerLimits, on_made: Callable[[], None]) -> None:
        self._limits = limits
        self._on_made = on_made
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._replies: list[bytes] = []
        self._replies_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._is_reading_paused = False
        self._has_eof = False
        self._end: ConversationEnded | None = None
        self._tls: TlsLayer | None = None
        self._is_shaking_hands = False
        self.idle_timeout_seconds = limits.idle_timeout_seconds
        """How long to wait for the next bytes; shorter for who has not signed in."""
        self.is_stranger = True
        """Nobody knows yet whose mail it would be."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self.tls_version: str | None = None
        self.peer_address: str | None = None
        """The other end's; behind a load balancer, once that is known, the client's. None behind a Unix socket."""
        self.own_address: str | None = None
        self.local_user_id: int | None = None
        """Whose process it is, behind a Unix socket."""

    # ---- what the event loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        # A listener on :: sees IPv4 clients in IPv6's clothes.
        self.peer_address = str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else None
        self.own_address = str(own[0]).removeprefix("::ffff:") if isinstance(own, tuple) else None
        if self.peer_address is None:
            self.local_user_id = peer_user_id(transport.get_extra_info("socket"))
        self._on_made()

    def data_received(self, data: bytes) -> None:
        self._buffer += data if self._tls is None else self._open(data)
        if len(self._buffer) > HIGH_WATER_BYTES and not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """A client that said all it had to say still gets its replies."""
        self._has_eof = True
        self._wake()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        self._transport = None
        self._end_with(ConversationEnded("the client hung up"))
        self.resume_writing()
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # ---- what the session calls ----

    def say(self, reply: bytes) -> None:
        """Replies leave together: when nothing more is there to be read (RFC 2920)."""
        self._replies.append(reply)
        self._replies_bytes += len(reply)
        if self._replies_bytes > _REPLIES_HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._replies:
            self._write(b"".join(self._replies))
        self._replies.clear()
        self._replies_bytes = 0

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Take the connection to TLS, beginning with what is there already. HandshakeFailed, ConversationEnded."""
        layer = TlsLayer(context)
        self._is_shaking_hands = True
        try:
            async with asyncio.timeout(self._limits.handshake_timeout_seconds):
                while not self._shake_hands(layer):
                    await self._wait_for_bytes()
        except TlsError as trouble:
            raise HandshakeFailed(f"TLS failed: {trouble}") from None
        except TimeoutError:
            raise HandshakeFailed("TLS failed: the client did not go on with the handshake") from None
        self._is_shaking_hands = False
        self._tls = layer
        self.tls_version = layer.version
        self._buffer += self._open(b"")

    def close(self, goodbye: bytes = b"") -> None:
        """Say the last word and hang up; cut off when the client does not take it in time."""
        if goodbye:
            self.say(goodbye)
        self.flush()
        if self._transport is None:
            return
        if self._tls is not None and not self._transport.is_closing():
            self._transport.write(self._tls.say_goodbye())
        self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.linger_seconds, self.abort)

    @property
    def silent_seconds(self) -> float:
        """How long we have waited for the client by now."""
        return 0 if self._deadline is None else self._loop.time() - self._deadline + self.idle_timeout_seconds

    def make_room(self) -> None:
        """End a wait: somebody else needs the place."""
        text = "All connections are in use, and you said nothing for a while; come again in a minute"
        self._end_with(ConversationEnded("somebody else needed the place", format_answer(421, "4.7.0", text)))
        self.resume_writing()  # it may wait for the client to read

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- bytes ----

    def _write(self, plain: bytes) -> None:
        if self._transport is None or self._transport.is_closing() or self._is_shaking_hands:
            return  # in the middle of a handshake nobody would understand it
        try:
            self._transport.write(plain if self._tls is None else self._tls.seal(plain))
        except TlsError as trouble:
            self._end_with(ConversationEnded(f"TLS broke: {trouble}"))
            self.abort()

    def _open(self, data: bytes) -> bytes:
        """The bytes in clear. A record that is none, or was changed on its way, ends the connection."""
        assert self._tls is not None, "there is nothing to open"
        try:
            plain = self._tls.open(data)
        except TlsError as trouble:
            self._end_with(ConversationEnded(f"TLS broke: {trouble}"))
            self.abort()
            return b""
        if outgoing := self._tls.take_outgoing():
            self._write_raw(outgoing)
        self._has_eof = self._has_eof or self._tls.has_ended
        return plain

    def _shake_hands(self, layer: TlsLayer) -> bool:
        received = bytes(self._buffer)
        self._buffer.clear()
        try:
            return layer.shake_hands(received)
        finally:
            self._write_raw(layer.take_outgoing())

    def _write_raw(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    # ---- waiting ----

    async def _wait_for_bytes(self) -> None:
        self.flush()
        self._begin_deadline()
        known_bytes = len(self._buffer)
        try:
            if self._drained is not None:
                await self._drained
            if len(self._buffer) > known_bytes:
                return
            if self._end is not None:
                raise self._end
            if self._has_eof:
                raise ConversationEnded("the client hung up")
            self._resume_reading()
            self._waiter = self._loop.create_future()
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = None

    def _resume_reading(self) -> None:
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end_with(self, end: ConversationEnded) -> None:
        self._end = self._end or end
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._end)

    def _begin_deadline(self) -> None:
        """One timer for all waits: it looks again when it fires too early."""
        self._deadline = self._loop.time() + self.idle_timeout_seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._deadline is None:
            return
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)
            return
        seconds = self.idle_timeout_seconds
        goodbye = format_answer(421, "4.4.2", f"Nothing came for {seconds:.0f} seconds; goodbye")
        self._end_with(ConversationEnded("the client was silent for too long", goodbye))
        self.resume_writing()
