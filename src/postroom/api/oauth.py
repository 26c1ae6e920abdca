"""Sign in to Microsoft over the API: the page to open in any browser, and the address on which that ended."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from postroom.api.mail_servers import find_named
from postroom.api.problems import ApiError, FieldProblem
from postroom.api.room import Call, say
from postroom.api.shapes import time_or_none
from postroom.errors import SignInRefused
from postroom.outcome import FailureClass
from postroom.remedies import fill, remedy

DRAFT = "draft"


class AskedSignIn(Struct, frozen=True, forbid_unknown_fields=True):
    """How to begin."""

    choose_account: Annotated[
        bool, Meta(description="Microsoft asks which account, in place of suggesting the Username.")
    ] = False


class BegunShape(Struct, frozen=True):
    """A sign-in that was begun by this key; nobody else can complete it."""

    authorize_url: Annotated[str, Meta(description="Open it in any browser, on any computer.")]
    state: Annotated[str, Meta(description="Stands in the address on which the sign-in ends.")]
    redirect_url: Annotated[str, Meta(description="That address begins with it.")]
    expires_at: datetime | None


class Completed(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the sign-in ended."""

    redirected_url: Annotated[
        str, Meta(max_length=20_000, description="The whole address of the page on which the browser ended.")
    ]


class SignInShape(Struct, frozen=True):
    """Who is signed in for a mail server, without secrets."""

    username: str
    mailbox: Annotated[str, Meta(description="The address given to the mail server: the Username's, or a shared one.")]
    signed_in_as: Annotated[str | None, Meta(description="The account's own name; null when nobody signed in.")]
    signed_in_at: datetime | None
    permissions: Annotated[list[str], Meta(description="What this way of sending needs.")]
    missing_permissions: Annotated[list[str], Meta(description="Those that were not granted.")]
    redirect_url: str
    waiting_until: Annotated[datetime | None, Meta(description="Until when a sign-in that you began can be completed.")]
    was_repeated: Annotated[bool, Meta(description="This answer had been taken before; nothing was changed.")] = False


async def show(call: Call) -> Response:
    return await _say(call, await _which(call))


async def start(call: Call) -> Response:
    asked = call.body
    assert isinstance(asked, AskedSignIn)
    which, caller = await _which(call), call.caller
    try:
        begun = await call.room.sign_ins.begin(which, caller.who, caller.address, chooses_account=asked.choose_account)
    except SignInRefused as refused:
        raise await _told(call, which, refused) from None
    return say(BegunShape(begun.url, begun.state, begun.redirect_url, time_or_none(begun.expires_at_us)))


async def complete(call: Call) -> Response:
    """What is set up uses it at once; the draft keeps it until it is saved."""
    asked = call.body
    assert isinstance(asked, Completed)
    which = await _which(call)
    try:
        is_new = await call.room.sign_ins.complete(which, call.caller.who, asked.redirected_url)
    except SignInRefused as refused:
        raise await _told(call, which, refused) from None
    return await _say(call, which, was_repeated=not is_new)


async def _which(call: Call) -> int | None:
    """`draft` is the mail server that is being set up on the page."""
    if call.part("mail_server_id") == DRAFT:
        return None
    return (await find_named(call)).mail_server_id


async def _told(call: Call, which: int | None, refused: SignInRefused) -> ApiError:
    """The reason is the detail and, as a word, the field's code: Microsoft gives more than a list can hold."""
    failure, desk = refused.failure, call.room.sign_ins
    draft = await desk.settings(which)
    values = {
        "username": draft.username,
        "mailbox": draft.mailbox_address or draft.username,
        "sender": draft.sender,
        "tenant": draft.tenant,
        "client_id": draft.client_id,
        "redirect_url": desk.redirect_url,
    }
    steps = fill(remedy(failure.remedy_id), values).steps
    return ApiError(
        "sign_in_service_unavailable" if failure.failure_class is FailureClass.NETWORK else "sign_in_refused",
        failure.text,
        steps[0].text if steps else "Begin the sign-in again.",
        errors=(FieldProblem("", failure.code, failure.text),),
    )


async def _say(call: Call, which: int | None, *, was_repeated: bool = False) -> Response:
    desk = call.room.sign_ins
    draft = await desk.settings(which)
    needed = desk.permissions(draft)
    granted = {scope.rpartition("/")[2].lower() for scope in draft.scopes}
    if draft.refresh_token:
        granted.add("offline_access")
    return say(
        SignInShape(
            username=draft.username,
            mailbox=draft.mailbox_address or draft.username,
            signed_in_as=draft.user.user_principal_name if draft.user is not None and draft.refresh_token else None,
            signed_in_at=time_or_none(draft.granted_at_us),
            permissions=list(needed),
            missing_permissions=[name for name in needed if name.lower() not in granted],
            redirect_url=desk.redirect_url,
            waiting_until=time_or_none(await desk.waiting_until_us(which, call.caller.who)),
            was_repeated=was_repeated,
        )
    )
