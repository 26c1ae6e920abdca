"""The first page: is mail leaving, what is wrong, and what to set up next."""

from dataclasses import dataclass

from starlette.responses import Response

from postroom.clock import DAY_US
from postroom.console.canary import tell_canary
from postroom.console.language import _, ngettext
from postroom.console.problems import Problem, find_problems
from postroom.console.visit import Visit
from postroom.store.records import Overview


@dataclass(frozen=True)
class FirstStep:
    """A line of the checklist."""

    title: str
    hint: str
    url: str
    is_done: bool


async def show(visit: Visit) -> Response:
    store = visit.rooms.store
    overview = await store.messages.overview(visit.now_us - DAY_US)
    problems = await find_problems(visit.rooms)
    steps = await _first_steps(visit)
    return await visit.page(
        "overview.html",
        overview=overview,
        headline=headline(overview, problems),
        steps=steps,
        has_open_steps=not all(step.is_done for step in steps),
        counts=await store.messages.counts(),
        expiries=await store.mailboxes.expiries(),
        canary=await tell_canary(store, visit.now_us),
    )


def headline(overview: Overview, problems: list[Problem]) -> str:
    """The big sentence."""
    if any(problem.is_stopping for problem in problems):
        start = _("Not sending.")
    elif problems:
        start = _("Sending, but something needs attention.")
    else:
        start = _("Sending normally.")
    numbers = ", ".join(
        (
            ngettext("%(num)s sent in the last 24 hours", "%(num)s sent in the last 24 hours", overview.sent),
            ngettext("%(num)s waiting", "%(num)s waiting", overview.waiting),
            ngettext("%(num)s failed", "%(num)s failed", overview.failed),
        )
    )
    return f"{start} {numbers}."


async def _first_steps(visit: Visit) -> list[FirstStep]:
    store = visit.rooms.store
    mail_server = await store.mail_servers.default()
    apps = [app for app in await store.apps.list() if not app.is_internal]
    return [
        FirstStep(
            _("Set up the mail server"),
            _("Microsoft 365 with OAuth, in about ten minutes."),
            "/admin/mail-server",
            mail_server.is_set_up,
        ),
        FirstStep(
            _("Send a test mail"),
            _("Only a message that was sent proves the right to send."),
            "/admin/mail-server/test",
            mail_server.proved_at_us is not None,
        ),
        FirstStep(
            _("Add your first app or device"),
            _("It gets its own user name and password."),
            "/apps",
            bool(apps),
        ),
    ]
