"""The API as one application: its table of routes, its door, and its errors."""

import secrets
from functools import cache

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from postroom.accept.app_limits import LimitState
from postroom.api import monitoring
from postroom.api.caller import Caller, Doorkeeper, administrator
from postroom.api.docs_page import docs_routes
from postroom.api.monitoring import MonitoringDesk
from postroom.api.openapi import make_document
from postroom.api.problems import ApiError, answer_problem, as_api_error, invalid
from postroom.api.room import ApiRoom, Call, decode, read_body, require_json, require_plain
from postroom.api.routes import BASE, ROUTES, Route
from postroom.errors import PostroomError

log = structlog.stdlib.get_logger("postroom.api")

_ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_OF_THE_ADMINISTRATOR = frozenset({"app"})
"""Whose mail it is, which a key knows by itself."""


def make_api(room: ApiRoom, *, is_administrator: bool = False) -> ASGIApp:
    """The API; with `is_administrator` the one behind the socket in the data folder, where nobody signs in."""
    doorkeeper = None if is_administrator else Doorkeeper(room.store, room.clock, room.guard)
    by_path: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        by_path.setdefault(BASE + route.path, {})[route.method] = route
    api = Starlette(
        routes=[
            WebRoute("/api/openapi.json", _show_document),
            *docs_routes(),
            *MonitoringDesk(room, doorkeeper).routes(),
            *(WebRoute(path, _Resource(room, doorkeeper, routes)) for path, routes in by_path.items()),
        ],
        exception_handlers={HTTPException: _say_refused, Exception: _say_broken},
    )
    api.router.redirect_slashes = False  # a program that is sent elsewhere may leave its key there
    return _Signed(api)


def beside(console: ASGIApp, api: ASGIApp) -> ASGIApp:
    """Both on one port: what begins with /api is the API's, and so is what monitors ask."""

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        is_for_api = path == "/api" or path.startswith("/api/") or path in monitoring.PATHS
        await (api if is_for_api else console)(scope, receive, send)

    return choose


class _Signed:
    """Gives each request its id and each answer the headers that all have."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                headers["x-request-id"] = request_id
            await send(message)

        await self._api(scope, receive, send_signed)


class _Resource:
    """Everything that can be done at one path."""

    def __init__(self, room: ApiRoom, doorkeeper: Doorkeeper | None, routes: dict[str, Route]) -> None:
        self._room = room
        self._doorkeeper = doorkeeper
        self._routes = routes
        methods = {*routes, "OPTIONS"} | ({"HEAD"} if "GET" in routes else set())
        self._allow = {"allow": ", ".join(sorted(methods))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        await (await self._answer(request))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        route = self._routes.get("GET" if request.method == "HEAD" else request.method)
        if route is not None:
            with self._room.memory.hold() as held:
                request.state.held = held
                return await self._call(request, route)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=self._allow)
        return _answer(request, _method_not_allowed(request, self._allow))

    async def _call(self, request: Request, route: Route) -> Response:
        caller: Caller | None = None
        try:
            caller = administrator() if self._doorkeeper is None else await self._doorkeeper.recognise(request)
            caller.require(route.scope)
            _check_parameters(request, route, is_administrator=self._doorkeeper is None)
            if route.has_body:
                require_plain(request)
            body = None
            if route.takes is not None and not route.reads_body:
                require_json(request)
                body = decode(await read_body(request), route.takes)
            response = await route.answer(Call(self._room, caller, request, body))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except (ApiError, PostroomError) as trouble:
            problem = as_api_error(trouble)
            if route.scope == "send":
                self._room.intake.metrics.note_refused("http", problem.code)
            response = _answer(request, problem)
        await _add_limits(response, self._room, caller)
        return response


def _check_parameters(request: Request, route: Route, *, is_administrator: bool) -> None:
    """A name that is misspelt must not be taken for one that was left out. ApiError."""
    known = {parameter.name: parameter for parameter in route.parameters}
    for name in request.query_params:
        if name not in known and not (is_administrator and name in _OF_THE_ADMINISTRATOR):
            raise invalid(name[:80], "there is no such parameter; is it misspelt?")
        if name in known and not known[name].is_repeatable and len(request.query_params.getlist(name)) > 1:
            raise invalid(name, "it is given more than once")


async def _add_limits(response: Response, room: ApiRoom, caller: Caller | None) -> None:
    """Where the app stands: as the draft of RateLimit fields has it, and as older programs read it."""
    states = await _limit_states(room, caller)
    if not states:
        return
    policy = ", ".join(f'"{it.name}";q={it.limit};w={it.window_seconds}' for it in states)
    response.headers["RateLimit-Policy"] = policy
    response.headers["RateLimit"] = ", ".join(f'"{it.name}";r={it.remaining};t={it.reset_seconds}' for it in states)
    nearest = min(states, key=lambda it: it.remaining)
    response.headers["X-RateLimit-Limit"] = str(nearest.limit)
    response.headers["X-RateLimit-Remaining"] = str(nearest.remaining)
    response.headers["X-RateLimit-Reset"] = str(nearest.reset_seconds)


async def _limit_states(room: ApiRoom, caller: Caller | None) -> list[LimitState]:
    if caller is None or caller.app is None:
        return []
    try:
        return await room.intake.app_limits.states(caller.app)
    except PostroomError:
        return []  # the answer itself is there: it is not withheld for its garnish


def _answer(request: Request, problem: ApiError) -> Response:
    return answer_problem(request, problem, request.state.request_id)


def _method_not_allowed(request: Request, headers: dict[str, str]) -> ApiError:
    text = f"{request.url.path[:200]} does not take {request.method[:20]}."
    return ApiError("method_not_allowed", text, "See /api/docs.", headers=headers)


async def _say_refused(request: Request, error: Exception) -> Response:
    """What met no route, or a page with another method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _answer(request, _method_not_allowed(request, dict(error.headers or {})))
    return _answer(request, ApiError("not_found", f"There is no {request.url.path[:200]} here.", "See /api/docs."))


async def _say_broken(request: Request, error: Exception) -> Response:
    request_id = request.state.request_id
    log.error("api request failed", request_id=request_id, path=request.url.path, exc_info=error)
    problem = ApiError(
        "internal_error",
        "Something went wrong here.",
        f"Look into Postroom's log for {request_id}; if nothing was acknowledged, send again.",
    )
    return _answer(request, problem)


@cache
def _document() -> bytes:
    return msgspec.json.encode(make_document())


async def _show_document(_request: Request) -> Response:
    return Response(_document(), 200, {"cache-control": "no-cache"}, "application/json")
