"""The console as one application: its routes, its door and its error pages."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from postroom.console.headers import ALWAYS, HeadersMiddleware
from postroom.console.language import _
from postroom.console.pages import ROUTES
from postroom.console.rendering import make_environment
from postroom.console.rooms import ConsoleRooms
from postroom.console.session import Brake
from postroom.console.verification import Verifications
from postroom.console.visit import Desk, guard, receive_visit, refuse

__all__ = ["ConsoleRooms", "make_app"]

FORM_LIMIT_BYTES = 128 * 1024

_SENTENCES = {
    404: "There is no such page. The address may be mistyped, or the thing it showed was removed.",
    405: "This address does not take that kind of request.",
    413: "The form is larger than anything the console asks for.",
}


def make_app(rooms: ConsoleRooms) -> Starlette:
    """The console over these rooms. Its lifespan ends the checks that still run."""
    desk = Desk(
        rooms,
        make_environment(rooms.clock, rooms.network),
        Verifications(rooms.clock, rooms.verify, rooms.shutdown),
        Brake(rooms.clock),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await desk.verifications.close()

    return Starlette(
        routes=_routes(desk),
        middleware=[
            Middleware(HeadersMiddleware),
            Middleware(RequestBodyLimitMiddleware, max_body_size=FORM_LIMIT_BYTES),
        ],
        exception_handlers=_error_pages(desk),
        lifespan=lifespan,
    )


def _routes(desk: Desk) -> list[BaseRoute]:
    pages: list[BaseRoute] = [
        Route(page.path, guard(page.answer, desk, is_public=page.is_public), methods=[page.method]) for page in ROUTES
    ]
    static = StaticFiles(packages=[("postroom.console", "static")])
    return [*pages, Mount("/static", static, name="static")]


def _error_pages(desk: Desk) -> dict[Any, Callable[[Request, Exception], Awaitable[Response]]]:
    async def say_refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = _SENTENCES.get(error.status_code, error.detail)
        visit = await receive_visit(desk, request)
        return await refuse(visit, error.status_code, _(sentence))

    async def say_broken(request: Request, _error: Exception) -> Response:
        # No page frame: what made the page fail might make this one fail too.
        text = desk.environment.get_template("broken.html").render()
        # Starlette answers this outside of all middleware.
        return Response(text, 500, {**ALWAYS, "cache-control": "no-store"}, "text/html")

    return {HTTPException: say_refused, 500: say_broken}
