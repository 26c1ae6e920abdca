"""One message over a connection that is signed in: envelope, body, and what became of each recipient.

Where PIPELINING is offered (RFC 2920), MAIL, all RCPT and DATA travel in one flight. The body follows only after
every reply to RCPT has been read, and what ends it leaves in one write with its last octets: from then on, and only
from then on, a lost connection makes the outcome unknown.
"""

from collections.abc import AsyncGenerator, AsyncIterator

from postroom.deliver.smtp_connection import NO_DSN, NO_WISH, SmtpConnection, SmtpFailure
from postroom.deliver.smtp_stream import BrokenConnectionError
from postroom.deliver.transport import Parcel
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, TryLater, Unknown
from postroom.wire.replies import Reply
from postroom.wire.stuffing import BareLineEndError, DotStuffer

_NO_TIME_LEFT = "It took so long that the time to hear the answer no longer sufficed; nothing was sent."


class Transaction:
    """Hands one parcel over; afterwards the connection may serve the next one, unless it is closed."""

    def __init__(self, connection: SmtpConnection, parcel: Parcel) -> None:
        self._connection = connection
        self._parcel = parcel
        self._outcomes: dict[int, Outcome] = {}
        """By the recipient's place in the parcel: what is decided so far."""
        self._was_offered = False
        self._was_answered = False
        self.needs_reset = False
        """The server still holds a sender and recipients that came to nothing."""

    async def run(self) -> tuple[Outcome, ...]:
        """The outcomes in the parcel's order. Raises only what the parcel's own body raises."""
        try:
            self._require_extensions()
            accepted = await self._offer()
            if accepted:
                await self._send_body()
                self._decide_rest(await self._conclude())
        except SmtpFailure as failure:
            self._decide_rest(failure.outcome)
        return tuple(self._outcomes[place] for place in range(len(self._parcel.recipients)))

    @property
    def met_a_dead_connection(self) -> bool:
        """The connection ended before the server had said a word about this message."""
        return self._was_offered and not self._was_answered

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
        connection, parcel = self._connection, self._parcel
        mail = connection.mail_line(
            parcel.envelope_sender,
            parcel.size_bytes,
            is_eight_bit=parcel.is_eight_bit,
            needs_smtputf8=self._needs_smtputf8,
            dsn=parcel.dsn or NO_DSN,
        )
        recipients = self._recipient_lines()
        if not recipients:
            return False
        pipelined = connection.extensions.offers_pipelining
        self._was_offered = True
        connection.say(*([mail, *recipients.values(), "DATA"] if pipelined else [mail]))
        await self._hear_mail()
        await self._hear_recipients(recipients, pipelined)
        return await self._hear_data(pipelined)

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
        reply = await self._hear("MAIL", self._connection.deadlines.mail)
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
            reply = await self._hear("RCPT", self._connection.deadlines.rcpt)
            if reply.code // 100 == 2 or place in self._outcomes:
                continue  # what MAIL decided stands
            refusal = self._connection.refused(reply, "RCPT")
            self._outcomes[place] = refusal.outcome
            if reply.code == 421:
                raise refusal

    async def _hear_data(self, pipelined: bool) -> bool:
        someone_is_open = len(self._outcomes) < len(self._parcel.recipients)
        if not pipelined:
            if not someone_is_open:
                return False
            self._connection.say("DATA")
        reply = await self._hear("DATA", self._connection.deadlines.data)
        if reply.code == 354:
            if not someone_is_open:
                # RFC 2920 3.1 would have us send an empty message now; nobody shall ever get one.
                self._connection.abort()
            return someone_is_open
        if someone_is_open:
            raise self._connection.refused(reply, "DATA")
        return False

    # The body

    async def _send_body(self) -> None:
        """All of the body, its last octets together with the final dot."""
        body = self._parcel.open_body()
        try:
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
        self._connection.remark(f"The message, {self._parcel.size_bytes:,} bytes, and the final dot")

    async def _send_all_but_last(self, body: AsyncIterator[bytes]) -> bytes:
        stuffer = DotStuffer()
        held, size_bytes = b"", 0
        async for chunk in body:
            if held:
                await self._write(self._stuff(stuffer, held))
            held = chunk
            size_bytes += len(chunk)
        if size_bytes != self._parcel.size_bytes:
            text = f"The stored message has {size_bytes:,} bytes and should have {self._parcel.size_bytes:,}."
            raise self._local_trouble("body_damaged", text)
        return self._stuff(stuffer, held, is_last=True)

    def _stuff(self, stuffer: DotStuffer, chunk: bytes, *, is_last: bool = False) -> bytes:
        try:
            return stuffer.stuff(chunk) + stuffer.end() if is_last else stuffer.stuff(chunk)
        except BareLineEndError as error:
            raise self._refusal(FailureClass.CONTENT, "bare_line_end", str(error), "message_refused") from None

    async def _write(self, octets: bytes, *, is_last: bool = False) -> None:
        self._parcel.is_moving()
        stream = self._connection.stream
        try:
            stream.write(octets)
            if not is_last:
                await stream.drain(self._connection.deadlines.block)
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
        """The answer to the final dot."""
        self.needs_reset = False
        try:
            reply = await self._hear("DATA", self._connection.deadlines.end)
        except SmtpFailure as failure:
            return self._unknown(failure.outcome.failure.text)
        if reply.code // 100 == 2:
            return Sent(str(reply))
        if reply.code < 400:
            self._connection.abort()
            return self._unknown(f"The mail server answered the message with {reply}.")
        return self._connection.refused(reply, "DATA").outcome

    # What is decided

    async def _hear(self, verb: str, seconds: float) -> Reply:
        reply = await self._connection.hear(verb, seconds)
        self._parcel.is_moving()
        return reply

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
