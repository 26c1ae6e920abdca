"""Step Server: Server Name, Port, Email Type, Enable TLS."""

from starlette.responses import Response

from postroom.console.drafts import change_draft, read_server
from postroom.console.forms import Troubles
from postroom.console.mail_providers import find_provider, mail_providers, provider_of
from postroom.console.pages.step import keep_and_go, load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit
from postroom.store.records import MailServerDraft


async def show(visit: Visit) -> Response:
    return await _page(visit, await load_draft(visit), {})


async def choose_provider(visit: Visit) -> Response:
    """Its values stand in the form; nothing is saved that a person does not see."""
    provider = find_provider(visit.form.text("provider"))
    draft = await load_draft_to_change(visit)
    if provider is not None:
        values = {name: getattr(provider, name) for name in ("host", "port", "email_type", "authentication")}
        draft = change_draft(draft, use_tls=True, **values)
        await visit.rooms.store.mail_servers.keep_draft(draft)
    return visit.go("/admin/mail-server/server", provider=visit.form.text("provider"))


async def keep(visit: Visit) -> Response:
    draft, troubles = read_server(await load_draft_to_change(visit), visit.form)
    if troubles:
        return await _page(visit, draft, troubles)
    return await keep_and_go(visit, draft, "server")


async def _page(visit: Visit, draft: MailServerDraft, troubles: Troubles) -> Response:
    return await step_page(
        visit,
        "server",
        draft,
        troubles,
        providers=mail_providers(),
        provider=find_provider(visit.asked("provider")) or provider_of(draft),
    )
