"""The API as one application: its table of routes, its door, and its errors."""

import secrets
from collections.abc import Awaitable, Callable
from functools import cache

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from postroom.api.caller import Caller, Doorkeeper, administrator
from postroom.api.docs_page import docs_routes
from postroom.api.openapi import make_document
from postroom.api.problems import ApiError, answer_problem, refused
from postroom.api.room import ApiRoom, Call, decode, read_body
from postroom.api.routes import BASE, ROUTES, Route
from postroom.errors import PostroomError, Refusal

log = structlog.stdlib.get_logger("postroom.api")

_ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def make_api(room: ApiRoom, *, is_administrator: bool = False) -> Starlette:
    """The API; with `is_administrator` the one behind the socket in the data folder, where nobody signs in."""
    doorkeeper = None if is_administrator else Doorkeeper(room.store, room.clock, room.guard)
    routes = [
        WebRoute(BASE + route.path, _endpoint(room, doorkeeper, route), methods=[route.method]) for route in ROUTES
    ]
    return Starlette(
        routes=[WebRoute("/api/openapi.json", _show_document), *docs_routes(), *routes],
        exception_handlers={HTTPException: _say_refused, Exception: _say_broken},
    )


def beside(console: Starlette, api: Starlette) -> ASGIApp:
    """Both on one port: what begins with /api is the API's."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        is_for_api = scope["type"] == "http" and (scope["path"] == "/api" or scope["path"].startswith("/api/"))
        await (api if is_for_api else console)(scope, receive, send)

    return choose


def _endpoint(room: ApiRoom, doorkeeper: Doorkeeper | None, route: Route) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        request.state.request_id = _request_id()
        caller: Caller | None = None
        try:
            caller = administrator() if doorkeeper is None else await doorkeeper.recognise(request)
            caller.require(route.scope)
            body = None
            if route.takes is not None and not route.reads_body:
                body = decode(await read_body(request), route.takes)
            response = await route.answer(Call(room, caller, request, body))
        except ApiError as problem:
            response = answer_problem(request, problem, request.state.request_id)
        except Refusal as refusal:
            response = answer_problem(request, refused(refusal.reply), request.state.request_id)
        except ClientDisconnect:
            return Response(status_code=400)
        except PostroomError as trouble:
            paused = ApiError(
                "intake_paused", str(trouble), "Send again in a minute; see Postroom's log.", retry_after_seconds=60
            )
            response = answer_problem(request, paused, request.state.request_id)
        await _add_limits(response, room, caller)
        return _finish(response, request)

    return endpoint


async def _add_limits(response: Response, room: ApiRoom, caller: Caller | None) -> None:
    """Where the app stands: as the draft of RateLimit fields has it, and as older programs read it."""
    if caller is None or caller.app is None:
        return
    states = await room.intake.app_limits.states(caller.app)
    if not states:
        return
    policy = ", ".join(f'"{it.name}";q={it.limit};w={it.window_seconds}' for it in states)
    response.headers["RateLimit-Policy"] = policy
    response.headers["RateLimit"] = ", ".join(f'"{it.name}";r={it.remaining};t={it.reset_seconds}' for it in states)
    nearest = min(states, key=lambda it: it.remaining)
    response.headers["X-RateLimit-Limit"] = str(nearest.limit)
    response.headers["X-RateLimit-Remaining"] = str(nearest.remaining)
    response.headers["X-RateLimit-Reset"] = str(nearest.reset_seconds)


def _finish(response: Response, request: Request) -> Response:
    for name, value in _ALWAYS.items():
        response.headers.setdefault(name, value)
    response.headers["X-Request-Id"] = request.state.request_id
    return response


def _request_id() -> str:
    return f"req_{secrets.token_hex(8)}"


async def _say_refused(request: Request, error: Exception) -> Response:
    """What met no route."""
    assert isinstance(error, HTTPException)
    request.state.request_id = _request_id()
    if error.status_code == 405:
        problem = ApiError(
            "method_not_allowed",
            f"{request.url.path[:200]} does not take {request.method}.",
            "See /api/docs.",
            headers=dict(error.headers or {}),
        )
    else:
        problem = ApiError("not_found", f"There is no {request.url.path[:200]} here.", "See /api/docs.")
    return _finish(answer_problem(request, problem, request.state.request_id), request)


async def _say_broken(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "request_id", None) or _request_id()
    request.state.request_id = request_id
    log.error("api request failed", request_id=request_id, path=request.url.path, exc_info=error)
    problem = ApiError(
        "internal_error",
        "Something went wrong here.",
        f"Look into Postroom's log for {request_id}; if nothing was acknowledged, send again.",
    )
    return _finish(answer_problem(request, problem, request_id), request)


@cache
def _document() -> bytes:
    return msgspec.json.encode(make_document())


async def _show_document(request: Request) -> Response:
    request.state.request_id = _request_id()
    return _finish(Response(_document(), 200, {}, "application/json"), request)
