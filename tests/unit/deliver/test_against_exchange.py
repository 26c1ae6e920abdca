"""Our client and the simulated Exchange Online: STARTTLS, tokens, rights and the addresses that ask for trouble."""

import asyncio
import dataclasses
import tracemalloc
from collections.abc import AsyncIterator
from typing import cast

import aiosmtpd.smtp
import msgspec
import pytest

from postroom.clock import SystemClock
from postroom.deliver.outgoing import make_parcel
from postroom.deliver.smtp_transport import SmtpTransport
from postroom.deliver.transport import Parcel
from postroom.deliver.transports import Transports
from postroom.identity.sign_ins import Bearer, Password, SignIn
from postroom.message import DsnRequest, RecipientDsn
from postroom.network import Rehearsal, http_client
from postroom.outcome import FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.tenant import Tenant, User, contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from postroom.store.records import SendRight, StoredBody
from tests.unit.deliver.scripted_server import a_mail_server, a_mailbox, a_parcel, loopback
from tests.unit.deliver.test_outgoing import a_lease

pytestmark = pytest.mark.anyio

HOST = "smtp.office365.com"
SCANNER = "scanner@contoso.com"
KEY = make_signing_key()
AUTHORITY = Authority.create()


@pytest.fixture
async def exchange() -> AsyncIterator[ExchangeServer]:
    tenant = contoso(SimulatorClock())
    server = ExchangeServer(tenant, Tokens(tenant, KEY), AUTHORITY.server_context([HOST]), slow_seconds=0.01)
    await server.start()
    yield server
    await server.stop()


def scanner_of(tenant: Tenant) -> User:
    user = tenant.user_by_address(SCANNER)
    assert user is not None
    return user


class Entra:
    """Tokens of the simulated tenant, a new one whenever the last was refused; or the user's password."""

    def __init__(self, exchange: ExchangeServer, *, with_password: bool = False) -> None:
        self._exchange = exchange
        self._with_password = with_password
        self._client_id = exchange.tenant.register_app("Postroom").client_id
        self._token = ""
        self.refused: list[str] = []

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        user = scanner_of(self._exchange.tenant)
        if self._with_password:
            return Password(SCANNER, user.password)
        if refuse_token is not None:
            self.refused.append(refuse_token)
        if not self._token or refuse_token == self._token:
            self._token = self._exchange.tokens.issue_access_token(
                self._client_id, user, "https://outlook.office.com", ["SMTP.Send"]
            )
        return Bearer(SCANNER, self._token)

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        raise NotImplementedError("this is about SMTP")


@pytest.fixture
async def transports(exchange: ExchangeServer) -> AsyncIterator[Transports]:
    network = Rehearsal({(HOST, 587): ("127.0.0.1", exchange.port)}, AUTHORITY.pem.decode(), "http://localhost")
    transports = Transports(network, Entra(exchange), SystemClock(), http_client(network))
    yield transports
    await transports.close()


def a_transport(exchange: ExchangeServer, entra: Entra) -> SmtpTransport:
    network = Rehearsal({(HOST, 587): ("127.0.0.1", exchange.port)}, AUTHORITY.pem.decode(), "http://localhost")
    mail_server = a_mail_server(host=HOST, use_tls=True, sender=SCANNER)
    return SmtpTransport(network, entra, SystemClock(), mail_server, a_mailbox())


def a_message(*recipients: str, header_from: str = SCANNER) -> Parcel:
    head = f"From: {header_from}\r\nTo: x\r\nSubject: Scan\r\nMessage-ID: <1@contoso.com>\r\n\r\n"
    return a_parcel(*recipients, envelope_sender=header_from, body=[head.encode() + b"Hello\r\n.\r\n"])


async def send(exchange: ExchangeServer, recipient: str, header_from: str = SCANNER) -> Outcome:
    transport = a_transport(exchange, Entra(exchange))
    report = await transport.send(a_message(recipient, header_from=header_from))
    await transport.close()
    return report.outcomes[0]


