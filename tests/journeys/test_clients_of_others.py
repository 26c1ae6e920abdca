"""Programs that others wrote, unchanged, send through the whole server; what arrives at the simulated Microsoft 365 is
what they sent, byte for byte, below the trace field that we put on top."""

import asyncio
import hashlib
import random
import re
import smtplib
import ssl
import subprocess
from email import message_from_bytes, policy
from email.generator import BytesGenerator
from email.message import EmailMessage
from email.utils import formatdate
from io import BytesIO
from pathlib import Path

import aiosmtplib
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postroom.ids import parse_public_id
from postroom.message import RecipientState
from postroom.outcome import Sent
from postroom.server import Server
from postroom.store.records import MessageDetail
from tests.journeys.judges import needs
from tests.journeys.prepared import OPS, SCANNER, make_app, set_up_mail_server, simulator_of

pytestmark = pytest.mark.anyio

TODAY = formatdate()
"""A Date of another day would be corrected."""
PATIENCE_SECONDS = 20
PDF = b"%PDF-1.4\n" + random.Random(4).randbytes(60_000) + b"\n%%EOF\n"
TEXT = ".\n..\nFrom the scanner, trailing blanks:   \n.hidden\n" + "x" * 998 + "\n\nGrüße aus dem 2. Stock\n"
_RECEIVED = re.compile(
    rb"Received: from [^\r\n]+ \(\[127\.0\.0\.1\]\)\r\n\tby postroom\.example \(Postroom at postroom\.example\) "
    rb"with (?:UTF8SMTP|ESMTP)SA \(TLSv1\.3\)\r\n\tid (\w{13}); [^\r\n]+\r\n"
)


class Post:
    """A server that is set up, an app of it, and what a client must know to send."""

    def __init__(self, server: Server, folder: Path, login: str, password: str) -> None:
        self.server = server
        self.folder = folder
        self.login = login
        self.password = password
        self.port = server.submission_port
        self.certificate = folder / "data" / "listener.crt"

    @property
    def tls(self) -> ssl.SSLContext:
        """Trusts the listener's own certificate, and checks its name."""
        return ssl.create_default_context(cafile=self.certificate)

    def write_mail(self) -> tuple[Path, bytes]:
        """A message in a file with line ends as a script writes them, and as it must arrive."""
        path = self.folder / "mail.eml"
        content = compose().as_bytes(policy=policy.SMTP.clone(linesep="\n", cte_type="8bit"))
        path.write_bytes(content)
        return path, content.replace(b"\n", b"\r\n")

    async def run(self, *command: str, stdin: bytes = b"") -> str:
        program = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await program.communicate(stdin)
        assert program.returncode == 0, output.decode(errors="replace")
        return output.decode(errors="replace")

    async def see_it_arrive(self) -> bytes:
        """The one message as the simulated Exchange took it, without our trace field; its timeline ends in Sent."""
        store = self.server.store
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await store.messages.counts())[RecipientState.SENT] == 0:
                await store.outbox.wait_for_change(1)
        [arrived] = simulator_of(self.server).tenant.messages
        assert (arrived.envelope_sender, arrived.recipients) == (SCANNER, (OPS,))
        found = _RECEIVED.match(arrived.content)
        assert found is not None, arrived.content[:500]
        self.check_timeline(await store.messages.find(parse_public_id(found[1].decode())))
        return arrived.content[found.end() :]

    def check_timeline(self, detail: MessageDetail | None) -> None:
        assert detail is not None
        assert detail.reception.login == self.login
        assert detail.reception.tls_version == "TLSv1.3"
        [attempt] = detail.attempts
        [(address, outcome)] = attempt.outcomes
        assert address == OPS
        assert isinstance(outcome, Sent)
        assert outcome.reply.startswith("250 2.0.0 OK")


@pytest.fixture
async def post(running_server: Server, tmp_path: Path) -> Post:
    await set_up_mail_server(running_server)
    app, password = await make_app(running_server)
    return Post(running_server, tmp_path, app.login, password)


