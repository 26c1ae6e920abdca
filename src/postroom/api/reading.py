"""GET /messages: the list, one message, what happened to it, and its content."""

import asyncio
from itertools import chain

from starlette.responses import Response, StreamingResponse

from postroom.api.content import take_apart
from postroom.api.message_shapes import (
    Event,
    Events,
    FullMessage,
    MessageFailure,
    MessageLine,
    MessagePage,
    RecipientLine,
)
from postroom.api.problems import ApiError, not_found
from postroom.api.room import Call, message_id_text, read_id, say
from postroom.api.shapes import LaneName, Links, time_of, time_or_none
from postroom.errors import StoreUnavailableError
from postroom.message import Lane
from postroom.outcome import Failure, Refused, Sent
from postroom.store.records import AttemptRow, AuditEntry, MessageDetail, MessageRow, RecipientRow, StoredBody

WAIT_LIMIT_SECONDS = 30
PAGE_LIMIT = 200
CONTENT_LIMIT_BYTES = 32 * 1024 * 1024
"""Of a message that is taken apart for a reader; its raw form streams, whatever its size."""
_LANES: dict[Lane, LaneName] = {Lane.HIGH: "high", Lane.NORMAL: "normal", Lane.LOW: "low"}
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.05, 1.0


async def list_messages(call: Call) -> Response:
    """Newest first, found by the words of the console's search."""
    app_id = call.caller.app.app_id if call.caller.app is not None else None
    limit = call.number("limit", 50, 1, PAGE_LIMIT)
    try:
        rows, cursor = await call.room.store.messages.search(
            call.asked("q"), cursor=call.asked("cursor") or None, limit=limit, app_id=app_id
        )
    except ValueError as trouble:
        code = "invalid_cursor" if "place in the list" in str(trouble) else "validation_error"
        raise ApiError(code, str(trouble), "See /api/docs for the words of a search.") from None
    return say(MessagePage([_line(row) for row in rows], cursor))


async def show_message(call: Call) -> Response:
    return say(await full_message(call, read_id(call.part("message_id"), "msg", "message")))


async def list_events(call: Call) -> Response:
    """Everything that happened to it, in order."""
    detail = await find_detail(call)
    entries = [Event(time_of(it.at_us), it.kind, it.text, it.who) for it in detail.timeline]
    attempts = [_attempt_event(attempt) for attempt in detail.attempts]
    return say(Events(sorted(chain(entries, attempts), key=lambda event: event.at)))


async def read_raw(call: Call) -> Response:
    """The message as it is stored, which is as it is sent."""
    detail = await find_detail(call)
    body = await _viewed_body(call, detail)
    headers = {"content-length": str(body.size_bytes), "content-disposition": "attachment"}
    return StreamingResponse(call.room.store.bodies.read(body), 200, headers, "message/rfc822")


async def read_content(call: Call) -> Response:
    """Texts and the list of files, as a reader shows them."""
    detail = await find_detail(call)
    body = await _viewed_body(call, detail)
    if body.size_bytes > CONTENT_LIMIT_BYTES:
        raise ApiError("message_too_large", "The message is too large to be taken apart.", "Read its raw form.")
    content = b"".join([chunk async for chunk in call.room.store.bodies.read(body)])
    return say(await asyncio.to_thread(take_apart, content))


# ---- for other routes ----


async def find_detail(call: Call) -> MessageDetail:
    """The message in the path; ApiError 404 also when it is another app's."""
    return await _find(call, read_id(call.part("message_id"), "msg", "message"))


async def full_message(call: Call, message_id: int) -> FullMessage:
    detail = await _find(call, message_id)
    row = detail.row
    text = message_id_text(row.message_id)
    recipients = [_recipient(it, detail.attempts) for it in detail.recipients]
    return FullMessage(
        id=text,
        status=row.state,
        is_partly_failed=row.is_partly_failed,
        message_id=detail.internet_message_id,
        created_at=time_of(row.received_at_us),
        finished_at=time_or_none(row.finished_at_us),
        app=detail.app.name,
        from_=row.header_from,
        envelope_sender=detail.envelope_sender,
        subject=row.subject,
        size_bytes=row.size_bytes,
        attempts=row.attempts,
        waits_for=row.waits_for,
        lane=_lane_name(detail.lane),
        send_at=time_or_none(detail.send_at_us),
        expires_at=time_or_none(detail.expires_at_us),
        tags=list(detail.tags),
        metadata=detail.metadata,
        changes=list(detail.repairs),
        recipients=recipients,
        last_error=next((it.last_error for it in recipients if it.last_error is not None), None),
        has_content=detail.body is not None,
        links=Links(f"/api/v1/messages/{text}"),
    )


