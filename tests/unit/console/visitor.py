"""A visitor of the console without a browser: opens pages, submits the forms that stand in them; real store behind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from msgspec.structs import replace
from starlette.applications import Starlette

from postroom.accept.listener_plan import ListenerAddress
from postroom.accept.submission import Intake
from postroom.checks.finding import Finding, FindingState
from postroom.clock import Clock, ManualClock
from postroom.console.app import make_app
from postroom.console.rooms import ConsoleRooms
from postroom.identity.pasted import read_pasted_address
from postroom.identity.redirects import redirect_url_for
from postroom.identity.refused import SignInRefused, refuse
from postroom.identity.sign_in import Begun, KeepSignIn, Seat, SignedIn
from postroom.network import Internet
from postroom.settings import Settings
from postroom.store import Store
from postroom.store.records import MailServerDraft, SignedInUser
from postroom.vault import Vault
from scripts.browsing import Form, PageReader
from tests.unit.pretend_secrets import PretendSecrets

PUBLIC_URL = "http://localhost:8025"
AUTHORIZE_URL = "https://login.microsoftonline.com/authorize?state=1"
PASSPHRASE = "correct horse battery"
EMAIL = "anna@contoso.com"
GUID = "11111111-2222-3333-4444-555555555555"
USER = SignedInUser("object", GUID, "scanner@contoso.com", "Contoso Scanner", addresses=("scanner@contoso.com",))
STEPS = ("resolve", "connect", "greeting", "tls", "token", "sign_in", "sender", "recipient")


@dataclass
class PretendSignIns:
    """Microsoft's sign-in, which does as the test says."""

    refusal: SignInRefused | None = None
    started: list[tuple[MailServerDraft, Seat, str, bool]] = field(default_factory=list)
    keep: KeepSignIn | None = None
    pasted: list[str] = field(default_factory=list)

    def begin(
        self,
        draft: MailServerDraft,
        seat: Seat,
        redirect_url: str,
        keep: KeepSignIn,
        *,
        select_account: bool = False,
    ) -> Begun:
        self.started.append((draft, seat, redirect_url, select_account))
        self.keep = keep
        return Begun(AUTHORIZE_URL, "1", redirect_url, 900_000_000)

    def subject_of(self, state: str) -> str:
        return self.started[-1][1].subject if self.started else ""

    async def complete(self, seat: Seat, params: Mapping[str, str]) -> SignedIn:
        if self.refusal is not None:
            raise self.refusal
        draft, started_by, _redirect_url, _select = self.started[-1]
        if started_by != seat:
            raise refuse("sign_in_elsewhere", "This sign-in was begun in another browser.", "sign_in_restart")
        assert params["code"] == "good"
        signed_in = replace(
            draft, refresh_token="refresh", scopes=("SMTP.Send", "User.Read"), user=USER, granted_at_us=1
        )
        if self.keep is None:
            return SignedIn(signed_in, True)
        keep, self.keep = self.keep, None
        await keep(signed_in)
        return SignedIn(signed_in)

    async def complete_pasted(self, seat: Seat, text: str, redirect_url: str) -> SignedIn:
        self.pasted.append(text)
        return await self.complete(seat, read_pasted_address(text, redirect_url))


@dataclass
class PretendChecks:
    """The checks of a mail server: pass, or fail as told, one at a time when a gate is set."""

    store: Store
    clock: Clock
    failing: Finding | None = None
    gate: asyncio.Semaphore | None = None
    has_ended: bool = False

    async def verify(self, draft: MailServerDraft) -> AsyncIterator[Finding]:
        try:
            has_failed = False
            for check_id in STEPS:
                if self.gate is not None:
                    await self.gate.acquire()
                if has_failed:
                    yield Finding(check_id, check_id.capitalize(), FindingState.NOT_RUN)
                elif self.failing is not None and self.failing.check_id == check_id:
                    has_failed = True
                    yield self.failing
                else:
                    yield Finding(check_id, check_id.capitalize(), FindingState.PASS, f"evidence of {check_id}")
            if not has_failed:
                await self.store.mail_servers.keep_draft(replace(draft, verified_at_us=self.clock.now_us()))
        finally:
            self.has_ended = True


@dataclass
class Page:
    """What came back."""

    status: int
    url: str
    source: str
    text: str
    forms: list[Form]
    headers: httpx2.Headers


