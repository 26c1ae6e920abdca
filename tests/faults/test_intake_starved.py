"""Promise 19: clients that are slow or silent, by the hundred, starve nobody: a good one among them is served well."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.serving import ALL_LISTENERS, SENDER, Postroom, postroom_in, witness_in
from tests.faults.ways import Ways, compose

pytestmark = pytest.mark.anyio

MESSAGES = 100
BAD_CLIENTS = 400
BAD_ADDRESSES = tuple(f"127.0.1.{number}" for number in range(1, 9))
DRIP_SECONDS = 0.2
P99_LIMIT_SECONDS = 1.0
"""Of one message, with connection, envelope and a sync on the disk: some 5 ms on an idle machine. A server that let
anybody wait for a slow client would need DRIP_SECONDS for each of its bytes."""
TO = ("ops@witness.test",)
SLOW_MESSAGE = compose("<slow@witness.test>", TO, b"One byte at a time.\r\n") + b".\r\n"


@pytest.fixture
def postroom(tmp_path: Path) -> Iterator[Postroom]:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        yield postroom


async def start(postroom: Postroom) -> dict[str, str]:
    """A server whose mail server is away: only the way in is measured."""
    with witness_in(postroom.folder) as witness:
        await postroom.set_up(witness.port)
    return await asyncio.to_thread(postroom.start(**ALL_LISTENERS).wait_until_ready)


async def p99_seconds(ways: Ways, way: str) -> float:
    durations = []
    for number in range(MESSAGES):
        began = time.monotonic()
        answer = await getattr(ways, way)(f"<{way}.{number}.{began}@witness.test>", TO, b"A line.\r\n")
        assert answer.is_acknowledged, answer
        durations.append(time.monotonic() - began)
    return statistics.quantiles(durations, n=100)[-1]


class BadClients:
    """Connections from other addresses of this machine, a part of the limit for all each."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._writers: list[asyncio.StreamWriter] = []
        self._drips: list[asyncio.Task[None]] = []
        self.heard = 0

    async def connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._place.removeprefix("http://").replace("localhost", "127.0.0.1").rpartition(":")
        address = (BAD_ADDRESSES[number % len(BAD_ADDRESSES)], 0)
        reader, writer = await asyncio.open_connection(host, int(port), local_addr=address)
        self._writers.append(writer)
        return reader, writer

    async def sit(self, number: int) -> None:
        """Says nothing."""
        reader, _ = await self.connect(number)
        await self._hear(reader)

    async def stop_in_a_line(self, number: int) -> None:
        reader, writer = await self.connect(number)
        await self._hear(reader)
        writer.write(b"EHL")

    async def drip(self, number: int) -> None:
        """A message, byte by byte."""
        reader, writer = await self.connect(number)
        await self._hear(reader)
        envelope = f"EHLO slow\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<ops@witness.test>\r\nDATA\r\n"
        writer.write(envelope.encode())
        self._drips.append(asyncio.create_task(self._drip_on(writer)))

    async def drip_a_request(self, number: int) -> None:
        """HTTP's head, byte by byte."""
        _, writer = await self.connect(number)
        self.heard += 1
        writer.write(b"POST /api/v1/messages HTTP/1.1\r\nX: ")
        self._drips.append(asyncio.create_task(self._drip_on(writer)))

    async def read_nothing(self, number: int) -> None:
        """Asks and asks, and never takes the answers."""
        reader, writer = await self.connect(number)
        await self._hear(reader)
        writer.write(b"HELP\r\n" * 20_000)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        line = await reader.readline()
        self.heard += line.startswith(b"220 ")

    async def _drip_on(self, writer: asyncio.StreamWriter) -> None:
        for byte in SLOW_MESSAGE * 100:
            writer.write(bytes([byte]))
            await asyncio.sleep(DRIP_SECONDS)

    async def go(self) -> None:
        for drip in self._drips:
            drip.cancel()
        await asyncio.gather(*self._drips, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def bad_clients(place: str, kind: str, count: int) -> AsyncIterator[BadClients]:
    bad = BadClients(place)
    try:
        for number in range(count):
            await getattr(bad, kind)(number)
        yield bad
    finally:
        await bad.go()


@pytest.mark.parametrize(
    ("kind", "count"),
    [("sit", BAD_CLIENTS), ("stop_in_a_line", BAD_CLIENTS), ("drip", BAD_CLIENTS), ("read_nothing", 10)],
)
async def test_slow_smtp_clients_starve_nobody(postroom: Postroom, kind: str, count: int) -> None:
    where = await start(postroom)
    ways = Ways(postroom, where)
    alone = await p99_seconds(ways, "local")
    async with bad_clients(where["local"], kind, count) as bad:
        assert bad.heard == count, "each of them was let in"
        p99 = {way: await p99_seconds(ways, way) for way in ("local", "raw")}
    check(f"{count} that {kind}", alone, p99)


def check(whom: str, alone: float, p99: dict[str, float]) -> None:
    shown = ", ".join(f"{way} {seconds * 1e3:.0f} ms" for way, seconds in p99.items())
    print(f"{whom}: p99 {shown}; without them {alone * 1e3:.0f} ms")
    assert max(p99.values()) < P99_LIMIT_SECONDS


async def test_slow_http_clients_starve_nobody(postroom: Postroom) -> None:
    where = await start(postroom)
    ways = Ways(postroom, where)
    alone = await p99_seconds(ways, "raw")
    async with bad_clients(where["console"], "drip_a_request", BAD_CLIENTS):
        p99 = {way: await p99_seconds(ways, way) for way in ("local", "raw")}
    check(f"{BAD_CLIENTS} that drip a request", alone, p99)


async def test_one_address_cannot_take_all_places(postroom: Postroom) -> None:
    """It is told so, and a good client at another address does not notice."""
    where = await start(postroom)
    async with AsyncExitStack() as stack:
        bad = BadClients(where["local"])
        stack.push_async_callback(bad.go)
        answers = []
        for _ in range(150):
            reader, _ = await bad.connect(0)
            answers.append((await reader.readline())[:9])
        p99 = await p99_seconds(Ways(postroom, where), "local")
    assert answers.count(b"220 postr") == 100
    assert answers.count(b"421 4.7.0") == 50
    assert p99 < P99_LIMIT_SECONDS
