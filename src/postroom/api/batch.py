"""POST /messages/batch: up to 100 messages, each with its own result, or all of them together."""

import msgspec
from starlette.responses import Response

from postroom.accept.submission import Submission, commit_together
from postroom.api.drafting import Draft
from postroom.api.handing_in import (
    accepted_now,
    draft_of,
    find_replay,
    hand_in,
    idempotency_of,
    open_submission,
    require_app,
    reused,
    write_draft,
)
from postroom.api.idempotency import REPLAYED, read_key
from postroom.api.problems import ApiError, as_api_error, invalid, problem_of
from postroom.api.room import Call, decode, read_body, require_json, say
from postroom.api.shapes import BatchAnswer, BatchItem, NewMessage
from postroom.errors import AlreadyKeptError, PostroomError, Refusal
from postroom.store.records import App

BATCH_LIMIT = 100


async def send_batch(call: Call) -> Response:
    """At most 100 messages, each with its own result; with ?atomic=true all of them or none."""
    app = await require_app(call)
    key = read_key(call.request)
    require_json(call.request)
    content = await read_body(call.request)
    messages = decode(content, list[msgspec.Raw])
    if not 1 <= len(messages) <= BATCH_LIMIT:
        raise invalid("", f"A batch has 1 to {BATCH_LIMIT} messages.")
    async with call.room.running.hold(app.app_id, key):
        if call.flag("atomic"):
            return await _send_together(call, app, key, messages)
        items = [await _send_item(call, app, key, number, raw) for number, raw in enumerate(messages)]
    # Who looks at the status only must learn that nothing was taken.
    troubles = [item.error.status for item in items if item.error is not msgspec.UNSET]
    return say(BatchAnswer(items), 202 if len(troubles) < len(items) else troubles[0])


async def _send_item(call: Call, app: App, key: str, number: int, raw: msgspec.Raw) -> BatchItem:
    """One that failed, for whatever reason, takes no answer away from those that were taken before."""
    try:
        asked = decode(bytes(raw), NewMessage)
        idempotency = idempotency_of(key, asked, number)
        replay = await find_replay(call, app, idempotency)
        if replay is not None:
            return BatchItem.of(replay)
        accepted = await hand_in(call, app, await draft_of(call, app, asked, idempotency))
        return BatchItem.of(accepted.message)
    except (ApiError, PostroomError) as trouble:
        problem = as_api_error(trouble)
        call.room.intake.metrics.note_refused("http", problem.code)
        return BatchItem(error=problem_of(problem, call.request.state.request_id))


async def _send_together(call: Call, app: App, key: str, messages: list[msgspec.Raw]) -> Response:
    """What cannot be sent fails all; the error names its place."""
    drafts: list[Draft] = []
    for number, raw in enumerate(messages):
        try:
            asked = decode(bytes(raw), NewMessage)
            idempotency = idempotency_of(key, asked, number)
            replay = await find_replay(call, app, idempotency)
            if replay is not None:
                return await _replay_batch(call, app, key, messages)
            drafts.append(await draft_of(call, app, asked, idempotency))
        except ApiError as trouble:
            raise _named(number, trouble) from None
    submissions: list[Submission] = []
    try:
        for number, draft in enumerate(drafts):
            try:
                submissions.append(await open_submission(call, app, draft))
                await write_draft(submissions[-1], draft)
            except Refusal as refusal:
                raise _named(number, as_api_error(refusal)) from None
        await commit_together(call.room.intake, submissions)
    except AlreadyKeptError:
        return await _replay_batch(call, app, key, messages)
    finally:
        for submission in submissions:
            await submission.abandon()
    items = [
        BatchItem.of(accepted_now(it, draft.options.send_at_us)) for it, draft in zip(submissions, drafts, strict=True)
    ]
    return say(BatchAnswer(items), 202)


def _named(number: int, trouble: ApiError) -> ApiError:
    return ApiError(
        trouble.code,
        f"Message {number} of the batch: {trouble.detail}",
        f"Nothing was taken. {trouble.remedy}",
        status=trouble.status,
        errors=trouble.errors,
        retry_after_seconds=trouble.retry_after_seconds,
    )


async def _replay_batch(call: Call, app: App, key: str, messages: list[msgspec.Raw]) -> Response:
    items = []
    for number, raw in enumerate(messages):
        asked = decode(bytes(raw), NewMessage)
        replay = await find_replay(call, app, idempotency_of(key, asked, number))
        if replay is None:
            raise reused()
        items.append(BatchItem.of(replay))
    return say(BatchAnswer(items), 202, dict(REPLAYED))
