"""Where sent mail ends up: every message that Exchange Online accepted, and how it came.

Nothing of a message is ever rendered as HTML; what a page shows of it is text.
"""

import asyncio
from collections.abc import Callable
from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.sender_rights import read_head
from postroom.simulator.tenant import ReceivedMessage, Tenant

SHOWN_MESSAGES = 200
SHOWN_CHARACTERS = 100_000


class Attachment(msgspec.Struct, frozen=True):
    name: str
    content_type: str
    size_bytes: int


class Reading(msgspec.Struct, frozen=True):
    """What a person reads of a message; `note` says why `text` is not all of it."""

    head: str
    text: str
    note: str = ""
    attachments: tuple[Attachment, ...] = ()


class Line(msgspec.Struct, frozen=True):
    """One message in the list."""

    number: int
    received_at: float
    author: str
    subject: str
    recipients: tuple[str, ...]
    size_bytes: int
    came_by: str = "SMTP"


def routes(tenant: Tenant) -> list[BaseRoute]:
    """The list, a message, and its source as it came."""
    inbox = _Inbox(tenant)
    return [
        Route("/inbox", inbox.list_messages),
        Route("/inbox/{number:int}", inbox.show_message),
        Route("/inbox/{number:int}/source", inbox.show_source),
    ]


class _Inbox:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def list_messages(self, request: Request) -> Response:
        newest = self.tenant.messages[: -SHOWN_MESSAGES - 1 : -1]
        lines = [summarize_message(message) for message in newest]
        return pages.render(request, "inbox.html", lines=lines, total=len(self.tenant.messages))

    async def show_message(self, request: Request) -> Response:
        message = self._find(request)
        if message is None:
            return self._missing(request)
        # 25 MB take seconds to read: meanwhile the other connections go on.
        reading = await asyncio.to_thread(read_message, message.content)
        return pages.render(
            request, "inbox_message.html", message=message, line=summarize_message(message), reading=reading
        )

    async def show_source(self, request: Request) -> Response:
        message = self._find(request)
        if message is None:
            return self._missing(request)
        headers = {
            "content-security-policy": "default-src 'none'; sandbox",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        return Response(message.content, media_type="text/plain; charset=utf-8", headers=headers)

    def _find(self, request: Request) -> ReceivedMessage | None:
        number = request.path_params["number"]
        return next((message for message in self.tenant.messages if message.number == number), None)

    def _missing(self, request: Request) -> Response:
        reason = f"There is no message {request.path_params['number']}. The inbox is empty after each start."
        return pages.render(request, "refused.html", status_code=404, reason=reason, next_path="/inbox")


def summarize_message(message: ReceivedMessage) -> Line:
    head = read_head(message.content)
    return Line(
        number=message.number,
        received_at=message.received_at,
        author=_field(head, "From"),
        subject=_field(head, "Subject"),
        recipients=message.recipients,
        size_bytes=len(message.content),
        came_by=message.came_by,
    )


def read_message(content: bytes) -> Reading:
    """The head as it came, the plain text, and the attachments by name. Broken mail is shown as far as it goes."""
    end = content.find(b"\r\n\r\n")
    head = (content if end < 0 else content[:end]).decode("utf-8", "replace")
    # The older parser: the newer one raises on headers that are broken badly enough.
    message = BytesParser(policy=policy.compat32).parsebytes(content)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    body = next((leaf for leaf in leaves if _is_text(leaf, "plain")), None)
    note = ""
    if body is None:
        body = next((leaf for leaf in leaves if _is_text(leaf, "html")), None)
        note = "There is no plain text in this message; this is the source of its HTML." if body else ""
    text = _text_of(body) if body else ""
    if len(text) > SHOWN_CHARACTERS:
        text, note = text[:SHOWN_CHARACTERS], f"{note} Only its beginning is shown.".strip()
    attachments = tuple(_describe(leaf) for leaf in leaves if leaf is not body and _is_attached(leaf))
    return Reading(head[:SHOWN_CHARACTERS], text, note, attachments)


def _field(head: Message | None, name: str) -> str:
    return _decoded(str(head[name] or "")) if head else ""


def _decoded(written: str) -> str:
    try:
        return str(make_header(decode_header(written)))
    except (MessageError, LookupError, ValueError):
        return written


def _is_text(leaf: Message, subtype: str) -> bool:
    return leaf.get_content_type() == f"text/{subtype}" and not _is_named(leaf)


def _is_named(leaf: Message) -> bool:
    return leaf.get_content_disposition() == "attachment" or bool(_parameter(leaf.get_filename))


def _is_attached(leaf: Message) -> bool:
    return _is_named(leaf) or leaf.get_content_maintype() != "text"


def _parameter(read: Callable[[], str | None]) -> str:
    """A parameter of a header; nothing where the email package trips over a broken one."""
    try:
        return read() or ""
    except (LookupError, TypeError, ValueError):
        return ""


def _payload_of(leaf: Message) -> bytes:
    payload = leaf.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text_of(leaf: Message) -> str:
    charset = _parameter(leaf.get_content_charset)
    try:
        return _payload_of(leaf).decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return _payload_of(leaf).decode("latin-1")


def _describe(leaf: Message) -> Attachment:
    name = _decoded(_parameter(leaf.get_filename)) or "(without a name)"
    return Attachment(name, leaf.get_content_type(), len(_payload_of(leaf)))