class Visitor:
    """One browser: its cookies, and the page it looks at."""

    def __init__(self, app: Starlette, base_url: str = PUBLIC_URL) -> None:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        self.base_url = base_url
        self.client = httpx2.AsyncClient(transport=transport, base_url=base_url)
        self.page = Page(0, base_url, "", "", [], httpx2.Headers())

    async def open(self, path: str, headers: Mapping[str, str] | None = None) -> Page:
        return self._look(await self.client.get(path, headers=headers, follow_redirects=True))

    async def post(self, path: str, values: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Page:
        sent = {"Origin": self.base_url, **(headers or {})}
        return self._look(await self.client.post(path, data=dict(values), headers=sent, follow_redirects=True))

    async def submit(self, action: str, **values: str) -> Page:
        """The form of this page whose action ends so, with these values over what stands in it."""
        form = next(form for form in self.page.forms if form.action.partition("?")[0].endswith(action))
        given = {**form.values, **values}
        if form.method == "post":
            return await self.post(form.action, given)
        return self._look(await self.client.get(form.action, params=given))

    def form_values(self, action: str) -> dict[str, str]:
        return next(form for form in self.page.forms if form.action.endswith(action)).values

    def _look(self, answer: httpx2.Response) -> Page:
        reader = PageReader()
        reader.feed(answer.text)
        text = " ".join(reader.text)
        self.page = Page(answer.status_code, str(answer.url), answer.text, text, reader.forms, answer.headers)
        return self.page


@dataclass
class House:
    """The console over a real store, with its outside pretended."""

    rooms: ConsoleRooms
    store: Store
    clock: ManualClock
    sign_ins: PretendSignIns
    secrets: PretendSecrets
    checks: PretendChecks
    app: Starlette

    def visitor(self) -> Visitor:
        return Visitor(self.app, self.rooms.public_url)

    async def administrator(self) -> Visitor:
        """A visitor who is signed in as the first administrator."""
        token = await self.store.people.make_setup_link_token()
        visitor = self.visitor()
        await visitor.open(f"/setup?token={token}")
        await visitor.submit("/setup", name="Anna Berg", email=EMAIL, passphrase=PASSPHRASE)
        assert visitor.page.url == f"{self.rooms.public_url}/?said=welcome", visitor.page.text
        return visitor

    async def set_up(self, **fields: object) -> None:
        """Save a mail server, as the page would."""
        draft = replace(full_draft(), verified_at_us=self.clock.now_us(), **fields)
        await self.store.mail_servers.save(draft, EMAIL)


def full_draft() -> MailServerDraft:
    return MailServerDraft(
        sender="scanner@contoso.com",
        username="scanner@contoso.com",
        test_address="you@fabrikam.com",
        tenant=GUID,
        client_id=GUID,
        client_secret="the~secret~value",
        refresh_token="refresh",
        scopes=("SMTP.Send", "User.Read"),
        user=USER,
        granted_at_us=1,
    )


@asynccontextmanager
async def open_house(folder: Path, *, public_url: str = PUBLIC_URL, is_rehearsal: bool = False) -> AsyncIterator[House]:
    clock = ManualClock()
    store = await Store.open(folder, clock, Vault(bytes(32)), writer="inline")
    sign_ins, secrets, checks = PretendSignIns(), PretendSecrets(store), PretendChecks(store, clock)
    rooms = ConsoleRooms(
        store=store,
        clock=clock,
        settings=Settings(),
        network=_PretendRehearsal() if is_rehearsal else Internet(),
        intake=Intake(store, clock, "mail.example.lan", 10_000_000),
        sign_ins=sign_ins,
        client_secrets=secrets,
        verify=checks.verify,
        public_url=public_url,
        redirect_url=redirect_url_for(public_url, 8025),
        pages_url="http://localhost:8026" if is_rehearsal else None,
        listeners=lambda: [
            ListenerAddress("Submission", "127.0.0.1", "mail.example.lan", 2587, "STARTTLS", False),
            ListenerAddress("Device", "127.0.0.1", "mail.example.lan", 2525, "none or STARTTLS", True),
        ],
        shutdown=asyncio.Event(),
    )
    app = make_app(rooms)
    try:
        async with app.router.lifespan_context(app):
            yield House(rooms, store, clock, sign_ins, secrets, checks, app)
    finally:
        await store.close()


class _PretendRehearsal(Internet):
    @property
    def is_rehearsal(self) -> bool:
        return True
