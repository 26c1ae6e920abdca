"""Step Addresses: whose name mail carries, who signs in, where the test goes, and Send on Behalf between them."""

from starlette.responses import Response

from postroom.console.drafts import read_addresses
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    suggested = visit.session.person.email if visit.session else ""
    return await step_page(visit, "addresses", draft, suggested_test_address=draft.test_address or suggested)


async def keep(visit: Visit) -> Response:
    draft, troubles = read_addresses(await load_draft_to_change(visit), visit.form)
    if troubles:
        return await step_page(visit, "addresses", draft, troubles, suggested_test_address=draft.test_address)
    return await keep_and_go(visit, draft, "addresses")
