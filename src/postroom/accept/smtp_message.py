"""What follows DATA: the bytes of one message, streamed into its submission."""

import asyncio

from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_session import ConversationEnded, SmtpSession
from postroom.accept.submission import Submission
from postroom.errors import Refusal
from postroom.wire.answers import format_answer
from postroom.wire.data import DataReader

_REFUSED_LIMIT_BYTES = 100 * 1024 * 1024
"""How much of a refused message is read to its end, so that the client gets to see the reason."""


async def receive_message(session: SmtpSession, submission: Submission, limits: ListenerLimits) -> int:
    """Read to CR LF dot CR LF, whatever happens, and commit: the message's id, on the disk.

    Refusal comes only after the end, where the client waits for it. ConversationEnded when the end never comes.
    """
    reader = DataReader()
    refusal: Refusal | None = None
    refused_bytes = 0
    ends_at = asyncio.get_running_loop().time() + limits.message_timeout_seconds
    while not reader.is_complete:
        content = reader.feed(await session.read_chunk())
        if refusal is None:
            refusal = await _write(submission, content)
        else:
            refused_bytes += len(content)
        if refused_bytes > _REFUSED_LIMIT_BYTES or asyncio.get_running_loop().time() > ends_at:
            raise _gave_up(refusal)
    session.give_back(reader.rest)
    if refusal is not None:
        raise refusal
    return await submission.commit()


async def _write(submission: Submission, content: bytes) -> Refusal | None:
    try:
        await submission.write(content)
    except Refusal as refusal:
        await submission.abandon()
        return refusal
    return None


def _gave_up(refusal: Refusal | None) -> ConversationEnded:
    if refusal is not None:
        reply = refusal.reply
        return ConversationEnded("a refused message had no end", format_answer(421, reply.enhanced, reply.text))
    return ConversationEnded(
        "a message took too long", format_answer(421, "4.4.2", "The message took too long to arrive; goodbye")
    )
