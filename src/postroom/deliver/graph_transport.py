"""The way out over Microsoft Graph: `sendMail` with the whole message as base64 (microsoft365.md 3.4).

Graph takes about 4 MB a request, so about 3 MB of a message: such a one is held in memory whole. A larger one goes as a
draft, where the mail server is set up for it (`graph_large_mail`). Graph accepts or refuses a message as a whole; whom
it cannot reach it reports later, by mail to the mailbox.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator

import httpx2

from postroom.clock import Clock
from postroom.deliver.dialogue import Dialogue
from postroom.deliver.graph_answers import COMMAND
from postroom.deliver.graph_calls import (
    GraphCalls,
    GraphRequest,
    GraphSignInSource,
    Pause,
    StepFailedError,
    read_answer,
    sent_outcome,
)
from postroom.deliver.graph_head import GraphFitError, make_graph_head
from postroom.deliver.graph_large_mail import send_large
from postroom.deliver.transport import Parcel, Report
from postroom.outcome import Failure, FailureClass, Outcome, Refused
from postroom.store.pace import GRAPH_LARGE_LIMIT_BYTES, GRAPH_MESSAGE_LIMIT_BYTES
from postroom.store.records import Mailbox, MailServer
from postroom.wire.head import find_head_end

__all__ = ["GraphSignInSource", "GraphTransport", "read_answer"]


class GraphTransport:
    """Implements `Transport`. As many tasks may send at a time as the caller allows."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        sign_ins: GraphSignInSource,
        clock: Clock,
        mail_server: MailServer,
        mailbox: Mailbox,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._mailbox = mailbox
        self._takes_large_mail = mail_server.takes_large_mail
        self._server = mail_server.host
        self._calls = GraphCalls(http, sign_ins, clock, mail_server, mailbox, pause)

    async def send(self, parcel: Parcel) -> Report:
        """Send one parcel. Raises only what the parcel's own body raises."""
        dialogue = Dialogue(lambda: self._clock.now_us() / 1_000_000)
        outcome = await self._send(parcel, dialogue)
        return Report((outcome,) * len(parcel.recipients), dialogue.lines, self._server)

    async def close(self) -> None:
        """The client is everybody's; it has nothing of ours."""

    async def _send(self, parcel: Parcel, dialogue: Dialogue) -> Outcome:
        if parcel.size_bytes > (GRAPH_LARGE_LIMIT_BYTES if self._takes_large_mail else GRAPH_MESSAGE_LIMIT_BYTES):
            return self._refused(FailureClass.SIZE, "graph_too_large", self._too_large(parcel))
        if parcel.size_bytes > GRAPH_MESSAGE_LIMIT_BYTES:
            return await send_large(self._calls, parcel, dialogue, self._own_addresses)
        message = await self._read(parcel)
        end = find_head_end(message) or len(message)
        try:
            head = make_graph_head(message[:end], parcel.recipients, self._own_addresses)
        except GraphFitError as trouble:
            return self._refused(FailureClass.CONTENT, "graph_does_not_fit", str(trouble))
        for change in head.changes:
            dialogue.remark(change)
        content = base64.b64encode(head.content + message[end:])
        request = GraphRequest("POST", "/sendMail", content, "text/plain", sends=True)
        try:
            return sent_outcome(await self._calls.conversation(parcel, dialogue).ask(request))
        except StepFailedError as failed:
            return failed.outcome

    def _too_large(self, parcel: Parcel) -> str:
        if self._takes_large_mail:
            return f"The message has {parcel.size_bytes:,} bytes; Microsoft takes {GRAPH_LARGE_LIMIT_BYTES:,} at most."
        return (
            f"The message has {parcel.size_bytes:,} bytes; "
            f"Microsoft Graph takes {GRAPH_MESSAGE_LIMIT_BYTES:,} at most in one request."
        )

    @property
    def _own_addresses(self) -> tuple[str, ...]:
        """The primary one first."""
        user = self._mailbox.user
        return (self._mailbox.address, *(user.addresses if user is not None else ()))

    def _refused(self, failure_class: FailureClass, code: str, text: str) -> Refused:
        return Refused(Failure(failure_class, code, text, code, command=COMMAND, server=self._server))

    async def _read(self, parcel: Parcel) -> bytes:
        body = parcel.open_body()
        try:
            return b"".join([chunk async for chunk in body])
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
