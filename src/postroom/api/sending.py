"""POST /messages: as JSON, as a form with files, or the message itself; and uploads that go before."""

import hashlib
from collections.abc import Iterator

import msgspec
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from postroom.accept.message_fields import Attachment, FieldError, check_attachment
from postroom.api.handing_in import Accepted, draft_of, find_replay, hand_in, idempotency_of, require_app
from postroom.api.idempotency import REPLAYED, read_key
from postroom.api.problems import ApiError, invalid
from postroom.api.raw_message import hand_in_raw
from postroom.api.reading import WAIT_LIMIT_SECONDS, full_message, wait_for_end
from postroom.api.room import BODY_LIMIT_BYTES, Call, decode, read_body, read_id, say
from postroom.api.shapes import NewMessage, UploadedFile, time_of
from postroom.store.records import App, IdempotencyKey

FILE_LIMIT = 100
READ_BYTES = 57 * 1024


async def send(call: Call) -> Response:
    """One message, in whichever form."""
    app = await require_app(call)
    kind = call.request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
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
                raise ApiError(
                    "unsupported_media_type",
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
    # Over what was asked, not over how it was written: blanks and the order of fields mean nothing.
    return await _send(call, app, asked, idempotency_of(key, msgspec.json.encode(asked)))


async def _send_form(call: Call, app: App, key: str) -> Accepted:
    """The JSON in a part named `message`; every file is an attachment."""
    limited = _limit_body(call.request, call.room.intake.size_limit_of(app) + BODY_LIMIT_BYTES)
    try:
        async with limited.form(max_files=FILE_LIMIT, max_fields=2, max_part_size=BODY_LIMIT_BYTES) as form:
            told = form.get("message")
            content = await told.read() if isinstance(told, UploadFile) else (told or "").encode()
            if not content:
                raise invalid("message", "the form needs a part named message with the JSON of the message")
            asked = decode(content, NewMessage)
            parts = [part for name, part in form.multi_items() if isinstance(part, UploadFile) and name != "message"]
            digest = hashlib.sha256(msgspec.json.encode(asked))
            for part in parts if key else ():
                await _hash_file(digest, part)
            idempotency = IdempotencyKey(key, digest.digest()) if key else None
            return await _send(call, app, asked, idempotency, tuple(map(_attach, parts)))
    except MultiPartException as trouble:
        raise invalid("", f"The form cannot be read: {trouble.message}") from None


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


def _attach(part: UploadFile) -> Attachment:
    """It was held in memory up to 1 MB, and in a file beyond."""

    def read() -> Iterator[bytes]:
        part.file.seek(0)
        while chunk := part.file.read(READ_BYTES):
            yield chunk

    return Attachment(part.filename or "", part.content_type or "application/octet-stream", read)


async def _hash_file(digest: "hashlib._Hash", part: UploadFile) -> None:
    digest.update(f"{part.filename} {part.content_type}".encode())
    while chunk := await part.read(READ_BYTES):
        digest.update(chunk)


def _limit_body(request: Request, limit: int) -> Request:
    """The same request, that ends with ApiError when more comes."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise ApiError(
                "message_too_large", f"The message may have {limit:,} bytes.", "Send less, or a link to the files."
            )
        return message

    return Request(request.scope, receive)


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