async def test_a_message_arrives_as_it_was_and_the_token_is_nowhere(exchange: ExchangeServer) -> None:
    entra = Entra(exchange)
    transport = a_transport(exchange, entra)
    report = await transport.send(a_message("b@fabrikam.com", "c@fabrikam.com"))
    await transport.close()

    assert all(isinstance(outcome, Sent) for outcome in report.outcomes)
    (message,) = exchange.tenant.messages
    assert message.content.endswith(b"\r\n\r\nHello\r\n.\r\n")
    assert tuple(message.recipients) == ("b@fabrikam.com", "c@fabrikam.com")
    assert any(line.text.startswith("TLSv1.") for line in report.dialogue)
    token = (await entra.sign_in_for(7)).token  # type: ignore[union-attr]
    assert token not in str(report)
    assert isinstance(report.outcomes[0], Sent)
    assert "Hostname=" in report.outcomes[0].reply


async def test_wishes_for_notifications_are_carried_to_exchange(exchange: ExchangeServer) -> None:
    transport = a_transport(exchange, Entra(exchange))
    wishes = DsnRequest("FULL", "QQ314159", {"b@fabrikam.com": RecipientDsn(("NEVER",), "rfc822;b@fabrikam.com")})
    report = await transport.send(dataclasses.replace(a_message("b@fabrikam.com", "c@fabrikam.com"), dsn=wishes))
    await transport.close()

    assert all(isinstance(outcome, Sent) for outcome in report.outcomes)
    said = [line.text for line in report.dialogue]
    assert any(text.startswith("MAIL FROM:") and text.endswith(" RET=FULL ENVID=QQ314159") for text in said)
    assert "RCPT TO:<b@fabrikam.com> NOTIFY=NEVER ORCPT=rfc822;b@fabrikam.com" in said
    assert "RCPT TO:<c@fabrikam.com>" in said


async def test_many_messages_sign_in_once(exchange: ExchangeServer) -> None:
    transport = a_transport(exchange, Entra(exchange))
    for _ in range(10):
        report = await transport.send(a_message("b@fabrikam.com"))
        assert isinstance(report.outcomes[0], Sent)
    await transport.close()
    assert exchange.sign_ins == exchange.connections_made == 1
    assert len(exchange.tenant.messages) == 10


@pytest.mark.parametrize(
    ("address", "kind", "code"),
    [
        ("451@fabrikam.com", TryLater, "temporary_refusal"),
        ("throttled@fabrikam.com", TryLater, "server_busy"),
        ("421@fabrikam.com", TryLater, "service_closing"),
        ("550@fabrikam.com", Refused, "recipient_unknown"),
        ("432@fabrikam.com", TryLater, "too_many_connections"),
        ("mailbox-full@fabrikam.com", Stopped, "mailbox_full"),
        ("daily-limit@fabrikam.com", Stopped, "daily_limit"),
        ("blocked@fabrikam.com", Stopped, "sender_blocked"),
        ("drop-after-dot@fabrikam.com", Unknown, "answer_lost"),
        ("drop-before-store@fabrikam.com", Unknown, "answer_lost"),
    ],
)
async def test_the_address_decides_what_goes_wrong(
    exchange: ExchangeServer, address: str, kind: type[Outcome], code: str
) -> None:
    outcome = await send(exchange, address)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Sent)
    assert outcome.failure.code == code


async def test_slow_is_not_broken(exchange: ExchangeServer) -> None:
    assert isinstance(await send(exchange, "slow@fabrikam.com"), Sent)


async def test_a_sender_without_the_right_is_refused_after_the_data(exchange: ExchangeServer) -> None:
    outcome = await send(exchange, "b@fabrikam.com", header_from="noreply@contoso.com")
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "send_as_denied"
    assert outcome.failure.failure_class is FailureClass.PERMISSION
    assert outcome.failure.trace


@pytest.mark.parametrize("is_granted", [True, False])
async def test_send_on_behalf_is_the_right_that_lets_the_message_with_its_sender_through(
    exchange: ExchangeServer, is_granted: bool
) -> None:
    noreply = exchange.tenant.user_by_address("noreply@contoso.com")
    assert noreply is not None
    if is_granted:
        exchange.tenant.grant_right("send_on_behalf", noreply.object_id, SCANNER)
    content = b"From: noreply@contoso.com\r\nTo: x\r\nSender: forged@contoso.com\r\n\r\nHello\r\n"
    mailbox = msgspec.structs.replace(a_mailbox(), username=SCANNER, address=SCANNER)
    lease = a_lease(content, mailbox=mailbox, envelope_sender="noreply@contoso.com")

    async def read(body: StoredBody) -> AsyncIterator[bytes]:
        yield content

    parcel = await make_parcel(lease, read, may_finish=lambda: True, is_moving=lambda: None)
    transport = a_transport(exchange, Entra(exchange))
    report = await transport.send(parcel)
    await transport.close()
    if is_granted:
        assert isinstance(report.outcomes[0], Sent)
        assert exchange.tenant.messages[0].content == content.replace(b"Sender: forged@contoso.com\r\n", b"").replace(
            b"From:", b"Sender: <scanner@contoso.com>\r\nFrom:"
        )
    else:
        assert isinstance(report.outcomes[0], Refused)
        assert report.outcomes[0].failure.code == "send_as_denied"


