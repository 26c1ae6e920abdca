"""Seven programs of others send a scan over STARTTLS and implicit TLS, and show a person why it was refused.

Each composes its own message where it can: a subject, a text and a file name in UTF-8, and a PDF. What arrives at the
simulated Microsoft 365 is read by Python's own parser.
"""

import asyncio
import base64
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import localtime
from pathlib import Path

import msgspec
import pytest

from postroom.message import RecipientState
from postroom.server import Server
from postroom.settings import ImplicitTlsSettings
from postroom.store.records import AppSettings
from tests.journeys.judges import needs
from tests.journeys.prepared import OPS, SCANNER, rehearsal_settings, set_up_mail_server, simulator_of

pytestmark = pytest.mark.anyio

SCRIPTS = Path(__file__).with_name("clients")
PATIENCE_SECONDS = 20
SIZE_LIMIT_BYTES = 200_000
SUBJECT, TEXT, FILE_NAME = "Scan für Ops", "Grüße aus dem 2. Stock.\n.\nDas war es.\n", "scan für ops.pdf"
NODE_PATH = "/usr/share/nodejs"
PHP_MAILER = Path("/usr/share/php/libphp-phpmailer")


@dataclass(frozen=True)
class Wish:
    """What a client is asked to do, and where."""

    folder: Path
    port: int
    implicit: bool
    user: str
    password: str
    certificate: Path
    sender: str = SCANNER
    recipient: str = OPS
    pdf_bytes: int = 60_000

    @property
    def pdf(self) -> bytes:
        return b"%PDF-1.4\n" + random.Random(4).randbytes(self.pdf_bytes) + b"\n%%EOF\n"

    def write_pdf(self) -> Path:
        path = self.folder / FILE_NAME
        path.write_bytes(self.pdf)
        return path

    def write_message(self) -> Path:
        """For programs that take a message and compose none."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = f"HP <{self.sender}>", self.recipient, SUBJECT
        message["Date"] = localtime()
        message.set_content(TEXT, cte="8bit")
        message.add_attachment(self.pdf, maintype="application", subtype="pdf", filename=FILE_NAME)
        path = self.folder / "mail.eml"
        path.write_bytes(message.as_bytes(policy=policy.SMTP.clone(linesep="\n", cte_type="8bit")))
        return path

    def write_json(self) -> str:
        """For our scripts around a library."""
        told = {name: getattr(self, name) for name in ("port", "implicit", "user", "password", "sender", "recipient")}
        told |= {"subject": SUBJECT, "text": TEXT, "filename": FILE_NAME}
        told |= {"attachment": str(self.write_pdf()), "certificate": str(self.certificate)}
        path = self.folder / "wish.json"
        path.write_text(json.dumps(told), encoding="utf-8")
        return str(path)


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    stdin: bytes = b""
    variables: tuple[tuple[str, str], ...] = ()

    async def run(self) -> tuple[int, str]:
        """Its exit code, and all that it printed."""
        program = await asyncio.create_subprocess_exec(
            *self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/", **dict(self.variables)},
        )
        output, _ = await asyncio.wait_for(program.communicate(self.stdin), PATIENCE_SECONDS)
        assert program.returncode is not None
        return program.returncode, output.decode(errors="replace")


def swaks(wish: Wish) -> Command:
    return Command((
        *("swaks", "--server", f"localhost:{wish.port}", "--from", wish.sender, "--to", wish.recipient),
        *("--tls-on-connect" if wish.implicit else "--tls", "--tls-verify", "--tls-ca-path", str(wish.certificate)),
        *("--auth", "PLAIN", "--auth-user", wish.user, "--auth-password", wish.password),
        *("--data", f"@{wish.write_message()}"),
    ))  # fmt: skip


def msmtp(wish: Wish) -> Command:
    config = wish.folder / "msmtprc"
    config.write_text(
        f"account default\nhost localhost\nport {wish.port}\nfrom {wish.sender}\ntls on\nauth on\n"
        f"tls_starttls {'off' if wish.implicit else 'on'}\ntls_trust_file {wish.certificate}\n"
        f"user {wish.user}\npassword {wish.password}\n"
    )
    config.chmod(0o600)
    return Command(("msmtp", f"--file={config}", wish.recipient), wish.write_message().read_bytes())


def curl(wish: Wish) -> Command:
    return Command((
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(wish.certificate)),
        *("--url", f"{'smtps' if wish.implicit else 'smtp'}://localhost:{wish.port}"),
        *("--user", f"{wish.user}:{wish.password}", "--mail-from", wish.sender, "--mail-rcpt", wish.recipient),
        *("--upload-file", str(wish.write_message()), "--crlf"),
    ))  # fmt: skip


def s_nail(wish: Wish) -> Command:
    place = f"{'smtps' if wish.implicit else 'smtp'}://{wish.user}:{wish.password}@localhost:{wish.port}"
    settings = (
        *("v15-compat", f"mta={place}", "smtp-auth=plain", *(() if wish.implicit else ("smtp-use-starttls",))),
        *(f"tls-ca-file={wish.certificate}", "tls-verify=strict", "sendwait", "sendcharsets=utf-8"),
        *(f"from={wish.sender}", "mime-encoding=quoted-printable", "DEAD=/dev/null"),
    )
    words = (word for setting in settings for word in ("-S", setting))
    return Command(("s-nail", "-:/", *words, "-s", SUBJECT, "-a", str(wish.write_pdf()), wish.recipient), TEXT.encode())


def aiosmtplib(wish: Wish) -> Command:
    return Command((sys.executable, str(SCRIPTS / "send_aiosmtplib.py"), wish.write_json()))


def nodemailer(wish: Wish) -> Command:
    script = str(SCRIPTS / "send_nodemailer.js")
    return Command(("node", script, wish.write_json()), variables=(("NODE_PATH", NODE_PATH),))


def phpmailer(wish: Wish) -> Command:
    return Command(("php", str(SCRIPTS / "send_phpmailer.php"), wish.write_json()))


def judge(client: Callable[[Wish], Command], *needed: str) -> object:
    marks = [needs(*name.split(":")) for name in needed]
    return pytest.param(client, id=client.__name__, marks=marks)


CLIENTS = (
    judge(swaks, "swaks"),
    judge(msmtp, "msmtp"),
    judge(curl, "curl"),
    judge(s_nail, "s-nail"),
    judge(aiosmtplib),
    judge(nodemailer, "node:nodejs", f"{NODE_PATH}/nodemailer:node-nodemailer"),
    judge(phpmailer, "php:php-cli", f"{PHP_MAILER}:libphp-phpmailer"),
)


@dataclass
class Post:
    """A server that is set up, and an app of it."""

    server: Server
    wish: Wish

    async def arrived(self) -> bytes:
        """The one message as the simulated Exchange took it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await self.server.store.messages.counts())[RecipientState.SENT] == 0:
                await self.server.store.outbox.wait_for_change(1)
        [arrived] = simulator_of(self.server).tenant.messages
        assert (arrived.envelope_sender, arrived.recipients) == (SCANNER, (OPS,))
        return arrived.content

    async def check_nothing_came_in(self) -> None:
        assert sum((await self.server.store.messages.counts()).values()) == 0


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    settings = rehearsal_settings(tmp_path)
    settings = msgspec.structs.replace(settings, implicit_tls=ImplicitTlsSettings(enabled=True, port=0))
    server = await Server.start(settings)
    try:
        await set_up_mail_server(server)
        app_settings = AppSettings(name="HP 2nd floor", size_limit_bytes=SIZE_LIMIT_BYTES)
        app, password = await server.store.apps.create(app_settings, "test")
        certificate = tmp_path / "data" / "listener.crt"
        yield Post(server, Wish(tmp_path, server.submission_port, False, app.login, password, certificate))
    finally:
        await server.stop()


@pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "implicit TLS"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_scan_arrives_as_it_was_sent(post: Post, client: Callable[[Wish], Command], implicit: bool) -> None:
    ports = {plan.section: plan.port for plan in post.server.listeners}
    wish = replace(post.wish, implicit=implicit, port=ports["implicit_tls" if implicit else "submission"])
    code, said = await client(wish).run()
    assert code == 0, said
    message = message_from_bytes(await post.arrived(), policy=policy.default)
    body, pdf = message.get_body(("plain",)), next(message.iter_attachments())
    assert isinstance(body, EmailMessage)
    assert isinstance(pdf, EmailMessage)
    assert message["Subject"] == SUBJECT
    assert body.get_content().splitlines()[:3] == TEXT.splitlines()
    assert (pdf.get_filename(), pdf.get_content()) == (FILE_NAME, wish.pdf)


REFUSALS = {
    "wrong password": "Wrong user name or password for",
    "sender not allowed": "may send as scanner@contoso.com only, not as ceo@contoso.com (in the envelope)",
    "too large": "over the limit of 195.3 KB",
}
SHOWN_OTHERWISE: dict[tuple[Callable[[Wish], Command], str], str] = {
    (curl, "wrong password"): "Login denied",
    (curl, "sender not allowed"): "MAIL failed: 550",
    (curl, "too large"): "MAIL failed: 552",
    (phpmailer, "wrong password"): "SMTP connect() failed",
}
"""Without our sentence, because the program does not show it."""


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_person_sees_why_it_was_refused(post: Post, client: Callable[[Wish], Command]) -> None:
    wishes = {
        "wrong password": replace(post.wish, password="wrong"),
        "sender not allowed": replace(post.wish, sender="ceo@contoso.com"),
        "too large": replace(post.wish, pdf_bytes=SIZE_LIMIT_BYTES),
    }
    for name, wish in wishes.items():
        exit_code, said = await client(wish).run()
        assert exit_code != 0, f"{name}: {said}"
        assert SHOWN_OTHERWISE.get((client, name), REFUSALS[name]) in " ".join(said.split()), f"{name}: {said}"
    await post.check_nothing_came_in()


