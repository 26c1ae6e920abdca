"""The conversation until a message may be sent, over real sockets and real TLS."""

import asyncio
import base64
import dataclasses
import socket

import pytest
import trustme

from postroom.deliver.deadlines import Deadlines
from postroom.deliver.smtp_connection import SmtpConnection, SmtpFailure
from postroom.identity.sign_ins import Bearer, Password
from postroom.network import Route
from postroom.outcome import Failure, StopCause, Stopped, TryLater
from postroom.store.records import EmailType
from postroom.wire.client_sasl import encode_xoauth2
from tests.unit.deliver.scripted_server import (
    HOST,
    Loopback,
    Peer,
    Script,
    ScriptedServer,
    loopback,
    server_context,
)

pytestmark = pytest.mark.anyio

TOKEN = "eyJ0eXAiOiJKV1QiLCJub25jZSI6IlBsYW50ZWQi.c2VjcmV0LXRva2Vu"
BEFORE_TLS = ("250-mail.example.test Hello", "250-SIZE 1000", "250 STARTTLS")
AFTER_TLS = ("250-mail.example.test Hello", "250 AUTH LOGIN XOAUTH2")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Example Authority")


async def connect(
    server: ScriptedServer,
    authority: trustme.CA | None = None,
    *,
    email_type: EmailType = EmailType.SMTP,
    deadlines: Deadlines | None = None,
    **options: object,
) -> SmtpConnection:
    return await SmtpConnection.open(
        loopback(server.port, authority),
        HOST,
        587,
        email_type=email_type,
        ehlo_name="postroom.example.test",
        deadlines=deadlines,
        **options,  # type: ignore[arg-type]
    )


def failure_of(failed: "pytest.ExceptionInfo[SmtpFailure]") -> Failure:
    return failed.value.outcome.failure


def texts(connection: SmtpConnection) -> list[str]:
    return [f"{line.who} {line.text}" for line in connection.dialogue]


def starttls(*then: Script) -> Script:
    """Greeting, EHLO, STARTTLS, EHLO; then the rest."""

    async def script(peer: Peer) -> None:
        await peer.greet(*BEFORE_TLS)
        assert await peer.hear() == "STARTTLS"
        await peer.say("220 2.0.0 SMTP server ready")
        await peer.start_tls()
        assert await peer.hear() == "EHLO postroom.example.test"
        await peer.say(*AFTER_TLS)
        for step in then:
            await step(peer)

    return script


async def open_over_tls(server: ScriptedServer, authority: trustme.CA) -> SmtpConnection:
    connection = await connect(server, authority)
    await connection.hello()
    await connection.start_tls()
    await connection.hello()
    return connection


# TLS


async def test_starttls_verifies_and_says_hello_again(authority: trustme.CA) -> None:
    async def mail(peer: Peer) -> None:
        assert await peer.hear() == "MAIL FROM:<a@example.test>"
        await peer.say("250 2.1.0 Sender OK")
        assert await peer.hear() == "QUIT"
        await peer.say("221 2.0.0 Bye")

    async with ScriptedServer.listen(starttls(mail), tls=server_context(authority)) as server:
        connection = await connect(server, authority)
        assert (await connection.hello()).offers_starttls
        said = await connection.start_tls()
        assert said.startswith("TLSv1.3, certificate for mail.example.test valid to ")
        assert not connection.extensions.keywords, "what was offered in clear counts no more"
        assert (await connection.hello()).mechanisms == ("LOGIN", "XOAUTH2")
        assert (await connection.mail_from("a@example.test", 100)).code == 250
        await connection.quit()
        assert texts(connection)[0] == "- Connecting to mail.example.test:587"
        assert texts(connection)[-1] == "C QUIT"


async def test_there_is_no_way_on_without_starttls() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()

    async with ScriptedServer.listen(script) as server:
        connection = await connect(server)
        await connection.hello()
        with pytest.raises(SmtpFailure) as failed:
            await connection.start_tls()
        assert failure_of(failed).code == "starttls_not_offered"
        assert isinstance(failed.value.outcome, Stopped)
        assert failed.value.outcome.cause is StopCause.CONFIGURATION
        connection.abort()


