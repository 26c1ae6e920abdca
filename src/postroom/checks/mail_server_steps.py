"""The steps by which a mail server is proved, one method each, over the path that real mail takes.

A step returns its evidence or raises: StepFailed, SmtpFailure or SignInTroubleError. Nothing is sent.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx2
import msgspec

from postroom.checks.finding import FindingState
from postroom.checks.token_claims import TokenClaims, read_claims
from postroom.clock import Clock
from postroom.deliver.smtp_connection import SmtpConnection, SmtpFailure
from postroom.errors import SignInTroubleError
from postroom.identity.addresses import is_same_address
from postroom.identity.draft_book import DRAFT_MAILBOX_ID, DraftBook
from postroom.identity.profile import LicenceNote, LicenceState, read_licence
from postroom.identity.providers import Provider
from postroom.identity.sign_ins import Bearer, SignIn
from postroom.identity.tokens import Resource, TokenKeeper
from postroom.network import Network
from postroom.outcome import Failure, FailureClass
from postroom.store.records import Authentication, DialogueLine, EmailType, SendRight

STEP_SECONDS = 10.0

_CONNECTING = frozenset({"no_connection", "name_not_found", "connection_timeout", "connection_refused"})
_RIGHTS = {SendRight.SEND_AS: "Send As", SendRight.SEND_ON_BEHALF: "Send on Behalf", SendRight.OWN: "Send As"}


class StepFailed(Exception):
    """A step did not succeed for a reason that is neither SMTP's nor the sign-in's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Evidence(msgspec.Struct, frozen=True):
    """What a step that succeeded found."""

    text: str
    state: FindingState = FindingState.PASS
    failure: Failure | None = None
    """With its remedy, for a warning."""


class Step(msgspec.Struct, frozen=True):
    check_id: str
    title: str
    take: Callable[[], Awaitable[Evidence]]
    limit_seconds: float = STEP_SECONDS


