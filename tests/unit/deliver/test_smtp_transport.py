"""Messages over kept connections: each recipient its own truth, and what is known when a connection breaks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from postroom.clock import ManualClock
from postroom.deliver.deadlines import Deadlines
from postroom.deliver.smtp_transport import Keeping, SmtpTransport
from postroom.deliver.transport import Report
from postroom.errors import SignInTroubleError
from postroom.identity.sign_ins import Password, SignIn
from postroom.message import DsnRequest, RecipientDsn
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.records import EmailType
from tests.unit.deliver.scripted_server import (
    EHLO,
    MESSAGE,
    Hung,
    Peer,
    ScriptedServer,
    a_mail_server,
    a_mailbox,
    a_parcel,
    loopback,
)

pytestmark = pytest.mark.anyio

CLOCK = ManualClock()
LINES = (b"x" * 62 + b"\r\n") * 1024
"""64 KiB; a few hundred of them are more than the system's buffers take."""


class OneSignIn:
    """Always the same, or what it is told to raise."""

    def __init__(self, sign_in: SignIn | None = None, trouble: Stopped | TryLater | None = None) -> None:
        self._sign_in = sign_in or Password("scanner@example.test", "a password")
        self._trouble = trouble
        self.refused_tokens: list[str | None] = []

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        assert mailbox_id == 7
        self.refused_tokens.append(refuse_token)
        if self._trouble is not None:
            raise SignInTroubleError(self._trouble)
        return self._sign_in


def a_transport(
    server: ScriptedServer,
    sign_ins: OneSignIn | None = None,
    *,
    deadlines: Deadlines | None = None,
    keeping: Keeping | None = None,
    **settings: Any,
) -> SmtpTransport:
    return SmtpTransport(
        loopback(server.port),
        sign_ins or OneSignIn(),
        CLOCK,
        a_mail_server(**settings),
        a_mailbox(),
        deadlines=deadlines,
        keeping=keeping,
    )


WISHES = DsnRequest("HDRS", "QQ+2B1", {"b@example.net": RecipientDsn(("FAILURE", "DELAY"), "rfc822;old@example.net")})


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        (
            ("250-DSN",),
            [
                " RET=HDRS ENVID=QQ+2B1",
                "RCPT TO:<b@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;old@example.net",
                "RCPT TO:<c@example.net>",
            ],
        ),
        ((), ["", "RCPT TO:<b@example.net>", "RCPT TO:<c@example.net>"]),
    ],
)
async def test_wishes_for_notifications_are_said_where_they_are_offered(
    offered: tuple[str, ...], said: list[str]
) -> None:
    heard: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in(*EHLO, *offered, "250 AUTH PLAIN")
        heard.extend([await peer.hear() for _ in range(4)])
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK", "250 2.1.5 OK", "354 Go on")
        await peer.hear_message()
        await peer.say("250 2.0.0 OK")

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel("b@example.net", "c@example.net", dsn=WISHES))
        await transport.close()
    assert all(isinstance(outcome, Sent) for outcome in report.outcomes)
    assert heard[0].removeprefix("MAIL FROM:<noreply@example.test> SIZE=43") == said[0]
    assert heard[1:] == [*said[1:], "DATA"]


LONG = "utf-8;" + "ü" * 100


@pytest.mark.parametrize(
    ("extension", "needs_smtputf8", "original", "said"),
    [
        ("250-SMTPUTF8", True, "utf-8;jörg@example.net", " ORCPT=utf-8;jörg@example.net"),
        ("250-SMTPUTF8", False, "utf-8;jörg@example.net", " ORCPT=utf-8;j\\x{F6}rg@example.net"),
        ("250-HELP", False, "utf-8;jörg@example.net", " ORCPT=utf-8;j\\x{F6}rg@example.net"),
        ("250-HELP", False, LONG, ""),
    ],
)
async def test_an_original_recipient_is_said_as_the_mail_server_can_read_it(
    extension: str, needs_smtputf8: bool, original: str, said: str
) -> None:
    heard: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in(*EHLO, "250-DSN", extension, "250 AUTH PLAIN")
        heard.extend([await peer.hear() for _ in range(3)])
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK", "354 Go on")
        await peer.hear_message()
        await peer.say("250 2.0.0 OK")

    wishes = DsnRequest(recipients={"b@example.net": RecipientDsn((), original)})
    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel("b@example.net", dsn=wishes, needs_smtputf8=needs_smtputf8))
        await transport.close()
    assert isinstance(report.outcomes[0], Sent)
    assert heard[1] == f"RCPT TO:<b@example.net>{said}"


