#!/usr/bin/env python3
"""The main job, done by itself and shown step by step: `scripts/demo --tour`.

Starts Postroom and the simulated Microsoft 365 on free ports and does what a person would do with a browser and a
scanner. Exits 0, or says which step failed and why.
"""

import os
import re
import secrets
import smtplib
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from html import unescape
from pathlib import Path

from scripts.browsing import Browser

ROOT = Path(__file__).resolve().parent.parent
SCANNER = "scanner@contoso.com"
SCANNER_PASSWORD = "Scan-to-mail-1"
OPS = "ops@contoso.com"
PATIENCE_SECONDS = 60


class StepFailed(Exception):
    """A step did not come out as it must; the text says what was seen instead."""


@contextmanager
def running_server(folder: Path) -> Iterator[dict[str, str]]:
    """`postroom serve` in a rehearsal on free ports, and what it printed: where everything is."""
    postroom = ROOT / ".venv" / "bin" / "postroom"
    config = folder / "postroom.toml"
    subprocess.run([postroom, "init", "--rehearsal", "--config", config], check=True, stdout=subprocess.DEVNULL)
    free_ports = {f"POSTROOM_{name}": "0" for name in ("CONSOLE_PORT", "SUBMISSION_PORT", "REHEARSAL_PAGES_PORT")}
    server = subprocess.Popen(
        [postroom, "serve", "--config", config],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **free_ports},
    )
    try:
        yield read_addresses(server)
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
        if server.stdout is not None:
            server.stdout.close()


def read_addresses(server: "subprocess.Popen[str]") -> dict[str, str]:
    patterns = {
        "simulator": r"Simulated Microsoft 365: (\S+)",
        "console": r"Console +(\S+)",
        "smtp": r"SMTP submission +(\S+)",
        "setup": r"Set up: open +(\S+)",
    }
    found: dict[str, str] = {}
    assert server.stdout is not None
    for line in server.stdout:
        print("    " + line.rstrip())
        for name, pattern in patterns.items():
            if match := re.search(pattern, line):
                found[name] = match.group(1)
        if len(found) == len(patterns):
            return found
    raise StepFailed(f"the server ended with exit code {server.wait()} before it was ready; its words stand above")


