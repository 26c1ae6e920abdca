"""A mail server is proved on its real path: our own sign-in and SMTP client against the simulated Microsoft 365."""

import asyncio
import html
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import parse_qsl, urlsplit

import httpx2
import msgspec
import pytest
import trustme

from postroom.checks.finding import Finding, FindingState
from postroom.checks.mail_server_steps import MailServerSteps, Step
from postroom.checks.run import verify_mail_server
from postroom.checks.token_claims import read_claims
from postroom.clock import SystemClock
from postroom.identity.sign_in import Seat, SignInRefused, SignIns
from postroom.network import Internet, Rehearsal, Route, http_client
from postroom.outcome import FailureClass
from postroom.remedies import all_remedies
from postroom.simulator.service import GRAPH_HOST, LOGIN_HOST, SMTP_HOST, Simulator
from postroom.simulator.tenant import AppRegistration
from postroom.store.records import Authentication, EmailType, MailServerDraft, SendRight

REDIRECT = "http://localhost:8025/oauth/callback"
SEAT = Seat("session-1", "draft")
STEPS = ["resolve", "connect", "greeting", "tls", "token", "sign_in", "sender", "recipient"]


async def _keep_nowhere(_signed_in: MailServerDraft) -> None:
    """The test looks at what is returned."""


