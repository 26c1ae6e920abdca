"""From an empty tenant to the first accepted message, by the names and steps of Microsoft's own pages, in Chromium.

The simulator runs alone, as for `postroom simulate --empty`. The program that sends is smtplib; the application that
signs somebody in is this test.
"""

import asyncio
import base64
import hashlib
import secrets
import smtplib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.service import LOGIN_HOST, SMTP_HOST, Simulator
from postroom.simulator.tenant import empty_tenant
from tests.journeys.watched import PATIENCE_MS, Watched
from tests.unit.simulator.certificates import make_key_pair

pytestmark = pytest.mark.anyio

SCOPES = "openid offline_access https://outlook.office.com/SMTP.Send"
SCANNER = "scanner@contoso.com"
AXE_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start(tenant=empty_tenant(SimulatorClock()))
    yield running
    await running.stop()


@dataclass
class Administrator:
    """Somebody who follows a guide click by click; every page that is met is judged by axe and a ruler."""

    simulator: Simulator
    page: Page

    async def open(self, portal: str, entry: str) -> None:
        """By the menus: the portal, then the entry."""
        for menu, link in (("Portals", portal), (portal, entry)):
            place = self.page.get_by_role("navigation", name=menu, exact=True)
            async with self.page.expect_navigation():
                await place.get_by_role("link", name=link, exact=True).click()
        await expect(self.page.get_by_role("heading", level=1, name=entry)).to_be_visible()
        await self.judge()

    async def follow(self, link: str) -> None:
        async with self.page.expect_navigation():
            await self.page.get_by_role("main").get_by_role("link", name=link, exact=True).first.click()
        await self.judge()

    async def fill(self, label: str, text: str) -> None:
        await self.page.get_by_label(label, exact=True).fill(text)

    async def press(self, name: str) -> None:
        async with self.page.expect_navigation():
            await self.page.get_by_role("button", name=name, exact=True).click()
        await self.judge()

    async def described(self, term: str) -> str:
        """The value that stands beside `term` in a list of facts."""
        beside = self.page.locator("dt").get_by_text(term, exact=True)
        return await beside.locator("xpath=following-sibling::dd[1]").get_by_role("code").inner_text()

    async def sees(self, words: str) -> None:
        await expect(self.page.get_by_role("main").get_by_text(words).first).to_be_visible()

    async def judge(self) -> None:
        """Nothing scrolls sideways at 320 pixels, and axe has nothing to say."""
        width = await self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 320, f"{self.page.url} scrolls sideways: {width} px wide"
        found = await Axe().run(self.page, options=AXE_RULES)
        troubles = [
            f"{violation['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for violation in found.response["violations"]
            for node in violation["nodes"]
        ]
        assert troubles == [], f"{self.page.url}: {troubles}"


@pytest.fixture
async def administrator(simulator: Simulator, watched: Watched) -> AsyncIterator[Administrator]:
    context = await watched.open_context()
    page = await context.new_page()
    await page.set_viewport_size({"width": 320, "height": 800})
    await page.goto(simulator.http_url)
    yield Administrator(simulator, page)
    await context.close()


class RedirectUri:
    """Where the browser comes back to: an address on this machine that notes what it was asked."""

    def __init__(self, listener: asyncio.Server) -> None:
        self.url = f"http://localhost:{listener.sockets[0].getsockname()[1]}/callback"
        self.paths: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.paths.append(head.split()[1].decode())
        body = b"<!doctype html><title>Back</title><link rel=icon href=data:,>"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def redirect_uri() -> AsyncIterator[RedirectUri]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await place.answer(reader, writer)

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    place = RedirectUri(listener)
    async with listener:
        yield place


@dataclass
class Application:
    """The program that sends: what somebody typed into it, and the code grant."""

    tenant_id: str
    client_id: str
    client_secret: str
    redirect_uri: str
    verifier: str = secrets.token_urlsafe(48)

    def authorize_path(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "client_id": self.client_id,
            "response_type": "code",
            "redirect_uri": self.redirect_uri,
            "scope": SCOPES,
            "state": "walk",
            "nonce": "n",
            "login_hint": SCANNER,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"/{self.tenant_id}/oauth2/v2.0/authorize?{urlencode(query)}"

    async def redeem(self, simulator: Simulator, code: str) -> str:
        """The access token for SMTP, over TLS under Entra's real name."""
        form = {
            "grant_type": "authorization_code",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "code": code,
            "code_verifier": self.verifier,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPES,
        }
        url = f"https://127.0.0.1:{simulator.https_port}/{self.tenant_id}/oauth2/v2.0/token"
        async with httpx2.AsyncClient(verify=trust(simulator), trust_env=False) as client:
            answer = await client.post(
                url, data=form, headers={"host": LOGIN_HOST}, extensions={"sni_hostname": LOGIN_HOST}
            )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def trust(simulator: Simulator) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=simulator.ca_pem.decode())


