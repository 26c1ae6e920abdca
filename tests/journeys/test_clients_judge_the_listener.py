"""Mail clients that others wrote hand in mail, over real TLS, into a real store: they judge our listener."""

import asyncio
import os
import re
import smtplib
import socket
import ssl
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import aiosmtplib
import pytest
import trustme

from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.clock import SystemClock
from postroom.ids import parse_public_id
from postroom.store import Store
from postroom.store.records import App, AppSettings, MessageDetail
from postroom.vault import Vault
from tests.journeys.judges import needs

pytestmark = pytest.mark.anyio

SENDER = "scanner@contoso.example"


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops that the server runs on: their TLS upgrades differ."""
    return "asyncio", {"use_uvloop": request.param}


@dataclass
class Relay:
    """A listener on loopback, and an app that may use it."""

    store: Store
    server: SmtpServer
    app: App
    password: str
    ca_file: Path

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    async def newest(self) -> tuple[MessageDetail, bytes]:
        [row, *_], _ = await self.store.messages.search("")
        detail = await self.store.messages.find(row.message_id)
        assert detail is not None
        assert detail.body is not None
        content = b"".join([chunk async for chunk in self.store.bodies.read(detail.body)])
        return detail, content


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
    clock = SystemClock()
    store = await Store.open(tmp_path / "data", clock, Vault(bytes(32)))
    app, password = await store.apps.create(AppSettings(name="HP 2nd floor", senders=(SENDER,)), "test")
    intake = Intake(store, clock, "relay.example", 40_000_000)
    server = SmtpServer(intake, store.apps, tls, limits=ListenerLimits(sign_in_delay_seconds=0))
    await server.start("127.0.0.1", 0)
    yield Relay(store, server, app, password, ca_file)
    await server.stop(grace_seconds=5)
    await store.close()


def compose(text: str = ".\nDie Grüße\n..\n", size_bytes: int = 0) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"HP <{SENDER}>"
    message["To"] = "bob@fabrikam.example"
    message["Bcc"] = "eve@fabrikam.example"
    message["Subject"] = "Scan für Bob"
    message.set_content(text)
    if size_bytes:
        message.add_attachment(os.urandom(size_bytes), maintype="application", subtype="pdf", filename="scan.pdf")
    return message


async def in_thread(work: Callable[[], object]) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def test_smtplib(relay: Relay) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", relay.server.port, timeout=20) as client:
            client.starttls(context=relay.tls)
            client.login(relay.app.login, relay.password)
            client.send_message(compose())

    await in_thread(send)
    detail, content = await relay.newest()
    assert detail.row.subject == "Scan für Bob"
    assert sorted(recipient.address for recipient in detail.recipients) == [
        "bob@fabrikam.example",
        "eve@fabrikam.example",
    ]
    assert b"Bcc" not in content
    assert b"\r\n.\r\n" in content
    assert detail.reception.tls_version == "TLSv1.3"
    assert detail.reception.login == relay.app.login
    assert detail.app.name == "HP 2nd floor"


async def test_smtplib_sees_why_it_is_refused(relay: Relay) -> None:
    def send() -> None:
        with smtplib.SMTP("localhost", relay.server.port, timeout=20) as client:
            client.starttls(context=relay.tls)
            with pytest.raises(smtplib.SMTPAuthenticationError, match=r"Wrong user name or password") as refused:
                client.login(relay.app.login, "wrong")
            assert refused.value.smtp_code == 535
            client.login(relay.app.login, relay.password)
            with pytest.raises(smtplib.SMTPSenderRefused, match=r"may send as scanner@contoso\.example only"):
                client.sendmail("boss@contoso.example", ["bob@fabrikam.example"], "x")
            with pytest.raises(smtplib.SMTPDataError, match=r"not as boss@contoso.example \(in From\)"):
                client.sendmail(SENDER, ["bob@fabrikam.example"], "From: boss@contoso.example\n\nPay!")
            with pytest.raises(smtplib.SMTPSenderRefused, match=r"over the limit of 38\.1 MB"):
                client.sendmail(SENDER, ["bob@fabrikam.example"], "x", mail_options=["SIZE=50000000"])

    await in_thread(send)
    assert (await relay.store.messages.search(""))[0] == []


async def test_aiosmtplib(relay: Relay) -> None:
    errors, answer = await aiosmtplib.send(
        compose(),
        hostname="localhost",
        port=relay.server.port,
        start_tls=True,
        tls_context=relay.tls,
        username=relay.app.login,
        password=relay.password,
    )
    assert errors == {}
    found = re.fullmatch(r"2\.0\.0 OK queued as (\w{13})", answer)
    assert found is not None
    detail, _ = await relay.newest()
    assert detail.row.message_id == parse_public_id(found[1])


async def run(*command: str, stdin: bytes = b"") -> tuple[int, str]:
    program = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await program.communicate(stdin)
    assert program.returncode is not None
    return program.returncode, output.decode(errors="replace")


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks(relay: Relay, mechanism: str) -> None:
    code, output = await run(
        *("swaks", "--server", f"127.0.0.1:{relay.server.port}", "--tls", "--tls-verify"),
        *("--tls-ca-path", str(relay.ca_file), "--auth", mechanism, "--auth-user", relay.app.login),
        *("--auth-password", relay.password, "--from", SENDER, "--to", "bob@fabrikam.example", "--pipeline"),
        *("--header", "Subject: Alarm", "--body", "It is hot."),
    )
    assert code == 0, output
    detail, content = await relay.newest()
    assert (detail.row.subject, detail.reception.mechanism) == ("Alarm", mechanism)
    assert content.rstrip().endswith(b"It is hot.")


@needs("msmtp")
async def test_msmtp(relay: Relay) -> None:
    code, output = await run(
        *(
            "msmtp",
            "--file=/dev/null",
            "--host=localhost",
            f"--port={relay.server.port}",
            "--tls=on",
            "--tls-starttls=on",
        ),
        *(f"--tls-trust-file={relay.ca_file}", "--auth=plain", f"--user={relay.app.login}", f"--from={SENDER}"),
        *("--passwordeval=cat " + str(write_secret(relay)), "bob@fabrikam.example"),
        stdin=f"From: {SENDER}\nSubject: cron\n\n.\nDone.\n".encode(),
    )
    assert code == 0, output
    detail, content = await relay.newest()
    assert detail.row.subject == "cron"
    assert content.endswith(b"\r\n\r\n.\r\nDone.\r\n")


@needs("curl")
async def test_curl(relay: Relay) -> None:
    code, output = await run(
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(relay.ca_file)),
        *("--url", f"smtp://localhost:{relay.server.port}", "--user", f"{relay.app.login}:{relay.password}"),
        *("--mail-from", SENDER, "--mail-rcpt", "bob@fabrikam.example", "--upload-file", "-", "--crlf"),
        stdin=f"From: {SENDER}\nSubject: curl\n\nHello\n".encode(),
    )
    assert code == 0, output
    assert (await relay.newest())[0].row.subject == "curl"


def write_secret(relay: Relay) -> Path:
    path = relay.ca_file.with_name("password")
    path.write_text(relay.password, encoding="utf-8")
    return path


async def test_a_large_scan_passes_whole_while_memory_stays_flat(relay: Relay) -> None:
    content = compose("A scan.\n", 18_500_000).as_bytes(policy=SMTP)
    assert len(content) > 25_000_000

    def send() -> None:
        with smtplib.SMTP("localhost", relay.server.port, timeout=60) as client:
            client.starttls(context=relay.tls)
            client.login(relay.app.login, relay.password)
            assert client.mail(SENDER)[0] == 250
            assert client.rcpt("bob@fabrikam.example")[0] == 250
            assert client.docmd("DATA")[0] == 354
            assert client.sock is not None
            for start in range(0, len(content), 1 << 20):
                client.sock.sendall(content[start : start + (1 << 20)])
            assert client.docmd(".")[0] == 250

    tracemalloc.start()
    try:
        await in_thread(send)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * 1024 * 1024  # the client's own megabyte counts too
    detail, kept = await relay.newest()
    assert detail.body is not None
    assert detail.body.file_name is not None
    body = content.partition(b"\r\n\r\n")[2]
    assert kept.endswith(b"\r\n\r\n" + body)


async def test_the_first_bytes_under_tls_may_come_with_the_end_of_the_handshake(relay: Relay) -> None:
    """What `start_tls` delivers before it returns must not be lost."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.server.port)
    await reader.readline()
    writer.write(b"STARTTLS\r\n")
    assert (await reader.readline()).startswith(b"220 ")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = relay.tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65_536))
    tls.write(b"EHLO early\r\n")
    writer.write(outgoing.read())  # the client's Finished and EHLO in one packet
    answer = b""
    while b"250 AUTH=PLAIN LOGIN\r\n" not in answer:
        incoming.write(await asyncio.wait_for(reader.read(65_536), 10))
        try:
            answer += tls.read(65_536)
        except ssl.SSLWantReadError:
            continue
    assert answer.startswith(b"250-relay.example\r\n")
    writer.close()
    await writer.wait_closed()


async def test_replies_do_not_wait_for_more_to_come(relay: Relay) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", relay.server.port)
    while not relay.server.connection_count:
        await asyncio.sleep(0.01)
    [session] = relay.server._sessions
    assert session._transport is not None
    connection = session._transport.get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_speaks_no_tls_after_starttls_leaves_nothing_behind(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.server.port)
    await reader.readline()
    writer.write(b"STARTTLS\r\n")
    assert (await reader.readline()).startswith(b"220 ")
    writer.write(b"EHLO in clear\r\n")
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert await asyncio.wait_for(idle(relay.server), 10) == 0


async def idle(server: SmtpServer) -> int:
    while server.connection_count:
        await asyncio.sleep(0.01)
    return server.connection_count
