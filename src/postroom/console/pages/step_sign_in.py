"""Step Sign in: to Microsoft as the mailbox, and back with what it yields."""

from starlette.responses import RedirectResponse, Response

from postroom.console.drafts import missing_before_check, permissions_of, take_sign_in
from postroom.console.language import _
from postroom.console.pages.step import load_draft, load_draft_to_change, step_page
from postroom.console.visit import Visit, refuse
from postroom.identity.refused import SignInRefused
from postroom.remedies import fill, remedy
from postroom.store.records import Authentication, MailServerDraft


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    if draft.authentication is not Authentication.OAUTH:
        return visit.go("/admin/mail-server/password")
    return await _page(visit, draft)


async def start(visit: Visit) -> Response:
    """Send the browser to Microsoft; the attempt is bound to this session."""
    draft = await load_draft(visit)
    missing = [step for step in missing_before_check(draft) if step.name != "sign-in"]
    if missing:
        return visit.go(missing[0].path)
    assert visit.session is not None
    try:
        url = visit.rooms.sign_ins.start(
            draft,
            str(visit.session.session_id),
            visit.rooms.redirect_url,
            select_account=visit.asked("choose") == "yes",
        )
    except SignInRefused as refused:
        return await _page(visit, draft, refused)
    return RedirectResponse(url, 303)


async def complete(visit: Visit) -> Response:
    """Back from Microsoft: take the sign-in into the draft, or say why not; then nothing of it is kept."""
    assert visit.session is not None
    try:
        signed_in = await visit.rooms.sign_ins.complete(str(visit.session.session_id), visit.request.query_params)
    except SignInRefused as refused:
        return await _page(visit, await load_draft(visit), refused)
    # Read after the wait for Microsoft: what was entered meanwhile stays.
    taken = take_sign_in(await load_draft_to_change(visit), signed_in)
    if taken is None:
        sentence = _("The settings were changed while you signed in, so the sign-in was not kept. Sign in again.")
        return await refuse(visit, 409, sentence)
    await visit.rooms.store.mail_servers.keep_draft(taken)
    return visit.go("/admin/mail-server/sign-in", said="connected")


async def _page(visit: Visit, draft: MailServerDraft, refused: SignInRefused | None = None) -> Response:
    values = {
        "username": draft.username,
        "mailbox": draft.mailbox_address or draft.username,
        "sender": draft.sender,
        "tenant": draft.tenant,
        "client_id": draft.client_id,
        "redirect_url": visit.rooms.redirect_url,
    }
    failure = refused.failure if refused else None
    return await step_page(
        visit,
        "sign-in",
        draft,
        {"": failure.text} if failure else None,
        failure=failure,
        remedy=fill(remedy(failure.remedy_id), values) if failure else None,
        permissions=permissions_of(draft),
        granted=[scope.rpartition("/")[2] for scope in draft.scopes],
    )
