"""The way out over Microsoft Graph: `sendMail` with the whole message as base64 (microsoft365.md 3.4).

Graph takes about 4 MB a request, so about 3 MB of a message: such a one is held in memory whole. It accepts or refuses
a message as a whole; whom it cannot reach it reports later, by mail to the mailbox.
"""

import base64
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Protocol
from urllib.parse import quote

import httpx2

from postroom.clock import Clock
from postroom.deliver.dialogue import Dialogue
from postroom.deliver.graph_answers import COMMAND, GraphAnswer, outcome_of_answer
from postroom.deliver.graph_head import GraphFitError, make_graph_head
from postroom.deliver.network_failures import away
from postroom.deliver.transport import Parcel, Report
from postroom.errors import SignInTroubleError
from postroom.identity.sign_ins import Bearer
from postroom.outcome import Failure, FailureClass, Outcome, Refused, StopCause, Stopped, TryLater, Unknown
from postroom.store.pace import GRAPH_MESSAGE_LIMIT_BYTES
from postroom.store.records import Mailbox, MailServer
from postroom.wire.head import find_head_end


class GraphSignInSource(Protocol):
    """Hands out tokens that may send by Graph."""

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        """As `SignInSource.sign_in_for`."""
        ...


class GraphTransport:
    """Implements `Transport`. As many tasks may send at a time as the caller allows."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        sign_ins: GraphSignInSource,
        clock: Clock,
        mail_server: MailServer,
        mailbox: Mailbox,
    ) -> None:
        self._http = http
        self._sign_ins = sign_ins
        self._clock = clock
        self._mailbox = mailbox
        self._server = mail_server.host
        port = "" if mail_server.port == 443 else f":{mail_server.port}"
        self._url = f"https://{mail_server.host}{port}/v1.0{self._path}"

    @property
    def _path(self) -> str:
        """`/me` is the account that signed in; another mailbox has its own address."""
        if self._mailbox.address.lower() == self._mailbox.username.lower():
            return "/me/sendMail"
        return f"/users/{quote(self._mailbox.address)}/sendMail"

    async def send(self, parcel: Parcel) -> Report:
        """Send one parcel. Raises only what the parcel's own body raises."""
        dialogue = Dialogue(lambda: self._clock.now_us() / 1_000_000)
        outcome = await self._send(parcel, dialogue)
        return Report((outcome,) * len(parcel.recipients), dialogue.lines, self._server)

    async def close(self) -> None:
        """The client is everybody's; it has nothing of ours."""

    async def _send(self, parcel: Parcel, dialogue: Dialogue) -> Outcome:
        if parcel.size_bytes > GRAPH_MESSAGE_LIMIT_BYTES:
            return self._refused(
                FailureClass.SIZE,
                "graph_too_large",
                f"The message has {parcel.size_bytes:,} bytes; "
                f"Microsoft Graph takes {GRAPH_MESSAGE_LIMIT_BYTES:,} at most in one request.",
            )
        message = await self._read(parcel)
        end = find_head_end(message) or len(message)
        try:
            head = make_graph_head(message[:end], parcel.recipients, self._own_addresses)
        except GraphFitError as trouble:
            return self._refused(FailureClass.CONTENT, "graph_does_not_fit", str(trouble))
        for change in head.changes:
            dialogue.remark(change)
        return await self._post(parcel, base64.b64encode(head.content + message[end:]), dialogue)

    @property
    def _own_addresses(self) -> tuple[str, ...]:
        """The primary one first."""
        user = self._mailbox.user
        return (self._mailbox.address, *(user.addresses if user is not None else ()))

    async def _post(self, parcel: Parcel, content: bytes, dialogue: Dialogue) -> Outcome:
        refuse_token: str | None = None
        while True:
            try:
                sign_in = await self._sign_ins.graph_sign_in_for(self._mailbox.mailbox_id, refuse_token=refuse_token)
            except SignInTroubleError as trouble:
                return self._unsent(trouble.outcome)
            outcome = await self._post_with(sign_in, parcel, content, dialogue)
            is_token_refused = isinstance(outcome, Stopped) and outcome.failure.code == "token_not_accepted"
            if not is_token_refused or refuse_token is not None:
                return outcome
            refuse_token = sign_in.token  # it may have ended before its time: once, another one is tried

    async def _post_with(self, sign_in: Bearer, parcel: Parcel, content: bytes, dialogue: Dialogue) -> Outcome:
        if not parcel.may_finish():
            return TryLater(self._failure(FailureClass.LOCAL, "no_time_left", _NO_TIME_LEFT, "local_trouble"))
        parcel.is_moving()
        dialogue.we_say(f"POST {self._url} ({len(content):,} bytes, text/plain, signed in as {sign_in.user})")
        headers = {"Authorization": f"Bearer {sign_in.token}", "Content-Type": "text/plain"}
        try:
            response = await self._http.post(self._url, content=content, headers=headers)
        except httpx2.TransportError as trouble:
            dialogue.remark(str(trouble) or type(trouble).__name__)
            return self._broken(trouble)
        parcel.is_moving()
        answer = read_answer(response)
        dialogue.they_say(" ".join(filter(None, (str(answer.status), answer.code, answer.message))))
        return outcome_of_answer(answer, server=self._server, now_us=self._clock.now_us())

    def _broken(self, trouble: httpx2.TransportError) -> Outcome:
        """Before the request was whole on its way nothing was sent; afterwards nobody knows."""
        text = str(trouble) or type(trouble).__name__
        if isinstance(trouble, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
            return away("no_connection", f"No connection to {self._server}: {text}", self._server, command=COMMAND)
        if isinstance(trouble, httpx2.WriteError | httpx2.WriteTimeout):
            text = f"The connection broke while the message was on its way: {text}"
            return TryLater(self._failure(FailureClass.NETWORK, "connection_broke", text, "connection_broke"))
        text = f"The message was handed over, but its answer is missing: {text}"
        return Unknown(self._failure(FailureClass.NETWORK, "answer_lost", text, "unknown_outcome"))

    def _unsent(self, outcome: Stopped | TryLater) -> Outcome:
        """Before a message was offered, a temporary answer is about the mailbox: no message grows older by it."""
        if isinstance(outcome, TryLater):
            return Stopped(outcome.failure, StopCause.SIGN_IN, outcome.until_us or self._clock.now_us())
        return outcome

    def _refused(self, failure_class: FailureClass, code: str, text: str) -> Refused:
        return Refused(self._failure(failure_class, code, text, code))

    def _failure(self, failure_class: FailureClass, code: str, text: str, remedy_id: str) -> Failure:
        return Failure(failure_class, code, text, remedy_id, command=COMMAND, server=self._server)

    async def _read(self, parcel: Parcel) -> bytes:
        body = parcel.open_body()
        try:
            return b"".join([chunk async for chunk in body])
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()


_NO_TIME_LEFT = "It took so long that the time to hear the answer no longer sufficed; nothing was sent."


def read_answer(response: httpx2.Response) -> GraphAnswer:
    """Whatever stands in the body: Graph's JSON, a proxy's page, or nothing."""
    code = message = ""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        error = json.loads(response.content).get("error") or {}
        code, message = str(error.get("code") or ""), str(error.get("message") or "")
    return GraphAnswer(
        status=response.status_code,
        code=code,
        message=message,
        request_id=response.headers.get("request-id", ""),
        retry_after=response.headers.get("Retry-After", ""),
    )