class Tour:
    """Each method is a step; what one finds out the next ones use."""

    def __init__(self, where: dict[str, str]) -> None:
        self.console, self.simulator = where["console"].rstrip("/"), where["simulator"].rstrip("/")
        self.setup_url = where["setup"]
        self.smtp_host, _, port = where["smtp"].rpartition(":")
        self.smtp_port = int(port)
        self.person = Browser()
        self.entra = Browser()
        self.passphrase = secrets.token_urlsafe(16)
        self.subject = f"Scan {secrets.token_hex(3)}"

    def close(self) -> None:
        self.person.close()
        self.entra.close()

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("Open the one-time link and make the first administrator", self.make_administrator),
            ("Mail Server: the server and the addresses", self.enter_addresses),
            ("Register an app in the simulated Entra ID", self.register_app),
            ("Mail Server: tenant, client ID and client secret", self.enter_app),
            ("Sign in to Microsoft as the mailbox", self.sign_in),
            ("Verify on the real path, and save", self.verify_and_save),
            ("Send the test mail", self.send_test_mail),
            ("Make an app for the scanner", self.make_app),
            ("Hand in a scan with a PDF by SMTP", self.hand_in_scan),
            ("See its timeline", self.show_timeline),
            ("See where it arrived", self.show_arrival),
        ]

    def make_administrator(self) -> str:
        self.person.open(self.setup_url)
        self.person.submit("/setup", name="Tour Guide", email="guide@contoso.com", passphrase=self.passphrase)
        expect(self.person, "First steps" in self.person.text, "the overview with its first steps")
        return f"Signed in at {self.console} as guide@contoso.com"

    def enter_addresses(self) -> str:
        self.person.open(f"{self.console}/admin/mail-server")
        self.person.submit("/begin")
        self.person.submit("/server")
        self.person.submit("/addresses", sender=SCANNER, username=SCANNER, test_address=OPS)
        self.person.submit("/method", authentication="oauth")
        expect(self.person, self.person.url.endswith("/app"), "the step App in Microsoft Entra")
        return f"smtp.office365.com:587, sender and username {SCANNER}"

    def register_app(self) -> str:
        redirect_url = f"{self.console}/oauth/callback"
        expect(self.person, redirect_url in self.person.text, f"the Redirect URL {redirect_url}")
        entra = self.entra
        entra.open(f"{self.simulator}/apps/new")
        entra.submit("/apps", name="Postroom", redirect_uri=redirect_url)
        app = entra.url
        entra.open(f"{app}/credentials")
        entra.submit("/secrets", description="Postroom", days="730")
        self.client_secret = unescape(search(r'id="secret-value">([^<]+)<', entra.source, "the secret's value"))
        entra.open(f"{app}/permissions")
        granted = {"SMTP.Send": "on", "offline_access": "on", "User.Read": "on"}
        entra.submit("/permissions", **granted)
        entra.submit("/consent", grant="1")
        self.client_id = app.rpartition("/")[2]
        entra.open(self.simulator)
        self.tenant = search(r"Directory \(tenant\) ID ([0-9a-f-]{36})", entra.text, "the tenant's id")
        return f"Application (client) ID {self.client_id}, permissions granted: {', '.join(granted)}"

    def enter_app(self) -> str:
        self.person.submit("/app", tenant=self.tenant, client_id=self.client_id, client_secret=self.client_secret)
        expect(self.person, self.person.url.endswith("/sign-in"), "the step Sign in")
        return "The secret is sealed; its last day was prefilled"

    def sign_in(self) -> str:
        self.person.open("/admin/mail-server/sign-in/start")
        expect(self.person, self.person.url.startswith(self.simulator), "Microsoft's sign-in page")
        self.submit_microsoft(loginfmt=SCANNER, passwd=SCANNER_PASSWORD)
        if any("answer" in form.values or "Accept" in form.buttons for form in self.person.forms):
            self.submit_microsoft(answer="accept")
        expect(self.person, self.person.url.startswith(self.console), "the console again")
        expect(self.person, SCANNER in self.person.text, f"connected as {SCANNER}")
        return f"Connected as {SCANNER}"

    def submit_microsoft(self, **values: str) -> None:
        self.person.submit(self.person.forms[0].action.partition("?")[0], **values)

    def verify_and_save(self) -> str:
        self.person.open("/admin/mail-server/check")
        self.person.submit("/check")
        self.wait_for("/admin/mail-server/check", "Save and go on to the test mail")
        self.person.submit("/save")
        expect(self.person, "Send test mail" in self.person.text, "the step Test mail")
        return "Every check passed: name, connection, TLS, token, AUTH XOAUTH2, MAIL FROM, RCPT TO, RSET"

    def send_test_mail(self) -> str:
        self.person.submit("/test", to=OPS)
        return self.wait_for(self.person.url, "Sent: accepted by")

    def make_app(self) -> str:
        self.person.open("/apps/new")
        self.person.submit("/apps", name="HP 2nd floor")
        self.login = search(r"User name: +(\S+)", self.person.text, "the user name")
        self.password = search(r"Password: +([A-Za-z0-9]{16,})", self.person.text, "the password")
        return f"User name {self.login}, password shown once"

    def hand_in_scan(self) -> str:
        scan = EmailMessage()
        scan["From"], scan["To"], scan["Subject"] = SCANNER, OPS, self.subject
        scan.set_content("The scan is attached.\n")
        scan.add_attachment(
            make_pdf("Scanned on the 2nd floor"), maintype="application", subtype="pdf", filename="scan.pdf"
        )
        # The listener's certificate is self-signed, as scanners commonly meet it.
        anything = ssl._create_unverified_context()
        with smtplib.SMTP(self.smtp_host, self.smtp_port, timeout=PATIENCE_SECONDS) as client:
            client.starttls(context=anything)
            client.login(self.login, self.password)
            client.mail(SCANNER)
            client.rcpt(OPS)
            number, reply = client.data(scan.as_bytes(policy=SMTP))
        expect_text(number == 250, f"250, but the server said {number} {reply.decode()}")
        return f"{number} {reply.decode()}"

    def show_timeline(self) -> str:
        self.person.open(f"/deliveries?q={self.subject.split()[1]}")
        link = search(r'href="(/deliveries/[0-9A-Z]{13})"', self.person.source, "the message in the list")
        self.wait_for(link, "Sent: accepted by")
        start = self.person.text.find("Timeline")
        return textwrap.shorten(self.person.text[start:], 900)

    def show_arrival(self) -> str:
        self.entra.open(f"{self.simulator}/inbox")
        link = search(rf'href="(/inbox/\d+)">{self.subject}<', self.entra.source, f"“{self.subject}” in the inbox")
        self.entra.open(link)
        expect(self.entra, "scan.pdf" in self.entra.text, "the PDF among the attachments")
        return f"{self.entra.url}: “{self.subject}” with scan.pdf"

    def wait_for(self, url: str, words: str) -> str:
        """Look again until the page says it; the rest of the sentence is the answer."""
        ends_at = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < ends_at:
            self.person.open(url)
            if words in self.person.text:
                return textwrap.shorten(self.person.text[self.person.text.index(words) :], 160)
            time.sleep(0.3)
        raise StepFailed(
            f"{url} does not say “{words}” within {PATIENCE_SECONDS} s. It says: {self.person.text[:1500]}"
        )


def expect(browser: Browser, is_so: bool, what: str) -> None:
    expect_text(is_so, f"{what}; {browser.url} ({browser.status}) says: {browser.text[:1500]}")


def expect_text(is_so: bool, what: str) -> None:
    if not is_so:
        raise StepFailed(f"expected {what}")


def search(pattern: str, text: str, what: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise StepFailed(f"{what} was not found in: {text[:1500]}")
    return match.group(1)


def make_pdf(text: str) -> bytes:
    """A PDF of one page with one line, as small as they come."""
    content = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
    ]
    pdf = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(pdf))
        pdf += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = len(pdf)
    pdf += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    pdf += b"".join(b"%010d 00000 n \n" % place for place in places)
    pdf += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(pdf)


def take_tour(where: dict[str, str]) -> None:
    tour = Tour(where)
    try:
        steps = tour.steps()
        for number, (title, do) in enumerate(steps, 1):
            print(f"\n[{number}/{len(steps)}] {title}")
            try:
                print(textwrap.indent(textwrap.fill(do(), 110), "    "), flush=True)
            except (StepFailed, LookupError, OSError, smtplib.SMTPException) as trouble:
                raise StepFailed(f"Step {number}, “{title}”, failed: {trouble}") from None
    finally:
        tour.close()


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="postroom-tour-") as folder:
        try:
            print("Starting Postroom with a simulated Microsoft 365 ...")
            with running_server(Path(folder)) as where:
                take_tour(where)
        except StepFailed as trouble:
            print(f"\n{trouble}", file=sys.stderr)
            return 1
    print("\nThe whole main job works. Try it yourself: scripts/demo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
