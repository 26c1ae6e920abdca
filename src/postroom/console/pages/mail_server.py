"""Admin, Server Settings, Mail Server: what is set up, or the way into setting it up."""

from msgspec.structs import replace
from starlette.responses import Response

from postroom.clock import DAY_US
from postroom.console.drafts import forget_sign_in, has_changes, missing_before_check, next_step
from postroom.console.problems import secret_url
from postroom.console.times import days_until
from postroom.console.visit import Visit
from postroom.message import MailboxState
from postroom.store.records import NEW, Authentication, MailServerDraft

DISCONNECT_WORD = "disconnect"


async def show(visit: Visit) -> Response:
    store = visit.rooms.store
    mail_server = await store.mail_servers.default()
    draft = await store.mail_servers.load_draft()
    if not mail_server.is_set_up:
        return await visit.page(
            "mail_server_intro.html", draft=draft, next_step=next_step(draft) if draft else "server"
        )
    mailbox = await store.mailboxes.find(mail_server.mailbox_id)
    is_oauth = mailbox.authentication is Authentication.OAUTH
    is_connected = mailbox.state is not MailboxState.DISCONNECTED
    grant = await store.mailboxes.show_grant(mailbox.mailbox_id) if is_connected else None
    ends_on = grant.secret_ends_on if grant and is_oauth else None
    return await visit.page(
        "mail_server.html",
        mail_server=mail_server,
        mailbox=mailbox,
        is_oauth=is_oauth,
        is_connected=is_connected,
        draft=draft,
        renewed_at_us=grant.renewed_at_us if grant else None,
        secret_url=secret_url(mail_server),
        secret_ends_on=ends_on,
        secret_days=days_until(ends_on, visit.now_us) if ends_on else None,
        overview=await store.messages.overview(visit.now_us - DAY_US),
        disconnect_trouble=visit.asked("trouble") == "disconnect",
    )


async def begin(visit: Visit) -> Response:
    """Start the set-up, or go on with it where it was left."""
    mail_servers = visit.rooms.store.mail_servers
    draft = await mail_servers.load_draft()
    if draft is None:
        await mail_servers.keep_draft(MailServerDraft())
    return visit.go(f"/admin/mail-server/{next_step(draft) if draft and draft.sender else 'server'}")


async def edit(visit: Visit) -> Response:
    """Changes that are not live yet are gone on with; only a person's Discard throws them away."""
    await _draft_to_edit(visit)
    return visit.go("/admin/mail-server/server")


async def sign_in_again(visit: Visit) -> Response:
    """The old sign-in is left out of the draft: it may have ended, and must not be shown as a connection."""
    draft = await _draft_to_edit(visit)
    await visit.rooms.store.mail_servers.keep_draft(forget_sign_in(draft))
    return visit.go("/admin/mail-server/sign-in")


async def run_checks(visit: Visit) -> Response:
    """Try what is live: on a copy of it, so that nothing changes unless it is saved.

    The copy would take the place of changes that are not live yet, and their checks would tell nothing of what is
    live: so a person decides first.
    """
    if await changed_draft(visit) is not None:
        return visit.go("/admin/mail-server", said="changes-first")
    draft = await _draft_from_live(visit)
    if not missing_before_check(draft):
        await visit.desk.verifications.start(draft)
    return visit.go("/admin/mail-server/check")


async def discard(visit: Visit) -> Response:
    await visit.desk.verifications.close()
    await visit.rooms.store.mail_servers.discard_draft()
    return visit.go("/admin/mail-server", said="discarded")


async def resume(visit: Visit) -> Response:
    """Let a stopped mailbox try again: what stopped it is said to be solved."""
    mail_server = await visit.rooms.store.mail_servers.default()
    await visit.rooms.store.mailboxes.resume(mail_server.mailbox_id, visit.who)
    return visit.go("/admin/mail-server", said="resumed")


async def disconnect(visit: Visit) -> Response:
    """Forget the sign-in; typed, because waiting mail then waits until somebody sets the mail server up again."""
    if visit.form.text("confirmation").casefold() != DISCONNECT_WORD:
        return visit.go("/admin/mail-server", trouble="disconnect")
    mail_server = await visit.rooms.store.mail_servers.default()
    await _forget_secrets_in_draft(visit)
    await visit.rooms.store.mailboxes.disconnect(mail_server.mailbox_id, visit.who)
    return visit.go("/admin/mail-server", said="disconnected")


async def _forget_secrets_in_draft(visit: Visit) -> None:
    """A draft may be a copy of what is live, with its sign-in: that is erased, too."""
    await visit.desk.verifications.close()
    mail_servers = visit.rooms.store.mail_servers
    draft = await mail_servers.load_draft()
    if draft is not None:
        await mail_servers.keep_draft(replace(forget_sign_in(draft), client_secret="", password=""))


async def _draft_to_edit(visit: Visit) -> MailServerDraft:
    return await changed_draft(visit) or await _draft_from_live(visit)


async def changed_draft(visit: Visit) -> MailServerDraft | None:
    """The draft when it holds a person's changes; a copy of what is live made way for by a newer one is no loss."""
    await visit.desk.verifications.close()
    mail_servers = visit.rooms.store.mail_servers
    draft = await mail_servers.load_draft()
    if draft is None:
        return None
    if draft.mail_server_id == NEW or has_changes(draft, await mail_servers.draft_from_live(draft.mail_server_id)):
        return draft
    return None


async def _draft_from_live(visit: Visit) -> MailServerDraft:
    await visit.desk.verifications.close()
    mail_servers = visit.rooms.store.mail_servers
    draft = await mail_servers.draft_from_live()
    await mail_servers.keep_draft(draft)
    return draft