async def accept_all(peer: Peer) -> None:
    await peer.sign_in()
    await take_messages(peer)


async def take_messages(peer: Peer) -> None:
    while True:
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say("250 2.0.0 OK")


def failure_of(outcome: Outcome) -> Failure:
    assert not isinstance(outcome, Sent)
    return outcome.failure


def said(report: Report) -> list[str]:
    return [f"{line.who} {line.text}" for line in report.dialogue]


# The usual way


async def test_a_message_travels_in_one_flight_and_stuffed() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        flight = [await peer.hear() for _ in range(3)]
        assert flight == [
            f"MAIL FROM:<noreply@example.test> SIZE={len(body)} BODY=8BITMIME",
            "RCPT TO:<b@example.net>",
            "DATA",
        ]
        await peer.say("250 2.1.0 OK", "250 2.1.5 OK", "354 Go on")
        seen.append(await peer.hear_message())
        await peer.say("250 2.0.0 OK <id> [Hostname=mail.example.test]")

    body = b"Subject: dots\r\n\r\n.\r\n..\r\nno dot\r\n."
    chunks = [body[start : start + 5] for start in range(0, len(body), 5)]
    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel(body=chunks, is_eight_bit=True))
        await transport.close()

    assert report.outcomes == (Sent("250 2.0.0 OK <id> [Hostname=mail.example.test]"),)
    assert report.server == "mail.example.test:587"
    assert seen == [b"Subject: dots\r\n\r\n..\r\n...\r\nno dot\r\n..\r\n.\r\n"]
    assert "C AUTH PLAIN (password of scanner@example.test)" in said(report)
    assert "a password" not in str(report)


async def test_without_pipelining_each_command_awaits_its_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in("250-mail.example.test", "250 AUTH PLAIN")
        for expected, answer in [
            ("MAIL FROM:<noreply@example.test>", "250 OK"),
            ("RCPT TO:<b@example.net>", "250 OK"),
            ("RCPT TO:<c@example.net>", "550 5.1.1 No"),
            ("DATA", "354 Go on"),
        ]:
            assert await peer.hear() == expected
            assert not peer.reader._buffer, "nothing is sent ahead"  # type: ignore[attr-defined]
            await peer.say(answer)
        await peer.hear_message()
        await peer.say("250 OK")

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("b@example.net", "c@example.net"))
    assert isinstance(report.outcomes[0], Sent)
    assert failure_of(report.outcomes[1]).code == "recipient_unknown"


async def test_each_recipient_gets_its_own_truth() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(6):
            await peer.hear()
        await peer.say(
            "250 OK", "250 OK", "451 4.7.500 Server busy", "550 5.1.10 Recipient not found", "251 OK", "354 Go on"
        )
        assert (await peer.hear_message()) == MESSAGE + b".\r\n"
        await peer.say("250 2.0.0 OK")

    names = [f"{letter}@example.net" for letter in "abcd"]
    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel(*names))
    first, busy, unknown, last = report.outcomes
    assert first == last == Sent("250 2.0.0 OK")
    assert isinstance(busy, TryLater)
    assert busy.failure.code == "server_busy"
    assert isinstance(unknown, Refused)
    assert unknown.failure.code == "recipient_unknown"
    assert unknown.failure.server == "mail.example.test:587"


@pytest.mark.parametrize("extensions", [(*EHLO, "250 AUTH PLAIN"), ("250-x", "250 AUTH PLAIN")])
async def test_an_address_that_cannot_be_said_fails_alone(extensions: tuple[str, ...]) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*extensions)
        for answer in ("250 OK", "250 OK", "250 OK", "354 Go on"):
            await peer.hear()
            await peer.say(answer)
        await peer.hear_message()
        await peer.say("250 2.0.0 OK")

    names = ("a@example.net", '"john doe"@example.net', "c@example.net")  # RFC 5321 4.1.2 allows the second
    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel(*names))
    assert report.outcomes[0] == report.outcomes[2] == Sent("250 2.0.0 OK")
    assert isinstance(report.outcomes[1], Refused)
    assert failure_of(report.outcomes[1]).code == "address_unusable"
    assert server.peers[0].heard[2:] == [
        *server.peers[0].heard[2:3],
        "RCPT TO:<a@example.net>",
        "RCPT TO:<c@example.net>",
        "DATA",
    ]


