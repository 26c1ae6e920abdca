"""A mail server that means us harm: whatever it does, it costs one attempt, little memory and bounded time."""

import asyncio
from typing import Any

import pytest

from postroom.deliver import deadlines as limits
from postroom.deliver.deadlines import Deadlines
from postroom.deliver.smtp_stream import BrokenConnectionError, SmtpStream
from postroom.outcome import Outcome, Refused, Sent, Stopped, TryLater, Unknown
from postroom.wire.replies import MAX_REPLY_BYTES
from tests.unit.deliver.scripted_server import Peer, Script, ScriptedServer, a_parcel
from tests.unit.deliver.test_smtp_transport import LINES, a_transport

pytestmark = pytest.mark.anyio

SYSTEM_BUFFERS_BYTES = 16 * 1024 * 1024
"""More than the system's buffers of a connection on loopback ever hold."""


async def meets(script: Script, deadlines: Deadlines | None = None, **parcel: Any) -> tuple[Outcome, Peer]:
    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server, deadlines=deadlines)
        report = await transport.send(a_parcel(**parcel))
        await transport.close()
        return report.outcomes[0], server.peers[0]


async def flood(peer: Peer, octets: bytes) -> None:
    """For as long as anybody takes it."""
    while True:
        await peer.say_bytes(octets)


@pytest.mark.parametrize("octets", [b"250-x\r\n" * 10_000, b"250-" + b"x" * 100_000, b"x" * 100_000, b"\0" * 65_536])
async def test_an_endless_greeting(octets: bytes) -> None:
    async def script(peer: Peer) -> None:
        await flood(peer, octets)

    outcome, peer = await meets(script)
    assert isinstance(outcome, Stopped), "the mail waits; no message grows older"
    assert peer.sent_bytes < SYSTEM_BUFFERS_BYTES
    assert len(str(outcome)) < 3000


@pytest.mark.parametrize("octets", [b"250-x\r\n" * 10_000, b"25" * 50_000])
async def test_an_endless_answer_to_a_message(octets: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await flood(peer, octets)

    outcome, peer = await meets(script)
    assert isinstance(outcome, Unknown), "it was handed over, and no answer came"
    assert peer.sent_bytes < SYSTEM_BUFFERS_BYTES


async def test_endless_well_formed_answers_that_nobody_asked_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await flood(peer, b"250 2.0.0 OK\r\n" * 1000)

    outcome, peer = await meets(script, body=[LINES] * 64)
    assert not isinstance(outcome, Sent)
    assert isinstance(outcome, TryLater)
    assert peer.sent_bytes < SYSTEM_BUFFERS_BYTES


@pytest.mark.parametrize("answer", ["250 2.0.0 OK", "221 2.0.0 Bye", "334 "])
@pytest.mark.parametrize("someone", ["250 2.1.5 OK", "550 5.1.1 Nobody"])
async def test_neither_yes_nor_no_to_data_ends_the_connection(answer: str, someone: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(3):
            await peer.hear()
        await peer.say("250 2.1.0 OK", someone, answer)
        assert not await peer.reader.read(), "whatever is said next could be taken for the message"

    outcome, _ = await meets(script)
    assert isinstance(outcome, TryLater if someone.startswith("250") else Refused)


async def test_a_slow_drip_is_cut_off_by_the_deadline_of_the_whole_reply() -> None:
    async def script(peer: Peer) -> None:
        await peer.say_bytes(b"220-")
        while True:
            await peer.say_bytes(b"x")
            await asyncio.sleep(0.005)

    outcome, _ = await meets(script, Deadlines(greeting=0.05))
    assert isinstance(outcome, Stopped)
    assert "did not answer in time" in outcome.failure.text


async def test_a_server_that_stops_taking_the_message() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    outcome, _ = await meets(script, Deadlines(block=0.05), body=[LINES] * 512)
    assert isinstance(outcome, TryLater)
    assert "stopped taking the message" in outcome.failure.text


async def test_who_answers_each_step_in_time_is_still_done_in_bounded_time() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.hear()
        await peer.say("250 2.1.0 OK", "550 5.1.1 Nobody")
        while True:
            await peer.say("250 2.1.5 OK")
            await asyncio.sleep(0.01)

    recipients = tuple(f"r{number}@example.net" for number in range(1000))
    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server, deadlines=Deadlines(rcpt=30, message=0.1))
        report = await transport.send(a_parcel(*recipients))
        await transport.close()
    assert isinstance(report.outcomes[0], Refused), "what was said before stands"
    assert {type(outcome) for outcome in report.outcomes[1:]} == {TryLater}


async def test_who_takes_the_message_byte_by_byte_is_done_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SLOWEST_BYTES_A_SECOND", 1e12)

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        while await peer.reader.read(64 * 1024):
            await asyncio.sleep(0.01)

    outcome, _ = await meets(script, Deadlines(block=30, message=0.2), body=[LINES] * 512)
    assert isinstance(outcome, TryLater)
    assert "stopped taking the message" in outcome.failure.text


def test_a_large_message_has_the_time_that_a_slow_line_needs() -> None:
    assert Deadlines().whole(0) == 1800
    assert Deadlines().whole(150_000_000) > 5 * 3600


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 500 + b"\r\n", b"250-a\r\n550 b\r\n"],
)
@pytest.mark.parametrize("step", ["greeting", "mail", "dot"])
async def test_garbage(garbage: bytes, step: str) -> None:
    async def script(peer: Peer) -> None:
        if step != "greeting":
            await peer.sign_in()
            await peer.hear()
        if step == "dot":
            await peer.hear()
            await peer.hear()
            await peer.say("250 OK", "250 OK", "354 Go on")
            await peer.hear_message()
        await peer.say_bytes(garbage)
        peer.writer.write_eof()
        await peer.reader.read()

    outcome, _ = await meets(script)
    assert not isinstance(outcome, Sent)
    assert type(outcome).__name__ == {"greeting": "Stopped", "mail": "TryLater", "dot": "Unknown"}[step]
    assert all(letter.isprintable() for letter in outcome.failure.text)


async def test_a_reply_cut_off_in_its_middle_is_no_acceptance() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say_bytes(b"250 2.0.0 OK")  # without its line end
        peer.writer.transport.close()

    outcome, _ = await meets(script)
    assert isinstance(outcome, Unknown)


async def test_endless_challenges_are_not_answered_for_ever() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        while True:
            await peer.hear()
            await peer.say("334 " + "x" * 100)

    outcome, peer = await meets(script)
    assert isinstance(outcome, Stopped)
    assert len(peer.heard) < 6


async def test_what_arrives_unasked_fills_no_memory() -> None:
    """On a kept connection nobody reads: the stream itself must stop the flood."""

    class Valve(asyncio.Transport):
        is_paused = False

        def pause_reading(self) -> None:
            self.is_paused = True

        def resume_reading(self) -> None:
            self.is_paused = False

        def abort(self) -> None: ...
        def is_closing(self) -> bool:
            return False

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return default

    stream, valve = SmtpStream(), Valve()
    stream.connection_made(valve)
    taken = 0
    while not valve.is_paused:
        stream.data_received(b"250-x\r\n" * 100)
        taken += 700
        assert taken <= MAX_REPLY_BYTES + 700, "reading goes on without bound"
    with pytest.raises(BrokenConnectionError, match="more than 512 lines"):
        await stream.next_reply(1)
