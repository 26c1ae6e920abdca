"""Step Password: for Basic authentication."""

from starlette.responses import Response

from postroom.console.announcements import announcement
from postroom.console.drafts import read_password
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit
from postroom.store.records import Authentication


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    if draft.authentication is not Authentication.BASIC:
        return visit.go("/admin/mail-server/app")
    return await step_page(visit, "password", draft, basic=announcement("basic_authentication"))


async def keep(visit: Visit) -> Response:
    draft, troubles = read_password(await load_draft_to_change(visit), visit.form)
    if troubles:
        return await step_page(visit, "password", draft, troubles, basic=announcement("basic_authentication"))
    return await keep_and_go(visit, draft, "password")
