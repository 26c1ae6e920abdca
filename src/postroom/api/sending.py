"""POST /messages: as JSON, as a form with files, or the message itself; and uploads that go before."""

import asyncio
from collections.abc import Sequence

from starlette.responses import Response

from postroom.accept.message_fields import Attachment, FieldError, check_attachment
from postroom.api.form import FormPart, FormReader, too_large
from postroom.api.handing_in import Accepted, digest_of, draft_of, find_replay, hand_in, idempotency_of, require_app
from postroom.api.idempotency import REPLAYED, read_key
from postroom.api.problems import invalid
from postroom.api.raw_message import hand_in_raw, refuse_raw_parameters
from postroom.api.reading import WAIT_LIMIT_SECONDS, full_message, wait_for_end
from postroom.api.room import (
    BODY_LIMIT_BYTES,
    Call,
    announced_bytes,
    decode,
    media_type,
    read_body,
    read_id,
    say,
    unsupported,
)
from postroom.api.shapes import NewMessage, UploadedFile, time_of
from postroom.store.records import App, IdempotencyKey


async def send(call: Call) -> Response:
    """One message, in whichever form."""
    app = await require_app(call)
    kind = media_type(call.request) or "application/json"
    if kind != "message/rfc822":
        refuse_raw_parameters(call)
    key = read_key(call.request)
    seconds = call.number("wait", 0, 0, WAIT_LIMIT_SECONDS)
    async with call.room.running.hold(app.app_id, key):
        match kind:
            case "application/json":
                accepted = await _send_json(call, app, key)
            case "multipart/form-data":
                accepted = await _send_form(call, app, key)
            case "message/rfc822":
                accepted = await hand_in_raw(call, app, key)
            case _:
                raise unsupported(
                    f"A message is sent as JSON, multipart/form-data or message/rfc822, not as {kind[:80]}.",
                    "Set the header Content-Type.",
                )
    headers = REPLAYED if accepted.is_replay else {}
    if not seconds:
        return say(accepted.message, 202, dict(headers))
    message_id = read_id(accepted.message.id, "msg", "message")
    await wait_for_end(call, message_id, seconds)
    return say(await full_message(call, message_id), 200, dict(headers))


async def _send_json(call: Call, app: App, key: str) -> Accepted:
    asked = decode(await read_body(call.request), NewMessage)
    return await _send(call, app, asked, idempotency_of(key, asked))


async def _send_form(call: Call, app: App, key: str) -> Accepted:
    """The JSON in a part named `message`; every other part is a file."""
    limit = call.room.intake.size_limit_of(app) + BODY_LIMIT_BYTES
    if announced_bytes(call.request) > limit:
        raise too_large(limit)
    content_type = call.request.headers["content-type"]
    folder = call.room.uploads.folder()
    with FormReader(content_type, folder, size_limit_bytes=limit, text_limit_bytes=BODY_LIMIT_BYTES) as form:
        await form.read(call.request.stream())
        told = b"".join(_held(call, chunk) for part in form.parts if part.name == "message" for chunk in part.read())
        if not told:
            raise invalid("message", "the form needs a part named message with the JSON of the message")
        asked = decode(told, NewMessage)
        files = [part for part in form.parts if part.name != "message"]
        idempotency = IdempotencyKey(key, await asyncio.to_thread(_digest, asked, files)) if key else None
        return await _send(call, app, asked, idempotency, tuple(map(_attach, files)))


async def _send(
    call: Call,
    app: App,
    asked: NewMessage,
    idempotency: IdempotencyKey | None,
    files: tuple[Attachment, ...] = (),
) -> Accepted:
    replay = await find_replay(call, app, idempotency)
    if replay is not None:
        return Accepted(replay, is_replay=True)
    return await hand_in(call, app, await draft_of(call, app, asked, idempotency, files))


def _held(call: Call, chunk: bytes) -> bytes:
    call.request.state.held.grow(len(chunk))
    return chunk


def _attach(part: FormPart) -> Attachment:
    """A Content-ID makes it a picture of the page."""
    return Attachment(part.filename, part.content_type, part.read, part.content_id, bool(part.content_id))


def _digest(asked: NewMessage, files: Sequence[FormPart]) -> bytes:
    digest = digest_of(asked)
    for part in files:
        digest.update(f"\0{part.size_bytes} {part.filename} {part.content_type} {part.content_id}\0".encode())
        for chunk in part.read():
            digest.update(chunk)
    return digest.digest()


async def upload(call: Call) -> Response:
    """A file for a later message: the body is its bytes."""
    app = await require_app(call)
    name = call.asked("filename")
    kind = call.request.headers.get("content-type", "application/octet-stream").strip()
    try:
        check_attachment("file", Attachment(name, kind, lambda: iter(())))
    except FieldError as trouble:
        raise invalid(trouble.field.removeprefix("file."), trouble.text, "invalid_attachment") from None
    kept = await call.room.uploads.keep(app.app_id, name, kind, call.request.stream())
    answer = UploadedFile(kept.attachment_id, name, kind, kept.size_bytes, time_of(kept.expires_at_us))
    return say(answer, 201)