class MailServerSteps:
    """One walk along the path. Use `close` at its end, whatever happened."""

    def __init__(
        self, book: DraftBook, network: Network, http: httpx2.AsyncClient, clock: Clock, provider: Provider
    ) -> None:
        self._book = book
        self._draft = book.draft
        self._network = network
        self._http = http
        self._provider = provider
        self._keeper = TokenKeeper(book, http, clock, provider)
        self._connection: SmtpConnection | None = None
        self._postponed: SmtpFailure | None = None
        self._sign_in: SignIn | None = None
        self._claims: TokenClaims | None = None

    def in_order(self) -> tuple[Step, ...]:
        """SMTPS has its TLS before the greeting; everything else goes the same way."""
        greeting = Step("greeting", "Greeting", self.greet)
        is_smtps = self._draft.email_type is EmailType.SMTPS
        tls = Step("tls", "TLS" if is_smtps else "STARTTLS", self.encrypt)
        return (
            Step("resolve", "DNS", self.resolve),
            # Connecting and greeting are one call with a limit of its own for each.
            Step("connect", "Connect", self.connect, 3 * STEP_SECONDS),
            *((tls, greeting) if is_smtps else (greeting, tls)),
            *self._sign_in_steps(),
            Step("sender", "Envelope", self.name_sender),
            Step("recipient", "Recipient", self.name_recipient),
        )

    def _sign_in_steps(self) -> tuple[Step, ...]:
        if self._draft.authentication is Authentication.NONE:
            return (Step("sign_in", "Sign in", self.tell_no_sign_in),)
        return Step("token", "Token", self.get_token), Step("sign_in", "Sign in", self.sign_in)

    @property
    def dialogue(self) -> list[DialogueLine]:
        if self._connection is not None:
            return self._connection.dialogue
        return list(self._postponed.dialogue) if self._postponed else []

    async def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.abort()
        await self._keeper.close()

    async def resolve(self) -> Evidence:
        return await resolve(self._network, self._draft.host, self._draft.port)

    async def connect(self) -> Evidence:
        draft = self._draft
        try:
            self._connection = await SmtpConnection.open(
                self._network,
                draft.host,
                draft.port,
                email_type=draft.email_type,
                ehlo_name=draft.ehlo_name,
                authorities=draft.authorities,
                timeout_seconds=STEP_SECONDS,
            )
        except SmtpFailure as failed:
            self._postponed = failed
            if failed.outcome.failure.code in _CONNECTING:
                raise
            # The connection was made: what failed is told by the step that it belongs to.
        return Evidence(f"{draft.host}:{draft.port}")

    async def greet(self) -> Evidence:
        self._raise_postponed()
        first = next((line.text for line in self.dialogue if line.who == "S"), "")
        if self._draft.email_type is EmailType.SMTPS:
            await self._open.hello()
        return Evidence(first)

    async def encrypt(self) -> Evidence:
        if self._draft.email_type is EmailType.SMTPS:
            if self._postponed is not None and self._postponed.outcome.failure.failure_class is FailureClass.TLS:
                self._raise_postponed()
            return Evidence(next((line.text for line in self.dialogue if "certificate" in line.text), "TLS is on"))
        await self._open.hello()
        if not self._draft.use_tls:
            return Evidence("switched off: everything travels in clear", FindingState.WARN)
        said = await self._open.start_tls()
        await self._open.hello()
        return Evidence(said)

    async def get_token(self) -> Evidence:
        self._sign_in = await self._keeper.sign_in_for(DRAFT_MAILBOX_ID)
        if not isinstance(self._sign_in, Bearer):
            return Evidence("not needed: a password is used")
        self._claims = read_claims(self._sign_in.token)
        parts = ["renewed", *self._claims.describe()]
        note = await self._read_licence()
        if note is None or note.state is LicenceState.UNKNOWN:
            return Evidence(", ".join(parts))
        parts.append(note.text)
        if note.state is LicenceState.LICENSED:
            return Evidence(", ".join(parts))
        failure = Failure(FailureClass.PERMISSION, "licence_missing", f"{note.text}.", "licence_missing")
        return Evidence(", ".join(parts), FindingState.WARN, failure)

    async def sign_in(self) -> Evidence:
        assert self._sign_in is not None
        user = self._sign_in.user
        try:
            reply = await self._open.sign_in(self._sign_in, may_be_in_clear=not self._draft.use_tls)
        except SmtpFailure as failed:
            raise self._with_hint(failed, user) from None
        how = "AUTH XOAUTH2" if isinstance(self._sign_in, Bearer) else "password"
        return Evidence(f"{how} as {user}: {reply}")

    async def tell_no_sign_in(self) -> Evidence:
        return Evidence("not needed: the mail server knows this machine by its address")

    async def name_sender(self) -> Evidence:
        draft = self._draft
        reply = await self._open.mail_from(
            draft.sender, needs_smtputf8=_needs_smtputf8(draft.sender, draft.test_address)
        )
        text = f"MAIL FROM:<{draft.sender}>: {reply}"
        if not is_same_address(draft.sender, draft.username):
            # Exchange takes any sender here and refuses only after the data.
            text += f" ({_RIGHTS[draft.send_right]}: unproved until a message is sent)"
        return Evidence(text)

    async def name_recipient(self) -> Evidence:
        reply = await self._open.rcpt_to(self._draft.test_address)
        await self._open.reset()
        await self._open.quit()
        return Evidence(f"RCPT TO:<{self._draft.test_address}>: {reply} (no message was sent: RSET)")

    @property
    def _open(self) -> SmtpConnection:
        self._raise_postponed()
        assert self._connection is not None
        return self._connection

    def _raise_postponed(self) -> None:
        if self._postponed is not None:
            raise self._postponed

    async def _read_licence(self) -> LicenceNote | None:
        if self._draft.authentication is not Authentication.OAUTH:
            return None
        return await read_licence_note(self._keeper, self._http, self._provider)

    def _with_hint(self, failed: SmtpFailure, user: str) -> SmtpFailure:
        """Exchange answers 535 5.7.3 for a name that is not the token's own as for everything else: say so."""
        upn = self._claims.user_principal_name if self._claims else ""
        if not upn or is_same_address(upn, user):
            return failed
        failure = failed.outcome.failure
        text = f"{failure.text} (Microsoft knows the account that signed in as {upn}; we signed in as {user}.)"
        outcome = msgspec.structs.replace(failed.outcome, failure=msgspec.structs.replace(failure, text=text))
        return SmtpFailure(outcome, reply=failed.reply, dialogue=failed.dialogue)


def _needs_smtputf8(*addresses: str) -> bool:
    return not all(address.isascii() for address in addresses)


async def resolve(network: Network, host: str, port: int) -> Evidence:
    """To which addresses the name leads. StepFailed."""
    route = network.route(host, port)
    if network.is_rehearsal and route.address != host:
        return Evidence(f"{host} → {route.address}:{route.port}, the simulator on this machine (rehearsal)")
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as trouble:
        text = f"The name {host} cannot be found: {getattr(trouble, 'strerror', None) or trouble}."
        failure = Failure(FailureClass.NETWORK, "name_not_found", text, "name_not_found")
        raise StepFailed(failure) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    count = f"{len(addresses)} address{'es' if len(addresses) > 1 else ''}"
    return Evidence(f"{host} → {count}: {', '.join(addresses[:4])}{', …' if len(addresses) > 4 else ''}")


async def read_licence_note(keeper: TokenKeeper, http: httpx2.AsyncClient, provider: Provider) -> LicenceNote | None:
    """A note beside the token, which must not fail the step."""
    try:
        async with asyncio.timeout(STEP_SECONDS / 2):
            token = await keeper.access_token(DRAFT_MAILBOX_ID, Resource.GRAPH)
            return await read_licence(http, provider, token)
    except (SignInTroubleError, TimeoutError):
        return None