async def test_too_many_recipients_are_split_by_the_servers_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(4):
            await peer.hear()
        await peer.say("250 OK", "250 OK", "452 4.5.3 Too many recipients", "354 Go on")
        await peer.hear_message()
        await peer.say("250 OK")

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("a@example.net", "b@example.net"))
    assert isinstance(report.outcomes[0], Sent)
    assert isinstance(report.outcomes[1], TryLater)
    assert failure_of(report.outcomes[1]).code == "too_many_recipients"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        (("550 5.1.8 Sender refused", "503 5.5.1 No", "503 5.5.1 No"), "sender_refused"),
        (("552 5.3.4 Message size exceeds", "503 5.5.1 No", "503 5.5.1 No"), "message_too_large"),
        (("250 OK", "550 5.1.1 No", "554 5.5.1 No valid recipients"), "recipient_unknown"),
        (("250 OK", "250 OK", "554 5.6.0 No data today"), "message_refused"),
    ],
)
async def test_a_refused_envelope_leaves_a_connection_that_serves_the_next_message(
    answers: tuple[str, ...], code: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(3):
            await peer.hear()
        await peer.say(*answers)
        if answers[0].startswith("250"):
            assert await peer.hear() == "RSET"
            await peer.say("250 2.0.0 Resetting")
        await take_messages(peer)

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        refused = await transport.send(a_parcel())
        sent = await transport.send(a_parcel())
        await transport.close()
        assert len(server.peers) == 1
    assert isinstance(refused.outcomes[0], Refused)
    assert failure_of(refused.outcomes[0]).code == code
    assert isinstance(sent.outcomes[0], Sent)


async def test_nobody_gets_an_empty_message_when_all_recipients_were_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(3):
            await peer.hear()
        await peer.say("250 OK", "550 5.1.1 No", "354 Go on")
        assert await peer.reader.read() == b""

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel())
    assert isinstance(report.outcomes[0], Refused)


async def test_the_answer_to_the_message_is_everybodys() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope(2)
        await peer.hear_message()
        await peer.say("554 5.2.252 SendAsDenied; scanner@example.test not allowed to send as noreply@example.test")

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("b@example.net", "c@example.net"))
    assert {failure_of(outcome).code for outcome in report.outcomes} == {"send_as_denied"}
    assert all(isinstance(outcome, Refused) for outcome in report.outcomes)


# What is not even offered


async def refused_unsaid(code: str, *extensions: str, **parcel: Any) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in(*extensions)
        await take_messages(peer)

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        report = await transport.send(a_parcel(**parcel))
        assert isinstance(report.outcomes[0], Refused)
        assert report.outcomes[0].failure.code == code
        assert all("MAIL" not in line for line in server.peers[0].heard)
        await transport.close()


async def test_a_message_above_the_servers_limit_is_not_sent() -> None:
    await refused_unsaid(
        "message_too_large", "250-x", "250-SIZE 1000", "250 AUTH PLAIN", body=[b"x" * 998 + b"\r\n"] * 2
    )


async def test_eight_bit_is_not_sent_to_who_does_not_take_it() -> None:
    await refused_unsaid("eight_bit_not_supported", "250-x", "250 AUTH PLAIN", is_eight_bit=True)


async def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    await refused_unsaid(
        "smtputf8_not_supported", "250-x", "250-8BITMIME", "250 AUTH PLAIN", envelope_sender="grüße@example.test"
    )


# Keeping connections


async def test_a_connection_is_signed_in_once_and_kept() -> None:
    async with ScriptedServer.listen(accept_all) as server:
        transport = a_transport(server)
        reports = [await transport.send(a_parcel()) for _ in range(5)]
        await transport.close()
        assert len(server.peers) == 1
        assert server.peers[0].heard[-1] == "QUIT"
    assert all(isinstance(report.outcomes[0], Sent) for report in reports)
    assert said(reports[1])[0].startswith("- On a connection kept since")