def compose() -> EmailMessage:
    """A scan with everything that is easily broken on its way; complete, so that nothing needs to be added."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"HP <{SCANNER}>", OPS, "Scan für Ops"
    message["Message-ID"], message["Date"] = "<scan.1@hp.example>", TODAY
    message.set_content(TEXT, cte="8bit")
    message.add_attachment(PDF, maintype="application", subtype="pdf", filename="scan für ops.pdf")
    message.set_boundary("the-same-each-time")
    return message


def check_scan(content: bytes, text: str = TEXT) -> None:
    """The text and the attachment, as a mail program reads them."""
    arrived = message_from_bytes(content, policy=policy.default)
    body, pdf = arrived.get_body(), next(arrived.iter_attachments())
    assert isinstance(body, EmailMessage)
    assert isinstance(pdf, EmailMessage)
    assert body.get_content().splitlines() == text.splitlines()
    assert (pdf.get_filename(), pdf.get_content()) == ("scan für ops.pdf", PDF)


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks(post: Post, mechanism: str) -> None:
    path, expected = post.write_mail()
    said = await post.run(*swaks(post, mechanism), "--data", f"@{path}")
    assert "=== TLS started" in said
    content = await post.see_it_arrive()
    assert content == expected + b"\r\n"  # swaks itself puts an empty line before the final dot
    check_scan(content)


@needs("swaks")
async def test_swaks_with_an_attachment_of_its_own(post: Post) -> None:
    scan = post.folder / "scan.pdf"
    scan.write_bytes(PDF)
    await post.run(
        *swaks(post, "PLAIN"),
        *("--header", "Subject: Scan", "--body", "The scan is attached."),
        *("--attach-type", "application/pdf", "--attach", f"@{scan}"),
    )
    arrived = message_from_bytes(await post.see_it_arrive(), policy=policy.default)
    body, *others = arrived.iter_parts()
    assert isinstance(body, EmailMessage)
    assert body.get_content().rstrip() == "The scan is attached."
    assert [part.get_payload(decode=True) for part in others] == [PDF]


def swaks(post: Post, mechanism: str) -> tuple[str, ...]:
    return (
        *("swaks", "--server", f"localhost:{post.port}", "--from", SCANNER, "--to", OPS),
        *("--tls", "--tls-verify", "--tls-ca-path", str(post.certificate)),
        *("--auth", mechanism, "--auth-user", post.login, "--auth-password", post.password),
    )


@needs("msmtp")
@pytest.mark.parametrize("trust", ["trust file", "fingerprint", "off"])
async def test_msmtp(post: Post, trust: str) -> None:
    path, expected = post.write_mail()
    config = post.folder / "msmtprc"
    config.write_text(
        f"account default\nhost localhost\nport {post.port}\nfrom {SCANNER}\ntls on\ntls_starttls on\nauth on\n"
        f"user {post.login}\npassword {post.password}\n{msmtp_trust(post, trust)}\n"
    )
    config.chmod(0o600)
    await post.run("msmtp", f"--file={config}", OPS, stdin=path.read_bytes())
    content = await post.see_it_arrive()
    assert content == expected
    check_scan(content)


def msmtp_trust(post: Post, trust: str) -> str:
    if trust == "fingerprint":
        certificate = x509.load_pem_x509_certificate(post.certificate.read_bytes())
        digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
        return f"tls_fingerprint {digest.hex(':')}"
    return "tls_certcheck off" if trust == "off" else f"tls_trust_file {post.certificate}"


@needs("curl")
async def test_curl(post: Post) -> None:
    path, expected = post.write_mail()
    await post.run(
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(post.certificate)),
        *("--url", f"smtp://localhost:{post.port}", "--user", f"{post.login}:{post.password}"),
        *("--mail-from", SCANNER, "--mail-rcpt", OPS, "--upload-file", str(path), "--crlf"),
    )
    content = await post.see_it_arrive()
    assert content == expected
    check_scan(content)


async def test_smtplib(post: Post) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", post.port, timeout=PATIENCE_SECONDS) as client:
            client.starttls(context=post.tls)
            client.login(post.login, post.password)
            assert client.send_message(compose()) == {}

    await asyncio.to_thread(send)
    content = await post.see_it_arrive()
    expected = BytesIO()
    BytesGenerator(expected).flatten(compose(), linesep="\r\n")  # as smtplib does, with a mark before From
    assert content == expected.getvalue()
    check_scan(content, TEXT.replace("\nFrom", "\n>From"))


async def test_aiosmtplib(post: Post) -> None:
    _, expected = post.write_mail()
    errors, reply = await aiosmtplib.send(
        expected,
        sender=SCANNER,
        recipients=[OPS],
        hostname="localhost",
        port=post.port,
        start_tls=True,
        tls_context=post.tls,
        username=post.login,
        password=post.password,
    )
    assert errors == {}
    assert reply.startswith("2.0.0 OK queued as ")
    content = await post.see_it_arrive()
    assert content == expected
    check_scan(content)
