"""Step Sign in: to Microsoft as the mailbox, and back with what it yields; by itself, or with a pasted address."""

from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from postroom.console.drafts import missing_before_check, permissions_of
from postroom.console.pages import colleague
from postroom.console.pages.step import load_draft, step_page
from postroom.console.visit import Visit
from postroom.identity.refused import SignInRefused
from postroom.identity.sign_in import Begun, Seat, SignedIn, settings_changed
from postroom.remedies import fill, remedy
from postroom.store.records import Authentication, MailServerDraft

HERE = "/admin/mail-server/sign-in"
SUBJECT = "draft"


async def show(visit: Visit) -> Response:
    draft = await load_draft(visit)
    if draft.authentication is not Authentication.OAUTH:
        return visit.go("/admin/mail-server/password")
    return await _page(visit, draft)


async def start(visit: Visit) -> Response:
    """Send the browser to Microsoft; the attempt is bound to this session."""
    draft = await load_draft(visit)
    if to_do := _step_before(draft):
        return visit.go(to_do)
    try:
        begun = _begin(visit, draft)
    except SignInRefused as refused:
        return await _page(visit, draft, refused)
    return RedirectResponse(begun.url, 303)


async def begin_elsewhere(visit: Visit) -> Response:
    """Show the address for Microsoft's page, to be opened in whichever browser; its answer is pasted."""
    draft = await load_draft(visit)
    if to_do := _step_before(draft):
        return visit.go(to_do)
    try:
        return await _page(visit, draft, begun=_begin(visit, draft))
    except SignInRefused as refused:
        return await _page(visit, draft, refused)


async def complete(visit: Visit) -> Response:
    """Back from Microsoft: the sign-in is in the draft, or the page says why not; then nothing of it is kept."""
    subject = visit.rooms.sign_ins.subject_of(visit.asked("state"))
    is_only_colleague = visit.session is None and colleague.has_link(visit)
    if is_only_colleague or subject.startswith(f"{colleague.SUBJECT} "):
        return await colleague.complete(visit)
    if visit.session is None:
        return await visit.page("sign_in_elsewhere.html", status=403)
    await visit.desk.verifications.close()
    try:
        signed_in = await visit.rooms.sign_ins.complete(_seat(visit), visit.request.query_params)
    except SignInRefused as refused:
        return await _page(visit, await load_draft(visit), refused)
    return _say_done(visit, signed_in)


async def paste(visit: Visit) -> Response:
    """The address on which the sign-in ended elsewhere; it holds a code, and is never shown again."""
    await visit.desk.verifications.close()
    text, redirect_url = visit.form.values.get("address", ""), visit.rooms.redirect_url
    try:
        signed_in = await visit.rooms.sign_ins.complete_pasted(_seat(visit), text, redirect_url)
    except SignInRefused as refused:
        return await _page(visit, await load_draft(visit), refused)
    return _say_done(visit, signed_in)


async def make_link(visit: Visit) -> Response:
    """For a colleague who has the password; shown once."""
    draft = await load_draft(visit)
    if to_do := _step_before(draft):
        return visit.go(to_do)
    token = await visit.rooms.store.sign_in_links.make(draft, visit.who, visit.address)
    return await _page(visit, draft, link_url=f"{visit.rooms.public_url}{colleague.HERE}#token={token}")


async def withdraw_link(visit: Visit) -> Response:
    await visit.rooms.store.sign_in_links.revoke(visit.who, visit.address)
    return visit.go(HERE)


def _say_done(visit: Visit, signed_in: SignedIn) -> Response:
    return visit.go(HERE, said="connected-before" if signed_in.is_repeated else "connected")


def _step_before(draft: MailServerDraft) -> str | None:
    missing = [step for step in missing_before_check(draft) if step.name != "sign-in"]
    return missing[0].path if missing else None


def _begin(visit: Visit, draft: MailServerDraft) -> Begun:
    book, who, address = visit.rooms.store.mail_servers, visit.who, visit.address

    async def keep(signed_in: MailServerDraft) -> None:
        if not await book.take_sign_in(signed_in, who, address):
            raise settings_changed()

    chooses = "yes" in (visit.asked("choose"), visit.form.text("choose"))
    return visit.rooms.sign_ins.begin(draft, _seat(visit), visit.rooms.redirect_url, keep, select_account=chooses)


def _seat(visit: Visit) -> Seat:
    assert visit.session is not None
    return Seat(f"session {visit.session.session_id}", SUBJECT)


async def _page(
    visit: Visit,
    draft: MailServerDraft,
    refused: SignInRefused | None = None,
    begun: Begun | None = None,
    link_url: str = "",
) -> Response:
    link = await visit.rooms.store.sign_in_links.newest()
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
        begun=begun,
        returns=visit.sign_in_returns,
        # The attempt lives on when only the wrong address was pasted.
        is_paste_again=failure is not None and failure.remedy_id == "sign_in_paste",
        made_link=link,
        link_is_open=link is not None and link.is_open(visit.now_us) and link.fits(draft),
        link_url=link_url,
        is_public_local=urlsplit(visit.rooms.public_url).hostname == "localhost",
        permissions=permissions_of(draft),
        granted=[scope.rpartition("/")[2] for scope in draft.scopes],
    )
