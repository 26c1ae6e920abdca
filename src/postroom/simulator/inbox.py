"""Where sent mail ends up: what Exchange Online accepted, how it came, and each mailbox's own view of it.

The HTML of a message is shown only as a document of its own that may load, run and send nothing.
"""

import asyncio
from email.message import Message

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.message_reading import decode_field, read_html, read_message
from postroom.simulator.sender_rights import read_head
from postroom.simulator.tenant import ReceivedMessage, Tenant, User

SHOWN_MESSAGES = 200
_SANDBOX = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; sandbox"
)
_AS_TEXT = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


class Line(msgspec.Struct, frozen=True):
    """One message in the list. `held_until` is set while Exchange holds it back for the mailbox's pace."""

    number: int
    received_at: float
    author: str
    subject: str
    recipients: tuple[str, ...]
    size_bytes: int
    came_by: str = "SMTP"
    held_until: float | None = None


def routes(tenant: Tenant) -> list[BaseRoute]:
    """The list, a mailbox, a message, and its source and its HTML as they came."""
    inbox = _Inbox(tenant)
    return [
        Route("/inbox", inbox.list_messages),
        Route("/inbox/of/{object_id}", inbox.show_mailbox),
        Route("/inbox/{number:int}", inbox.show_message),
        Route("/inbox/{number:int}/source", inbox.show_source),
        Route("/inbox/{number:int}/html", inbox.show_html),
    ]


class _Inbox:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def list_messages(self, request: Request) -> Response:
        newest = self.tenant.messages[: -SHOWN_MESSAGES - 1 : -1]
        mailboxes = [user for user in self.tenant.users.values() if user.is_mailbox]
        return pages.render(
            request,
            "inbox.html",
            lines=self._lines(newest),
            total=len(self.tenant.messages),
            mailboxes=mailboxes,
        )

    async def show_mailbox(self, request: Request) -> Response:
        user = self.tenant.users.get(request.path_params["object_id"])
        if user is None or not user.is_mailbox:
            return self._missing(request, "There is no such mailbox.")
        return pages.render(
            request,
            "inbox_mailbox.html",
            user=user,
            received=self._lines(received_by(self.tenant, user)[:SHOWN_MESSAGES]),
            sent=self._lines(sent_by(self.tenant, user)[:SHOWN_MESSAGES]),
            submissions=self.tenant.exchange.submissions,
            limits=self.tenant.exchange.limits_of(user.object_id),
        )

    async def show_message(self, request: Request) -> Response:
        message = self._find(request)
        if message is None:
            return self._no_such_message(request)
        # 25 MB take seconds to read: meanwhile the other connections go on.
        reading = await asyncio.to_thread(read_message, message.content)
        line = summarize_message(message, self.tenant.clock.now())
        return pages.render(request, "inbox_message.html", message=message, line=line, reading=reading)

    async def show_source(self, request: Request) -> Response:
        message = self._find(request)
        if message is None:
            return self._no_such_message(request)
        return Response(message.content, media_type="text/plain; charset=utf-8", headers=_AS_TEXT)

    async def show_html(self, request: Request) -> Response:
        message = self._find(request)
        if message is None:
            return self._no_such_message(request)
        html = await asyncio.to_thread(read_html, message.content)
        headers = {**_AS_TEXT, "content-security-policy": _SANDBOX, "referrer-policy": "no-referrer"}
        # What a message calls its character set was settled while it was read.
        return HTMLResponse(html.encode("utf-8", "replace"), headers=headers)

    def _find(self, request: Request) -> ReceivedMessage | None:
        number = request.path_params["number"]
        return next((message for message in self.tenant.messages if message.number == number), None)

    def _lines(self, messages: list[ReceivedMessage]) -> list[Line]:
        now = self.tenant.clock.now()
        return [summarize_message(message, now) for message in messages]

    def _no_such_message(self, request: Request) -> Response:
        number = request.path_params["number"]
        return self._missing(request, f"There is no message {number}. The inbox is empty after each start.")

    def _missing(self, request: Request, reason: str) -> Response:
        return pages.render(request, "refused.html", status_code=404, reason=reason, next_path="/inbox")


def received_by(tenant: Tenant, user: User) -> list[ReceivedMessage]:
    """What has been delivered to the mailbox by now, newest first."""
    now = tenant.clock.now()
    return [
        message
        for message in reversed(tenant.messages)
        if message.delivered_at <= now and not user.addresses.isdisjoint(map(str.lower, message.recipients))
    ]


def sent_by(tenant: Tenant, user: User) -> list[ReceivedMessage]:
    """The mailbox's Sent Items, newest first."""
    kept = set(tenant.exchange.submissions.sent_item_numbers(user.object_id))
    return [message for message in reversed(tenant.messages) if message.number in kept]


def summarize_message(message: ReceivedMessage, now: float) -> Line:
    head = read_head(message.content)
    return Line(
        number=message.number,
        received_at=message.received_at,
        author=_field(head, "From"),
        subject=_field(head, "Subject"),
        recipients=message.recipients,
        size_bytes=len(message.content),
        came_by=message.came_by,
        held_until=message.delivered_at if message.delivered_at > now else None,
    )


def _field(head: Message | None, name: str) -> str:
    return decode_field(str(head[name] or "")) if head else ""
