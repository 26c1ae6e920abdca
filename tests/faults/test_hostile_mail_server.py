"""Promise 16: whatever a mail server does to us costs less than 50 MiB and bounded time, and nothing is called sent.

Our client is a process of its own whose memory is measured. The servers flood, drip, lie and fall silent; what ends
each case is a deadline or a bound of ours, since hardly any of them gives in.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import trustme

from tests.faults.hostile_client import AT_ONCE, Costs, Errand
from tests.faults.serving import ROOT
from tests.unit.deliver.scripted_server import EHLO, Peer, Script, ScriptedServer, server_context
from tests.unit.deliver.test_smtp_transport import accept_all

pytestmark = pytest.mark.anyio

GROWTH_LIMIT_KIB = 50 * 1024
GREETING_BYTES = 1_000_000_000
CHUNKING = (*EHLO, "250-CHUNKING", "250 AUTH PLAIN")
STARTTLS = ("250-mail.example.test", "250 STARTTLS")


async def flood(peer: Peer, octets: bytes) -> None:
    while True:
        await peer.say_bytes(octets)


async def drip(peer: Peer, octets: bytes) -> None:
    while True:
        await peer.say_bytes(octets)
        await asyncio.sleep(0.01)


async def greet_without_end(peer: Peer) -> None:
    await peer.say_bytes(b"220-")
    for _ in range(GREETING_BYTES // 1_000_000):
        await peer.say_bytes(b"x" * 1_000_000)


async def greet_in_endless_lines(peer: Peer) -> None:
    await flood(peer, b"220-welcome\r\n" * 10_000)


async def drip_the_greeting(peer: Peer) -> None:
    await drip(peer, b"220-welcome\r\n")


async def answer_ehlo_without_end(peer: Peer) -> None:
    await peer.say("220 mail.example.test")
    await peer.hear()
    await flood(peer, b"250-X-OFFER\r\n" * 10_000)


async def challenge_without_end(peer: Peer) -> None:
    await peer.greet()
    while True:
        await peer.hear()
        await peer.say("334 " + "eHh4" * 10_000)


async def answer_mail_without_end(peer: Peer) -> None:
    await peer.sign_in()
    await peer.hear()
    await flood(peer, b"250-x\r\n" * 10_000)


async def answer_what_nobody_asked(peer: Peer) -> None:
    await peer.sign_in()
    await flood(peer, b"250 2.0.0 OK\r\n" * 10_000)


async def drip_the_recipients(peer: Peer) -> None:
    await peer.sign_in()
    await peer.hear()
    await peer.say("250 2.1.0 OK")
    await drip(peer, b"250 2.1.5 OK\r\n")


async def never_read(peer: Peer) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def never_read_a_chunk(peer: Peer) -> None:
    await peer.sign_in(*CHUNKING)
    for _ in range(2):
        await peer.hear()
    await peer.say("250 2.1.0 OK", "250 2.1.5 OK")
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


async def read_drop_by_drop(peer: Peer) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    while await peer.reader.read(1024):
        await asyncio.sleep(0.01)


async def answer_within_the_message(peer: Peer) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    await peer.say("250 2.0.0 Taken, before it came")
    await peer.hear_message()


async def close_after_the_dot(peer: Peer) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    await peer.hear_message()
    peer.drop()


async def answer_the_dot_without_end(peer: Peer) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    await peer.hear_message()
    await flood(peer, b"250-x\r\n" * 10_000)


async def drip_behind_one_flight(peer: Peer) -> None:
    await peer.sign_in(*CHUNKING)
    await peer.reader.read(1)
    await drip(peer, b"250-x\r\n")


async def talk_garbage(peer: Peer) -> None:
    await peer.sign_in()
    await peer.hear()
    await flood(peer, bytes(range(256)) * 4096)


async def talk_garbage_for_tls(peer: Peer) -> None:
    await peer.greet(*STARTTLS)
    await peer.hear()
    await peer.say("220 Go ahead")
    await flood(peer, b"\x16\x03\x03\x40\x00" + b"\0" * 100_000)


async def fall_silent_for_tls(peer: Peer) -> None:
    await peer.greet(*STARTTLS)
    await peer.hear()
    await peer.say("220 Go ahead")
    await asyncio.Event().wait()


async def flood_over_tls(peer: Peer) -> None:
    await peer.greet(*STARTTLS)
    await peer.hear()
    await peer.say("220 Go ahead")
    await peer.start_tls()
    await flood(peer, b"250-x\r\n" * 10_000)


CASES: list[tuple[Script, str, Errand]] = [
    (greet_without_end, "Stopped", Errand()),
    (greet_in_endless_lines, "Stopped", Errand()),
    (drip_the_greeting, "Stopped", Errand()),
    (answer_ehlo_without_end, "Stopped", Errand()),
    (challenge_without_end, "Stopped", Errand()),
    (answer_mail_without_end, "TryLater", Errand()),
    (answer_what_nobody_asked, "TryLater", Errand()),
    (drip_the_recipients, "TryLater", Errand(recipients=1000)),
    (never_read, "TryLater", Errand()),
    (never_read_a_chunk, "TryLater", Errand()),
    (read_drop_by_drop, "TryLater", Errand()),
    (answer_within_the_message, "TryLater", Errand()),
    (close_after_the_dot, "Unknown", Errand(is_large=False)),
    (answer_the_dot_without_end, "Unknown", Errand(is_large=False)),
    (drip_behind_one_flight, "Unknown", Errand(is_large=False)),
    (talk_garbage, "TryLater", Errand()),
    (talk_garbage_for_tls, "Stopped", Errand(uses_tls=True)),
    (fall_silent_for_tls, "Stopped", Errand(uses_tls=True)),
    (flood_over_tls, "Stopped", Errand(uses_tls=True)),
]

AUTHORITY = trustme.CA()
PEM = AUTHORITY.cert_pem.bytes().decode()
Client = Callable[[Errand], Awaitable[Costs]]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    command = (sys.executable, "-m", "tests.faults.hostile_client")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None

    async def ask(errand: Errand) -> Costs:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(errand) + b"\n")
        return msgspec.json.decode(await process.stdout.readline(), type=Costs)

    async with ScriptedServer.listen(accept_all) as good:
        costs = await ask(Errand(good.port, PEM, is_large=False))  # what every message costs is not their doing
        assert costs.kinds == ["Sent"]
    yield ask
    process.stdin.close()
    assert await process.wait() == 0


@pytest.mark.parametrize(("script", "kind", "errand"), CASES, ids=[script.__name__ for script, _, _ in CASES])
async def test_it_costs_little_memory_and_bounded_time(
    client: Client, script: Script, kind: str, errand: Errand
) -> None:
    async with ScriptedServer.listen(script, tls=server_context(AUTHORITY)) as hostile:
        costs = await client(msgspec.structs.replace(errand, port=hostile.port, authority_pem=PEM))
    print(f"{AT_ONCE} at once: {costs.growth_kib / 1024:.1f} MiB more")
    assert costs.kinds == [kind], costs
    assert costs.growth_kib < GROWTH_LIMIT_KIB
