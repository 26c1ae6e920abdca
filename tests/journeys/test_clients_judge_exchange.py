"""Mail clients that others wrote sign in to the simulated Exchange Online and send: they judge its dialogue."""

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.tenant import ReceivedMessage, User, contoso
from postroom.simulator.tokens import Tokens
from tests.journeys.judges import needs

pytestmark = pytest.mark.anyio

SCANNER = "scanner@contoso.com"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the simulator runs inside programs of either kind."""
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Service:
    """An Exchange Online on loopback, and a scanner's mailbox in it."""

    server: ExchangeServer
    scanner: User
    ca_file: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def token(self, scope: str = "SMTP.Send") -> str:
        app = self.server.tenant.register_app("Postroom")
        return self.server.tokens.issue_access_token(app.client_id, self.scanner, "https://outlook.office.com", [scope])

    @property
    def arrived(self) -> ReceivedMessage:
        (message,) = self.server.tenant.messages
        return message


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    tenant, authority = contoso(SimulatorClock()), Authority.create()
    scanner = tenant.user_by_address(SCANNER)
    assert scanner is not None
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    server = ExchangeServer(tenant, Tokens(tenant), authority.server_context(["localhost"], speaks_old_tls=True))
    await server.start()
    yield Service(server, scanner, ca_file)
    await server.stop()


def make_mail(recipient: str = "anna@fabrikam.example") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = SCANNER, recipient, "A scan"
    mail.set_content("Page 1\n.\nPage 2\n")
    return mail


# smtplib


def xoauth2_of(user: str, token: str) -> str:
    return f"user={user}\x01auth=Bearer {token}\x01\x01"


def send_with_smtplib(service: Service, token: str, password: str = "") -> None:
    with smtplib.SMTP("localhost", service.server.port, local_hostname="client.example", timeout=10) as client:
        client.starttls(context=service.tls)
        if password:
            client.login(SCANNER, password)
        else:
            client.ehlo()
            client.auth("XOAUTH2", lambda _challenge=None: xoauth2_of(SCANNER, token), initial_response_ok=True)
        client.send_message(make_mail())


async def test_smtplib_with_a_token(service: Service) -> None:
    await asyncio.to_thread(send_with_smtplib, service, service.token())

    assert service.arrived.signed_in_as == SCANNER
    assert service.arrived.content.endswith(b"\r\n\r\nPage 1\r\n.\r\nPage 2\r\n")


async def test_smtplib_with_a_password(service: Service) -> None:
    await asyncio.to_thread(send_with_smtplib, service, "", service.scanner.password)

    assert service.arrived.recipients == ("anna@fabrikam.example",)


async def test_smtplib_hears_why_a_password_is_refused(service: Service) -> None:
    service.server.tenant.exchange.set_basic_auth("disabled")

    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        await asyncio.to_thread(send_with_smtplib, service, "", service.scanner.password)

    assert caught.value.smtp_code == 535
    assert "5.7.139 Authentication unsuccessful, basic authentication is disabled. [" in str(caught.value.smtp_error)


async def test_smtplib_hears_that_a_token_is_refused_without_a_challenge(service: Service) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        await asyncio.to_thread(send_with_smtplib, service, service.token("User.Read"))

    assert "5.7.3 Authentication unsuccessful [" in str(caught.value.smtp_error)


# aiosmtplib


async def open_aiosmtplib(service: Service) -> aiosmtplib.SMTP:
    client = aiosmtplib.SMTP(
        hostname="localhost",
        port=service.server.port,
        start_tls=True,
        tls_context=service.tls,
        local_hostname="client.example",
        timeout=10,
    )
    await client.connect()
    return client


async def test_aiosmtplib_with_a_token(service: Service) -> None:
    client = await open_aiosmtplib(service)
    await client.auth_xoauth2(SCANNER, service.token())
    refused, said = await client.send_message(make_mail())
    await client.quit()

    assert refused == {}
    assert said.startswith("2.0.0 OK <")
    assert service.arrived.helo == "client.example"


async def test_aiosmtplib_with_a_password(service: Service) -> None:
    client = await open_aiosmtplib(service)
    await client.login(SCANNER, service.scanner.password)
    await client.send_message(make_mail())
    await client.quit()

    assert service.arrived.tls_version == "TLSv1.3"


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("sendas-denied@example.net", 554, "5.2.252 SendAsDenied; "),
        ("mailbox-full@example.net", 554, "5.2.2 mailbox full; STOREDRV.Submission.Exception:"),
    ],
)
async def test_aiosmtplib_meets_the_fault_of_a_message(service: Service, address: str, code: int, words: str) -> None:
    client = await open_aiosmtplib(service)
    await client.login(SCANNER, service.scanner.password)

    with pytest.raises(aiosmtplib.SMTPDataError) as caught:
        await client.send_message(make_mail(address))
    await client.quit()

    assert caught.value.code == code
    assert caught.value.message.startswith(words)


async def test_aiosmtplib_loses_the_connection_after_the_dot(service: Service) -> None:
    client = await open_aiosmtplib(service)
    await client.login(SCANNER, service.scanner.password)

    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await client.send_message(make_mail("drop-after-dot@example.net"))

    assert service.arrived.recipients == ("drop-after-dot@example.net",)


# swaks


async def run_swaks(service: Service, password: str, recipient: str, *more: str) -> tuple[int, str]:
    swaks = await asyncio.create_subprocess_exec(
        *("swaks", "--server", "localhost", "--port", str(service.server.port), "--tls", "--tls-verify"),
        *("--tls-ca-path", str(service.ca_file), "--auth", "LOGIN", "--auth-user", SCANNER),
        *("--auth-password", password, "--from", SCANNER, "--to", recipient, "--ehlo", "client.example", *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await swaks.communicate()
    return swaks.returncode or 0, output.decode()


@needs("swaks")
async def test_swaks_sends_with_a_password(service: Service) -> None:
    code, output = await run_swaks(service, service.scanner.password, "anna@fabrikam.example", "--pipeline")

    assert code == 0, output
    assert "250-AUTH LOGIN XOAUTH2" in output
    assert service.arrived.envelope_sender == SCANNER


@needs("swaks")
@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        ("550@example.net", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [SIM0"),
        ("daily-limit@example.net", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
    ],
)
async def test_swaks_meets_the_faults_of_addresses(service: Service, recipient: str, words: str) -> None:
    code, output = await run_swaks(service, service.scanner.password, recipient)

    assert code != 0
    assert words in output


@needs("swaks")
async def test_swaks_is_refused_by_security_defaults(service: Service) -> None:
    service.server.tenant.security_defaults = True

    code, output = await run_swaks(service, service.scanner.password, "anna@fabrikam.example")

    assert code != 0
    assert "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults" in output


@needs("swaks")
async def test_swaks_is_refused_over_old_tls(service: Service) -> None:
    code, output = await run_swaks(
        service,
        service.scanner.password,
        "anna@fabrikam.example",
        "--tls-protocol",
        "tlsv1_1",
        "--tls-cipher",
        "DEFAULT:@SECLEVEL=0",
    )

    assert code != 0
    assert "421 4.7.66 TLS 1.0 and 1.1 are not supported." in output
