"""One SMTP connection as lines and chunks, read one after the other.

What they mean is the conversation's affair (`smtp_conversation`), which runs in one task and reads from here.
"""

import asyncio
import ssl
from collections.abc import Callable

from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_stream import ConversationEnded, SmtpStream
from postroom.wire.answers import format_answer
from postroom.wire.commands import AUTH_LIMIT_BYTES, COMMAND_LIMIT_BYTES, CommandError
from postroom.wire.proxy_header import V2_LIMIT_BYTES, ProxyHeader, read_proxy_header

LINES_IN_A_TURN = 64
"""Then the other connections have theirs: tens of thousands of short commands fit into what is read at once."""
_PROXY_BYTES = 16 + V2_LIMIT_BYTES + 1
_SKIPPED_LIMIT_BYTES = 1024 * 1024


class SmtpSession(SmtpStream):
    """What the conversation reads from and speaks to."""

    def __init__(self, limits: ListenerLimits, on_made: Callable[["SmtpSession"], None], listener: str = "") -> None:
        super().__init__(limits, lambda: on_made(self))
        self.listener = listener
        self._lines_in_turn = 0
        self._waits_for_command = True
        """Whether nothing is lost by hanging up now; also before the first command, and in a handshake."""
        self._is_stopping = False

    async def read_line(self, *, is_command: bool = True) -> bytes:
        """The next line without its CR LF; with a bare LF still at its end, for the parser to refuse.

        CommandError when it is too long, after it has been read to its end. ConversationEnded when none will come.
        """
        self._waits_for_command = True
        try:
            await self._give_way()
            while True:
                if self._is_stopping:
                    raise _shutting_down()
                limit = (
                    AUTH_LIMIT_BYTES if not is_command or self._buffer[:4].upper() == b"AUTH" else COMMAND_LIMIT_BYTES
                )
                end = self._buffer.find(b"\n", 0, limit)
                if end >= 0:
                    return self._take_line(end + 1)
                if len(self._buffer) >= limit:
                    await self._skip_line()
                    raise CommandError(500, "5.5.2" if is_command else "5.5.6", f"The line has more than {limit} bytes")
                await self._wait_for_bytes()
        finally:
            self._waits_for_command = False

    async def read_chunk(self, limit_bytes: int | None = None) -> bytes:
        """Whatever has come of a message, at least one byte and at most `limit_bytes`."""
        while not self._buffer:
            await self._wait_for_bytes()
        if limit_bytes is None or limit_bytes >= len(self._buffer):
            chunk = bytes(self._buffer)
            self._buffer.clear()
        else:
            chunk = bytes(self._buffer[:limit_bytes])
            del self._buffer[:limit_bytes]
        return chunk

    async def read_proxy_header(self) -> ProxyHeader:
        """What a load balancer says first; what follows it stays. ProxyHeaderError, ConversationEnded, TimeoutError."""
        async with asyncio.timeout(self._limits.handshake_timeout_seconds):
            while not self._buffer or (header := read_proxy_header(bytes(self._buffer[:_PROXY_BYTES]))) is None:
                await self._wait_for_bytes()
        del self._buffer[: header.length_bytes]
        return header

    def give_back(self, rest: bytes) -> None:
        """What was read beyond the end of a message."""
        self._buffer[:0] = rest

    async def start_tls(self, context: ssl.SSLContext) -> None:
        self._waits_for_command = True
        try:
            await super().start_tls(context)
        finally:
            self._waits_for_command = False

    def refuse_injected(self) -> None:
        """What was sent in clear behind STARTTLS ends the connection.

        CVE-2011-0411: commands put in by a third party would be obeyed as if they had come under TLS.
        """
        if self._buffer:
            raise ConversationEnded(
                "bytes followed STARTTLS in clear",
                format_answer(554, "5.5.1", "Nothing may follow STARTTLS before TLS is up; goodbye"),
            )

    async def pause(self, seconds: float) -> None:
        """Let the client wait; ends early when it hangs up."""
        self.flush()
        await asyncio.wait([self.gone], timeout=seconds)

    def begin_stop(self) -> None:
        """Hang up at the next command; a message that is on its way may finish."""
        self._is_stopping = True
        if self._waits_for_command:
            self._end_with(_shutting_down())

    def _take_line(self, length: int) -> bytes:
        line = bytes(self._buffer[:length])
        del self._buffer[:length]
        return line[:-2] if line.endswith(b"\r\n") else line

    async def _skip_line(self) -> None:
        skipped = 0
        while (end := self._buffer.find(b"\n")) < 0:
            skipped += len(self._buffer)
            if skipped > _SKIPPED_LIMIT_BYTES:
                raise ConversationEnded(
                    "a line without end", format_answer(421, "4.7.0", "The line has no end; goodbye")
                )
            self._buffer.clear()
            await self._wait_for_bytes()
        del self._buffer[: end + 1]

    async def _give_way(self) -> None:
        """To other connections now and then, and to a client that has to read its replies before it gets more."""
        self._lines_in_turn += 1
        if self._lines_in_turn >= LINES_IN_A_TURN:
            self._lines_in_turn = 0
            await asyncio.sleep(0)
        if self._drained is None:
            return
        self._begin_deadline()
        try:
            await self._drained
        finally:
            self._deadline = None
        if self._end is not None and self._transport is not None:
            raise self._end


def _shutting_down() -> ConversationEnded:
    return ConversationEnded(
        "we are shutting down", format_answer(421, "4.3.2", "Postroom is shutting down; send again in a minute")
    )
