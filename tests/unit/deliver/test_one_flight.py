"""Messages by BDAT (RFC 3030): small ones in one flight with their envelope, and what the answers then mean."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.deliver import transaction
from postroom.outcome import Outcome, Refused, Sent, TryLater, Unknown
from postroom.wire.stuffing import BareLineEndError, LineEndJudge
from tests.unit.deliver.scripted_server import EHLO, MESSAGE, Hung, Peer, ScriptedServer, a_parcel
from tests.unit.deliver.test_smtp_transport import LINES, a_transport, accept_all, failure_of, said

pytestmark = pytest.mark.anyio

CHUNKING = (*EHLO, "250-CHUNKING", "250 AUTH PLAIN")
DOTS = b"From: a@example.test\r\n\r\n.\r\n..\r\n.end\r\n"


async def hear_chunk(peer: Peer) -> bytes:
    verb, size, last = (await peer.hear()).split()
    assert (verb, last) == ("BDAT", "LAST")
    return await peer.reader.readexactly(int(size))


async def hear_flight(peer: Peer, recipients: int = 1) -> bytes:
    """Envelope and message, while the server says nothing; or QUIT."""
    for _ in range(recipients + 1):
        if await peer.hear() == "QUIT":
            await peer.say("221 2.0.0 Bye")
            raise Hung
    return await hear_chunk(peer)


def answering(*replies: str, recipients: int = 1) -> Callable[[Peer], Awaitable[None]]:
    """A server that takes one flight and gives these answers; afterwards it goes on as a good one."""

    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        await hear_flight(peer, recipients)
        await peer.say(*replies)
        await take_flights(peer)

    return script


async def take_flights(peer: Peer) -> None:
    while True:
        line = await peer.hear()
        if line == "QUIT":
            raise Hung
        if line.startswith("BDAT"):
            await peer.reader.readexactly(int(line.split()[1]))
        await peer.say("250 2.0.0 OK")


async def goes_well(peer: Peer) -> None:
    await peer.sign_in(*CHUNKING)
    await take_flights(peer)


async def outcomes_of(script: Callable[[Peer], Awaitable[None]], *recipients: str, **parcel: Any) -> list[Outcome]:
    async with ScriptedServer.listen(script, goes_well) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel(*recipients, **parcel))
        again = await transport.send(a_parcel())
        await transport.close()
    assert isinstance(again.outcomes[0], Sent), "the connection, or another, serves the next message"
    return list(report.outcomes)


async def test_a_small_message_travels_with_its_envelope_and_as_it_is() -> None:
    arrived: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        arrived.append(await hear_flight(peer, recipients=2))
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK", "250 2.1.5 OK", "250 2.0.0 OK <1@x>")

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel("b@example.net", "c@example.net", body=(DOTS[:9], DOTS[9:])))
        await transport.close()
    assert arrived == [DOTS]
    assert report.outcomes == (Sent("250 2.0.0 OK <1@x>"),) * 2
    assert f"- The message, {len(DOTS)} bytes, in the same flight" in said(report)


async def test_on_a_connection_that_has_not_answered_lately_recipients_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transaction, "LIVELY_SECONDS", -1)

    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        for _ in range(2):
            await peer.hear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await peer.reader.read(1)
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK")
        assert await hear_chunk(peer) == MESSAGE
        await peer.say("250 2.0.0 OK")

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel())
        await transport.close()
    assert isinstance(report.outcomes[0], Sent)


async def test_a_large_message_is_one_chunk_behind_its_recipients() -> None:
    body = [LINES] * 3 + [b".\r\n"]
    arrived: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        for _ in range(3):
            await peer.hear()
        await peer.say("250 2.1.0 OK", "550 5.1.1 Nobody", "250 2.1.5 OK")
        arrived.append(await hear_chunk(peer))
        await peer.say("250 2.0.0 OK")

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel("no@example.net", "b@example.net", body=body))
        await transport.close()
    assert arrived == [b"".join(body)]
    assert [type(outcome) for outcome in report.outcomes] == [Refused, Sent]


async def test_each_recipient_of_a_flight_gets_its_own_truth() -> None:
    script = answering(
        "250 2.1.0 OK", "250 2.1.5 OK", "451 4.3.2 Later", "550 5.1.1 Nobody", "250 2.0.0 OK", recipients=3
    )
    outcomes = await outcomes_of(script, "a@example.net", "b@example.net", "c@example.net")
    assert [type(outcome) for outcome in outcomes] == [Sent, TryLater, Refused]


@pytest.mark.parametrize(
    ("replies", "kind", "code"),
    [
        (("451 4.7.0 Later", "503 5.5.1 No", "503 5.5.1 No"), TryLater, "temporary_refusal"),
        (("550 5.7.1 Not you", "503 5.5.1 No", "503 5.5.1 No"), Refused, "sender_refused"),
        (("250 2.1.0 OK", "550 5.1.1 Nobody", "503 5.5.1 No"), Refused, "recipient_unknown"),
        (("250 2.1.0 OK", "550 5.1.1 Nobody", "554 5.5.1 No"), Refused, "recipient_unknown"),
        (("250 2.1.0 OK", "550 5.1.1 Nobody", "250 2.0.0 Taken all the same"), Refused, "recipient_unknown"),
        (("250 2.1.0 OK", "250 2.1.5 OK", "451 4.7.0 Later"), TryLater, "temporary_refusal"),
        (("250 2.1.0 OK", "250 2.1.5 OK", "554 5.2.252 SendAsDenied; no"), Refused, "send_as_denied"),
        (("421 4.3.2 Going down",), TryLater, "service_closing"),
        (("250 2.1.0 OK", "421 4.3.2 Going down"), TryLater, "service_closing"),
    ],
)
async def test_a_flight_that_is_refused(replies: tuple[str, ...], kind: type[Outcome], code: str) -> None:
    [outcome] = await outcomes_of(answering(*replies))
    assert isinstance(outcome, kind)
    assert failure_of(outcome).code == code


@pytest.mark.parametrize("replies", [(), ("250 2.1.0 OK",), ("250 2.1.0 OK", "250 2.1.5 OK")])
async def test_a_connection_that_broke_after_the_flight_means_that_nobody_knows(replies: tuple[str, ...]) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        await hear_flight(peer)
        await peer.say(*replies)
        peer.drop()

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel())
        assert len(server.peers) == 1, "it is not sent again by itself"
    assert isinstance(report.outcomes[0], Unknown)


async def test_what_was_refused_before_the_connection_broke_is_known() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        await hear_flight(peer, recipients=2)
        await peer.say("250 2.1.0 OK", "550 5.1.1 Nobody")
        peer.drop()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("no@example.net", "b@example.net"))
    assert [type(outcome) for outcome in report.outcomes] == [Refused, Unknown]


@pytest.mark.parametrize("answer", ["500 5.5.1 What", "502 5.5.1 Not here", "503 5.5.1 No", "504 5.5.4 No"])
@pytest.mark.parametrize("body", [(MESSAGE,), (LINES, LINES)], ids=["small", "large"])
async def test_a_server_that_does_not_know_bdat_gets_data(answer: str, body: tuple[bytes, ...]) -> None:
    async def knows_no_bdat(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        for _ in range(2):
            await peer.hear()
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK")
        await hear_chunk(peer)
        await peer.say(answer)
        assert not await peer.reader.read(), "what follows could be taken for commands"

    async with ScriptedServer.listen(knows_no_bdat, accept_all) as server:
        transport = a_transport(server)
        reports = [await transport.send(a_parcel(body=body)) for _ in range(2)]
        await transport.close()
        assert len(server.peers) == 2, "it is remembered"
    assert all(isinstance(report.outcomes[0], Sent) for report in reports)


async def test_a_bare_line_end_never_leaves_in_a_chunk() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        assert not [line async for line in peer.reader if not line.startswith(b"QUIT")]

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel(body=(b"From: a@x\r\n\r\nbare\nend\r\n",)))
        await transport.close()
    assert failure_of(report.outcomes[0]).code == "bare_line_end"


async def test_a_lease_that_is_too_short_sends_nothing() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*CHUNKING)
        assert not [line async for line in peer.reader if not line.startswith(b"QUIT")]

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel(may_finish=lambda: False))
        await transport.close()
    assert isinstance(report.outcomes[0], TryLater)
    assert failure_of(report.outcomes[0]).code == "no_time_left"


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"", b"\r\n\r"]), max_size=8))
@settings(max_examples=300)
def test_the_judge_is_of_one_mind_however_a_message_is_divided(pieces: list[bytes]) -> None:
    def judge(chunks: list[bytes]) -> bool:
        one = LineEndJudge()
        try:
            passed = b"".join(one.judge(chunk) for chunk in chunks)
            one.end()
        except BareLineEndError:
            return False
        assert passed == b"".join(chunks)
        return True

    whole = b"".join(pieces)
    is_clean = whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")
    assert judge(pieces) == judge([whole]) == is_clean