async def test_a_connection_is_left_after_so_many_messages() -> None:
    async with ScriptedServer.listen(accept_all) as server:
        transport = a_transport(server, keeping=Keeping(messages=2))
        for _ in range(4):
            await transport.send(a_parcel())
        await transport.close()
        assert len(server.peers) == 2


async def test_a_connection_that_is_one_too_many_is_not_kept() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say("432 4.3.2 Concurrent connections limit exceeded.")
        assert await peer.hear() == "QUIT"
        await peer.say("221 Bye")

    async with ScriptedServer.listen(script, accept_all) as server:
        transport = a_transport(server)
        outcomes = [(await transport.send(a_parcel())).outcomes[0] for _ in range(2)]
        await transport.close()
        assert len(server.peers) == 2
    assert [type(outcome) for outcome in outcomes] == [TryLater, Sent]


async def test_an_idle_connection_is_left_politely() -> None:
    heard_quit = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say("250 OK")
        assert await peer.hear() == "QUIT"
        await peer.say("221 Bye")
        heard_quit.set()

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server, keeping=Keeping(idle_seconds=0.01))
        await transport.send(a_parcel())
        await heard_quit.wait()
        await transport.close()


async def test_a_connection_past_its_life_is_not_used_again() -> None:
    async with ScriptedServer.listen(accept_all) as server:
        transport = a_transport(server, keeping=Keeping(life_seconds=0))
        for _ in range(2):
            assert isinstance((await transport.send(a_parcel())).outcomes[0], Sent)
        await transport.close()
        assert len(server.peers) == 2


async def one_message_then(peer: Peer, farewell: str) -> None:
    await peer.sign_in()
    await peer.take_envelope()
    await peer.hear_message()
    await peer.say("250 OK")
    await peer.hear()  # the next MAIL arrives, too late
    if farewell:
        await peer.say(farewell)
    peer.drop()


@pytest.mark.parametrize("farewell", ["", "421 4.4.1 Connection timed out"])
async def test_a_kept_connection_that_died_costs_no_attempt(farewell: str) -> None:
    async def dying(peer: Peer) -> None:
        await one_message_then(peer, farewell)

    async with ScriptedServer.listen(dying, accept_all) as server:
        transport = a_transport(server)
        for _ in range(2):
            assert isinstance((await transport.send(a_parcel())).outcomes[0], Sent)
        await transport.close()
        assert len(server.peers) == 2


async def test_a_server_that_said_goodbye_meanwhile_is_not_written_to() -> None:
    said_goodbye = asyncio.Event()

    async def leaving(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say("250 OK")
        await peer.say("421 4.4.1 Connection timed out")
        said_goodbye.set()
        with pytest.raises(Hung):
            await peer.hear()
        raise Hung

    async with ScriptedServer.listen(leaving, accept_all) as server:
        transport = a_transport(server)
        await transport.send(a_parcel())
        await said_goodbye.wait()
        assert isinstance((await transport.send(a_parcel())).outcomes[0], Sent)
        await transport.close()


async def test_a_sign_in_that_ran_out_on_a_kept_connection_stops_no_mailbox() -> None:
    async def expiring(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        await peer.say("250 OK")
        for _ in range(3):
            await peer.hear()
        await peer.say("530 5.7.57 Client not authenticated to send mail.", "503 5.5.1 No", "503 5.5.1 No")
        await peer.reader.read()

    async with ScriptedServer.listen(expiring, accept_all) as server:
        transport = a_transport(server)
        for _ in range(2):
            assert isinstance((await transport.send(a_parcel())).outcomes[0], Sent)
        await transport.close()
        assert len(server.peers) == 2


async def test_a_fresh_connection_that_dies_at_once_is_tried_only_once() -> None:
    async def dying(peer: Peer) -> None:
        await peer.sign_in()
        await peer.hear()
        peer.drop()

    async with ScriptedServer.listen(dying) as server:
        report = await a_transport(server).send(a_parcel())
        assert len(server.peers) == 1
    assert isinstance(report.outcomes[0], TryLater)
    assert failure_of(report.outcomes[0]).code == "connection_broke"


async def test_as_many_messages_as_are_asked_for_go_side_by_side() -> None:
    both_are_here = asyncio.Event()
    waiting: list[Peer] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        waiting.append(peer)
        if len(waiting) == 2:
            both_are_here.set()
        await both_are_here.wait()
        await peer.say("250 OK")
        await take_messages(peer)

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server)
        reports = await asyncio.gather(transport.send(a_parcel()), transport.send(a_parcel()))
        assert all(isinstance(report.outcomes[0], Sent) for report in reports)
        await transport.close()
        assert len(server.peers) == 2


# What breaks


async def broken_at(step: str) -> Outcome:
    """The outcome of a connection that ends at `step`."""

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        if step == "RCPT":
            await peer.hear()
            await peer.say("250 OK")
        elif step == "body":
            await peer.take_envelope()
            await peer.reader.readexactly(100)
        elif step == "dot":
            await peer.take_envelope()
            await peer.hear_message()
        peer.drop()

    async with ScriptedServer.listen(script) as server:
        body = [LINES] * 256 if step == "body" else [MESSAGE]
        report = await a_transport(server).send(a_parcel(body=body))
        return report.outcomes[0]


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "body"])
async def test_before_the_last_byte_a_broken_connection_means_later(step: str) -> None:
    outcome = await broken_at(step)
    assert isinstance(outcome, TryLater)
    assert outcome.failure.failure_class is FailureClass.NETWORK


