"""After a long stop over the API: what was set aside, and what of it is sent."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from postroom.api.problems import invalid, not_found
from postroom.api.room import Call, app_id_text, say
from postroom.api.shapes import Time, microseconds_of, time_of
from postroom.ids import parse_public_id, public_id
from postroom.store.choices import Choice, ChoiceAnswer, ChosenMail


class AppShareShape(Struct, frozen=True):
    """What was set aside of one app."""

    app: str
    name: str
    messages: int
    oldest_at: datetime
    newest_at: datetime


class ChoiceShape(Struct, frozen=True):
    """Mail that has waited through a long stop, until a person says what of it is sent."""

    id: str
    username: Annotated[str, Meta(description="The mailbox through which it would leave.")]
    asked_at: datetime
    messages: int
    apps: list[AppShareShape]


class ChoiceList(Struct, frozen=True):
    data: list[ChoiceShape]


class AnswerShape(Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent; the rest is held, from where it can be released or cancelled."""

    send: Annotated[ChosenMail, Meta(description="all, newer (than a time), apps (only these), or none")]
    newer_than: Annotated[Time | None, Meta(description="With newer: what was received then or later is sent.")] = None
    apps: Annotated[
        list[Annotated[str, Meta(max_length=40)]], Meta(max_length=1_000, description="With apps: their ids.")
    ] = []


async def list_open(call: Call) -> Response:
    return say(ChoiceList([await _shape(call, each) for each in await call.room.store.choices.open()]))


async def answer(call: Call) -> Response:
    """Once: 409 tells who has chosen already. What is left open is told."""
    asked = call.body
    assert isinstance(asked, AnswerShape)
    newer_than_us = microseconds_of(asked.newer_than) if asked.newer_than is not None else None
    chosen = ChoiceAnswer(asked.send, newer_than_us, tuple(_app_id(each) for each in asked.apps))
    if trouble := chosen.trouble():
        raise invalid("newer_than" if asked.send is ChosenMail.NEWER else "apps", trouble)
    try:
        choice_id = parse_public_id(call.request.path_params["choice_id"].removeprefix("ch_"))
        await call.room.store.choices.answer(choice_id, chosen, call.caller.who, call.caller.address)
    except (ValueError, LookupError):
        raise not_found("choice") from None
    return await list_open(call)


async def _shape(call: Call, choice: Choice) -> ChoiceShape:
    shares = await call.room.store.choices.by_app(choice.choice_id)
    apps = [
        AppShareShape(
            app_id_text(share.app_id), share.name, share.messages, time_of(share.oldest_us), time_of(share.newest_us)
        )
        for share in shares
    ]
    asked_at = time_of(choice.asked_at_us)
    return ChoiceShape(f"ch_{public_id(choice.choice_id)}", choice.username, asked_at, choice.messages, apps)


def _app_id(text: str) -> int:
    try:
        return parse_public_id(text.removeprefix("app_"))
    except ValueError:
        raise invalid("apps", f"{text} is no id of an app") from None
