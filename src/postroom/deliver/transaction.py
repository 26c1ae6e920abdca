"""One message over a connection that is signed in: envelope, body, and what became of each recipient.

Where PIPELINING is offered (RFC 2920), the envelope travels in one flight. Where CHUNKING is offered too (RFC 3030), a
small message goes along with it, on a connection that answered a moment ago. Otherwise the body follows only after
every reply to RCPT has been read, and what ends it leaves in one write with its last octets. Once those have left,
and only then, a lost connection makes the outcome unknown.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from postroom.deliver.body_forms import BodyForm, ChunkForm, DataForm
from postroom.deliver.smtp_connection import NO_DSN, NO_WISH, SmtpConnection, SmtpFailure
from postroom.deliver.smtp_stream import BrokenConnectionError
from postroom.deliver.transport import Parcel
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, TryLater, Unknown
from postroom.wire.replies import Reply
from postroom.wire.stuffing import BareLineEndError

FLIGHT_LIMIT_BYTES = 64 * 1024
"""What one flight may hold: about what a connection takes without waiting for the other end."""
LIVELY_SECONDS = 5.0
"""A connection that answered within them is hardly broken. One flight over a dead one would make *unknown* of a message
that another connection could still carry."""

_NO_BDAT = frozenset({500, 502, 503, 504})
"""Said to BDAT although sender and a recipient were accepted: the server offers CHUNKING and does not know it."""
_NO_TIME_LEFT = "It took so long that the time to hear the answer no longer sufficed; nothing was sent."


class Transaction:
    """Hands one parcel over; afterwards the connection may serve the next one, unless it is closed."""

    def __init__(self, connection: SmtpConnection, parcel: Parcel, *, may_chunk: bool = True) -> None:
        self._connection = connection
        self._parcel = parcel
        self._form: BodyForm = ChunkForm() if may_chunk and connection.extensions.offers_chunking else DataForm()
        self._outcomes: dict[int, Outcome] = {}
        """By the recipient's place in the parcel: what is decided so far."""
        self._ends_at = asyncio.get_running_loop().time() + connection.deadlines.whole(parcel.size_bytes)
        self._was_offered = False
        self._was_answered = False
        self._last_byte_left = False
        self.needs_reset = False
        """The server still holds a sender and recipients that came to nothing."""
        self.chunking_failed = False
        """The server does not know BDAT after all: nothing was taken, and DATA may do."""

    async def run(self) -> tuple[Outcome, ...]:
        """The outcomes in the parcel's order. Raises only what the parcel's own body raises."""
        try:
            self._require_extensions()
            if self._fits_one_flight:
                await self._send_in_one_flight()
            elif await self._offer():
                await self._send_body()
                self._decide_rest(await self._conclude())
        except SmtpFailure as failure:
            self._decide_rest(failure.outcome)
        return tuple(self._outcomes[place] for place in range(len(self._parcel.recipients)))

    @property
    def met_a_dead_connection(self) -> bool:
        """The connection ended before the server had said a word about this message."""
        return self._was_offered and not self._was_answered and not self._last_byte_left

    # The envelope

    def _require_extensions(self) -> None:
        parcel, offered = self._parcel, self._connection.extensions
        if offered.size_limit_bytes and parcel.size_bytes > offered.size_limit_bytes:
            text = (
                f"The message has {parcel.size_bytes:,} bytes; "
                f"{self._connection.server} takes {offered.size_limit_bytes:,} at most."
            )
            raise self._refusal(FailureClass.SIZE, "message_too_large", text)
        if parcel.is_eight_bit and not offered.offers_eight_bit:
            text = f"The message has 8-bit text, and {self._connection.server} does not offer 8BITMIME."
            raise self._refusal(FailureClass.CONTENT, "eight_bit_not_supported", text)
        if self._needs_smtputf8 and not offered.offers_smtputf8:
            text = f"An address has letters beyond ASCII, and {self._connection.server} does not offer SMTPUTF8."
            raise self._refusal(FailureClass.CONTENT, "smtputf8_not_supported", text, "eight_bit_not_supported")

    @property
    def _needs_smtputf8(self) -> bool:
        parcel = self._parcel
        addresses = (parcel.envelope_sender, *parcel.recipients)
        return parcel.needs_smtputf8 or not all(address.isascii() for address in addresses)

    async def _offer(self) -> bool:
        """Give sender and recipients; whether the server now waits for the message."""
        connection, mail = self._connection, self._mail_line()
        recipients = self._recipient_lines()
        if not recipients:
            return False
        pipelined = connection.extensions.offers_pipelining
        self._was_offered = True
        connection.say(*([mail, *recipients.values(), *self._form.announcement] if pipelined else [mail]))
        await self._hear_mail()
        await self._hear_recipients(recipients, pipelined)
        if not self._form.announcement:
            return self._someone_is_open
        return await self._hear_data(pipelined)

    def _mail_line(self) -> str:
        parcel = self._parcel
        return self._connection.mail_line(
            parcel.envelope_sender,
            parcel.size_bytes,
            is_eight_bit=parcel.is_eight_bit,
            needs_smtputf8=self._needs_smtputf8,
            dsn=parcel.dsn or NO_DSN,
        )

    def _recipient_lines(self) -> dict[int, str]:
        """The command for each recipient by its place; an address that cannot be said fails alone."""
        lines: dict[int, str] = {}
        dsn, uses_smtputf8 = self._parcel.dsn or NO_DSN, self._needs_smtputf8
        for place, address in enumerate(self._parcel.recipients):
            try:
                wish = dsn.recipients.get(address, NO_WISH)
                lines[place] = self._connection.rcpt_line(address, wish, uses_smtputf8=uses_smtputf8)
            except SmtpFailure as failure:
                self._connection.remark(f"Not offered: {address!r}")
                self._outcomes[place] = failure.outcome
        return lines

    async def _hear_mail(self) -> None:
        reply = await self._hear("MAIL", self._within(self._connection.deadlines.mail))
        self._was_answered = reply.code != 421
        if reply.code // 100 == 2:
            self.needs_reset = True
            return
        refusal = self._connection.refused(reply, "MAIL")
        self._decide_rest(refusal.outcome)
        if not self._connection.extensions.offers_pipelining:
            raise refusal

    async def _hear_recipients(self, lines: dict[int, str], pipelined: bool) -> None:
        for place, line in lines.items():
            if not pipelined:
                self._connection.say(line)
            reply = await self._hear("RCPT", self._within(self._connection.deadlines.rcpt))
            if reply.code // 100 == 2 or place in self._outcomes:
                continue  # what MAIL decided stands
            refusal = self._connection.refused(reply, "RCPT")
            self._outcomes[place] = refusal.outcome
            if reply.code == 421:
                raise refusal

    @property
    def _someone_is_open(self) -> bool:
        return len(self._outcomes) < len(self._parcel.recipients)

    async def _hear_data(self, pipelined: bool) -> bool:
        someone_is_open = self._someone_is_open
        if not pipelined:
            if not someone_is_open:
                return False
            self._connection.say("DATA")
        reply = await self._hear("DATA", self._within(self._connection.deadlines.data))
        if reply.code == 354:
            if not someone_is_open:
                # RFC 2920 3.1 would have us send an empty message now; nobody shall ever get one.
                self._connection.abort()
            return someone_is_open
        if reply.code < 400:
            raise self._broken(f"The mail server answered DATA with {reply.code}; nobody can tell what it waits for.")
        if someone_is_open:
            raise self._connection.refused(reply, "DATA")
        return False

    # All in one flight

    @property
    def _fits_one_flight(self) -> bool:
        return (
            not self._form.announcement
            and self._connection.extensions.offers_pipelining
            and self._parcel.size_bytes <= FLIGHT_LIMIT_BYTES
            and self._connection.has_answered_within(LIVELY_SECONDS)
        )

    async def _send_in_one_flight(self) -> None:
        """Envelope and body in one write. The server answers each command; to a message without recipients, with no."""
        recipients = self._recipient_lines()
        if not recipients:
            return
        body = await self._read_body()
        if not self._parcel.may_finish():
            raise self._local_trouble("no_time_left", _NO_TIME_LEFT)
        self._was_offered = True
        self._connection.say(self._mail_line(), *recipients.values(), f"BDAT {len(body)} LAST", followed_by=body)
        self._last_byte_left = True
        try:
            await self._hear_mail()
            await self._hear_recipients(recipients, pipelined=True)
        except SmtpFailure as failure:
            if failure.reply is not None:
                raise
            raise self._connection.failure(self._unknown(failure.outcome.failure.text)) from None
        if self._someone_is_open:
            self._decide_rest(await self._conclude())
        else:
            await self._hear_that_nobody_got_it()

    async def _hear_that_nobody_got_it(self) -> None:
        """The answer to a message whose recipients were all refused: no, or the server is out of step."""
        reply = await self._hear("DATA", self._connection.deadlines.end)
        self.needs_reset = True
        if reply.code < 400:
            self._connection.abort()

    async def _read_body(self) -> bytes:
        body = self._parcel.open_body()
        try:
            octets = b"".join([self._shape(self._form.piece, chunk) async for chunk in body])
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
        self._require_size(len(octets))
        return octets + self._shape(self._form.last, b"")

    # The body by itself

    async def _send_body(self) -> None:
        """All of the body, its last octets together with what ends it."""
        body = self._parcel.open_body()
        try:
            for line in self._form.opening(self._parcel.size_bytes):
                self._connection.say(line)
            last = await self._send_all_but_last(body)
            await self._require_silence()
            if not self._parcel.may_finish():
                raise self._local_trouble("no_time_left", _NO_TIME_LEFT)
            await self._write(last, is_last=True)
        except BaseException:
            self._connection.abort()  # nothing may be said behind half a message
            raise
        finally:
            if isinstance(body, AsyncGenerator):
                await body.aclose()
        self._connection.remark(self._form.describe(self._parcel.size_bytes))

    async def _send_all_but_last(self, body: AsyncIterator[bytes]) -> bytes:
        held, size_bytes = b"", 0
        async for chunk in body:
            if held:
                await self._write(self._shape(self._form.piece, held))
            held = chunk
            size_bytes += len(chunk)
        self._require_size(size_bytes)
        return self._shape(self._form.last, held)

    def _require_size(self, size_bytes: int) -> None:
        if size_bytes != self._parcel.size_bytes:
            text = f"The stored message has {size_bytes:,} bytes and should have {self._parcel.size_bytes:,}."
            raise self._local_trouble("body_damaged", text)

    def _shape(self, shape: Callable[[bytes], bytes], chunk: bytes) -> bytes:
        """The chunk as it goes onto the wire; a message with bare line ends is refused."""
        try:
            return shape(chunk)
        except BareLineEndError as error:
            raise self._refusal(FailureClass.CONTENT, "bare_line_end", str(error), "message_refused") from None

    async def _write(self, octets: bytes, *, is_last: bool = False) -> None:
        self._parcel.is_moving()
        stream = self._connection.stream
        try:
            stream.write(octets)
            if not is_last:
                await stream.drain(self._within(self._connection.deadlines.block))
        except BrokenConnectionError as error:
            await self._require_silence()  # the server may have said why
            raise self._broken(str(error)) from None
        if not is_last:
            await self._require_silence()

    async def _require_silence(self) -> None:
        """A reply before the final dot is about something else: it must never be taken for the answer to the dot."""
        if not self._connection.stream.has_unread:
            return
        reply = await self._hear("DATA", self._connection.deadlines.quit)
        if reply.code >= 400:
            raise self._connection.refused(reply, "DATA")
        raise self._broken(f"The mail server answered {reply.code} before the message had ended.")

    async def _conclude(self) -> Outcome:
        """The answer to the message."""
        try:
            reply = await self._hear("DATA", self._connection.deadlines.end)
        except SmtpFailure as failure:
            return self._unknown(failure.outcome.failure.text)
        # After a chunk that was refused the sender still stands (RFC 3030 2); after data it does not.
        self.needs_reset = reply.code // 100 != 2 and not self._form.announcement
        if reply.code // 100 == 2:
            return Sent(str(reply))
        if reply.code in _NO_BDAT and not self._form.announcement:
            self.chunking_failed = True
            self._connection.abort()  # it may be reading the message as commands
            return self._local_trouble("chunking_failed", f"BDAT was answered with {reply}.").outcome
        if reply.code < 400:
            self._connection.abort()
            return self._unknown(f"The mail server answered the message with {reply}.")
        return self._connection.refused(reply, "DATA").outcome

    # What is decided

    async def _hear(self, verb: str, seconds: float) -> Reply:
        reply = await self._connection.hear(verb, seconds)
        self._parcel.is_moving()
        return reply

    def _within(self, seconds: float) -> float:
        """So long, or what is left for the whole message."""
        return min(seconds, max(self._ends_at - asyncio.get_running_loop().time(), 0))

    def _decide_rest(self, outcome: Outcome) -> None:
        for place in range(len(self._parcel.recipients)):
            self._outcomes.setdefault(place, outcome)

    def _refusal(self, failure_class: FailureClass, code: str, text: str, remedy_id: str = "") -> SmtpFailure:
        failure = Failure(failure_class, code, text, remedy_id or code, server=self._connection.server)
        return self._connection.failure(Refused(failure))

    def _broken(self, text: str) -> SmtpFailure:
        self._connection.abort()
        failure = Failure(
            FailureClass.NETWORK,
            "connection_broke",
            text,
            "connection_broke",
            command="DATA",
            server=self._connection.server,
        )
        return self._connection.failure(TryLater(failure))

    def _local_trouble(self, code: str, text: str) -> SmtpFailure:
        failure = Failure(FailureClass.LOCAL, code, text, "local_trouble", server=self._connection.server)
        return self._connection.failure(TryLater(failure))

    def _unknown(self, text: str) -> Unknown:
        text = f"The message was handed over, but its answer is missing: {text}"
        failure = Failure(
            FailureClass.NETWORK,
            "answer_lost",
            text,
            "unknown_outcome",
            command="DATA",
            server=self._connection.server,
        )
        return Unknown(failure)