def send_with_smtplib(simulator: Simulator, token: str) -> None:
    """XOAUTH2 by the standard library; it raises what is refused."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SCANNER, "ops@fabrikam.example", "The first message"
    message.set_content("Hello from an empty tenant.\n")
    with smtplib.SMTP("127.0.0.1", simulator.smtp_port, timeout=20) as client:
        client._host = SMTP_HOST  # type: ignore[attr-defined]  # the name that the certificate must carry
        client.starttls(context=trust(simulator))
        client.ehlo()
        client.auth("XOAUTH2", lambda _=None: f"user={SCANNER}\x01auth=Bearer {token}\x01\x01")
        assert client.send_message(message) == {}


async def test_from_an_empty_tenant_to_the_first_message(
    administrator: Administrator, redirect_uri: RedirectUri
) -> None:
    simulator = administrator.simulator
    await administrator.judge()
    await create_the_mailbox(administrator)
    application = await register_the_application(administrator, redirect_uri.url)
    token = await sign_in_as_the_mailbox(administrator, application, redirect_uri)
    with pytest.raises(smtplib.SMTPAuthenticationError, match="SmtpClientAuthentication is disabled for the Tenant"):
        await asyncio.to_thread(send_with_smtplib, simulator, token)
    await turn_on_authenticated_smtp(administrator)
    await asyncio.to_thread(send_with_smtplib, simulator, token)
    await find_the_message(administrator)


async def create_the_mailbox(administrator: Administrator) -> None:
    await administrator.open("Microsoft 365 admin center", "Active users")
    await administrator.sees("There are no users yet.")
    await administrator.fill("Display name", "Scanner")
    await administrator.fill("Username", "scanner")
    await administrator.fill("Password", "Scan-to-mail-1")
    await administrator.press("Add user")
    await administrator.follow("Scanner")
    await administrator.page.get_by_role("link", name="Mail", exact=True).click()
    await administrator.sees("This user has no mailbox")
    await administrator.follow("Licenses and apps")
    await administrator.page.get_by_label("Exchange Online (Plan 1)").check()
    await administrator.press("Save changes")
    await expect(administrator.page.get_by_label("Exchange Online (Plan 1)")).to_be_checked()


async def register_the_application(administrator: Administrator, redirect_uri: str) -> Application:
    page = administrator.page
    await administrator.open("Microsoft Entra admin center", "App registrations")
    await administrator.follow("New registration")
    await administrator.fill("Name", "Postroom")
    await expect(page.get_by_label("Single tenant")).to_be_checked()
    await page.get_by_label("Platform").select_option(label="Web")
    await administrator.fill("Redirect URI", redirect_uri)
    await administrator.press("Register")
    tenant_id = await administrator.described("Directory (tenant) ID")
    client_id = await administrator.described("Application (client) ID")
    await administrator.follow("Certificates & secrets")
    await page.get_by_label("Expires").select_option(label="730 days (24 months)")
    await administrator.press("New client secret")
    value = await administrator.described("Value")
    await page.reload()
    await expect(page.get_by_text(value)).to_have_count(0)
    await administrator.follow("API permissions")
    for permission in ("SMTP.Send", "offline_access"):
        await page.get_by_role("checkbox", name=f"{permission} –").check()
    await administrator.press("Add permissions")
    await administrator.press("Grant admin consent for Contoso")
    await expect(page.get_by_text("Granted for Contoso")).to_have_count(3)
    return Application(tenant_id, client_id, value, redirect_uri)


async def sign_in_as_the_mailbox(
    administrator: Administrator, application: Application, redirect_uri: RedirectUri
) -> str:
    page, simulator = administrator.page, administrator.simulator
    await page.goto(simulator.http_url + application.authorize_path())
    await administrator.judge()
    await expect(page.get_by_label("User name")).to_have_value(SCANNER)
    await administrator.fill("Password", "Scan-to-mail-1")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_title("Back")
    await page.goto(simulator.http_url)
    answer = parse_qs(urlsplit(redirect_uri.paths[0]).query)
    assert answer["state"] == ["walk"]
    return await application.redeem(simulator, answer["code"][0])


async def turn_on_authenticated_smtp(administrator: Administrator) -> None:
    """Users > Active users > the mailbox > Mail > Manage email apps > Authenticated SMTP."""
    await administrator.open("Microsoft 365 admin center", "Active users")
    await administrator.follow("Scanner")
    await administrator.follow("Mail")
    await administrator.follow("Manage email apps")
    box = administrator.page.get_by_label("Authenticated SMTP")
    await expect(box).not_to_be_checked()
    await box.check()
    await administrator.press("Save changes")
    await expect(box).to_be_checked()


async def find_the_message(administrator: Administrator) -> None:
    await administrator.open("Simulator", "Inbox")
    await administrator.follow("scanner@contoso.com")
    await administrator.follow("The first message")
    await administrator.sees("Hello from an empty tenant.")
    await administrator.sees("AUTH XOAUTH2")


async def test_an_application_of_its_own_by_every_page(administrator: Administrator) -> None:
    """Certificate, application permission, enterprise application, service principal, mailbox permission."""
    page, scenarios = administrator.page, administrator.simulator.scenarios
    scenarios.set_up_everything()
    await administrator.open("Microsoft Entra admin center", "App registrations")
    await administrator.follow("Rehearsal")
    await administrator.follow("Certificates & secrets")
    certificate = {"name": "p.pem", "mimeType": "application/x-pem-file", "buffer": make_key_pair().certificate_pem}
    await page.get_by_label("Certificate (.cer, .pem or .crt)").set_input_files(certificate)  # type: ignore[arg-type]
    await administrator.press("Upload certificate")
    await administrator.follow("Authentication")
    await page.get_by_label("Allow public client flows").check()
    await administrator.press("Save")
    await expect(page.get_by_label("Allow public client flows")).to_be_checked()
    await administrator.follow("Manifest")
    await administrator.follow("API permissions")
    await administrator.sees("Office 365 Exchange Online: SMTP.SendAsApp")
    await administrator.open("Microsoft Entra admin center", "Enterprise applications")
    await administrator.follow("Rehearsal")
    object_id = await administrator.described("Object ID")
    await administrator.open("Exchange admin center", "Service principals")
    await administrator.sees(object_id)
    await administrator.open("Exchange admin center", "Mailboxes")
    await administrator.follow("Scanner")
    await expect(page.get_by_role("button", name="Remove Read and manage permissions from Rehearsal")).to_be_visible()


async def test_every_page_in_light_and_dark_and_a_scenario_there_and_back(administrator: Administrator) -> None:
    simulator, page = administrator.simulator, administrator.page
    set_up = simulator.scenarios.set_up_everything()
    simulator.tenant.add_user("support@contoso.com", "Support", licensed=False, is_shared=True)
    mailbox, app = set_up.mailbox_id, set_up.client_id
    paths = [
        *("/", "/scenarios", "/scenarios/service-principal-missing", "/inbox", "/faults", "/switches", "/unconfirmed"),
        *("/clock", "/users", f"/users/{mailbox}", f"/users/{mailbox}/licenses", f"/users/{mailbox}/mail"),
        *(f"/users/{mailbox}/email-apps", "/shared-mailboxes", "/roles", "/roles/Application%20Administrator"),
        *("/apps", "/apps/new", f"/apps/{app}", f"/apps/{app}/authentication", f"/apps/{app}/credentials"),
        *(f"/apps/{app}/permissions", f"/apps/{app}/manifest", "/enterprise-apps", f"/enterprise-apps/{app}"),
        *("/entra/users", f"/entra/users/{mailbox}", "/conditional-access", "/entra/properties", "/entra/consent"),
        *("/exchange/mailboxes", f"/exchange/mailboxes/{mailbox}", "/exchange/mail-flow", "/exchange/policies"),
        *("/exchange/service-principals", "/exchange/rbac", "/exchange/limits"),
    ]
    simulator.scenarios.apply("conditional-access")
    for path in paths:
        await page.goto(simulator.http_url + path)
        await page.emulate_media(color_scheme="light")
        await administrator.judge()
        await page.emulate_media(color_scheme="dark")
        await administrator.judge()
    await administrator.open("Simulator", "Scenarios")
    await administrator.sees("In force: Conditional Access blocks the sign-in")
    await administrator.press("Back to normal")
    await administrator.press("Apply: The client secret has expired (delegated)")
    await administrator.sees("401 invalid_client AADSTS7000222")
    await administrator.follow("Open the page")
    await administrator.sees("expired")
