"""Renew secret: a new client secret for a mailbox that is set up, tried before the old one makes way for it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from starlette.responses import Response

from postroom.console.drafts import SECRET_DAYS, default_secret_end, read_app
from postroom.console.forms import Troubles
from postroom.console.pages.step import named_server
from postroom.console.problems import real_values, secret_url
from postroom.console.times import moment
from postroom.console.visit import Visit
from postroom.errors import SignInTroubleError, WrongStateError
from postroom.message import MailboxState
from postroom.outcome import Failure, Stopped
from postroom.remedies import fill, remedy
from postroom.store.records import Authentication, MailServer, MailServerDraft

_FIELDS = ("client_secret", "secret_ends_on")


async def show(visit: Visit) -> Response:
    server = await _server(visit)
    return await _page(visit, server) if await _has_secret(visit, server) else visit.go("/admin/mail-servers")


async def renew(visit: Visit) -> Response:
    server = await _server(visit)
    if not await _has_secret(visit, server):
        return visit.go("/admin/mail-servers")
    draft, found = read_app(MailServerDraft(), visit.form)
    troubles = {name: sentence for name, sentence in found.items() if name in _FIELDS}
    if troubles:
        return await _page(visit, server, troubles)
    return await _try(
        visit,
        server,
        lambda: visit.rooms.client_secrets.renew(
            server.mailbox_id, draft.client_secret, draft.secret_ends_on, visit.who, visit.address
        ),
        "secret-renewed",
    )


async def go_back(visit: Visit) -> Response:
    """Take the secret of before again, within the day for which it is kept."""
    server = await _server(visit)
    if not await _has_secret(visit, server):
        return visit.go("/admin/mail-servers")
    act = visit.rooms.client_secrets.go_back
    return await _try(visit, server, lambda: act(server.mailbox_id, visit.who, visit.address), "secret-taken-back")


async def _try(visit: Visit, server: MailServer, act: Callable[[], Awaitable[Stopped | None]], said: str) -> Response:
    try:
        ended = await act()
    except WrongStateError as trouble:
        return await _page(visit, server, {"client_secret": str(trouble)})
    except SignInTroubleError as trouble:
        return await _page(visit, server, failure=trouble.outcome.failure)
    return visit.go(secret_url(server), said="secret-but-sign-in" if ended else said)


async def _page(
    visit: Visit, server: MailServer, troubles: Troubles | None = None, failure: Failure | None = None
) -> Response:
    store = visit.rooms.store
    mailbox = await store.mailboxes.find(server.mailbox_id)
    grant = await store.mailboxes.show_grant(server.mailbox_id)
    values = real_values(server, mailbox, grant.tenant, grant.client_id) | {"redirect_url": visit.rooms.redirect_url}
    today = moment(visit.now_us).date()
    is_kept = (grant.spare_secret_until_us or 0) > visit.now_us
    return await visit.page(
        "client_secret.html",
        status=422 if troubles or failure else 200,
        url=secret_url(server),
        server=server,
        mailbox=mailbox,
        grant=grant,
        troubles=troubles or {},
        failure=failure,
        remedy=fill(remedy(failure.remedy_id), values) if failure else None,
        spare_until_us=grant.spare_secret_until_us if is_kept else None,
        secret_end=visit.form.text("secret_ends_on") or default_secret_end(visit.now_us).isoformat(),
        secret_ends={days: today + timedelta(days=days) for days in SECRET_DAYS},
    )


async def _has_secret(visit: Visit, server: MailServer) -> bool:
    """It signs in with OAuth, and nobody has disconnected it meanwhile."""
    mailbox = await visit.rooms.store.mailboxes.find(server.mailbox_id)
    is_connected = mailbox.state is not MailboxState.DISCONNECTED
    return server.is_set_up and is_connected and mailbox.authentication is Authentication.OAUTH


async def _server(visit: Visit) -> MailServer:
    return await named_server(visit, visit.part("server"))
