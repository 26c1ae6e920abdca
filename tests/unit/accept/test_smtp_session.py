"""The listener on virtual time, its transport a list of bytes: time limits, backpressure, limits, stopping."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from postroom.accept.client import TlsContexts
from postroom.accept.networks import Network
from postroom.accept.profiles import ListenerLimits, ListenerProfile, local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.smtp_stream import HIGH_WATER_BYTES
from postroom.accept.submission import Intake
from postroom.clock import ManualClock
from postroom.errors import StoreUnavailableError
from postroom.store.records import NewMessage, RefusedAttempt
from tests.unit.accept.fake_store import PASSWORD, SCANNER, FakeStore
from tests.world.loop import VirtualLoop

ENVELOPE = b"HELO x\r\nMAIL FROM:<scanner@contoso.example>\r\nRCPT TO:<bob@fabrikam.example>\r\nDATA\r\n"
MESSAGE = b"From: scanner@contoso.example\r\n\r\ntext\r\n.\r\n"


class Tap(asyncio.Transport):
    """A transport that writes into `said`."""

    def __init__(self, peer: str = "192.0.2.7") -> None:
        super().__init__({"peername": (peer, 4711)})
        self.said = b""
        self.is_reading_now = True
        self.reading_resumed = 0
        self.protocol: SmtpSession
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def pause_reading(self) -> None:
        self.is_reading_now = False

    def resume_reading(self) -> None:
        self.is_reading_now = True
        self.reading_resumed += 1

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def hear(self, data: bytes) -> None:
        self.protocol.data_received(data)

    @property
    def last(self) -> str:
        return self.said.decode().splitlines()[-1]


class World:
    """A server, and clients on taps."""

    def __init__(
        self,
        limits: ListenerLimits | None = None,
        profile: ListenerProfile | None = None,
        tls: TlsContexts | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self.store = FakeStore()
        self.refused: list[RefusedAttempt] = []
        intake = Intake(self.store.as_store(), ManualClock(), "relay.example", 10_000_000)
        self.server = SmtpServer(
            intake,
            self.store.apps,
            tls,
            profile=profile or local_profile(SCANNER),
            limits=limits,
            proxies=proxies,
            note_refused=self.refused.append,
        )

    async def connect(self, peer: str = "192.0.2.7") -> Tap:
        tap = Tap(peer)
        tap.protocol = self.server.make_session()
        tap.protocol.connection_made(tap)
        await settle()
        return tap

    async def talk(self, tap: Tap, data: bytes) -> str:
        """What is answered at once."""
        before = len(tap.said)
        tap.hear(data)
        await settle()
        return tap.said[before:].decode()


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(50):
        await asyncio.sleep(0)


def on_virtual_time(scenario: Callable[[World], Coroutine[Any, Any, None]], **settings: Any) -> float:
    """Run it, and say how many seconds passed."""

    async def play() -> float:
        await scenario(World(**settings))
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(random.Random(1))) as runner:
        return runner.run(play())


def test_a_silent_client_gets_a_reason_after_five_minutes() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await asyncio.sleep(299)
        assert await world.talk(tap, b"NOOP\r\n") == "250 2.0.0 OK\r\n"
        await asyncio.sleep(299)
        assert not tap.is_closing()
        await asyncio.sleep(2)
        assert tap.last == "421 4.4.2 Nothing came for 300 seconds; goodbye"
        assert tap.is_closing()

    on_virtual_time(scenario)


def test_a_client_that_falls_silent_inside_a_message_leaves_no_row() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + MESSAGE[:-3])
        await asyncio.sleep(301)
        assert tap.last.startswith("421 4.4.2 Nothing came")
        assert world.store.outbox.kept == []
        assert world.store.bodies.writers[0].is_discarded

    on_virtual_time(scenario)


def test_a_message_that_drips_must_end_some_day() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE)
        while not tap.is_closing():
            await asyncio.sleep(60)
            tap.hear(b"X: y\r\n")
        assert tap.last == "421 4.4.2 The message took too long to arrive; goodbye"

    assert on_virtual_time(scenario) == pytest.approx(3660, abs=61)


def test_reading_stops_while_the_disk_is_slow() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + b"From: scanner@contoso.example\r\n\r\n")
        writer = world.store.bodies.writers[0]
        disk_is_ready = asyncio.Event()
        write = writer.write

        async def write_slowly(chunk: bytes) -> None:
            await disk_is_ready.wait()
            await write(chunk)

        writer.write = write_slowly  # type: ignore[method-assign]
        chunk = b"x" * 998 + b"\r\n"
        while tap.is_reading_now:
            await world.talk(tap, chunk * 16)
            assert len(tap.protocol._buffer) < 2 * HIGH_WATER_BYTES
        disk_is_ready.set()
        await settle()
        assert (await world.talk(tap, b".\r\n")).startswith("250 2.0.0 OK queued as ")
        assert tap.reading_resumed == 1

    on_virtual_time(scenario)


def test_commands_wait_while_a_client_does_not_read_its_replies() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        tap.protocol.pause_writing()
        await world.talk(tap, b"NOOP\r\n")
        assert await world.talk(tap, b"NOOP\r\n") == ""
        tap.protocol.resume_writing()
        await settle()
        assert tap.said.count(b"250 2.0.0 OK") == 2

    on_virtual_time(scenario)


def test_a_client_that_never_reads_is_cut_off() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        tap.protocol.pause_writing()
        await world.talk(tap, b"NOOP\r\n")
        await asyncio.sleep(320)
        assert tap.is_closing()
        assert world.server.connection_count == 0

    on_virtual_time(scenario)


def test_a_flood_of_short_commands_leaves_others_their_turn() -> None:
    async def scenario(world: World) -> None:
        tap, other = await world.connect(), await world.connect("192.0.2.8")
        tap.hear(b"NOOP\r\n" * 20_000)
        answered = await world.talk(other, b"NOOP\r\n")
        assert answered == "250 2.0.0 OK\r\n"
        assert tap.said.count(b"250 2.0.0 OK") < 10_000

    on_virtual_time(scenario)


def test_commands_that_have_come_already_wait_for_a_client_that_reads_nothing() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        tap.protocol.pause_writing()
        known_bytes = len(tap.said)
        tap.hear(b"HELP\r\n" * 5_000)
        await settle()
        assert len(tap.said) == known_bytes, "its replies would fill our memory"
        tap.protocol.resume_writing()
        while tap.said.count(b"214 ") < 5_000:
            await settle()
        tap.protocol.pause_writing()
        tap.hear(b"HELP\r\n" * 5_000)
        await asyncio.sleep(301)
        assert tap.is_closing()

    on_virtual_time(scenario, limits=ListenerLimits(idle_command_limit=20_000))


def test_replies_to_commands_in_one_packet_leave_in_one() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        writes: list[bytes] = []
        tap.write = lambda data: writes.append(bytes(data))  # type: ignore[method-assign]
        await world.talk(tap, ENVELOPE)
        assert len(writes) == 1
        assert [line[:3] for line in writes[0].splitlines()] == [b"250", b"250", b"250", b"354"]

    on_virtual_time(scenario)


def test_failed_sign_ins_are_slowed_more_and_more_over_connections() -> None:
    async def scenario(world: World) -> None:
        loop = asyncio.get_running_loop()
        waits = []
        guess = b"AUTH PLAIN " + b64encode(b"\0hp-2f\0wrong") + b"\r\n"
        for _ in range(2):
            tap = await world.connect()
            await world.talk(tap, b"HELO x\r\n")
            for _ in range(3):
                asked_at = loop.time()
                tap.hear(guess)
                while not tap.last.startswith(("535", "421")):
                    await asyncio.sleep(0.25)
                waits.append(round(loop.time() - asked_at))
                tap.said = b"-\r\n" if not tap.is_closing() else tap.said
            assert tap.last == "421 4.7.0 Too many failed sign-ins on this connection; goodbye"
        assert waits == [1, 2, 4, 8, 15, 15]

    on_virtual_time(scenario)


def test_a_sign_in_is_noted_and_trouble_with_the_store_is_temporary() -> None:
    async def scenario(world: World) -> None:
        sign_in = b"AUTH PLAIN " + b64encode(f"\0hp-2f\0{PASSWORD}".encode()) + b"\r\n"
        tap = await world.connect()
        assert await world.talk(tap, b"HELO x\r\n" + sign_in) == "250 relay.example\r\n235 2.7.0 Signed in as hp-2f\r\n"
        assert world.store.apps.uses == [(7, "192.0.2.7", "")]
        world.store.apps.trouble = StoreUnavailableError("the database went away")
        tap = await world.connect()
        answer = await world.talk(tap, b"HELO x\r\n" + sign_in)
        assert answer.endswith("454 4.7.0 Signing in is not possible now; try again later\r\n")

    on_virtual_time(scenario)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ListenerLimits(connection_limit=2), "421 4.7.0 All 2 connections are in use; try again in a minute"),
        (ListenerLimits(client_connection_limit=2), "421 4.7.0 You have 2 connections open; use or close one of them"),
    ],
)
def test_one_connection_too_many_gets_a_reason_and_room_comes_back(limits: ListenerLimits, reason: str) -> None:
    async def scenario(world: World) -> None:
        first, _ = await world.connect(), await world.connect()
        third = await world.connect()
        assert (third.last, third.is_closing()) == (reason, True)
        await world.talk(first, b"QUIT\r\n")
        fourth = await world.connect()
        assert fourth.last.startswith("220 ")

    on_virtual_time(scenario, limits=limits)


def test_another_client_is_not_counted_with_the_first() -> None:
    async def scenario(world: World) -> None:
        await world.connect("192.0.2.1")
        assert (await world.connect("192.0.2.2")).last.startswith("220 ")

    on_virtual_time(scenario, limits=ListenerLimits(client_connection_limit=1))


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NOOP " + b"x" * 2043 + b"\r\n", "500 5.5.2 The line has more than 2048 bytes"),
        (b"AUTH PLAIN " + b"x" * 12_288 + b"\r\n", "500 5.5.2 The line has more than 12288 bytes"),
        (b"AUTH PLAIN " + b"x" * 12_275 + b"\r\n", "501 5.5.2 The answer is not valid base64"),
    ],
)
def test_a_line_has_its_limit_and_the_session_goes_on(line: bytes, reply: str) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, b"HELO x\r\n")
        assert (await world.talk(tap, line)).startswith(reply)
        assert await world.talk(tap, b"NOOP\r\n") == "250 2.0.0 OK\r\n"

    on_virtual_time(scenario)


def test_a_line_without_end_ends_the_connection() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        for _ in range(20):
            await world.talk(tap, b"x" * 100_000)
        assert tap.last == "421 4.7.0 The line has no end; goodbye"

    on_virtual_time(scenario)


def test_stopping_says_goodbye_to_whoever_waits_and_refuses_who_comes() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE[:-6])  # an open message without DATA is no promise
        await world.server.stop(30)
        assert tap.last == "421 4.3.2 Postroom is shutting down; send again in a minute"
        assert (await world.connect()).last == "421 4.3.2 Postroom is shutting down; send again in a minute"
        assert world.store.outbox.kept == []

    assert on_virtual_time(scenario) < 1


def test_stopping_lets_a_message_on_its_way_finish_and_takes_no_other() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + MESSAGE[:20])
        stopping = asyncio.get_running_loop().create_task(world.server.stop(30))
        await asyncio.sleep(5)
        answer = await world.talk(tap, MESSAGE[20:] + ENVELOPE + MESSAGE)
        await stopping
        assert [line[:9] for line in answer.splitlines()] == ["250 2.0.0", "421 4.3.2"]
        assert len(world.store.outbox.kept) == 1

    assert on_virtual_time(scenario) < 6


def test_stopping_cuts_what_does_not_finish_in_time() -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + MESSAGE[:20])
        await world.server.stop(30)
        assert tap.is_closing()
        assert world.store.outbox.kept == []
        assert world.store.bodies.writers[0].is_discarded

    assert on_virtual_time(scenario) == pytest.approx(30, abs=1)


def test_no_250_before_the_outbox_has_kept_the_message() -> None:
    async def scenario(world: World) -> None:
        disk_is_ready = asyncio.Event()
        keep = world.store.outbox.keep

        async def keep_slowly(new: NewMessage) -> None:
            await disk_is_ready.wait()
            await keep(new)

        world.store.outbox.keep = keep_slowly  # type: ignore[method-assign]
        tap = await world.connect()
        await world.talk(tap, ENVELOPE)
        assert await world.talk(tap, MESSAGE) == ""
        disk_is_ready.set()
        await settle()
        assert tap.last.startswith("250 2.0.0 OK queued as ")

    on_virtual_time(scenario)


def test_a_client_that_leaves_during_the_commit_has_handed_its_message_over() -> None:
    async def scenario(world: World) -> None:
        disk_is_ready = asyncio.Event()
        keep = world.store.outbox.keep

        async def keep_slowly(new: NewMessage) -> None:
            await disk_is_ready.wait()
            await keep(new)

        world.store.outbox.keep = keep_slowly  # type: ignore[method-assign]
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + MESSAGE)
        tap.protocol.connection_lost(ConnectionResetError())
        disk_is_ready.set()
        await settle()
        assert len(world.store.outbox.kept) == 1
        assert not world.store.bodies.writers[0].is_discarded
        assert b"queued as" not in tap.said

    on_virtual_time(scenario)


def test_an_error_of_ours_is_a_temporary_goodbye_and_keeps_nothing() -> None:
    async def scenario(world: World) -> None:
        world.store.outbox.trouble = RuntimeError("a mistake in the code")
        tap = await world.connect()
        await world.talk(tap, ENVELOPE + MESSAGE)
        assert tap.last == "421 4.3.0 Something went wrong here; try again later"
        assert world.store.outbox.kept == []
        assert world.server.connection_count == 0

    on_virtual_time(scenario)
