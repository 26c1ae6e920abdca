"""The first run: whoever holds the one-time link becomes the first administrator."""

from starlette.responses import Response

from postroom.console import session
from postroom.console.forms import Troubles, address_trouble
from postroom.console.language import _
from postroom.console.visit import Visit
from postroom.errors import AlreadyDoneError

PASSPHRASE_LETTERS = 12


async def show(visit: Visit) -> Response:
    if await visit.rooms.store.people.has_any():
        return await _say_done(visit, 200)
    return await _page(visit, {})


async def create_administrator(visit: Visit) -> Response:
    people = visit.rooms.store.people
    troubles = _judge(visit)
    if troubles:
        return await _page(visit, troubles)
    form = visit.form
    email, passphrase = form.text("email"), form.passphrase("passphrase")
    try:
        person = await people.create_first(form.secret("token"), form.text("name"), email, passphrase)
    except AlreadyDoneError:
        return await _say_done(visit, 409)
    except ValueError as trouble:
        return await _page(visit, {"token": str(trouble)})
    visit.desk.setup_link.note_use(form.secret("token"), person.name)
    token, opened = await people.open_session(person.person_id)
    response = visit.go("/", said="welcome")
    session.give_session(response, token, opened, visit.now_us, visit.rooms.is_secure)
    return response


def _judge(visit: Visit) -> Troubles:
    form = visit.form
    found = {
        "token": None if form.secret("token") else _("Open the set-up link from the terminal, or paste its code here."),
        "name": None if form.text("name") else _("Enter your name; it stands in the audit."),
        "email": address_trouble(form.text("email"), "e-mail address"),
        "passphrase": None
        if len(form.passphrase("passphrase")) >= PASSPHRASE_LETTERS
        else _("The passphrase needs at least 12 characters. Three or four words that you remember do well."),
    }
    return {name: sentence for name, sentence in found.items() if sentence}


async def _page(visit: Visit, troubles: Troubles) -> Response:
    return await visit.page(
        "setup.html", status=422 if troubles else 200, troubles=troubles, form=visit.form, token_value=_code(visit)
    )


async def _say_done(visit: Visit, status: int) -> Response:
    winner = visit.desk.setup_link.winner_for(_code(visit))
    return await visit.page("setup_done.html", status=status, winner=winner)


def _code(visit: Visit) -> str:
    return visit.form.secret("token") or visit.asked("token")
