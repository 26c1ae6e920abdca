"""What may be done with a message that was taken: by itself, or with all that a search finds."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from starlette.responses import Response

from postroom.accept.send_again import send_again
from postroom.api.drafting import check_times
from postroom.api.handing_in import accepted_before, reception_of, require_app
from postroom.api.message_shapes import BulkAction, BulkAnswer, ChangedTimes
from postroom.api.problems import ApiError, invalid
from postroom.api.reading import find_detail, full_message
from postroom.api.room import Call, say
from postroom.api.shapes import lane_of, microseconds_of
from postroom.errors import WrongStateError
from postroom.store.interventions import Times
from postroom.store.outbox import Outbox

BULK_LIMIT = 1_000

Action = Callable[[Outbox, int, str], Awaitable[None]]

ACTIONS: dict[str, Action] = {
    "cancel": Outbox.cancel,
    "retry": Outbox.retry,
    "hold": Outbox.hold,
    "release": Outbox.release,
}


def action(name: str) -> Callable[[Call], Awaitable[Response]]:
    """The route of one action."""

    async def act(call: Call) -> Response:
        detail = await find_detail(call)
        await ACTIONS[name](call.room.store.outbox, detail.row.message_id, call.caller.who)
        return say(await full_message(call, detail.row.message_id))

    return act


async def send_one_again(call: Call) -> Response:
    """The same content once more, as a new message."""
    detail = await find_detail(call)
    if detail.body is None:
        raise ApiError(
            "content_deleted", "The content was removed by the retention rule.", "Send it again from its source."
        )
    await require_app(call)
    message_id = await send_again(call.room.intake, detail, reception_of(call, detail.app))
    return say(await accepted_before(call, message_id), 202)


async def change_times(call: Call) -> Response:
    """Another time, expiry or lane, while it waits."""
    asked = call.body
    assert isinstance(asked, ChangedTimes)
    detail = await find_detail(call)
    send_at_us, expires_at_us = _us(asked.send_at), _us(asked.expires_at)
    check_times(
        send_at_us if isinstance(send_at_us, int) else None,
        expires_at_us if isinstance(expires_at_us, int) else None,
        call.room.clock.now_us(),
    )
    lane = lane_of(asked.lane) if isinstance(asked.lane, str) else asked.lane
    message_id = detail.row.message_id
    await call.room.store.outbox.change_times(message_id, Times(send_at_us, expires_at_us, lane), call.caller.who)
    return say(await full_message(call, message_id))


async def act_on_many(call: Call) -> Response:
    """One action on everything that the search finds, at most 1,000 at a time."""
    asked = call.body
    assert isinstance(asked, BulkAction)
    app_id = call.caller.app.app_id if call.caller.app is not None else None
    found: list[int] = []
    cursor: str | None = None
    while len(found) < BULK_LIMIT:
        try:
            rows, cursor = await call.room.store.messages.search(
                asked.filter, cursor=cursor, limit=BULK_LIMIT - len(found), app_id=app_id
            )
        except ValueError as trouble:
            raise invalid("filter", str(trouble)) from None
        found += [row.message_id for row in rows]
        if cursor is None:
            break
    changed = 0
    for message_id in () if asked.dry_run else found:
        try:
            await ACTIONS[asked.action](call.room.store.outbox, message_id, call.caller.who)
            changed += 1
        except WrongStateError:
            continue
    unchanged = 0 if asked.dry_run else len(found) - changed
    return say(BulkAnswer(len(found), changed, unchanged, cursor is None))


def _us(time: datetime | msgspec.UnsetType | None) -> int | msgspec.UnsetType | None:
    return microseconds_of(time) if isinstance(time, datetime) else time
