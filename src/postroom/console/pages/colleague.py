"""The page of a colleague who signs in to Microsoft as the mailbox, without an account here: a link that works once.

It shows what is agreed to and nothing else of us. The link's token stands behind the #, so in no log.
"""

from starlette.responses import RedirectResponse, Response

from postroom.console import session
from postroom.console.drafts import permissions_of
from postroom.console.language import _
from postroom.console.times import span
from postroom.console.visit import Visit
from postroom.identity.refused import SignInRefused, refuse
from postroom.identity.sign_in import Begun, Seat
from postroom.remedies import fill, remedy
from postroom.store.records import MailServerDraft
from postroom.store.sign_in_links import SignInLink

HERE = "/colleague"
SUBJECT = "link"
_GUESSING = "sign-in link"
"""Under which name wrong codes are counted."""


async def show(visit: Visit) -> Response:
    link = await _link(visit)
    return await (_page(visit, link) if link is not None else _ask_for_code(visit))


async def open_link(visit: Visit) -> Response:
    """Nothing is used up by looking: programs that scan mail look, too, and they press no button."""
    brake = visit.desk.brake
    wait_seconds = brake.wait_seconds(visit.address, _GUESSING)
    if wait_seconds:
        trouble = _("Too many wrong codes came from here. Try again in %(span)s.", span=span(wait_seconds))
        return await _ask_for_code(visit, trouble, 429)
    brake.note_failure(visit.address, _GUESSING)
    token = visit.form.secret("token")
    link = await visit.rooms.store.sign_in_links.find(token)
    if link is None:
        trouble = _("There is no such link: a newer one took its place, or a part of it is missing. Ask for a new one.")
        return await _ask_for_code(visit, trouble, 422)
    brake.note_success(visit.address, _GUESSING)
    await visit.rooms.store.sign_in_links.note_opened(link.link_id)
    response = visit.go(HERE)
    session.give_link(response, token, visit.rooms.is_secure)
    return response


async def start(visit: Visit) -> Response:
    return await _begin(visit, is_shown=False)


async def begin_elsewhere(visit: Visit) -> Response:
    """Microsoft cannot return to this browser: the page to open is shown, and its answer pasted."""
    return await _begin(visit, is_shown=True)


async def complete(visit: Visit) -> Response:
    """Back from Microsoft."""
    link = await _link(visit)
    if link is None:
        return await visit.page("sign_in_elsewhere.html", status=403)
    try:
        await visit.rooms.sign_ins.complete(_seat(visit, link), visit.request.query_params)
    except SignInRefused as refused:
        return await _page(visit, link, refused)
    return visit.go(HERE)


async def paste(visit: Visit) -> Response:
    link = await _link(visit)
    if link is None:
        return visit.go(HERE)
    text = visit.form.values.get("address", "")
    try:
        await visit.rooms.sign_ins.complete_pasted(_seat(visit, link), text, visit.rooms.redirect_url)
    except SignInRefused as refused:
        return await _page(visit, link, refused)
    return visit.go(HERE)


def has_link(visit: Visit) -> bool:
    """Whether this browser opened a link."""
    return bool(session.link_cookie(visit.request, visit.rooms.is_secure)[0])


async def _begin(visit: Visit, *, is_shown: bool) -> Response:
    link = await _link(visit)
    draft = await _draft(visit, link) if link is not None else None
    if link is None or draft is None:
        return visit.go(HERE)
    store, link_id, who = visit.rooms.store, link.link_id, f"{link.username} by a link of {link.made_by}"
    address = visit.address

    async def keep(signed_in: MailServerDraft) -> None:
        if not await store.mail_servers.take_sign_in(signed_in, who, address, link_id=link_id):
            raise refuse(
                "sign_in_link_over",
                "The link was used or withdrawn, or the settings were changed, during the sign-in. Nothing was saved.",
                "sign_in_link_over",
            )

    chooses = "yes" in (visit.asked("choose"), visit.form.text("choose"))
    try:
        begun = visit.rooms.sign_ins.begin(
            draft, _seat(visit, link), visit.rooms.redirect_url, keep, select_account=chooses
        )
    except SignInRefused as refused:
        return await _page(visit, link, refused)
    return await _page(visit, link, begun=begun) if is_shown else RedirectResponse(begun.url, 303)


async def _link(visit: Visit) -> SignInLink | None:
    """The link that this browser opened."""
    token, _own = session.link_cookie(visit.request, visit.rooms.is_secure)
    return await visit.rooms.store.sign_in_links.find(token) if token else None


async def _draft(visit: Visit, link: SignInLink) -> MailServerDraft | None:
    """What is signed in for; None when the link is over."""
    draft = await visit.rooms.store.mail_servers.load_draft()
    return draft if draft is not None and link.is_open(visit.now_us) and link.fits(draft) else None


def _seat(visit: Visit, link: SignInLink) -> Seat:
    _token, own = session.link_cookie(visit.request, visit.rooms.is_secure)
    return Seat(f"link {own}", f"{SUBJECT} {link.link_id}")


async def _ask_for_code(visit: Visit, trouble: str = "", status: int = 200) -> Response:
    return await visit.page("colleague_code.html", status=status, troubles={"token": trouble} if trouble else {})


async def _page(
    visit: Visit, link: SignInLink, refused: SignInRefused | None = None, begun: Begun | None = None
) -> Response:
    draft = await _draft(visit, link)
    failure = refused.failure if refused else None
    values = dict.fromkeys(("username", "mailbox", "sender"), link.username) | {
        "tenant": link.tenant, "client_id": link.client_id, "redirect_url": visit.rooms.redirect_url,
    }  # fmt: skip
    return await visit.page(
        "colleague.html",
        status=422 if failure else 200,
        made_link=link,
        is_open=draft is not None,
        permissions=permissions_of(draft) if draft is not None else (),
        failure=failure,
        remedy=fill(remedy(failure.remedy_id), values) if failure else None,
        is_paste_again=failure is not None and failure.remedy_id == "sign_in_paste",
        begun=begun,
        returns=visit.sign_in_returns,
        redirect_url=visit.rooms.redirect_url,
    )