@pytest.mark.parametrize(
    ("right", "header_from"), [(SendRight.OWN, SCANNER), (SendRight.SEND_AS, "noreply@contoso.com")]
)
@pytest.mark.parametrize("is_edited", [True, False])
async def test_a_foreign_sender_would_have_the_message_refused_and_goes(
    exchange: ExchangeServer, right: SendRight, header_from: str, is_edited: bool
) -> None:
    noreply = exchange.tenant.user_by_address("noreply@contoso.com")
    assert noreply is not None
    exchange.tenant.grant_right("send_as", noreply.object_id, SCANNER)
    content = f"Sender: forged@contoso.com\r\nFrom: {header_from}\r\nTo: x\r\n\r\nHello\r\n".encode()
    mailbox = msgspec.structs.replace(a_mailbox(), username=SCANNER, address=SCANNER)
    # By a name that is not Microsoft's, what the program wrote is left alone.
    mail_server = a_mail_server(host=HOST if is_edited else "mail.example.test", send_right=right, sender=header_from)
    lease = a_lease(content, mailbox=mailbox, mail_server=mail_server, envelope_sender=header_from)

    async def read(body: StoredBody) -> AsyncIterator[bytes]:
        yield content

    parcel = await make_parcel(lease, read, may_finish=lambda: True, is_moving=lambda: None)
    transport = a_transport(exchange, Entra(exchange))
    outcome = (await transport.send(parcel)).outcomes[0]
    await transport.close()
    if is_edited or right is SendRight.SEND_AS:
        assert isinstance(outcome, Sent)
        assert b"forged" not in exchange.tenant.messages[0].content
    else:
        assert isinstance(outcome, Refused)
        assert outcome.failure.code == "send_as_denied"


async def test_a_revoked_token_is_replaced_once(exchange: ExchangeServer) -> None:
    entra = Entra(exchange)
    await entra.sign_in_for(7)
    exchange.tenant.revoke_sessions(scanner_of(exchange.tenant).object_id)
    transport = a_transport(exchange, entra)
    report = await transport.send(a_message("b@fabrikam.com"))
    await transport.close()
    assert isinstance(report.outcomes[0], Sent)
    assert len(entra.refused) == 1


async def test_a_token_that_is_refused_again_stops_the_mailbox(exchange: ExchangeServer) -> None:
    class Stubborn(Entra):
        async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
            self.refused += [refuse_token] if refuse_token else []
            return Bearer(SCANNER, f"not-a-token-{len(self.refused)}")

    entra = Stubborn(exchange)
    report = await a_transport(exchange, entra).send(a_parcel("b@fabrikam.com"))
    outcome = report.outcomes[0]
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.SIGN_IN
    assert outcome.failure.code == "token_not_accepted"
    assert entra.refused == ["not-a-token-0"]


@pytest.mark.parametrize("with_password", [False, True])
async def test_smtp_auth_switched_off_stops_the_mailbox_and_blames_no_token(
    exchange: ExchangeServer, with_password: bool
) -> None:
    exchange.tenant.disable_smtp_auth(disabled=True)
    entra = Entra(exchange, with_password=with_password)
    report = await a_transport(exchange, entra).send(a_parcel("b@fabrikam.com"))
    outcome = report.outcomes[0]
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.SMTP_AUTH_OFF
    assert outcome.failure.remedy_id == "smtp_auth_off_tenant"
    assert not entra.refused


async def test_a_password_signs_in_by_login(exchange: ExchangeServer) -> None:
    transport = a_transport(exchange, Entra(exchange, with_password=True))
    report = await transport.send(a_message("b@fabrikam.com"))
    await transport.close()
    assert isinstance(report.outcomes[0], Sent)
    assert "C AUTH LOGIN" in [f"{line.who} {line.text}" for line in report.dialogue]


