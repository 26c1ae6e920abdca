"""What every page of the simulator has: its templates, its style sheet, and headers that keep it local."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from postroom.simulator.navigation import PORTALS, portal_of
from postroom.simulator.operation_error import OperationError

_HERE = Path(__file__).parent

Form = Mapping[str, str]
Choice = TypeVar("Choice")


def page(path: str, template: str, show: Callable[..., Mapping[str, object]]) -> Route:
    """A page for people: `show` takes the parameters of the path and gives the template's values.

    What `show` refuses with OperationError is not there: 404 with its sentence.
    """

    async def answer(request: Request) -> Response:
        try:
            values = show(**request.path_params)
        except OperationError as error:
            back = portal_of(request.url.path).entries[0].href
            return render(request, "refused.html", status_code=404, reason=str(error), next_path=back)
        return _answer_page(request, template, values)

    return Route(path, answer)


def action(path: str, operate: Callable[..., str | None], then: str) -> Route:
    """What a form of a page does: `operate` takes the form and the parameters of the path, and calls an operation.

    The page `then` follows (with the same parameters in its braces), or the one that `operate` returns.
    """

    async def answer(request: Request) -> Response:
        names = request.path_params

        def run(form: Form) -> str | None:
            return operate(form, **names)

        return await take_form(request, run, then.format_map(names))

    return Route(path, answer, methods=["POST"])


def static_routes() -> list[BaseRoute]:
    """The style sheet; `admin_center.routes` brings it along."""
    return [Mount("/static", StaticFiles(directory=_HERE / "static"), name="static")]


def render(
    request: Request,
    template: str,
    *,
    status_code: int = 200,
    form_targets: Iterable[str] = (),
    **values: object,
) -> HTMLResponse:
    """A page from `templates/`. Forms may post here, and be redirected to the origins of `form_targets`."""
    return _answer_page(request, template, values, status_code, form_targets)


def _answer_page(
    request: Request,
    template: str,
    values: Mapping[str, object],
    status_code: int = 200,
    form_targets: Iterable[str] = (),
) -> HTMLResponse:
    text = (
        _environment()
        .get_template(template)
        .render(path=request.url.path, portals=PORTALS, portal=portal_of(request.url.path), **values)
    )
    headers = {
        "content-security-policy": _content_security_policy(form_targets),
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    return HTMLResponse(text, status_code, headers)


def go_to(path: str) -> RedirectResponse:
    """After a form was taken: fetch the next page anew."""
    return RedirectResponse(path, 303)


async def read_form(request: Request) -> dict[str, str]:
    """The text fields of a posted form; of a field that comes twice, the last."""
    form = await request.form()
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


async def take_form(request: Request, operate: Callable[[Form], str | None], next_path: str) -> Response:
    """Do what a form asks, then show `next_path`, or the page that `operate` returns; what the tenant refuses gets
    a page with its sentence."""
    if came_from_elsewhere(request):
        reason = "This form was sent by a page of another site."
        return render(request, "refused.html", status_code=403, reason=reason, next_path=next_path)
    try:
        shown = operate(await read_form(request))
    except OperationError as error:
        return render(request, "refused.html", status_code=400, reason=str(error), next_path=next_path)
    return go_to(shown or next_path)


def read_number(form: Form, name: str, *, whole: bool = True) -> float:
    """The number in a field, 0 for an empty one. OperationError for anything else, below zero or endless."""
    text = form.get(name, "").strip()
    pattern = r"[0-9]{1,15}" if whole else r"[0-9]{1,15}(\.[0-9]{1,6})?"
    if text and not re.fullmatch(pattern, text):
        raise OperationError(f"“{text}” is not a number of {name.replace('_', ' ')}.")
    return float(text or 0)


def read_choice(form: Form, name: str, choices: Mapping[str, Choice]) -> Choice:
    """What stands behind the choice of a list. OperationError for one that is not in it."""
    text = form.get(name, "")
    if text not in choices:
        raise OperationError(f"There is no such choice of {name.replace('_', ' ')}: “{text}”.")
    return choices[text]


def came_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page sent this form."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _content_security_policy(form_targets: Iterable[str]) -> str:
    # Browsers hold a redirect that follows a form against form-action too.
    targets = " ".join(["'self'", *(origin_of(target) for target in form_targets)])
    return (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action {targets}"
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["utc"] = format_utc
    return environment


def format_utc(moment: float) -> str:
    """Unix seconds for a person: `2026-11-23 18:20:05 UTC`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
