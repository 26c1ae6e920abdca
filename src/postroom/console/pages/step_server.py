"""Step Server: Server Name, Port, Email Type, Enable TLS."""

from starlette.responses import Response

from postroom.console.drafts import read_server
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit


async def show(visit: Visit) -> Response:
    return await step_page(visit, "server", await load_draft(visit))


async def keep(visit: Visit) -> Response:
    draft, troubles = read_server(await load_draft_to_change(visit), visit.form)
    if troubles:
        return await step_page(visit, "server", draft, troubles)
    return await keep_and_go(visit, draft, "server")
