"""One request to Microsoft Graph and what comes of it: signed in, told in the dialogue, patient when asked to be.

Used by both ways to send by Graph: in one request, and with a draft.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from postroom.clock import MICROSECONDS, Clock
from postroom.deliver.dialogue import Dialogue
from postroom.deliver.graph_answers import GraphAnswer, outcome_of_answer, outcome_of_step, wait_until
from postroom.deliver.network_failures import away
from postroom.deliver.transport import Parcel
from postroom.errors import SignInTroubleError
from postroom.identity.sign_ins import Bearer
from postroom.outcome import Failure, FailureClass, Outcome, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.records import Mailbox, MailServer

PATIENCE_SECONDS = 60.0
"""A wait up to this is waited out between the steps of one message; a longer one ends the attempt."""
WAITS = 5
"""Of one message."""
NO_TIME_LEFT = "It took so long that the time to hear the answer no longer sufficed; nothing was sent."
_THROTTLED = frozenset({429, 503})

Pause = Callable[[float], Awaitable[None]]


class GraphSignInSource(Protocol):
    """Hands out tokens that may send by Graph."""

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        """As `SignInSource.sign_in_for`."""
        ...


class GraphRequest(msgspec.Struct, frozen=True):
    """What is asked. `url` is whole, or a path below the mailbox."""

    method: str
    url: str
    content: bytes = b""
    content_type: str = ""
    content_range: str = ""
    sends: bool = False
    """The message leaves with this one: whoever loses its answer does not know."""
    is_upload: bool = False
    """To a URL that is signed in already: no token may go there."""
    is_told: bool = True
    """Not each of many equal ones stands in the dialogue."""

    @property
    def command(self) -> str:
        last = "attachment" if self.is_upload else self.url.rpartition("/")[2]
        return f"{self.method} {last}" if self.method != "DELETE" else "DELETE draft"


class StepFailedError(Exception):
    """A request that did not do what it was for, as the outcome of the attempt."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(type(outcome).__name__)
        self.outcome = outcome


