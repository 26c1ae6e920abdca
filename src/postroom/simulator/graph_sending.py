"""Sending a message that has arrived over Graph: whose it is, whether it may go, and what it becomes.

There is no envelope: who gets it stands in To, Cc and Bcc (microsoft365.md 3.4). Rights and limits are
Exchange's, the same that SMTP meets. Accepted is not delivered, so recipients that SMTP would refuse at
once are accepted here, and a report of non-delivery would come later.
"""

import asyncio
from collections.abc import Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from postroom.simulator import exchange_replies as replies
from postroom.simulator.faults import ONCE, Fault, fault_for
from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_mailboxes import Post
from postroom.simulator.graph_mime import (
    Mime,
    Person,
    Rewritten,
    check_recipients,
    is_address,
    parse_mime,
    rewrite_head,
)
from postroom.simulator.graph_requests import Call, Front
from postroom.simulator.tenant import ReceivedMessage, Tenant, User

# What a fault of the table sounds like here, by its address; the others are met after Graph's 202, if at all.
FAULT_ANSWERS = {
    "throttled": "throttled",
    "rate-limited": "throttled",
    "421": "unavailable",
    "busy-after-dot": "unavailable",
    "no-answer": "gateway timeout",
    "432": "concurrency",
    "too-many-connections": "concurrency",
    "sendas-denied": "send as denied",
    "sendas-denied-older": "send as denied",
    "sendas-denied-front-end": "send as denied",
    "sendas-denied-server": "send as denied",
    "on-behalf-denied": "send as denied",
    "mailbox-full": "mailbox full",
    "daily-limit": "daily limit",
    "submission-quota": "daily limit",
    "recipient-limit": "daily limit",
    "tenant-limit": "external limit",
    "blocked": "mailbox blocked",
    "tenant-blocked": "mailbox blocked",
    "banned-sender": "mailbox blocked",
    "spam-abuse": "mailbox blocked",
    "too-large": "message too large",
}
_EXHAUSTED = {
    "mailbox full": "mailbox full",
    "recipients a day": "daily limit",
    "external recipients a day": "external limit",
    "external recipients of a trial": "external limit",
}
_WAITING = {"throttled", "unavailable", "concurrency"}


class Outgoing(msgspec.Struct, frozen=True):
    """A message before Graph has seen to it: its bytes with Bcc, and how it came.

    `message_id` is for one that has none of its own; `is_kept` says whether Sent Items keep a copy.
    """

    content: bytes
    is_json: bool
    is_kept: bool = True
    message_id: str = ""


