"""An event loop whose time is a number: it jumps to the next timer whenever nothing else is to be done.

No socket and no thread exists in it. Connections are pairs of in-memory transports, made by `create_connection` and
`create_server` as the real loop makes them, so that the server under test does not know where it runs.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Mapping
from typing import Any


class StandstillError(Exception):
    """Nothing is ready and nothing is scheduled: the world waits for an event that cannot come."""


class _VirtualSelector(selectors.BaseSelector):
    """Never waits: lets the loop's time pass instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StandstillError("nothing is ready and nothing is scheduled")
        self.now += max(timeout, 0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class MemoryTransport(asyncio.Transport):
    """One end of a connection. What is written arrives at the other end in pieces, each after a while of its own."""

    _start_tls_compatible = True  # asyncio asks for it: TLS may begin on such a connection

    def __init__(self, loop: "VirtualLoop", name: str, peer_name: tuple[str, int]) -> None:
        super().__init__({"peername": peer_name, "sockname": ("127.0.0.1", 0), "socket": None})
        self._loop = loop
        self._name = name
        self._protocol: asyncio.Protocol | asyncio.BufferedProtocol | None = None
        self.other: MemoryTransport | None = None
        self._incoming = bytearray()
        self._is_paused = False
        self._is_closing = False
        self._is_lost = False
        self._arrival = 0.0
        self._ended_by_other = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._loop.call_soon(self._hand_over)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self.other is None:
            return
        self._loop.carry(self, bytes(data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        """Ours ends at once; the other end hears of it after what was written has arrived."""
        if self._is_closing:
            return
        self._is_closing = True
        self._loop.call_soon(self._lose, None)
        if self.other is not None:
            self._loop.call_at(max(self.other._arrival, self._loop.time()), self.other._end)

    def abort(self) -> None:
        self.close()

    def _force_close(self, trouble: BaseException | None) -> None:
        """What asyncio's TLS calls when a handshake fails."""
        self.close()

    def cut(self) -> None:
        """The network breaks: both ends lose the connection, and what was on its way is gone."""
        for end in (self, self.other):
            if end is not None and not end._is_lost:
                end._is_closing = True
                end._incoming.clear()
                self._loop.call_soon(end._lose, ConnectionResetError("the world cut the connection"))

    def arrive(self, data: bytes) -> None:
        if not self._is_closing:
            self._incoming += data
            self._hand_over()

    def _hand_over(self) -> None:
        if self._incoming and not self._is_paused and not self._is_lost and self._protocol is not None:
            data = bytes(self._incoming)
            self._incoming.clear()
            _feed(self._protocol, data)
        if self._ended_by_other and not self._incoming:
            self._end()

    def _end(self) -> None:
        if self._is_lost or self._is_closing:
            return
        if self._incoming:  # read first, then hear of the end
            self._ended_by_other = True
            return
        assert self._protocol is not None
        self._protocol.eof_received()
        self.close()

    def _lose(self, trouble: Exception | None) -> None:
        if not self._is_lost and self._protocol is not None:
            self._is_lost = True
            self._protocol.connection_lost(trouble)


def _feed(protocol: asyncio.Protocol | asyncio.BufferedProtocol, data: bytes) -> None:
    """TLS takes what arrives into a buffer of its own."""
    if isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
        return
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        taken = min(len(data), len(buffer))
        buffer[:taken] = data[:taken]
        protocol.buffer_updated(taken)
        data = data[taken:]


class MemoryServer(asyncio.AbstractServer):
    """What `create_server` gives in the world."""

    def __init__(self, loop: "VirtualLoop", address: tuple[str, int]) -> None:
        self._loop = loop
        self.address = address

    @property
    def sockets(self) -> tuple["_NamedSocket", ...]:
        return (_NamedSocket(self.address),)

    def close(self) -> None:
        self._loop.listeners.pop(self.address, None)

    def is_serving(self) -> bool:
        return self.address in self._loop.listeners

    async def start_serving(self) -> None: ...

    async def serve_forever(self) -> None: ...

    async def wait_closed(self) -> None: ...

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop


class _NamedSocket:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address


class VirtualLoop(asyncio.SelectorEventLoop):
    """Everything by the seed: delays, pieces and cuts of the network."""

    def __init__(self, chance: random.Random) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)
        self._chance = chance
        self.listeners: dict[tuple[str, int], Callable[[], asyncio.BaseProtocol]] = {}
        self.cut_probability = 0.0
        """Of each piece: that the connection breaks instead of carrying it."""
        self.connections: list[MemoryTransport] = []

    def time(self) -> float:
        return self._virtual.now

    def carry(self, sender: MemoryTransport, data: bytes) -> None:
        """Bring `data` to the other end, in order, in pieces, or cut the connection on the way."""
        other = sender.other
        assert other is not None
        while data:
            size = len(data) if self._chance.random() < 0.7 else self._chance.randint(1, len(data))
            piece, data = data[:size], data[size:]
            other._arrival = max(other._arrival, self.time()) + self._chance.uniform(0.0001, 0.02)
            if self._chance.random() < self.cut_probability:
                self.call_at(other._arrival, sender.cut)
                return
            self.call_at(other._arrival, other.arrive, piece)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        address = (str(host), int(port))
        if address in self.listeners:
            raise OSError(98, "Address already in use")
        self.listeners[address] = protocol_factory
        return MemoryServer(self, address)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        await asyncio.sleep(self._chance.uniform(0.001, 0.05))
        factory = self.listeners.get((str(host), int(port)))
        if factory is None:
            raise ConnectionRefusedError(111, "Connection refused")
        here = MemoryTransport(self, "client", (str(host), int(port)))
        there = MemoryTransport(self, "server", ("127.0.0.1", 40_000 + len(self.connections)))
        here.other, there.other = there, here
        self.connections += [here, there]
        for end, make in ((there, factory), (here, protocol_factory)):
            protocol = make()
            end.set_protocol(protocol)
            protocol.connection_made(end)
        return here, here.get_protocol()

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        return [(2, 1, 6, "", (str(host), int(port)))]

    def lose_all(self) -> None:
        """The machine stops: every connection is gone without a word to our side."""
        for end in self.connections:
            if not end._is_lost:
                end.cut()
        self.listeners.clear()


class VirtualClock:
    """The loop's time as wall time; it goes on while the machine is down, as clocks do."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_us(self) -> int:
        return 1_790_000_000_000_000 + int(self._loop.time() * 1_000_000)
