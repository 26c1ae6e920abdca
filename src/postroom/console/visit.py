"""One request to a page: who asks, what was typed, and how the page answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postroom.console import csrf, session
from postroom.console.forms import Form
from postroom.console.language import _
from postroom.console.problems import Problem, find_problems
from postroom.console.rooms import ConsoleRooms
from postroom.console.session import Brake
from postroom.console.setup_link import SetupLink
from postroom.console.verification import Verifications
from postroom.identity.redirects import CALLBACK_PATH
from postroom.store.records import Session

FIELD_LIMIT = 200
NO_FORM = Form()
THEMES = ("system", "light", "dark")
THEME_COOKIE = "postroom_theme"


@dataclass(frozen=True)
class Desk:
    """What all visits share: rooms, templates, the running checks, the brake on guessing and the set-up link."""

    rooms: ConsoleRooms
    environment: Environment
    verifications: Verifications
    brake: Brake
    setup_link: SetupLink = field(default_factory=SetupLink)


@dataclass(frozen=True)
class Visit:
    """One request, its session and its form."""

    desk: Desk
    request: Request
    session: Session | None
    csrf_token: str
    form: Form = NO_FORM

    @property
    def rooms(self) -> ConsoleRooms:
        return self.desk.rooms

    @property
    def now_us(self) -> int:
        return self.rooms.clock.now_us()

    @property
    def who(self) -> str:
        """How the audit and the timeline name this person."""
        return self.session.person.email if self.session else ""

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def is_at_public_address(self) -> bool:
        """Whether the browser opened this page under the address that the settings name."""
        # What a client says of itself only chooses a hint; and only behind a proxy does it say this.
        headers = self.request.headers
        forwarded = headers.get("x-forwarded-host", "") if self.rooms.is_secure else ""
        return (forwarded or headers.get("host", "")) == urlsplit(self.rooms.public_url).netloc

    @property
    def sign_in_returns(self) -> bool:
        """Whether Microsoft sends this very browser back to us, so that nothing needs to be pasted."""
        return self.is_at_public_address and self.rooms.redirect_url.startswith(f"{self.rooms.public_url}/")

    def asked(self, name: str) -> str:
        """A parameter of the address, empty when it is missing."""
        return self.request.query_params.get(name, "")

    @property
    def here(self) -> str:
        """Where to come back to; never with the code that Microsoft's sign-in brought."""
        url = self.request.url
        if url.path == CALLBACK_PATH:
            return "/admin/mail-server/sign-in"
        return url.path + (f"?{url.query}" if url.query else "")

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    async def page(self, template: str, *, status: int = 200, **values: object) -> Response:
        """The template as a page, with what every page shows."""
        found = await find_problems(self.rooms) if self.session else []
        text = self.desk.environment.get_template(template).render(**self._frame(found), **values)
        response = HTMLResponse(text, status)
        if self.session is None:
            session.give_visit(response, self.csrf_token, self.rooms.is_secure)
        return response

    def fragment(self, template: str, **values: object) -> str:
        """A part of a page, for an event stream."""
        return self.desk.environment.get_template(template).render(**self._frame([]), **values)

    def go(self, path: str, **parameters: str) -> Response:
        """See another page; `said` names the sentence that it greets with."""
        return RedirectResponse(f"{path}?{urlencode(parameters)}" if parameters else path, 303)

    def _frame(self, problems: list[Problem]) -> dict[str, object]:
        theme = self.request.cookies.get(THEME_COOKIE, "system")
        return {
            "instance_name": self.rooms.settings.instance_name,
            "is_rehearsal": self.rooms.network.is_rehearsal,
            "pages_url": self.rooms.pages_url,
            "session": self.session,
            "csrf_token": self.csrf_token,
            "path": self.request.url.path,
            "here": self.here,
            "theme": theme if theme in THEMES else "system",
            "problems": problems,
            "said": self.asked("said"),
            "now_us": self.now_us,
        }


Answer = Callable[[Visit], Awaitable[Response]]


def guard(answer: Answer, desk: Desk, *, is_public: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """`answer` behind the door: a session unless public, and for a form its origin and its token."""

    async def endpoint(request: Request) -> Response:
        visit = await _receive(desk, request)
        if visit.session is None and not is_public:
            return await _send_to_sign_in(visit)
        if request.method == "POST":
            if not csrf.comes_from_us(request, desk.rooms.public_url):
                return await refuse(visit, 403, _("This form was sent from another site, so nothing was done."))
            form = await _read_form(request)
            if not csrf.is_our_token(visit.csrf_token, form.values.get(csrf.FIELD, "")):
                return await refuse(visit, 403, _("This form is too old. Open the page again and repeat it."))
            visit = Visit(desk, request, visit.session, visit.csrf_token, form)
        return await answer(visit)

    return endpoint


async def refuse(visit: Visit, status: int, sentence: str) -> Response:
    return await visit.page("refused.html", status=status, status_code=status, sentence=sentence)


async def receive_visit(desk: Desk, request: Request) -> Visit:
    """The visit of a request that met no page."""
    return await _receive(desk, request)


async def _receive(desk: Desk, request: Request) -> Visit:
    is_secure = desk.rooms.is_secure
    token = session.session_token(request, is_secure)
    found = await desk.rooms.store.people.find_session(token) if token else None
    csrf_token = found.csrf_token if found else session.visit_token(request, is_secure)
    return Visit(desk, request, found, csrf_token)


async def _send_to_sign_in(visit: Visit) -> Response:
    if not await visit.rooms.store.people.has_any():
        target = "/setup"
    elif visit.request.method == "GET":
        target = "/sign-in?" + urlencode({"next": visit.here})
    else:
        target = "/sign-in"
    if visit.request.headers.get("hx-request"):  # a page that refreshes itself leaves as a whole
        return Response(status_code=204, headers={"HX-Redirect": "/sign-in"})
    return RedirectResponse(target, 303)


async def _read_form(request: Request) -> Form:
    async with request.form(max_files=0, max_fields=FIELD_LIMIT) as fields:
        values: Mapping[str, str] = {name: value for name, value in fields.items() if isinstance(value, str)}
        return Form(dict(values))


def safe_path(text: str) -> str:
    """Where to go after signing in: a page of ours, never another site."""
    parts = urlsplit(text)
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return text if is_ours and "\\" not in text and text.isprintable() else "/"