class Sending:
    def __init__(self, front: Front) -> None:
        self.tenant: Tenant = front.tenant
        self._struck: set[tuple[str, str]] = set()

    async def send(self, call: Call, post: Post, outgoing: Outgoing) -> Response:
        """202 and nothing else, or a GraphError that says why not."""
        # A message of many megabytes is read and written beside the other connections.
        mime = await asyncio.to_thread(parse_mime, outgoing.content)
        author, sender = self._find_originators(call, post, mime)
        recipients = check_recipients([person for name in ("to", "cc", "bcc") for person in mime.people(name)])
        rewritten = rewrite_head(
            mime,
            author=author,
            sender=sender,
            now=self.tenant.clock.now(),
            message_id=outgoing.message_id or replies.make_message_id(self._next_number()),
            keeps_x_headers=outgoing.is_json or self.tenant.graph.keeps_x_headers,
        )
        self._check_limits(post.sender, recipients, len(rewritten.content))
        identity = mime.value("message-id") or str(hash(outgoing.content))
        fault = self._strike((author.address, *recipients), identity)
        _raise_fault(fault)
        if fault is None or fault.effect != "drop before storing":
            self._keep(call, post, outgoing, author, recipients, rewritten)
        return await self._answer(fault)

    # Whose it is

    def _find_originators(self, call: Call, post: Post, mime: Mime) -> tuple[Person, Person | None]:
        """From as it is delivered, and Sender where it is sent on behalf. Send As wins where both are granted [C]."""
        written = mime.people("from")
        address = written[0].address if written else post.mailbox.mail
        mailbox = self.tenant.user_by_address(address) if is_address(address) else None
        if mailbox is None:
            raise refusal("send as denied")
        # The name is the directory's, whatever was written [B].
        author = Person(mailbox.display_name, self._address_in_from(mailbox, address))
        if mailbox is post.sender:
            return author, None
        if call.caller.user and not call.caller.allows("Mail.Send.Shared"):
            raise refusal("mail denied")
        if self.tenant.may_send_as(post.sender, address):
            return author, None
        if self.tenant.may_send_on_behalf(post.sender, address):
            return author, Person(post.sender.display_name, post.sender.mail)
        raise refusal("send as denied")

    def _address_in_from(self, mailbox: User, address: str) -> str:
        """An alias becomes the primary address [B] unless SendFromAliasEnabled is on [C]."""
        keeps_alias = self.tenant.exchange.in_effect().send_from_alias_enabled or not mailbox.mail
        return address if keeps_alias else mailbox.mail

    # Whether it may go

    def _check_limits(self, sender: User, recipients: tuple[str, ...], size_bytes: int) -> None:
        exchange = self.tenant.exchange
        limits = exchange.limits_of(sender.object_id)
        if len(recipients) > (limits.recipients_per_message or exchange.limits.recipients_per_message):
            raise refusal("too many recipients")
        if size_bytes > limits.message_size_bytes:
            raise refusal("message too large")
        exhausted = exchange.submissions.find_exhausted(sender, recipients, size_bytes)
        if exhausted:
            raise refusal(_EXHAUSTED[exhausted])

    def _strike(self, addresses: Iterable[str], identity: str) -> Fault | None:
        """The first fault that is due; one of the `-once` kind is due once for each message."""
        for address in addresses:
            fault = fault_for(address)
            if fault is None or _is_refused_later(fault):
                continue
            if not (fault.is_once and (fault.local_part, identity) in self._struck):
                self._struck.add((fault.local_part, identity))
                return fault
        return None

    # What becomes of it

    def _keep(
        self, call: Call, post: Post, outgoing: Outgoing, author: Person, recipients: tuple[str, ...], sent: Rewritten
    ) -> None:
        submissions = self.tenant.exchange.submissions
        is_own = post.sender is post.mailbox
        message = ReceivedMessage(
            number=self._next_number(),
            received_at=self.tenant.clock.now(),
            signed_in_as=_describe_caller(self.tenant, call),
            envelope_sender=author.address,
            recipients=recipients,
            content=sent.content,
            dialogue=_dialogue_of(call, outgoing, recipients, sent.notes),
            mailbox_id=post.sender.object_id,
            delivered_at=submissions.delivery_time(post.sender.object_id),
            came_by="Graph",
        )
        submissions.keep(post.sender, message, is_in_sent_items=outgoing.is_kept and is_own)
        if outgoing.is_kept and not is_own:
            submissions.keep_copy(post.mailbox.object_id, message)

    async def _answer(self, fault: Fault | None) -> Response:
        if fault and fault.effect == "delay":
            await asyncio.sleep(self.tenant.graph.slow_seconds)
        if fault and fault.effect.startswith("drop"):
            # The status is never said; it tells whether the message was sent.
            return _BrokenConnection(status_code=202 if fault.effect == "drop after storing" else 504)
        return Response(status_code=202)

    def _next_number(self) -> int:
        return self.tenant.messages[-1].number + 1 if self.tenant.messages else 1


class _BrokenConnection(Response):
    """Ends the connection without a word; where the web server does not let us, 504 is as uncertain."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # uvicorn has no way for an application to do this; its own request object is behind `receive`.
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is None:
            await Response(status_code=504)(scope, receive, send)
            return
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass


def _raise_fault(fault: Fault | None) -> None:
    name = _answer_to(fault) if fault else None
    if name:
        raise refusal(name, retry_after_seconds=1 if name in _WAITING else None)


def _describe_caller(tenant: Tenant, call: Call) -> str:
    if call.caller.user:
        return call.caller.user.user_principal_name
    return f"the application {tenant.app(call.caller.claims.client_id).name}"


def _dialogue_of(
    call: Call, outgoing: Outgoing, recipients: tuple[str, ...], notes: tuple[str, ...]
) -> tuple[str, ...]:
    request: Request = call.request
    faults = [(address, fault_for(address)) for address in recipients]
    later = [address for address, fault in faults if fault and _is_refused_later(fault)]
    return (
        f"C: {request.method} {request.url.path}",
        f"C: host: {request.headers.get('host', '')}",
        "C: authorization: Bearer <not kept>",
        f"C: content-type: {request.headers.get('content-type', '–')}",
        f"* a message of {len(outgoing.content)} octets, {'in JSON' if outgoing.is_json else 'as MIME'}",
        *(f"* {note}" for note in notes),
        *(f"* {address} would be reported as not delivered, later and by mail" for address in later),
        "S: 202 Accepted",
        *(f"S: {name}: {value}" for name, value in call.trace.items()),
    )


def _answer_to(fault: Fault) -> str | None:
    return FAULT_ANSWERS.get(fault.local_part.removesuffix(ONCE))


def _is_refused_later(fault: Fault) -> bool:
    return fault.effect == "refuse" and _answer_to(fault) is None
