"""What the API is given by whoever builds the server, and what its routes share."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from postroom.accept.listener_plan import ListenerAddress
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.submission import Intake
from postroom.api.caller import Caller
from postroom.api.idempotency import RunningRequests
from postroom.api.memory import BodyMemory, HeldBytes
from postroom.api.problems import ApiError, invalid, not_found
from postroom.api.scrape import Monitors
from postroom.api.uploads import Uploads
from postroom.clock import Clock
from postroom.ids import parse_public_id, public_id
from postroom.outcome import Stopped
from postroom.store import Store
from postroom.store.records import MailServerDraft

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

BODY_LIMIT_BYTES = 10 * 1024 * 1024
"""Of a body that is held in memory; larger mail comes as multipart or raw, which stream."""


class SecretDesk(Protocol):
    """Another client secret for what is set up: `postroom.identity.client_secret.ClientSecretDesk`."""

    async def renew(
        self, mailbox_id: int, client_secret: str, ends_on: date | None, who: str, from_address: str = ""
    ) -> Stopped | None:
        """Try it, then use it. Stopped: used, but somebody has to sign in. SignInTroubleError, WrongStateError."""
        ...

    async def go_back(self, mailbox_id: int, who: str, from_address: str = "") -> Stopped | None:
        """The same with the secret of before."""
        ...


class BegunSignIn(Protocol):
    """A sign-in that was begun."""

    @property
    def url(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def redirect_url(self) -> str: ...
    @property
    def expires_at_us(self) -> int: ...


class SignInDesk(Protocol):
    """Signing in to Microsoft: `postroom.identity.sign_in_desk.SignInDesk`. None is the draft of the page."""

    redirect_url: str

    async def begin(
        self, mail_server_id: int | None, caller: str, from_address: str = "", *, chooses_account: bool = False
    ) -> BegunSignIn: ...

    async def complete(self, mail_server_id: int | None, caller: str, address: str) -> bool: ...

    async def waiting_until_us(self, mail_server_id: int | None, caller: str) -> int | None: ...

    async def settings(self, mail_server_id: int | None) -> MailServerDraft: ...

    def permissions(self, draft: MailServerDraft) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class ApiRoom:
    """Every object that the routes need."""

    store: Store
    clock: Clock
    intake: Intake
    guard: SignInGuard
    uploads: Uploads
    running: RunningRequests
    memory: BodyMemory
    client_secrets: SecretDesk
    sign_ins: SignInDesk
    listeners: Callable[[], Sequence[ListenerAddress]]
    shutdown: asyncio.Event
    """Set when the server stops: no new mail is taken."""
    monitors: Monitors = Monitors()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Call:
    """One request that was let in."""

    room: ApiRoom
    caller: Caller
    request: Request
    body: Any = None
    """The request's structure, where its route asks for one."""

    def part(self, name: str) -> str:
        return str(self.request.path_params[name])

    def asked(self, name: str) -> str:
        """A parameter of the address, empty when it is missing."""
        return self.request.query_params.get(name, "")

    def flag(self, name: str) -> bool:
        """ApiError for what is neither: `?atomic=ture` must not mean no."""
        text = self.asked(name).lower()
        if text not in ("", "true", "false", "1", "0"):
            raise invalid(name, "it is true or false")
        return text in ("true", "1")

    def number(self, name: str, default: int, least: int, greatest: int) -> int:
        text = self.asked(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= greatest and len(text) < 10):
            raise invalid(name, f"it is a number from {least} to {greatest}")
        return int(text)


Answer = Callable[[Call], Awaitable[Response]]


def message_id_text(message_id: int) -> str:
    return f"msg_{public_id(message_id)}"


def app_id_text(app_id: int) -> str:
    return f"app_{public_id(app_id)}"


def read_id(text: str, prefix: str, what: str) -> int:
    """`msg_01J...` or the id alone; ApiError 404 when it is none."""
    try:
        return parse_public_id(text.removeprefix(f"{prefix}_"))
    except ValueError:
        raise not_found(what) from None


def say(answer: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(answer), status, headers, "application/json")


def media_type(request: Request) -> str:
    """Of the body, without its parameters; empty when it is not said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """ApiError 415. A body whose kind is not said is read as JSON."""
    kind = media_type(request)
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise unsupported(f"This is sent as JSON, not as {kind[:80]}.", "Set Content-Type: application/json.")


def require_plain(request: Request) -> None:
    """ApiError 415 for a body that is compressed: its size could not be limited beforehand."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise unsupported(f"Bodies are not taken with Content-Encoding {encoding[:40]}.", "Send the body as it is.")


def unsupported(text: str, remedy: str) -> ApiError:
    return ApiError("unsupported_media_type", text, remedy)


def announced_bytes(request: Request) -> int:
    """How long the body will be; 0 when that is not said."""
    announced = request.headers.get("content-length", "")
    return int(announced[:18]) if announced.isascii() and announced.isdigit() else 0


async def read_body(request: Request, limit: int = BODY_LIMIT_BYTES) -> bytes:
    """ApiError when it is larger, or when other requests hold too much already."""
    if announced_bytes(request) > limit:
        raise too_large(limit)
    content = bytearray()
    held: HeldBytes = request.state.held
    async for chunk in request.stream():
        if len(content) + len(chunk) > limit:
            raise too_large(limit)
        held.grow(len(chunk))
        content += chunk
    return bytes(content)


def too_large(limit: int) -> ApiError:
    return ApiError(
        "message_too_large",
        f"A JSON body may have {limit // 1_048_576} MB: it is held in memory.",
        "Send larger mail as multipart/form-data or as message/rfc822; both stream.",
    )


def decode(content: bytes, shape: Any) -> Any:
    """The structure in a body; ApiError with the field that is wrong."""
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.ValidationError as trouble:
        message, _, path = str(trouble).partition(" - at `$")
        unknown = _UNKNOWN_FIELD.search(message)
        where = path.rstrip("`").replace("[...]", "").replace("[", ".").replace("]", "").strip(".")
        if unknown is not None:
            where, message = f"{where}.{unknown[1]}".strip("."), "there is no such field; is it misspelt?"
        raise invalid(where, plain_words(message)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        why = "it is nested too deeply" if isinstance(trouble, RecursionError) else str(trouble)
        raise ApiError(
            "invalid_json", f"The body is not valid JSON: {why}.", "Send UTF-8 JSON as RFC 8259 has it."
        ) from None


def plain_words(message: str) -> str:
    """What msgspec says, as this API's other sentences are."""
    if "timezone" in message or "RFC3339" in message:
        return "a time is written with its zone, such as 2026-11-24T06:00:00Z"
    return message[:1].lower() + message[1:]
