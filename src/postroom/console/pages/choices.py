"""After a long stop: what was set aside, and what of it is sent."""

from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.responses import Response

from postroom.clock import MICROSECONDS
from postroom.console.forms import Form
from postroom.console.language import _
from postroom.console.visit import Visit
from postroom.errors import WrongStateError
from postroom.ids import parse_public_id
from postroom.store.choices import ChoiceAnswer, ChosenMail


async def show(visit: Visit) -> Response:
    return await _page(visit, visit.asked("trouble"))


async def answer(visit: Visit) -> Response:
    try:
        choice_id = parse_public_id(visit.part("choice_id"))
        chosen = _read(visit.form)
    except ValueError:
        raise HTTPException(404) from None
    trouble = _(chosen.trouble())
    if not trouble:
        try:
            await visit.rooms.store.choices.answer(choice_id, chosen, visit.who, visit.address)
            return visit.go("/choices", said="chosen")
        except WrongStateError as late:
            trouble = str(late)
        except LookupError:
            raise HTTPException(404) from None
    return await _page(visit, trouble, status=422)


async def _page(visit: Visit, trouble: str, status: int = 200) -> Response:
    book = visit.rooms.store.choices
    found = [(choice, await book.by_app(choice.choice_id)) for choice in await book.open()]
    return await visit.page("choices.html", status=status, choices=found, trouble=trouble)


def _read(form: Form) -> ChoiceAnswer:
    """ValueError for what no page of ours sends."""
    send = ChosenMail(form.text("send"))
    prefix = "app-"
    apps = [name.removeprefix(prefix) for name in form.values if name.startswith(prefix)]
    newer_than_us = _moment(form.text("newer_than")) if send is ChosenMail.NEWER else None
    return ChoiceAnswer(send, newer_than_us, tuple(parse_public_id(app) for app in apps))


def _moment(text: str) -> int | None:
    """What a field for date and time holds, in UTC; None when it is empty or cannot be read."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * MICROSECONDS
    except (ValueError, OverflowError):
        return None