async def test_after_the_last_byte_a_broken_connection_means_that_nobody_knows() -> None:
    outcome = await broken_at("dot")
    assert isinstance(outcome, Unknown)
    assert outcome.failure.code == "answer_lost"


async def test_no_answer_to_the_dot_means_that_nobody_knows() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server, deadlines=Deadlines(end=0.02)).send(a_parcel())
    assert isinstance(report.outcomes[0], Unknown)
    assert "did not answer in time" in failure_of(report.outcomes[0]).text


async def test_a_refusal_before_the_connection_broke_stands() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(4):
            await peer.hear()
        await peer.say("250 OK", "550 5.1.1 No")
        peer.writer.transport.close()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("a@example.net", "b@example.net"))
    assert isinstance(report.outcomes[0], Refused)
    assert isinstance(report.outcomes[1], TryLater)


async def test_a_421_amid_the_recipients_is_the_answer_for_the_rest() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        for _ in range(4):
            await peer.hear()
        await peer.say("250 OK", "250 OK", "421 4.3.2 Service not available")
        peer.writer.transport.close()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("a@example.net", "b@example.net"))
    assert all(isinstance(outcome, TryLater) for outcome in report.outcomes)
    assert {failure_of(outcome).smtp_code for outcome in report.outcomes} == {421}


async def test_why_the_server_hung_up_amid_the_body_is_heard() -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.reader.readexactly(1000)
        await peer.say("552 5.3.4 Message size exceeds fixed maximum message size")
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel(body=[LINES] * 256))
    assert isinstance(report.outcomes[0], Refused)
    assert failure_of(report.outcomes[0]).code == "message_too_large"


async def test_an_acceptance_before_the_final_dot_is_never_believed() -> None:
    spoke = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.say("250 2.0.0 OK, already")
        spoke.set()
        await peer.reader.read()

    async def body() -> AsyncIterator[bytes]:
        yield MESSAGE
        await spoke.wait()
        await asyncio.sleep(0)
        yield MESSAGE

    async with ScriptedServer.listen(script) as server:
        parcel = a_parcel(body=[MESSAGE, MESSAGE], open_body=body)
        report = await a_transport(server).send(parcel)
    assert isinstance(report.outcomes[0], TryLater)
    assert "before the message had ended" in failure_of(report.outcomes[0]).text


# What we stop by ourselves


async def ends_without_the_dot(code: str, **parcel: Any) -> Outcome:
    """The outcome, after making sure that the server never saw the end of the message."""
    rest: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        rest.append(await peer.reader.read())

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel(**parcel))
        while not rest:
            await asyncio.sleep(0)
    assert not rest[0].endswith(b"\r\n.\r\n")
    assert failure_of(report.outcomes[0]).code == code
    return report.outcomes[0]


async def test_the_last_byte_stays_when_the_lease_is_too_short() -> None:
    outcome = await ends_without_the_dot("no_time_left", may_finish=lambda: False)
    assert isinstance(outcome, TryLater)


