"""What the steps of the Mail Server page share: the draft, and the frame around it."""

import contextlib

from starlette.responses import Response

from postroom.console.drafts import steps_of
from postroom.console.forms import Troubles
from postroom.console.visit import Visit
from postroom.ids import parse_public_id, public_id
from postroom.store.records import MailServer, MailServerDraft


async def load_draft(visit: Visit) -> MailServerDraft:
    """The draft, a fresh one before anything was kept; what is set up already is edited by the Edit button only."""
    return await visit.rooms.store.mail_servers.load_draft() or MailServerDraft()


async def load_draft_to_change(visit: Visit) -> MailServerDraft:
    """The same, with no check running that could still write to the draft."""
    await visit.desk.verifications.close()
    return await load_draft(visit)


async def step_page(
    visit: Visit, name: str, draft: MailServerDraft, troubles: Troubles | None = None, /, **values: object
) -> Response:
    """The template `step_<name>.html` inside the stepper."""
    return await visit.page(
        f"step_{name.replace('-', '_')}.html",
        status=422 if troubles else 200,
        step=name,
        steps=steps_of(draft),
        draft=draft,
        troubles=troubles or {},
        redirect_url=visit.rooms.redirect_url,
        public_url=visit.rooms.public_url,
        is_at_public_address=visit.is_at_public_address,
        **values,
    )


async def keep_and_go(visit: Visit, draft: MailServerDraft, after: str) -> Response:
    """Keep the draft, then show the step that comes after `after`."""
    await visit.rooms.store.mail_servers.keep_draft(draft)
    names = [step.name for step in steps_of(draft)]
    following = names[names.index(after) + 1]
    return visit.go(f"/admin/mail-server/{following}")


def server_parameter(mail_server: MailServer) -> dict[str, str]:
    """Names a mail server in an address; the default needs none."""
    return {} if mail_server.is_default else {"server": public_id(mail_server.mail_server_id)}


async def named_server(visit: Visit, name: str) -> MailServer:
    """The mail server that an address or a form names; the default when it names none that exists."""
    mail_servers = visit.rooms.store.mail_servers
    with contextlib.suppress(ValueError, LookupError):
        return await mail_servers.find(parse_public_id(name))
    return await mail_servers.default()