# ---- curl and the HTTP API ----


@dataclass(frozen=True)
class Api:
    """curl, with a key."""

    url: str
    key: str

    async def curl(self, *words: str) -> tuple[int, dict[str, object]]:
        """HTTP's status, and the answer."""
        code, said = await Command((
            *("curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", f"{self.url}/api/v1/messages"),
            *("--header", f"Authorization: Bearer {self.key}", *words),
        )).run()  # fmt: skip
        assert code == 0, said
        answer, _, status = said.rpartition("\n")
        return int(status), json.loads(answer)


@pytest.fixture
async def api(post: Post) -> Api:
    [app] = [app for app in await post.server.store.apps.list() if app.login == post.wish.user]
    _, key = await post.server.store.api_keys.create(app.app_id, "curl", ("send",), None, "test")
    return Api(post.server.console_url, key)


def in_json(wish: Wish) -> tuple[str, ...]:
    asked = written(wish) | {
        "attachments": [{"filename": FILE_NAME, "content": base64.b64encode(wish.pdf).decode()}],
    }
    path = wish.folder / "message.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    return ("--json", f"@{path}")


def in_a_form(wish: Wish) -> tuple[str, ...]:
    """`-F` as people write it: the JSON as a field, the file as a file."""
    return ("--form-string", f"message={json.dumps(written(wish))}", "--form", f"file=@{wish.write_pdf()}")


def raw(wish: Wish) -> tuple[str, ...]:
    return ("--header", "Content-Type: message/rfc822", "--data-binary", f"@{wish.write_message()}")


def written(wish: Wish) -> dict[str, object]:
    return {"from": f"HP <{wish.sender}>", "to": [wish.recipient], "subject": SUBJECT, "text": TEXT}


FORMS = (in_json, in_a_form, raw)


@needs("curl")
@pytest.mark.parametrize("form", FORMS)
async def test_a_scan_arrives_by_http(post: Post, api: Api, form: Callable[[Wish], tuple[str, ...]]) -> None:
    status, answer = await api.curl(*form(post.wish))
    assert status == 202, answer
    message = message_from_bytes(await post.arrived(), policy=policy.default)
    body, pdf = message.get_body(("plain",)), next(message.iter_attachments())
    assert isinstance(body, EmailMessage)
    assert isinstance(pdf, EmailMessage)
    assert message["Message-ID"] == answer["message_id"]
    assert message["Subject"] == SUBJECT
    assert body.get_content().splitlines() == TEXT.splitlines()
    assert (pdf.get_filename(), pdf.get_content()) == (FILE_NAME, post.wish.pdf)


@needs("curl")
@pytest.mark.parametrize("form", FORMS)
async def test_a_program_sees_why_http_refused(post: Post, api: Api, form: Callable[[Wish], tuple[str, ...]]) -> None:
    wishes = {
        (401, "invalid_api_key"): (replace(api, key="pr_live_" + "a" * 32), post.wish),
        (403, "sender_not_allowed"): (api, replace(post.wish, sender="ceo@contoso.com")),
        (413, "message_too_large"): (api, replace(post.wish, pdf_bytes=SIZE_LIMIT_BYTES)),
    }
    for expected, (caller, wish) in wishes.items():
        status, answer = await caller.curl(*form(wish))
        assert (status, answer["code"]) == expected, answer
        assert answer["detail"]
    await post.check_nothing_came_in()
