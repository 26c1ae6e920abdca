"""What follows DATA, or comes in chunks by BDAT: the bytes of one message, streamed into its submission."""

import asyncio

from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.smtp_stream import ConversationEnded
from postroom.accept.submission import Submission
from postroom.errors import Refusal
from postroom.wire.answers import format_answer
from postroom.wire.bdat import BdatChunk
from postroom.wire.data import DataReader

REFUSED_LIMIT_BYTES = 100 * 1024 * 1024
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
        if refused_bytes > REFUSED_LIMIT_BYTES or asyncio.get_running_loop().time() > ends_at:
            raise _gave_up(refusal)
    session.give_back(reader.rest)
    if refusal is not None:
        raise refusal
    return await submission.commit()


class ChunkedMessage:
    """A message that comes by BDAT (RFC 3030): each chunk is read to its last byte, whatever became of the message."""

    def __init__(self, session: SmtpSession, submission: Submission, limits: ListenerLimits) -> None:
        self._session = session
        self._submission = submission
        self._ends_at = asyncio.get_running_loop().time() + limits.message_timeout_seconds
        self._refused_bytes = 0
        self.refusal: Refusal | None = None
        """What the first refused chunk was answered; those behind it, sent before that answer came, get the same."""

    async def receive(self, chunk: BdatChunk) -> None:
        """Read one chunk. Refusal after its end; ConversationEnded when it is beyond all measure or never ends."""
        missing = chunk.size_bytes
        while missing:
            if self.refusal is not None and self._refused_bytes + missing > REFUSED_LIMIT_BYTES:
                raise _gave_up(self.refusal)
            content = await self._session.read_chunk(missing)
            missing -= len(content)
            if self.refusal is None:
                self.refusal = await _write(self._submission, content)
            else:
                self._refused_bytes += len(content)
            if asyncio.get_running_loop().time() > self._ends_at:
                raise _gave_up(self.refusal)
        if self.refusal is not None:
            raise self.refusal


async def swallow_chunk(session: SmtpSession, chunk: BdatChunk, limit_bytes: int) -> None:
    """Read a chunk that belongs to no message: what it holds is no command. ConversationEnded beyond the limit."""
    if chunk.size_bytes > limit_bytes:
        goodbye = format_answer(421, "4.7.0", "So large a chunk belongs to no message that was accepted; goodbye")
        raise ConversationEnded("a large chunk without a message", goodbye)
    missing = chunk.size_bytes
    while missing:
        missing -= len(await session.read_chunk(missing))


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
