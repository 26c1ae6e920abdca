"""Step Sign-in method: OAuth, or Basic with Microsoft's date beside it."""

from starlette.responses import Response

from postroom.console.announcements import announcement
from postroom.console.drafts import change_draft
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit
from postroom.store.records import Authentication


async def show(visit: Visit) -> Response:
    return await step_page(visit, "method", await load_draft(visit), basic=announcement("basic_authentication"))


async def keep(visit: Visit) -> Response:
    chosen = visit.form.text("authentication")
    method = Authentication(chosen) if chosen in set(Authentication) else Authentication.OAUTH
    return await keep_and_go(visit, change_draft(await load_draft_to_change(visit), authentication=method), "method")
