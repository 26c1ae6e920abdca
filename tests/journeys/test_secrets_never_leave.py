"""A whole set-up and sending with planted secrets: none of them is in a file of the data folder, in the log at debug,
on a page of the console or in the arguments of a process, in any form."""

import base64
import re
import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest

from postroom.console.pages import ROUTES
from scripts.browsing import Browser
from scripts.tour import OPS, SCANNER, SCANNER_PASSWORD, Tour
from tests.faults.serving import Postroom, Serving, postroom_in
from tests.journeys.planted import Planted

WRONG_CLIENT_SECRET = "Wr0ng8Q~client-secret.planted_7"
WRONG_BASIC_PASSWORD = "Wrong-basic-password-planted-8"
WRONG_APP_PASSWORD = "wrongAppPasswordPlanted9"
IN_CLEAR = "typedTooEarlyInClear10"


class Recorder(Browser):
    """A person's browser that remembers every page of the console, with its headers."""

    def __init__(self, console: str) -> None:
        super().__init__()
        self._console = console
        self.pages: list[tuple[str, bytes]] = []
        self._client.event_hooks = {"response": [self._remember]}

    def _remember(self, answer: httpx2.Response) -> None:
        answer.read()
        if str(answer.url).startswith(self._console):
            assert answer.status_code < 500, f"{answer.url} broke: the log says why"
            # The cookie is the browser's own secret, and goes to it alone.
            headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items() if name != "set-cookie")
            self.pages.append((f"{answer.request.method} {answer.url.path}", headers.encode() + answer.content))

    def cookie(self, name: str) -> str:
        return str(self._client.cookies[name])

    def look_at(self, path: str) -> None:
        """One page, without following it elsewhere."""
        self._client.get(urljoin(self._console, path), follow_redirects=False)


class Life:
    """Everything in which a secret passes through Postroom, good and bad."""

    def __init__(self, where: dict[str, str], planted: Planted) -> None:
        self.planted = planted
        self.tour = Tour(where)
        self.tour.person.close()
        self.person = self.tour.person = Recorder(self.tour.console)
        planted.plant("passphrase", self.tour.passphrase)
        planted.plant("set-up token", parse_qs(urlsplit(where["setup"]).query)["token"][0])
        planted.plant("Microsoft and basic password", SCANNER_PASSWORD)
        for secret in (WRONG_CLIENT_SECRET, WRONG_BASIC_PASSWORD, WRONG_APP_PASSWORD, IN_CLEAR):
            planted.plant(f"wrong secret {secret[-2:]}", secret)

    def steps(self) -> Iterator[Callable[[], object]]:
        tour = self.tour
        yield from (tour.make_administrator, tour.enter_addresses, tour.register_app)
        yield from (self.sign_in_with_a_wrong_secret, tour.enter_app, self.sign_in, tour.verify_and_save)
        yield from (tour.send_test_mail, tour.make_app, tour.hand_in_scan, tour.show_timeline, tour.show_arrival)
        yield from (self.guess, self.say_passwords_in_clear, self.lose_the_sign_in, self.change_to_basic)
        yield from (tour.hand_in_scan, tour.show_timeline, self.look_at_every_page)

    def sign_in_with_a_wrong_secret(self) -> None:
        tour = self.tour
        self.planted.plant("client secret", tour.client_secret)
        tour.person.submit("/app", tenant=tour.tenant, client_id=tour.client_id, client_secret=WRONG_CLIENT_SECRET)
        self.go_through_microsoft()
        assert "AADSTS7000215" in tour.person.source, tour.person.text
        tour.person.open("/admin/mail-server/app")

    def sign_in(self) -> None:
        self.go_through_microsoft()
        assert f"Connected as {SCANNER}" in self.person.text, self.person.text

    def go_through_microsoft(self) -> None:
        """Microsoft asks for the password unless it still knows the browser."""
        self.person.open("/admin/mail-server/sign-in/start")
        if self.person.url.startswith(self.tour.simulator):
            self.tour.submit_microsoft(loginfmt=SCANNER, passwd=SCANNER_PASSWORD)

    def guess(self) -> None:
        self.planted.plant("app password", self.tour.password)
        with self.at_the_listener() as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(self.tour.login, WRONG_APP_PASSWORD)

    def say_passwords_in_clear(self) -> None:
        """What a client says too early, or in the wrong place, is not repeated anywhere."""
        plain = base64.b64encode(f"\0hp\0{IN_CLEAR}".encode()).decode()
        with smtplib.SMTP(self.tour.smtp_host, self.tour.smtp_port, timeout=20) as client:
            client.ehlo()
            for line in (f"AUTH PLAIN {plain}", f"PASS {IN_CLEAR}", IN_CLEAR, f"EHLO {WRONG_APP_PASSWORD} x"):
                client.docmd(line)
        with self.at_the_listener() as client:
            client.docmd("AUTH LOGIN")
            client.docmd("not base64: " + IN_CLEAR)

    def at_the_listener(self) -> smtplib.SMTP:
        client = smtplib.SMTP(self.tour.smtp_host, self.tour.smtp_port, timeout=20)
        client.starttls(context=ssl._create_unverified_context())
        client.ehlo()
        return client

    def lose_the_sign_in(self) -> None:
        """Microsoft ends the sign-in; the mail that comes then stops the mailbox, with all that is said about it."""
        tour = self.tour
        tour.entra.open(f"{tour.simulator}/users")
        link = re.search(rf'href="(/users/[0-9a-f-]+)"[^>]*>(?:(?!</tr>).)*?{SCANNER}', tour.entra.source, re.DOTALL)
        assert link is not None
        tour.entra.open(f"{tour.simulator}{link[1]}")
        tour.entra.submit("/revoke-sessions")
        tour.hand_in_scan()
        tour.wait_for("/admin/mail-server", "Sign in again")

    def change_to_basic(self) -> None:
        tour, person = self.tour, self.person
        person.open("/admin/mail-server")
        person.submit("/edit")
        person.open("/admin/mail-server/method")
        person.submit("/method", authentication="basic")
        for password, words in ((WRONG_BASIC_PASSWORD, "535"), (SCANNER_PASSWORD, "Save and go on to the test mail")):
            person.open("/admin/mail-server/password")
            person.submit("/password", password=password)
            person.open("/admin/mail-server/check")
            person.submit("/check")
            tour.wait_for("/admin/mail-server/check", words)
        person.submit("/save")

    def look_at_every_page(self) -> None:
        """Each address that answers to GET, for each message and app, also while a draft with every secret is open."""
        person = self.person
        person.open("/deliveries")
        messages = re.findall(r'href="/deliveries/([0-9A-Z]{13})"', person.source)
        person.open("/apps")
        apps = re.findall(r'href="/apps/([0-9A-Z]{13})"', person.source)
        assert messages, "there are messages to look at"
        assert apps, "there are apps to look at"
        person.open("/admin/mail-server")
        person.submit("/edit")
        for page in ROUTES:
            if page.method == "GET":
                for number in messages if "{message_id}" in page.path else apps:
                    person.look_at(page.path.format(message_id=number, app_id=number, server="default"))
        for path in ("/livez", "/readyz", "/metrics"):
            person.look_at(path)