async def wait_for_end(call: Call, message_id: int, seconds: int) -> None:
    """Until every recipient has ended, or the time is up, or the server stops."""
    loop = asyncio.get_running_loop()
    ends_at, pause = loop.time() + seconds, _FIRST_LOOK_SECONDS
    while not call.room.shutdown.is_set():
        state = await call.room.store.messages.state_of(message_id)
        left = ends_at - loop.time()
        if state is None or state.is_final or left <= 0:
            return
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, _LAST_LOOK_SECONDS)


async def _find(call: Call, message_id: int) -> MessageDetail:
    detail = await call.room.store.messages.find(message_id)
    if detail is None or not call.caller.may_see(detail.app.app_id):
        raise not_found("message")
    return detail


async def _viewed_body(call: Call, detail: MessageDetail) -> StoredBody:
    """Whoever reads content is noted (audit)."""
    if detail.body is None:
        raise ApiError(
            "content_deleted",
            "The content was removed by the retention rule.",
            "Keep it longer with retention.content_days, or ask who sent it.",
        )
    entry = AuditEntry(
        call.room.clock.now_us(),
        call.caller.who,
        call.caller.address,
        "read content",
        message_id_text(detail.row.message_id),
    )
    await call.room.store.audit.record(entry)
    try:
        async for _ in call.room.store.bodies.read(detail.body):
            break
    except StoreUnavailableError as trouble:
        raise ApiError("internal_error", str(trouble), "Look into Postroom's log.") from None
    return detail.body


def _line(row: MessageRow) -> MessageLine:
    return MessageLine(
        id=message_id_text(row.message_id),
        status=row.state,
        is_partly_failed=row.is_partly_failed,
        created_at=time_of(row.received_at_us),
        finished_at=time_or_none(row.finished_at_us),
        app=row.app_name,
        from_=row.header_from,
        to=list(row.recipients),
        recipient_count=row.recipient_count,
        subject=row.subject,
        size_bytes=row.size_bytes,
        attempts=row.attempts,
        waits_for=row.waits_for,
    )


def _recipient(row: RecipientRow, attempts: tuple[AttemptRow, ...]) -> RecipientLine:
    number = next(
        (it.number for it in reversed(attempts) if any(address == row.address for address, _ in it.outcomes)), None
    )
    return RecipientLine(
        email=row.address,
        status=row.state,
        changed_at=time_of(row.changed_at_us),
        next_attempt_at=time_or_none(row.next_attempt_at_us),
        last_error=_failure(row, number) if row.failure is not None else None,
        reply=row.reply,
    )


def _failure(row: RecipientRow, attempt: int | None) -> MessageFailure:
    assert row.failure is not None
    return failure_of(
        row.failure,
        is_retryable=not row.state.is_final,
        attempt=attempt,
        at_us=row.changed_at_us,
        next_attempt_at_us=row.next_attempt_at_us,
    )


def failure_of(
    failure: Failure,
    *,
    is_retryable: bool,
    attempt: int | None = None,
    at_us: int | None = None,
    next_attempt_at_us: int | None = None,
) -> MessageFailure:
    return MessageFailure(
        class_=failure.failure_class.value,
        code=failure.code,
        retryable=is_retryable,
        text=failure.text,
        remedy_id=failure.remedy_id,
        smtp_code=failure.smtp_code,
        enhanced=failure.enhanced,
        command=failure.command,
        server=failure.server,
        trace=failure.trace,
        attempt=attempt,
        at=time_or_none(at_us),
        next_attempt_at=time_or_none(next_attempt_at_us),
    )


def _attempt_event(attempt: AttemptRow) -> Event:
    outcomes: list[object] = []
    for address, outcome in attempt.outcomes:
        if isinstance(outcome, Sent):
            outcomes.append({"email": address, "outcome": "sent", "reply": outcome.reply})
        else:
            failure = failure_of(outcome.failure, is_retryable=not isinstance(outcome, Refused))
            outcomes.append({"email": address, "outcome": type(outcome).__name__.lower(), "failure": failure})
    text = f"Attempt {attempt.number}" + (f" at {attempt.server}" if attempt.server else "")
    began = time_of(attempt.started_at_us)
    return Event(began, "attempted", text, server=attempt.server, attempt=attempt.number, outcomes=outcomes)


def _lane_name(lane: Lane) -> LaneName:
    return _LANES[lane]