# One transport for each mail server and mailbox


async def test_the_transport_stays_while_the_settings_do(exchange: ExchangeServer, transports: Transports) -> None:
    server, mailbox = a_mail_server(host=HOST, use_tls=True), a_mailbox()
    first = transports.transport_for(server, mailbox)
    assert transports.transport_for(server, mailbox) is first
    renamed = a_mail_server(host=HOST, use_tls=True, name="Another name", test_address="z@example.test")
    assert transports.transport_for(renamed, mailbox) is first
    assert transports.transport_for(a_mail_server(host=HOST, mail_server_id=2), mailbox) is not first


async def test_changed_settings_use_no_old_connection(exchange: ExchangeServer, transports: Transports) -> None:
    mailbox = a_mailbox()
    for name in ("one.example.test", "two.example.test"):
        transport = transports.transport_for(a_mail_server(host=HOST, use_tls=True, ehlo_name=name), mailbox)
        assert isinstance((await transport.send(a_message("b@fabrikam.com"))).outcomes[0], Sent)
    assert exchange.connections_made == 2
    await transports.close()


# Another judge, and size


class Sink:
    """aiosmtpd as mail server: what it hands on is what arrived."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.contents: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: aiosmtpd.smtp.Envelope) -> str:
        content = envelope.original_content or b""
        self.sizes.append(len(content))
        self.contents.append(content[:1000])
        return "250 OK"


async def test_aiosmtpd_receives_every_byte() -> None:
    sink = Sink()

    def authenticate(*_: object) -> aiosmtpd.smtp.AuthResult:
        return aiosmtpd.smtp.AuthResult(success=True)

    listener = await asyncio.get_running_loop().create_server(
        lambda: aiosmtpd.smtp.SMTP(
            sink, hostname="judge", auth_require_tls=False, authenticator=authenticate, enable_SMTPUTF8=True
        ),
        "127.0.0.1",
        0,
    )
    port = listener.sockets[0].getsockname()[1]

    class AnyPassword:
        async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
            return Password("a", "b")

    transport = SmtpTransport(loopback(port), AnyPassword(), SystemClock(), a_mail_server(), a_mailbox())
    dots = b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n"
    report = await transport.send(a_parcel("b@example.net", "grüße@example.net", body=[dots[:16], dots[16:]]))
    await transport.close()
    listener.close()
    await listener.wait_closed()
    assert all(isinstance(outcome, Sent) for outcome in report.outcomes)
    assert sink.contents == [dots]


async def test_a_large_message_passes_through_little_memory() -> None:
    """25 MB in chunks made on the way; the sink is a bare protocol that keeps nothing."""
    chunk = (b"x" * 76 + b"\r\n") * 840
    chunks = 25_000_000 // len(chunk) + 1

    class Drain(asyncio.Protocol):
        in_data = False
        tail = b""
        received = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)
            self.transport.write(b"220 drain\r\n")

        def data_received(self, data: bytes) -> None:
            if self.in_data:
                type(self).received += len(data)
                self.tail = (self.tail + data)[-5:]
                if self.tail == b"\r\n.\r\n":
                    self.in_data = False
                    self.transport.write(b"250 OK\r\n")
                return
            for line in data.splitlines():
                verb = line[:4].upper()
                answers = {b"EHLO": b"250-drain\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n", b"AUTH": b"235 OK\r\n"}
                self.transport.write(answers.get(verb, b"354 Go\r\n" if verb == b"DATA" else b"250 OK\r\n"))
                self.in_data = verb == b"DATA"

    listener = await asyncio.get_running_loop().create_server(Drain, "127.0.0.1", 0)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(chunks):
            yield bytes(chunk)

    class AnyPassword:
        async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
            return Password("a", "b")

    port = listener.sockets[0].getsockname()[1]
    transport = SmtpTransport(loopback(port), AnyPassword(), SystemClock(), a_mail_server(), a_mailbox())
    parcel = a_parcel("b@example.net", open_body=body, size_bytes=chunks * len(chunk))
    tracemalloc.start()
    report = await transport.send(parcel)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await transport.close()
    listener.close()
    assert isinstance(report.outcomes[0], Sent)
    assert Drain.received == chunks * len(chunk) + 3
    assert peak_bytes < 4 * 1024 * 1024
