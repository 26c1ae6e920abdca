"""Into the console, and out of it."""

from starlette.responses import Response

from postroom.console import session
from postroom.console.language import _
from postroom.console.times import span
from postroom.console.visit import Visit, safe_path


async def show(visit: Visit) -> Response:
    if not await visit.rooms.store.people.has_any():
        return visit.go("/setup")
    if visit.session is not None:
        return visit.go(safe_path(visit.asked("next")))
    return await _page(visit, "", 200)


async def let_in(visit: Visit) -> Response:
    email, brake, people = visit.form.text("email"), visit.desk.brake, visit.rooms.store.people
    wait_seconds = brake.wait_seconds(visit.address, email)
    if wait_seconds:
        return await _page(visit, _("Too many failed attempts. Try again in %(span)s.", span=span(wait_seconds)), 429)
    # Counted before the answer is known, so that attempts made at once do not all pass the brake.
    brake.note_failure(visit.address, email)
    person = await people.authenticate(email, visit.form.passphrase("passphrase"))
    if person is None:
        return await _page(visit, _("The e-mail address or the passphrase is wrong."), 422)
    brake.note_success(visit.address, email)
    token, opened = await people.open_session(person.person_id)
    response = visit.go(safe_path(visit.form.values.get("next", "")))
    session.give_session(response, token, opened, visit.now_us, visit.rooms.is_secure)
    return response


async def let_out(visit: Visit) -> Response:
    is_secure = visit.rooms.is_secure
    await visit.rooms.store.people.close_session(session.session_token(visit.request, is_secure))
    response = visit.go("/sign-in", said="signed-out")
    session.take_session(response, is_secure)
    return response


async def _page(visit: Visit, trouble: str, status: int) -> Response:
    return await visit.page(
        "sign_in.html",
        status=status,
        trouble=trouble,
        email=visit.form.text("email"),
        next=safe_path(visit.form.values.get("next", "") or visit.asked("next")),
    )
