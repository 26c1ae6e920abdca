"""Renew a mail server's client secret over the API: tried at Microsoft before the old one makes way for it."""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta, Struct
from starlette.responses import Response

from postroom.api.mail_servers import find_named
from postroom.api.problems import ApiError
from postroom.api.room import Call, say
from postroom.api.shapes import time_or_none
from postroom.errors import SignInTroubleError
from postroom.outcome import Stopped
from postroom.remedies import remedy


class NewSecret(Struct, frozen=True, forbid_unknown_fields=True):
    """A client secret from Entra: its Value, not its Secret ID."""

    client_secret: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[!-~]+$")]
    ends_on: Annotated[date, Meta(description="The day on which it expires, as Entra shows it; we remind you from it.")]


class SecretShape(Struct, frozen=True):
    """What is used now; never the secret itself."""

    ends_on: date | None
    old_secret_ends_on: date | None
    old_secret_kept_until: Annotated[datetime | None, Meta(description="Until then it can be gone back to.")]
    needs_sign_in: Annotated[bool, Meta(description="It is accepted, but somebody has to sign in again.")]


async def renew(call: Call) -> Response:
    """409 when it is the one that is used; the reason and Microsoft's words when it is refused."""
    asked = call.body
    assert isinstance(asked, NewSecret)
    mailbox_id = (await find_named(call)).mailbox_id
    who = (call.caller.who, call.caller.address)
    try:
        ended = await call.room.client_secrets.renew(mailbox_id, asked.client_secret, asked.ends_on, *who)
    except SignInTroubleError as trouble:
        raise _refused(trouble) from None
    return await _say(call, mailbox_id, ended)


async def go_back(call: Call) -> Response:
    mailbox_id = (await find_named(call)).mailbox_id
    try:
        ended = await call.room.client_secrets.go_back(mailbox_id, call.caller.who, call.caller.address)
    except SignInTroubleError as trouble:
        raise _refused(trouble) from None
    return await _say(call, mailbox_id, ended)


async def _say(call: Call, mailbox_id: int, ended: Stopped | None) -> Response:
    grant = await call.room.store.mailboxes.show_grant(mailbox_id)
    kept_until = time_or_none(grant.spare_secret_until_us)
    return say(SecretShape(grant.secret_ends_on, grant.spare_secret_ends_on, kept_until, ended is not None))


def _refused(trouble: SignInTroubleError) -> ApiError:
    failure = trouble.outcome.failure
    code = "client_secret_refused" if isinstance(trouble.outcome, Stopped) else "sign_in_service_unavailable"
    steps = remedy(failure.remedy_id).steps
    detail = f"{failure.text.rstrip('.')}. Nothing was changed."
    return ApiError(code, detail, steps[0].text if steps else "Try again in a minute.")
