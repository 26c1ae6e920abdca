"""The steps by which Microsoft Graph is proved as a way out, over the path that real mail takes. Nothing is sent.

Graph has no envelope to try: who may send as whom it says only to a message.
"""

import asyncio
from collections.abc import Sequence

import httpx2

from postroom.checks.finding import FindingState
from postroom.checks.mail_server_steps import STEP_SECONDS, Evidence, Step, StepFailed, read_licence_note, resolve
from postroom.checks.token_claims import read_claims
from postroom.clock import Clock
from postroom.deliver.graph_transport import read_answer
from postroom.identity.addresses import is_same_address
from postroom.identity.draft_book import DRAFT_MAILBOX_ID, DraftBook
from postroom.identity.profile import LicenceState
from postroom.identity.providers import Provider
from postroom.identity.tokens import Resource, TokenKeeper
from postroom.network import Network
from postroom.outcome import Failure, FailureClass
from postroom.store.records import DialogueLine


class GraphSteps:
    """One walk along the path. Use `close` at its end, whatever happened."""

    def __init__(
        self, book: DraftBook, network: Network, http: httpx2.AsyncClient, clock: Clock, provider: Provider
    ) -> None:
        self._draft = book.draft
        self._network = network
        self._http = http
        self._provider = provider
        self._keeper = TokenKeeper(book, http, clock, provider)

    def in_order(self) -> tuple[Step, ...]:
        return (
            Step("resolve", "DNS", self.resolve),
            Step("connect", "HTTPS", self.connect, 2 * STEP_SECONDS),
            Step("token", "Token", self.get_token),
            Step("sign_in", "Sign in", self.sign_in),
            Step("sender", "Sender", self.name_sender),
            Step("recipient", "Recipient", self.name_recipient),
        )

    @property
    def dialogue(self) -> Sequence[DialogueLine]:
        return ()

    async def close(self) -> None:
        await self._keeper.close()

    async def resolve(self) -> Evidence:
        return await resolve(self._network, self._draft.host, self._draft.port)

    async def connect(self) -> Evidence:
        """Graph answers 401 to whoever shows no token: then name, certificate and way are right."""
        response = await self._get("/me", {})
        if response.status_code != 401:
            text = f"{self._draft.host} answered {response.status_code}; Microsoft Graph says 401 to a stranger."
            raise StepFailed(Failure(FailureClass.NETWORK, "not_graph", text, "settings_do_not_fit"))
        return Evidence(f"https://{self._draft.host}: TLS with a certificate that is trusted; it answers")

    async def get_token(self) -> Evidence:
        sign_in = await self._keeper.graph_sign_in_for(DRAFT_MAILBOX_ID)
        claims = read_claims(sign_in.token)
        if self._draft.takes_large_mail and "mail.readwrite" not in claims.scopes.lower().split():
            text = "The token does not allow Mail.ReadWrite, which large messages by Microsoft Graph need."
            raise StepFailed(Failure(FailureClass.PERMISSION, "scope_missing", text, "large_mail_not_allowed"))
        parts = ["renewed", *claims.describe()]
        note = await read_licence_note(self._keeper, self._http, self._provider)
        if note is None or note.state is LicenceState.UNKNOWN:
            return Evidence(", ".join(parts))
        parts.append(note.text)
        if note.state is LicenceState.LICENSED:
            return Evidence(", ".join(parts))
        failure = Failure(FailureClass.PERMISSION, "licence_missing", f"{note.text}.", "licence_missing")
        return Evidence(", ".join(parts), FindingState.WARN, failure)

    async def sign_in(self) -> Evidence:
        token = await self._keeper.access_token(DRAFT_MAILBOX_ID, Resource.GRAPH)
        response = await self._get("/me", {"Authorization": f"Bearer {token}"})
        answer = read_answer(response)
        if response.status_code != 200:
            text = f"Microsoft Graph answered {answer.status} {answer.code}: {answer.message}"
            raise StepFailed(Failure(FailureClass.IDENTITY, "graph_not_allowed", text, "graph_not_allowed"))
        return Evidence(f"signed in as {self._draft.username}")

    async def name_sender(self) -> Evidence:
        text = f"From: {self._draft.sender}"
        if not is_same_address(self._draft.sender, self._draft.username):
            text += " (the right to send as it is unproved until a message is sent)"
        return Evidence(text)

    async def name_recipient(self) -> Evidence:
        return Evidence(f"{self._draft.test_address}: Microsoft Graph says nothing about recipients before a message")

    async def _get(self, path: str, headers: dict[str, str]) -> httpx2.Response:
        try:
            async with asyncio.timeout(STEP_SECONDS):
                return await self._http.get(f"https://{self._draft.host}/v1.0{path}", headers=headers)
        except httpx2.HTTPError as trouble:
            text = f"No connection to {self._draft.host}: {trouble or type(trouble).__name__}."
            raise StepFailed(Failure(FailureClass.NETWORK, "no_connection", text, "no_connection")) from None
