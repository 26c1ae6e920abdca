"""The bytes of one connection to a mail server: replies in, octets out, each with a deadline and a bound.

Nothing here knows what is said. What can go wrong below SMTP is one error, `BrokenConnectionError`, and a broken
connection is closed at once: nothing may be said on it again.
"""

import asyncio
import contextlib
import socket
import ssl
from ipaddress import ip_address
from typing import Any, Self, cast

from postroom.network import Route
from postroom.wire.replies import Reply, ReplyError, ReplyReader

ADDRESS_SECONDS = 10.0
"""For one address of several, so that a silent one does not use up the time of the others."""
TLS_SHUTDOWN_SECONDS = 5.0


class BrokenConnectionError(ConnectionError):
    """The connection ended, fell silent, or said what is no SMTP; the text says which."""


class SmtpStream(asyncio.Protocol):
    """One connection. At most one task reads from it or writes to it at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = ReplyReader()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._end: str | None = None
        self._reading_is_paused = False
        self._writing_is_paused = False
        self.closed: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(cls, route: Route, *, with_tls: bool, timeout_seconds: float) -> Self:
        """Dial each address of the route in turn. OSError of the last one, TimeoutError, ssl.SSLError."""
        async with asyncio.timeout(timeout_seconds):
            addresses = await _resolve(route)
            trouble: OSError = OSError(f"{route.address} has no address")
            for address in addresses:
                try:
                    async with asyncio.timeout(timeout_seconds if len(addresses) == 1 else ADDRESS_SECONDS):
                        return await cls._dial(address, route, with_tls)
                except ssl.SSLError:
                    raise
                except OSError as error:  # TimeoutError is one
                    trouble = error
        raise trouble

    @classmethod
    async def _dial(cls, address: str, route: Route, with_tls: bool) -> Self:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if with_tls:
            options = {
                "ssl": route.tls,
                "server_hostname": route.server_name,
                "ssl_shutdown_timeout": TLS_SHUTDOWN_SECONDS,
            }
        _, stream = await loop.create_connection(cls, address, route.port, **options)
        return stream

    # What asyncio tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _send_without_delay(self._transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._reader.is_full and self._transport and not self._reading_is_paused:
            self._reading_is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._end = self._end or "The mail server closed the connection."
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end = self._end or f"The connection was lost: {exc}." if exc else "The mail server closed the connection."
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self._writing_is_paused = True

    def resume_writing(self) -> None:
        self._writing_is_paused = False
        self._wake()

    # What the conversation needs

    @property
    def is_open(self) -> bool:
        return self._end is None and self._transport is not None and not self._transport.is_closing()

    @property
    def has_unread(self) -> bool:
        """Something arrived that nobody asked for yet."""
        return not self._reader.is_empty

    @property
    def own_address(self) -> str:
        address = self._extra("sockname")
        return str(address[0]) if address else "127.0.0.1"

    @property
    def tls(self) -> ssl.SSLObject | None:
        return cast("ssl.SSLObject | None", self._extra("ssl_object"))

    def write(self, octets: bytes) -> None:
        """Hand octets to the system; they may still wait in its buffers. BrokenConnectionError."""
        if not self.is_open:
            raise BrokenConnectionError(self._end or "The connection is closed.")
        assert self._transport is not None
        self._transport.write(octets)

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until the other end has taken most of what was written. BrokenConnectionError."""
        deadline = self._loop.time() + timeout_seconds
        await asyncio.sleep(0)  # hear what has arrived meanwhile, and let others have their turn
        while self._writing_is_paused and self.is_open:
            await self._wait(deadline, "The mail server stopped taking the message")
        if not self.is_open:
            raise BrokenConnectionError(self._end or "The connection is closed.")

    async def next_reply(self, timeout_seconds: float) -> Reply:
        """The next reply, whole within the time. BrokenConnectionError."""
        deadline = self._loop.time() + timeout_seconds
        while (reply := self._read()) is None:
            if not self.is_open:
                raise BrokenConnectionError(self._end or "The connection is closed.")
            await self._wait(deadline, "The mail server did not answer in time")
        return reply

    async def upgrade(self, tls: ssl.SSLContext, server_name: str, timeout_seconds: float) -> None:
        """The client's half of a TLS handshake. Errors: ssl.SSLError, OSError."""
        assert self._transport is not None
        raw = self._transport
        try:
            upgraded = await self._loop.start_tls(
                raw,
                self,
                tls,
                server_hostname=server_name,
                ssl_handshake_timeout=timeout_seconds,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except BaseException:
            # asyncio tells a protocol nothing of a handshake that failed.
            raw.abort()
            self.connection_lost(None)
            raise
        assert upgraded is not None
        self._transport = upgraded

    def abort(self) -> None:
        """Close at once, dropping what was not yet sent."""
        self._end = self._end or "We closed the connection."
        if self._transport is not None:
            self._transport.abort()

    async def leave(self, farewell: bytes, timeout_seconds: float) -> None:
        """Say the farewell, hear the answer out, close."""
        with contextlib.suppress(BrokenConnectionError):
            self.write(farewell)
            await self.next_reply(timeout_seconds)
        if self._transport is not None:
            self._transport.close()

    def _read(self) -> Reply | None:
        try:
            reply = self._reader.next_reply()
        except ReplyError as error:
            self.abort()
            raise BrokenConnectionError(str(error)) from None
        if self._reading_is_paused and not self._reader.is_full and self._transport:
            self._reading_is_paused = False
            self._transport.resume_reading()
        return reply

    async def _wait(self, deadline: float, complaint: str) -> None:
        """Until something happens on the connection."""
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, waiter)
        try:
            await waiter
        except TimeoutError:
            self.abort()
            raise BrokenConnectionError(f"{complaint}.") from None
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _extra(self, name: str) -> Any:
        return self._transport.get_extra_info(name) if self._transport is not None else None


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


async def _resolve(route: Route) -> list[str]:
    """The route's addresses, IPv6 and IPv4 in turn; a literal address is taken as it stands."""
    with contextlib.suppress(ValueError):
        return [str(ip_address(route.address))]
    found = await asyncio.get_running_loop().getaddrinfo(route.address, route.port, type=socket.SOCK_STREAM)
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        addresses = by_family.setdefault(int(family), [])
        if str(address[0]) not in addresses:
            addresses.append(str(address[0]))
    return _in_turn(list(by_family.values()))


def _in_turn(groups: list[list[str]]) -> list[str]:
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def _send_without_delay(transport: asyncio.Transport) -> None:
    """Nagle's algorithm would hold the end of each message back until the last segment is acknowledged."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