async def test_bytes_sent_ahead_of_the_handshake_are_refused(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet(*BEFORE_TLS)
        await peer.hear()
        await peer.say("220 2.0.0 SMTP server ready", "250-injected", "250 AUTH LOGIN PLAIN")
        assert await peer.reader.read() == b"", "the client goes without a handshake"

    async with ScriptedServer.listen(script, tls=server_context(authority)) as server:
        connection = await connect(server, authority)
        await connection.hello()
        with pytest.raises(SmtpFailure, match="before the TLS handshake"):
            await connection.start_tls()
        assert not connection.is_open


async def test_a_replaced_certificate_is_not_trusted_and_its_issuer_is_named(authority: trustme.CA) -> None:
    interceptor = trustme.CA(organization_name="Inspecting Firewall")
    async with ScriptedServer.listen(starttls(), tls=server_context(interceptor)) as server:
        connection = await connect(server, authority)
        await connection.hello()
        with pytest.raises(SmtpFailure) as failed:
            await connection.start_tls()
        failure = failure_of(failed)
        assert failure.code == failure.remedy_id == "tls_not_trusted"
        assert "issued by “Inspecting Firewall”" in failure.text
        assert isinstance(failed.value.outcome, Stopped)
        assert failed.value.outcome.cause is StopCause.CONFIGURATION
        assert not connection.is_open
        assert all("AUTH" not in line for peer in server.peers for line in peer.heard)


async def test_a_certificate_for_another_name_is_not_trusted(authority: trustme.CA) -> None:
    async with ScriptedServer.listen(starttls(), tls=server_context(authority, "other.example.test")) as server:
        connection = await connect(server, authority)
        await connection.hello()
        with pytest.raises(SmtpFailure, match=r"not valid for 'mail\.example\.test'"):
            await connection.start_tls()


async def test_smtps_speaks_tls_from_the_first_byte(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet(*AFTER_TLS)

    async with ScriptedServer.listen(script, tls=server_context(authority), is_smtps=True) as server:
        connection = await connect(server, authority, email_type=EmailType.SMTPS)
        assert connection.is_encrypted
        await connection.hello()
        connection.abort()


async def test_smtps_names_the_issuer_too(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()

    interceptor = trustme.CA(organization_name="Inspecting Firewall")
    async with ScriptedServer.listen(script, tls=server_context(interceptor), is_smtps=True) as server:
        with pytest.raises(SmtpFailure, match="issued by “Inspecting Firewall”"):
            await connect(server, authority, email_type=EmailType.SMTPS)


async def test_smtps_on_a_port_for_starttls_says_so(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.say("220 mail.example.test ESMTP")
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        with pytest.raises(SmtpFailure) as failed:
            await connect(server, authority, email_type=EmailType.SMTPS)
        assert failure_of(failed).code == "tls_not_spoken"
        assert "SMTPS usually needs port 465" in failure_of(failed).text


async def test_a_server_without_tls_1_2_is_told_apart(authority: trustme.CA) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet(*BEFORE_TLS)
        await peer.hear()
        await peer.say("220 2.0.0 SMTP server ready")
        await peer.reader.read(1)
        await peer.say_bytes(bytes.fromhex("15 03 01 00 02 02 46"))  # the alert protocol_version
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        connection = await connect(server, authority)
        await connection.hello()
        with pytest.raises(SmtpFailure) as failed:
            await connection.start_tls()
        assert failure_of(failed).code == "tls_too_old"


# Reaching it


async def test_a_closed_port_stops_the_mailbox_and_names_no_mail() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    with pytest.raises(SmtpFailure) as failed:
        await SmtpConnection.open(loopback(port), HOST, 587, email_type=EmailType.SMTP)
    assert failure_of(failed).code == "connection_refused"
    assert failure_of(failed).server == "mail.example.test:587"
    assert isinstance(failed.value.outcome, Stopped)
    assert failed.value.outcome.cause is StopCause.MAIL_SERVER_AWAY


class Nowhere(Loopback):
    def route(self, host: str, port: int) -> Route:
        return dataclasses.replace(super().route(host, port), address="nowhere.invalid")


async def test_a_name_that_does_not_exist_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(SmtpFailure, match=r"cannot be found: Name or service not known\.") as failed:
        await SmtpConnection.open(Nowhere(1, loopback(1).tls), "nowhere.invalid", 587, email_type=EmailType.SMTP)
    assert failure_of(failed).code == failure_of(failed).remedy_id == "name_not_found"


async def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()

    async def getaddrinfo(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.1"]  # nobody listens on the first two
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    async with ScriptedServer.listen(script) as server:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        network = Nowhere(server.port, loopback(1).tls)
        connection = await SmtpConnection.open(network, "nowhere.invalid", 587, email_type=EmailType.SMTP)
        await connection.hello()
        connection.abort()


async def test_a_server_without_a_greeting_is_left_in_time() -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    async with ScriptedServer.listen(silent) as server:
        with pytest.raises(SmtpFailure, match="did not answer in time") as failed:
            await connect(server, timeout_seconds=0.05)
        assert isinstance(failed.value.outcome, Stopped)
        assert failed.value.dialogue[0].text == "Connecting to mail.example.test:587"


@pytest.mark.parametrize(
    ("greeting", "outcome"),
    [
        ("421 4.3.2 Service not available", TryLater),
        ("554 5.7.1 No service for you", Stopped),
        ("250 What?", Stopped),
        ("SSH-2.0-OpenSSH_9.2", Stopped),
    ],
)
async def test_another_greeting_is_no_mail_server(greeting: str, outcome: type) -> None:
    async def script(peer: Peer) -> None:
        await peer.say(greeting)
        await peer.reader.read()

    async with ScriptedServer.listen(script) as server:
        with pytest.raises(SmtpFailure) as failed:
            await connect(server)
        assert isinstance(failed.value.outcome, outcome)


async def test_being_cancelled_closes_the_connection() -> None:
    heard_end = asyncio.Event()
    greeted = asyncio.Event()

    async def script(peer: Peer) -> None:
        greeted.set()
        await peer.reader.read()
        heard_end.set()

    async with ScriptedServer.listen(script) as server:
        opening = asyncio.create_task(connect(server))
        await greeted.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await heard_end.wait()


# Signing in


def asks(*exchanges: tuple[str, str | None]) -> Script:
    """For each pair: hear the line, say the reply."""

    async def script(peer: Peer) -> None:
        for line, reply in exchanges:
            assert await peer.hear() == line
            if reply:
                await peer.say(reply)
        await peer.reader.read()

    return script


BLOB = encode_xoauth2("scanner@example.test", TOKEN)
BEARER = Bearer("scanner@example.test", TOKEN)


async def signed_in(authority: trustme.CA, *exchanges: tuple[str, str | None]) -> SmtpConnection:
    async with ScriptedServer.listen(starttls(asks(*exchanges)), tls=server_context(authority)) as server:
        connection = await open_over_tls(server, authority)
        try:
            await connection.sign_in(BEARER)
        finally:
            connection.abort()
        return connection


async def test_a_token_goes_inline_and_appears_nowhere(authority: trustme.CA) -> None:
    connection = await signed_in(authority, (f"AUTH XOAUTH2 {BLOB}", "235 2.7.0 Authentication successful"))
    assert connection.is_signed_in
    assert "C AUTH XOAUTH2 (token of scanner@example.test)" in texts(connection)
    assert TOKEN not in str(connection.dialogue)
    assert BLOB not in str(connection.dialogue)


@pytest.mark.parametrize("first", ["500 5.5.2 Line too long", "334 "])
async def test_a_token_goes_on_demand_in_two_steps(authority: trustme.CA, first: str) -> None:
    asked_again = [("AUTH XOAUTH2", "334 ")] if first.startswith("500") else []
    connection = await signed_in(authority, (f"AUTH XOAUTH2 {BLOB}", first), *asked_again, (BLOB, "235 2.7.0 Accepted"))
    assert connection.is_signed_in


async def test_a_challenge_is_answered_with_an_empty_line_and_kept(authority: trustme.CA) -> None:
    reasons = '{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}'
    with pytest.raises(SmtpFailure) as failed:
        await signed_in(
            authority,
            (f"AUTH XOAUTH2 {BLOB}", "334 " + base64.b64encode(reasons.encode()).decode()),
            ("", "535 5.7.8 Username and Password not accepted."),
        )
    assert failure_of(failed).text.endswith(f"(challenge: {reasons})")
    assert any(reasons in line.text for line in failed.value.dialogue)
    assert failed.value.reply is not None
    assert failed.value.reply.code == 535


async def test_microsofts_refusal_stops_the_mailbox(authority: trustme.CA) -> None:
    with pytest.raises(SmtpFailure) as failed:
        await signed_in(
            authority,
            (f"AUTH XOAUTH2 {BLOB}", "535 5.7.3 Authentication unsuccessful [SN2PR00CA0018.namprd00.prod.outlook.com]"),
        )
    assert isinstance(failed.value.outcome, Stopped)
    assert failed.value.outcome.cause is StopCause.SIGN_IN
    assert failure_of(failed).trace == "SN2PR00CA0018.namprd00.prod.outlook.com"


async def test_a_server_that_repeats_the_token_does_not_get_it_into_words(authority: trustme.CA) -> None:
    with pytest.raises(SmtpFailure) as failed:
        await signed_in(authority, (f"AUTH XOAUTH2 {BLOB}", f"535 5.7.3 I do not like {TOKEN} and {BLOB[:40]}"))
    said = str(failed.value) + str(failed.value.outcome) + str(failed.value.dialogue) + str(failed.value.reply)
    assert TOKEN not in said
    assert BLOB[:40] not in said
    assert "I do not like (hidden) and (hidden)" in said


async def test_login_answers_both_prompts(authority: trustme.CA) -> None:
    script = asks(
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        (base64.b64encode(b"scanner").decode(), "334 UGFzc3dvcmQ6"),
        (base64.b64encode(b"pass word").decode(), "235 2.7.0 Authentication successful"),
    )
    async with ScriptedServer.listen(starttls(script), tls=server_context(authority)) as server:
        connection = await open_over_tls(server, authority)
        await connection.sign_in(Password("scanner", "pass word"))
        assert base64.b64encode(b"pass word").decode() not in str(connection.dialogue)
        connection.abort()


async def test_a_way_to_sign_in_that_is_not_offered_is_named() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("250-mail.example.test", "250 AUTH CRAM-MD5")

    async with ScriptedServer.listen(script) as server:
        connection = await connect(server)
        await connection.hello()
        with pytest.raises(SmtpFailure) as failed:
            await connection.sign_in(Password("a", "b"), may_be_in_clear=True)
        assert failure_of(failed).text == "mail.example.test:587 does not offer AUTH LOGIN; it offers CRAM-MD5."
        connection.abort()


@pytest.mark.parametrize(("sign_in", "chosen"), [(BEARER, True), (BEARER, False), (Password("a", "b"), False)])
async def test_secrets_never_travel_in_clear_unasked(sign_in: Bearer | Password, chosen: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("250-mail.example.test", "250 AUTH LOGIN PLAIN XOAUTH2")
        assert await peer.reader.read() == b""

    async with ScriptedServer.listen(script) as server:
        connection = await connect(server)
        await connection.hello()
        with pytest.raises(SmtpFailure, match="not encrypted"):
            await connection.sign_in(sign_in, may_be_in_clear=chosen)
        connection.abort()


# The envelope


async def test_parameters_are_sent_only_where_they_are_offered() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet("250-mail.example.test", "250-SIZE", "250-8BITMIME", "250 SMTPUTF8")
        await peer.hear()

    async def bare(peer: Peer) -> None:
        await peer.greet("250 mail.example.test")
        await peer.hear()

    async with ScriptedServer.listen(script, bare) as server:
        lines = []
        for _ in range(2):
            connection = await connect(server)
            await connection.hello()
            lines.append(connection.mail_line("a@b.test", 5, is_eight_bit=True, needs_smtputf8=True))
            connection.abort()
    assert lines == ["MAIL FROM:<a@b.test> SIZE=5 BODY=8BITMIME SMTPUTF8", "MAIL FROM:<a@b.test>"]


@pytest.mark.parametrize("address", ["a@b.test>\r\nRCPT TO:<c@d.test", "a b@c.test", "a@b.test\0"])
async def test_no_command_is_smuggled_into_an_address(address: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        assert await peer.reader.read() == b""

    async with ScriptedServer.listen(script) as server:
        connection = await connect(server)
        await connection.hello()
        with pytest.raises(SmtpFailure) as failed:
            await connection.rcpt_to(address)
        assert failure_of(failed).code == "address_unusable"
        connection.abort()