class Rehearsed:
    """A simulator, a network that leads to it, and a draft that was kept."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.tenant = simulator.tenant
        self.app = register_app(simulator)
        self.network = Rehearsal(
            {
                (SMTP_HOST, 587): ("127.0.0.1", simulator.smtp_port),
                (LOGIN_HOST, 443): ("127.0.0.1", simulator.https_port),
                (GRAPH_HOST, 443): ("127.0.0.1", simulator.https_port),
            },
            simulator.ca_pem.decode(),
            simulator.http_url,
        )
        self.http = http_client(self.network)
        self.sign_ins = SignIns(self.http, SystemClock(), self.network)
        self.kept: list[MailServerDraft] = []

    def draft(self, **changes: object) -> MailServerDraft:
        draft = MailServerDraft(
            sender="scanner@contoso.com",
            username="scanner@contoso.com",
            test_address="anna@contoso.com",
            tenant=self.tenant.tenant_id,
            client_id=self.app.client_id,
            client_secret=self.app.secrets[0].value,
        )
        return msgspec.structs.replace(draft, **changes)

    async def sign_in(self, draft: MailServerDraft, *, who: str = "scanner@contoso.com") -> MailServerDraft:
        """The whole way there and back, with what a person does in the browser."""
        url = self.begin(draft)
        assert url.startswith(self.simulator.http_url)
        return (await self.sign_ins.complete(SEAT, await self.walk_in_browser(url, who))).draft

    def begin(self, draft: MailServerDraft) -> str:
        return self.sign_ins.begin(draft, SEAT, REDIRECT, _keep_nowhere).url

    async def walk_in_browser(self, url: str, who: str, answer: str = "accept") -> dict[str, str]:
        user = self.tenant.user_by_upn(who)
        assert user is not None
        async with httpx2.AsyncClient(trust_env=False) as browser:
            page = await browser.get(url)
            page = await submit(browser, page, {"loginfmt": who, "passwd": user.password})
            if page.status_code == 200:
                page = await submit(browser, page, {"answer": answer})
        location = page.headers["location"]
        assert location.startswith(REDIRECT)
        return dict(parse_qsl(urlsplit(location).query))

    async def keep(self, draft: MailServerDraft) -> None:
        self.kept.append(draft)

    async def verify(self, draft: MailServerDraft) -> list[Finding]:
        findings = verify_mail_server(draft, self.network, self.keep, SystemClock(), self.http)
        return [finding async for finding in findings]


async def submit(browser: httpx2.AsyncClient, page: httpx2.Response, fields: dict[str, str]) -> httpx2.Response:
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    flow = re.search(r'name="flow" value="([^"]+)"', page.text)
    assert action, page.text
    assert flow, page.text
    address = f"http://{page.url.netloc.decode()}{html.unescape(action[1])}"
    return await browser.post(address, data={"flow": flow[1], **fields})


def register_app(simulator: Simulator) -> AppRegistration:
    app = simulator.tenant.register_app("Postroom", REDIRECT)
    for permission in ("SMTP.Send", "offline_access"):
        simulator.tenant.add_permission(app.client_id, permission)
    simulator.tenant.add_secret(app.client_id)
    return app


@pytest.fixture
async def rehearsed() -> AsyncIterator[Rehearsed]:
    simulator = await Simulator.start()
    rehearsed = Rehearsed(simulator)
    try:
        yield rehearsed
    finally:
        await rehearsed.http.aclose()
        await simulator.stop()


def by_id(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check_id: finding for finding in findings}


def failed(findings: list[Finding], check_id: str) -> Finding:
    """The one finding that failed, with everything after it not run."""
    ids = [finding.check_id for finding in findings]
    at = ids.index(check_id)
    states = [finding.state for finding in findings]
    assert FindingState.FAIL not in states[:at], findings
    assert states[at] is FindingState.FAIL, findings
    assert set(states[at + 1 :]) <= {FindingState.NOT_RUN}
    failure = findings[at].failure
    assert failure is not None
    assert failure.remedy_id in all_remedies()
    return findings[at]


@pytest.mark.anyio
async def test_the_whole_path_passes_and_nothing_is_sent(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    findings = await rehearsed.verify(draft)
    assert [finding.check_id for finding in findings] == STEPS
    assert {finding.state for finding in findings} == {FindingState.PASS}, findings
    found = by_id(findings)
    assert "simulator on this machine (rehearsal)" in found["resolve"].evidence
    assert found["connect"].evidence == "smtp.office365.com:587"
    assert "Microsoft ESMTP MAIL Service ready" in found["greeting"].evidence
    assert re.search(r"^TLSv1\.[23], certificate for smtp\.office365\.com", found["tls"].evidence)
    assert "audience outlook.office.com, scope SMTP.Send, user scanner@contoso.com" in found["token"].evidence
    assert "licensed: Exchange Online" in found["token"].evidence
    assert "AUTH XOAUTH2 as scanner@contoso.com: 235 2.7.0" in found["sign_in"].evidence
    assert found["sender"].evidence == "MAIL FROM:<scanner@contoso.com>: 250 2.1.0 Sender OK"
    assert "no message was sent: RSET" in found["recipient"].evidence
    assert rehearsed.tenant.messages == []
    said = [line for finding in findings for line in finding.transcript]
    assert [line for line in said if line.startswith("C: ")][-2:] == ["C: RSET", "C: QUIT"]
    assert any(line.startswith("S: 250 2.1.5") for line in found["recipient"].transcript)


@pytest.mark.anyio
async def test_no_secret_is_in_the_findings(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    text = repr(await rehearsed.verify(draft))
    for secret in (draft.client_secret, draft.refresh_token, *(it.refresh_token for it in rehearsed.kept)):
        assert secret
        assert secret not in text
    assert "eyJ" not in text, "no token, which begins so"


@pytest.mark.anyio
async def test_the_rotated_token_is_kept_and_at_the_end_the_time_of_the_proof(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    await rehearsed.verify(draft)
    first, last = rehearsed.kept[0], rehearsed.kept[-1]
    assert first.refresh_token != draft.refresh_token
    assert first.verified_at_us is None
    assert last.verified_at_us is not None
    assert last == msgspec.structs.replace(
        draft, refresh_token=rehearsed.kept[-2].refresh_token, verified_at_us=last.verified_at_us
    )


@pytest.mark.anyio
async def test_another_sender_is_called_unproved(rehearsed: Rehearsed) -> None:
    draft = rehearsed.draft(
        sender="noreply@contoso.com", send_right=SendRight.SEND_ON_BEHALF, send_right_is_granted=True
    )
    found = by_id(await rehearsed.verify(await rehearsed.sign_in(draft)))
    assert found["sender"].state is FindingState.PASS
    assert found["sender"].evidence.endswith("(Send on Behalf: unproved until a message is sent)")


@pytest.mark.anyio
async def test_another_account_is_refused_with_both_names(rehearsed: Rehearsed) -> None:
    with pytest.raises(SignInRefused) as refused:
        await rehearsed.sign_in(rehearsed.draft(), who="anna@contoso.com")
    assert "signed in as anna@contoso.com but the username is scanner@contoso.com" in str(refused.value)


@pytest.mark.anyio
async def test_declining_consent_is_explained(rehearsed: Rehearsed) -> None:
    url = rehearsed.begin(rehearsed.draft())
    params = await rehearsed.walk_in_browser(url, "scanner@contoso.com", answer="cancel")
    with pytest.raises(SignInRefused) as refused:
        await rehearsed.sign_ins.complete(SEAT, params)
    assert refused.value.remedy_id == "consent_declined"


@pytest.mark.anyio
async def test_a_tenant_may_be_given_by_its_domain(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft(tenant="contoso.com"))
    assert draft.user is not None
    assert draft.user.tenant_id == rehearsed.tenant.tenant_id


@pytest.mark.anyio
async def test_smtp_auth_off_fails_the_sign_in(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    rehearsed.tenant.disable_smtp_auth(disabled=True)
    finding = failed(await rehearsed.verify(draft), "sign_in")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "smtp_auth_off_tenant"
    assert "SmtpClientAuthentication is disabled for the Tenant" in finding.evidence
    assert all(draft.verified_at_us is None for draft in rehearsed.kept)


@pytest.mark.anyio
async def test_revoked_sessions_fail_the_token(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    assert draft.user is not None
    rehearsed.tenant.revoke_sessions(draft.user.object_id)
    finding = failed(await rehearsed.verify(draft), "token")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "sign_in_ended"
    assert "AADSTS50173" in finding.evidence


@pytest.mark.anyio
async def test_an_expired_secret_fails_the_token(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    rehearsed.tenant.expire_secret(rehearsed.app.client_id, rehearsed.app.secrets[0].secret_id)
    finding = failed(await rehearsed.verify(draft), "token")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "secret_expired"


@pytest.mark.anyio
async def test_without_a_sign_in_the_token_fails(rehearsed: Rehearsed) -> None:
    finding = failed(await rehearsed.verify(rehearsed.draft()), "token")
    assert finding.evidence == "Nobody has signed in for this mailbox yet."


@pytest.mark.anyio
async def test_a_service_that_answers_html_fails_the_token_and_keeps_the_sign_in(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    rehearsed.tenant.token_endpoint_fault = "html"
    finding = failed(await rehearsed.verify(draft), "token")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "microsoft_unavailable"
    assert rehearsed.kept == []
    rehearsed.tenant.token_endpoint_fault = None
    assert by_id(await rehearsed.verify(draft))["recipient"].state is FindingState.PASS


@pytest.mark.anyio
async def test_no_licence_is_a_warning_only(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    assert draft.user is not None
    rehearsed.tenant.set_licensed(draft.user.object_id, licensed=False)
    token = by_id(await rehearsed.verify(draft))["token"]
    assert token.state is FindingState.WARN
    assert token.failure is not None
    assert token.failure.remedy_id == "licence_missing"
    rehearsed.tenant.license_read = "forbidden"
    token = by_id(await rehearsed.verify(draft))["token"]
    assert (token.state, token.failure) == (FindingState.PASS, None)


@pytest.mark.anyio
async def test_a_password_signs_in_too(rehearsed: Rehearsed) -> None:
    user = rehearsed.tenant.user_by_upn("scanner@contoso.com")
    assert user is not None
    draft = rehearsed.draft(authentication=Authentication.BASIC, password=user.password)
    findings = await rehearsed.verify(draft)
    assert by_id(findings)["token"].evidence == "not needed: a password is used"
    assert by_id(findings)["recipient"].state is FindingState.PASS
    assert user.password not in repr(findings)
    finding = failed(await rehearsed.verify(msgspec.structs.replace(draft, password="wrong")), "sign_in")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "wrong_password"


@pytest.mark.anyio
async def test_a_name_that_the_token_does_not_bear_gives_a_hint(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft(mailbox_address="noreply@contoso.com"))
    finding = failed(await rehearsed.verify(draft), "sign_in")
    assert "Microsoft knows the account that signed in as scanner@contoso.com" in finding.evidence
    assert "we signed in as noreply@contoso.com" in finding.evidence


@pytest.mark.anyio
async def test_settings_that_cannot_work_are_not_dialled(rehearsed: Rehearsed) -> None:
    findings = await rehearsed.verify(rehearsed.draft(port=465))
    finding = failed(findings, "settings")
    assert finding.evidence == "Microsoft 365 does not offer port 465. Choose port 587."
    assert [finding.check_id for finding in findings] == ["settings", *STEPS]


@pytest.mark.anyio
async def test_an_authority_that_nobody_trusts_fails_tls(rehearsed: Rehearsed) -> None:
    draft = await rehearsed.sign_in(rehearsed.draft())
    destinations = {(SMTP_HOST, 587): ("127.0.0.1", rehearsed.simulator.smtp_port)}
    other_pem = trustme.CA().cert_pem.bytes().decode()
    rehearsed.network = Rehearsal(destinations, other_pem, rehearsed.simulator.http_url)
    finding = failed(await rehearsed.verify(draft), "tls")
    assert finding.failure is not None
    assert (finding.failure.failure_class, finding.failure.remedy_id) == (FailureClass.TLS, "tls_not_trusted")


# Servers of our own: no simulator, a name of this machine


class Scripted:
    """A mail server that says what it was told, line by line, and hangs up at the end."""

    def __init__(self, *says: str, tls: ssl.SSLContext | None = None) -> None:
        self._says = says
        self._tls = tls
        self._ends = asyncio.Event()

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._speak, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ends.set()
        self._server.close()
        await self._server.wait_closed()

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for line in self._says:
                writer.write(line.encode() + b"\r\n")
                await reader.readline()
            if not self._says:
                await self._ends.wait()
        except ConnectionError:
            return
        finally:
            writer.close()


class Local:
    """A network of this machine with one authority."""

    is_rehearsal = False

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or ssl.create_default_context()

    def route(self, host: str, port: int) -> Route:
        return Route("127.0.0.1", port, host, self._tls)

    def browser_url(self, url: str) -> str:
        return url


def local_draft(port: int, **changes: object) -> MailServerDraft:
    draft = MailServerDraft(
        host="localhost",
        port=port,
        use_tls=False,
        sender="a@example.com",
        username="a",
        test_address="b@example.com",
        authentication=Authentication.BASIC,
        password="planted-password",
    )
    return msgspec.structs.replace(draft, **changes)


async def run_locally(draft: MailServerDraft, network: Local | None = None) -> list[Finding]:
    async def keep(_: MailServerDraft) -> None:
        return

    async with http_client(Internet()) as http:
        findings = verify_mail_server(draft, network or Local(), keep, SystemClock(), http)
        return [finding async for finding in findings]


@pytest.mark.anyio
async def test_a_name_that_nobody_knows_fails_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", find_nothing)
    finding = failed(await run_locally(local_draft(587, host="mail.invalid", use_tls=True)), "resolve")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "name_not_found"
    assert finding.evidence == "The name mail.invalid cannot be found: Name or service not known."


@pytest.mark.anyio
async def test_a_closed_port_fails_the_connection() -> None:
    async with Scripted() as server:
        port = server.port
    findings = await run_locally(local_draft(port))
    finding = failed(findings, "connect")
    assert findings[0].evidence.startswith("localhost → ")
    assert finding.failure is not None
    assert (finding.failure.code, finding.failure.remedy_id) == ("connection_refused", "no_connection")
    assert finding.transcript


@pytest.mark.anyio
async def test_a_greeting_that_refuses_fails_the_greeting() -> None:
    async with Scripted("554 5.7.1 go away") as server:
        finding = failed(await run_locally(local_draft(server.port)), "greeting")
    assert "go away" in finding.evidence


@pytest.mark.anyio
async def test_a_server_without_starttls_fails_that_step() -> None:
    async with Scripted("220 hello", "250-hello\r\n250 SIZE 100") as server:
        finding = failed(await run_locally(local_draft(server.port, use_tls=True)), "tls")
    assert finding.failure is not None
    assert finding.failure.remedy_id == "starttls_not_offered"
    assert "S: 250 hello SIZE 100" in "\n".join(finding.transcript)


@pytest.mark.anyio
async def test_a_refused_recipient_fails_the_last_step_and_clear_text_is_a_warning() -> None:
    says = ("220 hello", "250-hello\r\n250 AUTH PLAIN", "235 2.7.0 ok", "250 2.1.0 ok", "550 5.1.1 no such user here")
    async with Scripted(*says) as server:
        findings = await run_locally(local_draft(server.port))
    finding = failed(findings, "recipient")
    assert "no such user here" in finding.evidence
    assert by_id(findings)["tls"].state is FindingState.WARN
    assert "planted-password" not in repr(findings)


@pytest.mark.anyio
async def test_a_mail_server_that_knows_our_address_asks_for_no_sign_in_and_the_check_says_so() -> None:
    draft = local_draft(0, authentication=Authentication.NONE, password="")
    async with Scripted("220 hello", "250 hello", "250 2.1.0 ok", "250 2.1.5 ok", "250 2.0.0 ok") as server:
        findings = await run_locally(msgspec.structs.replace(draft, port=server.port))
    found = by_id(findings)
    assert "token" not in found
    assert found["sign_in"].evidence == "not needed: the mail server knows this machine by its address"
    assert found["recipient"].state is FindingState.PASS, found["recipient"]


@pytest.mark.anyio
async def test_an_authority_that_is_none_is_not_dialled_with() -> None:
    findings = await run_locally(local_draft(587, authorities="hello"))
    assert findings[0].check_id == "settings"
    assert "no certificate in PEM form" in findings[0].evidence
    assert {finding.state for finding in findings[1:]} == {FindingState.NOT_RUN}


@pytest.mark.anyio
async def test_smtps_has_its_tls_before_the_greeting() -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)
    says = (
        "220 hello",
        "250-hello\r\n250 AUTH PLAIN",
        "235 2.7.0 ok",
        "250 2.1.0 ok",
        "250 2.1.5 ok",
        "250 ok",
        "221 bye",
    )
    async with Scripted(*says, tls=server_tls) as server:
        draft = local_draft(server.port, email_type=EmailType.SMTPS, use_tls=True)
        findings = await run_locally(draft, Local(client_tls))
        assert [(finding.check_id, finding.state) for finding in findings[2:4]] == [
            ("tls", FindingState.PASS),
            ("greeting", FindingState.PASS),
        ]
        assert findings[2].title == "TLS"
        assert "certificate for localhost" in findings[2].evidence
        assert findings[-1].state is FindingState.PASS, findings
        distrusted = failed(await run_locally(draft, Local()), "tls")
    assert distrusted.failure is not None
    assert distrusted.failure.remedy_id == "tls_not_trusted"


@pytest.mark.anyio
async def test_a_server_that_says_nothing_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = MailServerSteps.in_order

    def hurried(steps: MailServerSteps) -> tuple[Step, ...]:
        return tuple(msgspec.structs.replace(step, limit_seconds=0.05) for step in in_order(steps))

    monkeypatch.setattr(MailServerSteps, "in_order", hurried)
    async with Scripted() as server:
        finding = failed(await run_locally(local_draft(server.port)), "connect")
    assert "did not answer within 10 seconds" in finding.evidence


@pytest.mark.anyio
async def test_whoever_stops_looking_closes_the_connection() -> None:
    async with Scripted("220 hello", "250-hello\r\n250 AUTH PLAIN") as server:

        async def keep(_: MailServerDraft) -> None:
            raise AssertionError("nothing was proved")

        async with http_client(Internet()) as http:
            findings = verify_mail_server(local_draft(server.port), Local(), keep, SystemClock(), http)
            async with aclosing(findings):
                async for finding in findings:
                    if finding.check_id == "greeting":
                        break


def test_a_token_that_is_no_jwt_says_nothing() -> None:
    for token in ("EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA", "a.b.c", "a.W10.c", ""):
        assert read_claims(token).describe() == []
