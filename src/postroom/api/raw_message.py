"""The message itself as the body of a request: message/rfc822, streamed into its submission as it comes."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from postroom.accept import refusals
from postroom.accept.submission import Submission, SubmissionOptions
from postroom.api.drafting import check_times, lifetime_of
from postroom.api.handing_in import Accepted, accepted_before, accepted_now, find_replay, reception_of
from postroom.api.problems import invalid
from postroom.api.room import Call, announced_bytes, plain_words
from postroom.api.shapes import LaneName, LifetimeHours, Tags, Time, lane_of, microseconds_of
from postroom.store.records import App, IdempotencyKey
from postroom.wire.address_fields import AddressFieldError, read_addresses
from postroom.wire.head import HEAD_LIMIT_BYTES, Head, HeadError, find_head_end, read_head

RAW_PARAMETERS = ("to", "sender", "lane", "send_at", "expires_at", "lifetime_hours", "tag")
_CHUNK_BYTES = 64 * 1024


async def hand_in_raw(call: Call, app: App, key: str) -> Accepted:
    """Whom it is to stands in ?to=, else in To, Cc and Bcc; where failures go in ?sender=, else in Sender or From.

    Lines end with CR LF, or all of them with LF, as files on Unix have them: then each gets its CR.
    """
    digest = hashlib.sha256(str(sorted(call.request.query_params.multi_items())).encode())
    chunks = _Lines(call.request.stream(), digest)
    if key and await call.room.store.outbox.find_kept(app.app_id, IdempotencyKey(key, b"")):
        # It was taken before: this one is read only to know whether it is the same.
        async for _ in chunks:
            continue
        replay = await find_replay(call, app, IdempotencyKey(key, digest.digest()))
        if replay is not None:
            return Accepted(replay, is_replay=True)
    content, head = await _read_head(chunks)
    submission = await _open(call, app, head)
    try:
        for at in range(0, len(content), _CHUNK_BYTES):
            await submission.write(content[at : at + _CHUNK_BYTES])
        async for chunk in chunks:
            await submission.write(chunk)
        if chunks.has_unix_ends:
            submission.note_repair("Ended all lines with CR LF; they had LF.")
        if key:
            submission.name_request(IdempotencyKey(key, digest.digest()))
        message_id = await submission.commit()
    finally:
        await submission.abandon()
    if submission.is_replay:
        return Accepted(await accepted_before(call, message_id), is_replay=True)
    return Accepted(accepted_now(submission, _options(call).send_at_us))


class _Lines:
    """The body's chunks with CR LF at their lines' ends, hashed as they came."""

    def __init__(self, stream: AsyncIterator[bytes], digest: "hashlib._Hash") -> None:
        self._stream = stream
        self._digest = digest
        self._start = b""
        self.has_unix_ends: bool | None = None
        """Known from the first line end on."""

    def __aiter__(self) -> "_Lines":
        return self

    async def __anext__(self) -> bytes:
        while True:
            chunk = await anext(self._stream, None)
            if chunk is None:
                return self._last()
            self._digest.update(chunk)
            if self.has_unix_ends is None:
                chunk = self._start + chunk
                end = chunk.find(b"\n")
                if end < 0 and len(chunk) < _CHUNK_BYTES:
                    self._start = chunk
                    continue
                self._start = b""
                self.has_unix_ends = end >= 0 and chunk[max(0, end - 1) : end] != b"\r"
            if chunk:
                # What has both kinds of ends is refused by the submission: it gets CR CR LF.
                return chunk.replace(b"\n", b"\r\n") if self.has_unix_ends else chunk

    def _last(self) -> bytes:
        """A body without any line end was held back until now."""
        last, self._start = self._start, b""
        if not last:
            raise StopAsyncIteration
        return last


async def _read_head(chunks: AsyncIterator[bytes]) -> tuple[bytes, Head]:
    """All that was read, and the head in it. Refusal."""
    content = bytearray()
    async for chunk in chunks:
        searched = len(content)
        content += chunk
        if find_head_end(content, searched) is not None or len(content) > HEAD_LIMIT_BYTES:
            break
    end = find_head_end(content)
    try:
        return bytes(content), read_head(bytes(content[: len(content) if end is None else end]))
    except HeadError as trouble:
        raise refusals.head_not_readable(str(trouble)) from None


async def _open(call: Call, app: App, head: Head) -> Submission:
    to = call.request.query_params.getlist("to") or _addresses(head, b"to", b"cc", b"bcc")
    if not to:
        raise invalid("to", "the message has no recipient; give ?to=, or a To, Cc or Bcc field")
    asked = call.request.query_params.get("sender")
    sender = asked if asked is not None else (*_addresses(head, b"sender", b"from"), "")[0]
    submission = await call.room.intake.open(
        app,
        sender,
        reception_of(call, app),
        size_bytes=announced_bytes(call.request) or None,
        needs_smtputf8=True,
        options=_options(call),
    )
    try:
        for address in to:
            await submission.add_recipient(address)
    except BaseException:
        await submission.abandon()
        raise
    return submission


def _addresses(head: Head, *names: bytes) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        for field in head.fields:
            if field.name == name:
                try:
                    found |= dict.fromkeys(read_addresses(head.value(field)))
                except AddressFieldError as trouble:
                    raise invalid(name.decode(), str(trouble)) from None
    return list(found)


def _options(call: Call) -> SubmissionOptions:
    """Lane and times stand in the address."""
    lane = _read(call, "lane", LaneName) or "normal"
    send_at, expires_at = _read(call, "send_at", Time), _read(call, "expires_at", Time)
    send_at_us = microseconds_of(send_at) if send_at is not None else None
    expires_at_us = microseconds_of(expires_at) if expires_at is not None else None
    check_times(send_at_us, expires_at_us, call.room.clock.now_us())
    tags = _converted("tag", call.request.query_params.getlist("tag"), Tags)
    hours = _read(call, "lifetime_hours", LifetimeHours)
    return SubmissionOptions(
        lane=lane_of(lane),
        send_at_us=send_at_us,
        expires_at_us=expires_at_us,
        lifetime_us=lifetime_of(hours),
        tags=tuple(dict.fromkeys(tags)),
    )


def _read(call: Call, name: str, shape: Any) -> Any:
    text = call.asked(name)
    return _converted(name, text, shape) if text else None


def _converted(name: str, given: Any, shape: Any) -> Any:
    try:
        return msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as trouble:
        raise invalid(name, plain_words(str(trouble))) from None


def refuse_raw_parameters(call: Call) -> None:
    """In a JSON message these are fields: what stands in the address would be passed over. ApiError."""
    for name in RAW_PARAMETERS:
        if name in call.request.query_params:
            raise invalid(name, "in the address it is for message/rfc822 only; put it into the message")