async def test_a_message_that_is_shorter_than_it_was_is_not_ended() -> None:
    outcome = await ends_without_the_dot("body_damaged", size_bytes=len(MESSAGE) + 1)
    assert isinstance(outcome, TryLater)


async def test_a_bare_line_end_never_leaves() -> None:
    outcome = await ends_without_the_dot("bare_line_end", body=[b"a\r\n", b"\n.\nMAIL FROM:<x@y.test>\r\n"])
    assert isinstance(outcome, Refused)


async def test_a_body_that_cannot_be_read_is_the_callers_trouble_and_leaves_no_connection() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield MESSAGE
        raise RuntimeError("the disk is gone")

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        assert not (await peer.reader.read()).endswith(b".\r\n")

    async with ScriptedServer.listen(script) as server:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            await a_transport(server).send(a_parcel(open_body=body))


async def test_being_cancelled_leaves_no_connection_in_doubt() -> None:
    waits_for_the_answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.take_envelope()
        await peer.hear_message()
        waits_for_the_answer.set()
        assert await peer.reader.read() == b""

    async with ScriptedServer.listen(script, accept_all) as server:
        transport = a_transport(server)
        sending = asyncio.create_task(transport.send(a_parcel()))
        await waits_for_the_answer.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert isinstance((await transport.send(a_parcel())).outcomes[0], Sent)
        await transport.close()
        assert len(server.peers) == 2


# Signing in


async def test_trouble_with_signing_in_stops_the_mailbox_and_keeps_the_mail() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.hear()
        await peer.say("535 5.7.139 Authentication unsuccessful, the user credentials were incorrect.")
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel("a@example.net", "b@example.net"))
        assert len(server.peers) == 1
    assert len(report.outcomes) == 2
    for outcome in report.outcomes:
        assert isinstance(outcome, Stopped)
        assert outcome.cause is StopCause.SIGN_IN
        assert outcome.failure.code == "wrong_password"


@pytest.mark.parametrize("answer", ["421 4.3.2 Service not available", "454 4.7.0 Temporary authentication failure"])
async def test_a_temporary_answer_before_any_message_makes_no_message_older(answer: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.hear()
        await peer.say(answer)
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        report = await a_transport(server).send(a_parcel())
    outcome = report.outcomes[0]
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.MAIL_SERVER_AWAY
    assert outcome.until_us == CLOCK.now_us(), "asks for a back-off"


async def test_a_token_service_that_is_away_stops_the_mailbox_too() -> None:
    trouble = TryLater(Failure(FailureClass.NETWORK, "token_service", "503 from Microsoft", "microsoft_unavailable"))
    async with ScriptedServer.listen(accept_all) as server:
        report = await a_transport(server, OneSignIn(trouble=trouble)).send(a_parcel())
        assert not server.peers, "nobody is called without a sign-in"
    outcome = report.outcomes[0]
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.SIGN_IN
    assert outcome.failure == trouble.failure


async def test_a_sign_in_that_ended_is_reported_as_it_is() -> None:
    ended = Stopped(Failure(FailureClass.IDENTITY, "sign_in_ended", "AADSTS700082", "sign_in_ended"), StopCause.SIGN_IN)
    async with ScriptedServer.listen(accept_all) as server:
        report = await a_transport(server, OneSignIn(trouble=ended)).send(a_parcel())
    assert report.outcomes == (ended,)


async def test_a_mail_server_that_is_away_stops_the_mailbox() -> None:
    async with ScriptedServer.listen(accept_all) as server:
        transport = a_transport(server)
    report = await transport.send(a_parcel())
    outcome = report.outcomes[0]
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.MAIL_SERVER_AWAY
    assert outcome.failure.code == "connection_refused"


async def test_microsofts_names_are_never_spoken_to_in_clear() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet(*EHLO, "250 AUTH LOGIN")
        assert await peer.reader.read() == b""

    async with ScriptedServer.listen(script) as server:
        transport = a_transport(server, host="smtp.office365.com", use_tls=False, email_type=EmailType.SMTP)
        report = await transport.send(a_parcel())
    assert failure_of(report.outcomes[0]).code == "starttls_not_offered"
