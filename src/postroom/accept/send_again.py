"""Send the content of a message once more, as a new message with its own Message-ID and Date."""

from collections.abc import AsyncIterator

from postroom.accept import refusals
from postroom.accept.received import own_comment
from postroom.accept.submission import Intake, SubmissionOptions
from postroom.message import Reception
from postroom.store.records import MessageDetail
from postroom.wire.head import HEAD_LIMIT_BYTES, HeadError, find_head_end, read_head

_MADE_ANEW = frozenset({b"message-id", b"date", b"x-original-date"})
"""A mailbox may take a second message with the same Message-ID for a copy, and show only one."""


async def send_again(intake: Intake, detail: MessageDetail, reception: Reception) -> int:
    """The new message's id. Its sender, recipients, lane and tags are the old one's. Refusal."""
    assert detail.body is not None, "the caller has looked"
    options = SubmissionOptions(lane=detail.lane, tags=detail.tags, metadata=detail.metadata)
    submission = await intake.open(detail.app, detail.envelope_sender, reception, needs_smtputf8=True, options=options)
    try:
        for recipient in detail.recipients:
            await submission.add_recipient(recipient.address)
        async for chunk in _without_trace(intake.store.bodies.read(detail.body), intake.host_name):
            await submission.write(chunk)
        return await submission.commit()
    finally:
        await submission.abandon()


async def _without_trace(chunks: AsyncIterator[bytes], host_name: str) -> AsyncIterator[bytes]:
    """As it came to us: without our own Received, and without what is made anew."""
    content = bytearray()
    end: int | None = None
    async for chunk in chunks:
        content += chunk
        end = find_head_end(content)
        if end is not None or len(content) > HEAD_LIMIT_BYTES * 2:
            break
    end = len(content) if end is None else end
    try:
        head = read_head(bytes(content[:end]))
    except HeadError as trouble:
        raise refusals.head_not_readable(str(trouble)) from None
    own_mark = own_comment(host_name).encode()
    position = 0
    kept = bytearray()
    for field in head.fields:
        is_own_trace = field.name == b"received" and own_mark in head.raw(field)
        if is_own_trace or field.name in _MADE_ANEW:
            kept += head.content[position : field.start]
            position = field.end
    yield bytes(kept) + head.content[position:] + bytes(content[end:])
    async for chunk in chunks:
        yield chunk