class GraphCalls:
    """Requests for one mail server and mailbox."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        sign_ins: GraphSignInSource,
        clock: Clock,
        mail_server: MailServer,
        mailbox: Mailbox,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._http = http
        self._sign_ins = sign_ins
        self._clock = clock
        self._mailbox = mailbox
        self._pause = pause
        self.server = mail_server.host
        port = "" if mail_server.port == 443 else f":{mail_server.port}"
        self._base_url = f"https://{mail_server.host}{port}/v1.0{self._owner}"

    @property
    def _owner(self) -> str:
        """`/me` is the account that signed in; another mailbox has its own address."""
        if self._mailbox.address.lower() == self._mailbox.username.lower():
            return "/me"
        return f"/users/{quote(self._mailbox.address)}"

    def conversation(self, parcel: Parcel, dialogue: Dialogue) -> "Conversation":
        """The requests of one message."""
        return Conversation(self, parcel, dialogue)

    async def sign_in(self, refuse_token: str | None) -> Bearer:
        """StepFailedError when there is none to be had."""
        try:
            return await self._sign_ins.graph_sign_in_for(self._mailbox.mailbox_id, refuse_token=refuse_token)
        except SignInTroubleError as trouble:
            raise StepFailedError(self._unsent(trouble.outcome)) from None

    async def ask(self, request: GraphRequest, sign_in: Bearer | None) -> httpx2.Response:
        """Errors: httpx2.TransportError."""
        headers = {
            "Authorization": f"Bearer {sign_in.token}" if sign_in is not None else "",
            "Content-Type": request.content_type,
            "Content-Range": request.content_range,
        }
        url = request.url if request.is_upload else self._base_url + request.url
        given = {name: value for name, value in headers.items() if value}
        return await self._http.request(request.method, url, content=request.content, headers=given)

    def describe(self, request: GraphRequest, sign_in: Bearer | None) -> str:
        """Without what is secret: a URL of an upload is as good as a token."""
        if request.is_upload:
            return f"{request.method} https://{urlsplit(request.url).hostname}/… ({request.content_range})"
        size = f"{len(request.content):,} bytes, {request.content_type}, " if request.content else ""
        who = sign_in.user if sign_in is not None else ""
        return f"{request.method} {self._base_url}{request.url} ({size}signed in as {who})"

    async def wait(self, seconds: float) -> None:
        await self._pause(seconds)

    def now_us(self) -> int:
        return self._clock.now_us()

    def failure(self, request: GraphRequest, failure_class: FailureClass, code: str, text: str, remedy: str) -> Failure:
        return Failure(failure_class, code, text, remedy, command=request.command, server=self.server)

    def broken(self, request: GraphRequest, trouble: httpx2.TransportError) -> Outcome:
        """Before the request that sends was whole on its way nothing was sent; afterwards nobody knows."""
        text = str(trouble) or type(trouble).__name__
        if isinstance(trouble, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
            server = urlsplit(request.url).hostname or self.server
            return away("no_connection", f"No connection to {server}: {text}", server, command=request.command)
        if not request.sends or isinstance(trouble, httpx2.WriteError | httpx2.WriteTimeout):
            text = f"The connection broke while the message was on its way: {text}"
            return TryLater(self.failure(request, FailureClass.NETWORK, "connection_broke", text, "connection_broke"))
        text = f"The message was handed over, but its answer is missing: {text}"
        return Unknown(self.failure(request, FailureClass.NETWORK, "answer_lost", text, "unknown_outcome"))

    def _unsent(self, outcome: Stopped | TryLater) -> Outcome:
        """Before a message was offered, a temporary answer is about the mailbox: no message grows older by it."""
        if isinstance(outcome, TryLater):
            return Stopped(outcome.failure, StopCause.SIGN_IN, outcome.until_us or self._clock.now_us())
        return outcome


class Conversation:
    """The requests of one message, one after the other."""

    def __init__(self, calls: GraphCalls, parcel: Parcel, dialogue: Dialogue) -> None:
        self._calls = calls
        self._parcel = parcel
        self._dialogue = dialogue
        self._waits_left = WAITS

    async def ask(self, request: GraphRequest) -> httpx2.Response:
        """The answer of a request that did what it was for. StepFailedError."""
        refuse_token: str | None = None
        while True:
            sign_in = None if request.is_upload else await self._calls.sign_in(refuse_token)
            if request.sends and not self._parcel.may_finish():
                text = NO_TIME_LEFT
                failure = self._calls.failure(request, FailureClass.LOCAL, "no_time_left", text, "local_trouble")
                raise StepFailedError(TryLater(failure))
            response = await self._exchange(request, sign_in)
            if response.is_success:
                return response
            if response.status_code == 401 and sign_in is not None and refuse_token is None:
                refuse_token = sign_in.token  # it may have ended before its time: once, another one is tried
            elif not await self._waited(request, response):
                raise StepFailedError(self._outcome_of(request, response))

    async def _exchange(self, request: GraphRequest, sign_in: Bearer | None) -> httpx2.Response:
        self._parcel.is_moving()
        if request.is_told:
            self._dialogue.we_say(self._calls.describe(request, sign_in))
        try:
            response = await self._calls.ask(request, sign_in)
        except httpx2.TransportError as trouble:
            self._dialogue.remark(str(trouble) or type(trouble).__name__)
            raise StepFailedError(self._calls.broken(request, trouble)) from None
        self._parcel.is_moving()
        if request.is_told or not response.is_success:
            answer = read_answer(response)
            self._dialogue.they_say(" ".join(filter(None, (str(answer.status), answer.code, answer.message))))
        return response

    async def _waited(self, request: GraphRequest, response: httpx2.Response) -> bool:
        """Whether a short wait that was asked for is over, and the same may be asked again."""
        now_us = self._calls.now_us()
        until_us = wait_until(response.headers.get("Retry-After", ""), now_us)
        if request.sends or response.status_code not in _THROTTLED or until_us is None or not self._waits_left:
            return False
        seconds = (until_us - now_us) / MICROSECONDS
        if seconds > PATIENCE_SECONDS:
            return False
        self._waits_left -= 1
        self._dialogue.remark(f"Waiting {seconds:.0f} s, as it was asked for.")
        await self._calls.wait(seconds)
        return True

    def _outcome_of(self, request: GraphRequest, response: httpx2.Response) -> Outcome:
        answer, now_us, server = read_answer(response), self._calls.now_us(), self._calls.server
        if request.sends:
            return outcome_of_answer(answer, server=server, now_us=now_us, command=request.command)
        return outcome_of_step(
            answer, server=server, now_us=now_us, command=request.command, is_upload=request.is_upload
        )


def sent_outcome(response: httpx2.Response) -> Outcome:
    """Of a request that sends and was answered well. Only 202 says that the message was taken."""
    answer = read_answer(response)
    outcome = outcome_of_answer(answer, server="", now_us=0)
    if isinstance(outcome, Sent):
        return outcome
    text = f"Graph answered {answer.status} where it says 202: whether the message was taken is not known."
    return Unknown(Failure(FailureClass.UNKNOWN, "unexpected_answer", text, "unknown_outcome"))


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