def arguments_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def plant_tokens(planted: Planted, written: Path) -> set[str]:
    """What the simulator issued; the kinds of it."""
    kinds = set()
    for line in written.read_text().splitlines():
        kind, _, token = line.partition(" ")
        planted.plant(kind.removeprefix("issue_"), token)
        kinds.add(kind)
    return kinds


def start(postroom: Postroom, tokens: Path) -> Serving:
    return postroom.start(
        POSTROOM_TEST_TOKENS=str(tokens), POSTROOM_LOG_LEVEL="debug", POSTROOM_METRICS_OPEN_TO_LOOPBACK="true"
    )


def test_no_secret_leaves(tmp_path: Path) -> None:
    planted = Planted()
    tokens = tmp_path / "tokens"
    with postroom_in(tmp_path) as postroom:
        postroom.init("--rehearsal")
        planted.plant("vault key", (tmp_path / "vault.key").read_text().strip())
        planted.plant("vault key", bytes.fromhex((tmp_path / "vault.key").read_text()))
        serving = start(postroom, tokens)
        life = Life(serving.wait_until_ready(), planted)
        try:
            for step in life.steps():
                step()
            planted.plant("session", life.person.cookie("postroom_session"))
        finally:
            life.tour.close()
        assert plant_tokens(planted, tokens) == {
            "issue_code",
            "issue_refresh_token",
            "issue_access_token",
            "issue_id_token",
        }
        arguments = arguments_of(serving.pid)
        running = list(files_below(postroom.data))
        assert serving.terminate() == 0
        ended = list(files_below(postroom.data))

    assert any(path.name.endswith("-wal") and content for path, content in running)
    assert any(OPS.encode() in content for _, content in running), "what is no secret is found"
    assert b"serve" in arguments
    assert {(path.name, name) for path, content in running + ended for name in planted.find_in(content)} == set()
    said = serving.log.read_bytes()
    assert b"debug" in said
    assert SCANNER.encode() in said or life.tour.login.encode() in said
    assert planted.find_in(said.replace(first_link(said), b"")) == set(), "in the log"
    assert planted.find_in(arguments) == set()
    check_pages(life.person.pages, planted)


def first_link(said: bytes) -> bytes:
    """The one place where the set-up token must be: the link that the start prints."""
    found = re.search(rb"Set up: open +(\S+)", said)
    assert found is not None
    return found[1]


def check_pages(pages: list[tuple[str, bytes]], planted: Planted) -> None:
    shown = [(page, name) for page, content in pages for name in planted.find_in(content)]
    assert {page for page, _ in pages} >= {"GET /setup", "GET /", "GET /deliveries", "GET /admin/mail-server/app"}
    assert any(b"postroom_oauth_refresh_total" in content for page, content in pages if page == "GET /metrics")
    # The link's own page carries its token on; the app's password is shown once, on the page that made it.
    assert [each for each in shown if each != ("GET /setup", "set-up token")] == [("POST /apps", "app password")]


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"user=x\x01auth=Bearer "])
def test_the_finder_finds(before: bytes) -> None:
    planted = Planted()
    planted.plant("it", "s3cret/+with~signs&more")
    inside = base64.b64encode(before + b"s3cret/+with~signs&more" + b"\x01\x01")
    assert planted.find_in(b"log: AUTH " + inside + b"\n") == {"it"}
    assert planted.find_in(b"?client_secret=s3cret%2F%2Bwith~signs%26more&x=1") == {"it"}
    assert planted.find_in(b"<td>s3cret/+with~signs&amp;more</td>") == {"it"}
    assert planted.find_in(b"s3cret and nothing else") == set()
