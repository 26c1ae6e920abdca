"""What the API is given by whoever builds the server, and what its routes share."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.submission import Intake
from postroom.api.caller import Caller
from postroom.api.idempotency import RunningRequests
from postroom.api.problems import ApiError, invalid, not_found
from postroom.api.uploads import Uploads
from postroom.clock import Clock
from postroom.ids import parse_public_id, public_id
from postroom.store import Store

_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")

BODY_LIMIT_BYTES = 10 * 1024 * 1024
"""Of a body that is held in memory; larger mail comes as multipart or raw, which stream."""


@dataclass(frozen=True)
class ListenerAddress:
    """Where mail is handed in, as a device's settings name it."""

    name: str
    host: str
    port: int
    encryption: str
    is_for_devices: bool


@dataclass(frozen=True)
class ApiRoom:
    """Every object that the routes need."""

    store: Store
    clock: Clock
    intake: Intake
    guard: SignInGuard
    uploads: Uploads
    running: RunningRequests
    listeners: Callable[[], Sequence[ListenerAddress]]
    shutdown: asyncio.Event
    """Set when the server stops: no new mail is taken."""


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
        return self.asked(name).lower() in ("true", "1", "yes")

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


async def read_body(request: Request, limit: int = BODY_LIMIT_BYTES) -> bytes:
    """ApiError when it is larger."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise too_large(limit)
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
        raise invalid(where, message[:1].lower() + message[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as trouble:
        raise ApiError(
            "invalid_json", f"The body is not valid JSON: {trouble}.", "Send UTF-8 JSON as RFC 8259 has it."
        ) from None
