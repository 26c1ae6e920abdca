"""Somebody who sets Postroom up: what they click and type, by the words that stand on the pages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from playwright.async_api import BrowserContext, Locator, Page, expect

from postroom.server import Server
from tests.journeys.prepared import (
    OPS,
    SCANNER,
    SCANNER_PASSWORD,
    compose_mail,
    hand_in,
    make_administrator,
    simulator_of,
)
from tests.journeys.watched import PATIENCE_MS

EMAIL, PASSPHRASE = "guide@contoso.com", "correct horse battery staple"
PERMISSIONS = ("SMTP.Send", "offline_access")  # the registration has User.Read from its start, as in Entra
# Where each page is: the portal at the top, and the entry of its menu.
MICROSOFT = {
    "Users": ("Microsoft 365 admin center", "Active users"),
    "App registrations": ("Microsoft Entra admin center", "App registrations"),
    "Inbox": ("Simulator", "Inbox"),
}
CHECKS = ("DNS", "Connect", "Greeting", "STARTTLS", "Token", "Sign in", "Envelope", "Recipient")

expect.set_options(timeout=PATIENCE_MS)


@dataclass(frozen=True)
class Registration:
    """What somebody carries from Entra to the console."""

    tenant_id: str
    client_id: str
    client_secret: str


class Person:
    """One person with two tabs: Postroom's console, and Microsoft's pages."""

    def __init__(self, server: Server, context: BrowserContext, page: Page, microsoft: Page) -> None:
        self.server = server
        self.context = context
        self.page = page
        self.microsoft = microsoft

    @classmethod
    async def arrive(cls, server: Server, context: BrowserContext) -> "Person":
        return cls(server, context, await context.new_page(), await context.new_page())

    # ---- getting in

    async def open_setup_link(self) -> None:
        assert self.server.setup_url is not None
        await self.page.goto(self.server.setup_url)
        await expect(self.page.get_by_role("heading", name="Create the first administrator")).to_be_visible()

    async def become_administrator(self, name: str = "Tour Guide", email: str = EMAIL) -> None:
        await self.field("Your name").fill(name)
        await self.field("E-mail address").fill(email)
        await self.field("Passphrase").fill(PASSPHRASE)
        await self.button("Continue").click()

    async def sign_in_as_administrator(self) -> None:
        """For journeys that begin later: the administrator is made without the browser."""
        await make_administrator(self.server, EMAIL, PASSPHRASE)
        await self.page.goto(self.server.console_url)
        await self.field("E-mail address").fill(EMAIL)
        await self.field("Passphrase").fill(PASSPHRASE)
        await self.button("Sign in").click()
        await expect(self.heading("Overview")).to_be_visible()

    # ---- the stepper

    async def begin_set_up(self) -> None:
        await self.link("Mail Server").click()
        await self.button("Set up the mail server").click()
        await expect(self.field("Server Name")).to_have_value("smtp.office365.com")
        await expect(self.field("Port")).to_have_value("587")
        await expect(self.field("Enable TLS")).to_be_checked()
        await self.button("Continue").click()

    async def enter_addresses(self, sender: str = SCANNER, username: str = SCANNER, *, on_behalf: bool = False) -> None:
        await self.field("Sender Email Address").fill(sender)
        await self.field("Username").fill(username)
        await self.field("Test Email Address").fill(OPS)
        if on_behalf:
            await self.page.get_by_label("Send on Behalf: recipients see").check()
            await self.field("I have done this").check()
        await self.button("Continue").click()
        await expect(self.heading("Sign-in method")).to_be_visible()

    async def choose_method(self, name: str) -> None:
        await self.page.get_by_role("radio", name=name).check()
        await self.button("Continue").click()

    async def register_app(self, permissions: Sequence[str] = PERMISSIONS) -> Registration:
        """In the other tab, with the Redirect URL that the console shows."""
        redirect_url = self.page.get_by_role("region", name="Redirect URL").get_by_role("code")
        await expect(redirect_url).to_have_text(f"{self.server.console_url}/oauth/callback")
        return await self._register_in_entra(await redirect_url.inner_text(), permissions)

    async def register_app_by_pasting(self) -> Registration:
        """The same, but the Redirect URL goes over the clipboard."""
        copy = self.button("Copy the Redirect URL")
        await copy.click()
        await expect(self.button("Copied the Redirect URL")).to_be_visible()
        return await self._register_in_entra(None)

    async def _register_in_entra(
        self, redirect_url: str | None, permissions: Sequence[str] = PERMISSIONS
    ) -> Registration:
        tab = self.microsoft
        await self.open_microsoft("App registrations")
        await tab.get_by_role("link", name=re.compile("Register|New registration")).click()
        await tab.get_by_label("Name", exact=True).fill("Postroom")
        field = tab.get_by_label("Redirect URI", exact=True)
        if redirect_url is None:
            await field.press("ControlOrMeta+v")
            await expect(field).to_have_value(f"{self.server.console_url}/oauth/callback")
        else:
            await field.fill(redirect_url)
        await tab.get_by_role("button", name="Register").click()
        await expect(tab.get_by_role("heading", name="Postroom")).to_be_visible()
        tenant_id = await _described(tab, "Directory (tenant) ID").inner_text()
        client_id = await _described(tab, "Application (client) ID").inner_text()
        client_secret = await self.make_client_secret()
        await tab.get_by_role("link", name="API permissions").click()
        for permission in permissions:
            await tab.get_by_role("checkbox", name=f"{permission} –").first.check()
        await tab.get_by_role("button", name="Add permissions").click()
        await tab.get_by_role("button", name="Grant admin consent for Contoso").click()
        await expect(tab.get_by_text("Granted for Contoso")).to_have_count(len(permissions) + 1)
        await self.come_back()
        return Registration(tenant_id, client_id, client_secret)

    async def make_client_secret(self) -> str:
        """On a page of the registration; the one of its secrets shows the value once."""
        tab = self.microsoft
        await tab.get_by_role("link", name="Certificates & secrets").click()
        await tab.get_by_label("Expires").select_option(label="730 days (24 months)")
        await tab.get_by_role("button", name="New client secret").click()
        return await _described(tab.get_by_role("status"), "Value").inner_text()

    async def enter_app(self, registration: Registration) -> None:
        await self.field("Tenant ID").fill(registration.tenant_id)
        await self.field("Client ID").fill(registration.client_id)
        await self.field("Client Secret").fill(registration.client_secret)
        await expect(self.page.get_by_role("textbox", name="Secret expires on")).not_to_have_value("")
        await self.button("Continue").click()
        await expect(self.heading("Sign in", exact=True)).to_be_visible()

    async def sign_in_to_microsoft(self, username: str = SCANNER, password: str = SCANNER_PASSWORD) -> None:
        """On Microsoft's own page, to which the console has led."""
        await expect(self.heading("Sign in", exact=True)).to_be_visible()
        await self.field("User name").fill(username)
        await self.field("Password").fill(password)
        await self.button("Sign in").click()

    async def use_another_account(self) -> None:
        """Microsoft remembers in this browser who signed in before."""
        await expect(self.heading("Pick an account")).to_be_visible()
        await self.button("Use another account").click()

    async def sign_in(self) -> None:
        await self.button(f"Sign in to Microsoft as {SCANNER}").click()
        await expect(self.field("User name")).to_have_value(SCANNER)
        await self.sign_in_to_microsoft()
        await expect(self.heading(f"Connected as {SCANNER}")).to_be_visible()

    async def check(self, titles: Sequence[str] = CHECKS) -> None:
        """Run the checks and watch them pass."""
        await self.button("Run the checks").click()
        for title in titles:
            await expect(self.finding(title)).to_be_visible()
        await expect(self.button("Save and go on to the test mail")).to_be_visible()
        await expect(self.checks.get_by_text("failed:")).to_have_count(0)

    async def save(self) -> None:
        await self.button("Save and go on to the test mail").click()
        await expect(self.page.get_by_text("Saved. Waiting mail leaves by itself from now on.")).to_be_visible()

    async def set_up_with_oauth(
        self, sender: str = SCANNER, *, on_behalf: bool = False, pastes: bool = False
    ) -> Registration:
        """From the overview to the last check passed and everything saved."""
        await self.begin_set_up()
        await self.enter_addresses(sender, on_behalf=on_behalf)
        await self.choose_method("OAuth")
        registration = await (self.register_app_by_pasting() if pastes else self.register_app())
        await self.enter_app(registration)
        await self.sign_in()
        await self.button("Go on to the checks").click()
        await self.check()
        await self.save()
        return registration

    async def send_test_mail(self) -> None:
        await expect(self.field("Test Email Address")).to_have_value(OPS)
        await self.button("Send test mail").click()

    # ---- apps and mail

    async def make_app(self, name: str) -> tuple[str, str]:
        """User name and password, as the page shows them once."""
        await self.link("Apps & devices").click()
        await self.page.get_by_role("button", name="Add an app or device").click()
        await self.page.get_by_label("Name", exact=True).fill(name)
        await self.button("Add it, and show what to enter").click()
        await expect(self.page.get_by_text("This password is shown once.")).to_be_visible()
        login = await _described(self.page, "User name").inner_text()
        return login, await _described(self.page, "Password").inner_text()

    async def hand_in(
        self, login: str, password: str, subject: str, recipient: str = OPS, sender: str = SCANNER
    ) -> None:
        reply = await hand_in(self.server, login, password, compose_mail(sender, (recipient,), subject))
        assert reply.startswith("250 2.0.0"), reply

    async def open_message(self, subject: str) -> None:
        await self.link("Deliveries").click()
        await self.page.get_by_role("link", name=subject, exact=True).click()
        await expect(self.heading(subject)).to_be_visible()

    async def open_microsoft(self, page: str) -> None:
        """Go over to the other tab; `come_back` leads to the console again."""
        await self.microsoft.bring_to_front()
        await self.microsoft.goto(simulator_of(self.server).http_url)
        portal, entry = MICROSOFT[page]
        portals = self.microsoft.get_by_role("navigation", name="Portals")
        await portals.get_by_role("link", name=portal, exact=True).click()
        menu = self.microsoft.get_by_role("navigation", name=portal, exact=True)
        await menu.get_by_role("link", name=entry, exact=True).click()
        await expect(self.microsoft).to_have_title(re.compile(f"^{entry}"))

    async def open_mailbox(self, address: str) -> None:
        """The tab Mail of its page in the admin center."""
        await self.open_user(address)
        await self.microsoft.get_by_role("link", name="Mail", exact=True).click()
        await expect(self.microsoft.get_by_role("heading", name="Mailbox permissions")).to_be_visible()

    async def open_user(self, address: str) -> None:
        """The tab Account of its page in the admin center."""
        await self.open_microsoft("Users")
        row = self.microsoft.get_by_role("row").filter(has_text=address)
        await row.get_by_role("link").click()
        await expect(self.microsoft.get_by_role("button", name="Sign out of all sessions")).to_be_visible()

    async def come_back(self) -> None:
        await self.page.bring_to_front()

    async def open_arrived(self, subject: str) -> str:
        """The text of the inbox's page about this message, once it is there."""
        await self.open_microsoft("Inbox")
        await self.microsoft.get_by_role("link", name=subject).click()
        return await self.microsoft.get_by_role("main").inner_text()

    # ---- the words on the page

    @property
    def checks(self) -> Locator:
        return self.page.get_by_role("log", name="Checks")

    @property
    def pill(self) -> Locator:
        return self.page.get_by_role("banner")

    def finding(self, title: str) -> Locator:
        return self.checks.get_by_role("listitem").filter(has=self.page.get_by_text(title, exact=True))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label, exact=True)

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)

    def heading(self, name: str, *, exact: bool = False) -> Locator:
        return self.page.get_by_role("heading", name=name, exact=exact)

    async def sees(self, words: str) -> None:
        await expect(self.page.get_by_role("main").get_by_text(words).filter(visible=True).first).to_be_visible()


def _described(place: Page | Locator, term: str) -> Locator:
    """The value that stands beside `term` in a list of facts."""
    beside = place.locator("dt", has_text=re.compile(f"^{re.escape(term)}$"))
    return beside.locator("xpath=following-sibling::dd[1]").get_by_role("code")
