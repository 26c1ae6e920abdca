"""The message under way in one conversation: MAIL, RCPT, then DATA or BDAT (RFC 5321 3.3, RFC 3030, RFC 3461)."""

from postroom.accept.profiles import ListenerLimits
from postroom.accept.smtp_message import REFUSED_LIMIT_BYTES, ChunkedMessage, receive_message, swallow_chunk
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.submission import Intake, Submission, SubmissionOptions
from postroom.errors import Refusal
from postroom.ids import public_id
from postroom.message import Reception, RecipientDsn
from postroom.store.records import App
from postroom.wire.bdat import BdatChunk
from postroom.wire.commands import CommandError, parse_mail, parse_rcpt

_GO_AHEAD = b"354 End the message with <CR><LF>.<CR><LF>\r\n"
_SENDER_OK = b"250 2.1.0 Sender OK\r\n"
_NO_RECIPIENT = "No recipient was accepted; say RCPT TO first"
_RECIPIENT_OK = b"250 2.1.5 Recipient OK\r\n"


class SmtpTransaction:
    """Each command may raise Refusal or CommandError; then it is answered with that."""

    def __init__(self, session: SmtpSession, intake: Intake, limits: ListenerLimits, listener: str) -> None:
        self._session = session
        self._listener = listener
        self._intake = intake
        self._limits = limits
        self._submission: Submission | None = None
        self._chunks: ChunkedMessage | None = None

    @property
    def is_open(self) -> bool:
        return self._submission is not None

    @property
    def takes_chunks(self) -> bool:
        """Whether a chunk belongs to a message: to this one, or to one that was refused and has not ended."""
        return self._submission is not None or self._chunks is not None

    async def begin(self, app: App, reception: Reception, argument: str) -> None:
        """MAIL."""
        if self._submission is not None:
            raise CommandError(503, "5.5.1", "A message is open already; end it with DATA or RSET")
        self._chunks = None
        mail = parse_mail(argument)
        self._submission = await self._intake.open(
            app,
            mail.sender,
            reception,
            size_bytes=mail.size_bytes,
            is_eight_bit=mail.is_eight_bit,
            needs_smtputf8=mail.uses_smtputf8,
            options=SubmissionOptions(dsn_return=mail.return_content, dsn_envelope_id=mail.envelope_id),
            listener=self._listener,
        )
        self._session.say(_SENDER_OK)

    async def add_recipient(self, argument: str) -> None:
        """RCPT."""
        submission = self._open_submission()
        if self._chunks is not None:
            raise CommandError(503, "5.5.1", "The message has begun with BDAT; end it with BDAT LAST, or say RSET")
        rcpt = parse_rcpt(argument)
        has_wishes = rcpt.notify or rcpt.original_recipient
        await submission.add_recipient(
            rcpt.recipient, RecipientDsn(rcpt.notify, rcpt.original_recipient) if has_wishes else None
        )
        self._session.say(_RECIPIENT_OK)

    async def receive(self, argument: str) -> None:
        """DATA, and the message behind it."""
        submission = self._open_submission()
        if argument:
            raise CommandError(501, "5.5.4", "DATA takes nothing behind it")
        if self._chunks is not None:
            raise CommandError(503, "5.5.1", "The message has begun with BDAT; end it with BDAT LAST, or say RSET")
        if not submission.recipients:
            raise CommandError(554, "5.5.1", _NO_RECIPIENT)
        self._session.say(_GO_AHEAD)
        try:
            message_id = await receive_message(self._session, submission, self._limits)
        finally:
            await self.abandon()
        self._say_queued(message_id)

    async def receive_chunk(self, chunk: BdatChunk) -> None:
        """BDAT, and the chunk behind it."""
        chunks = self._chunks
        if chunks is None:
            submission = self._open_submission()
            if not submission.recipients:
                await swallow_chunk(self._session, chunk, REFUSED_LIMIT_BYTES)
                raise CommandError(554, "5.5.1", _NO_RECIPIENT)
            chunks = self._chunks = ChunkedMessage(self._session, submission, self._limits)
        try:
            await chunks.receive(chunk)
        except Refusal:
            await self.abandon()
            self._chunks = None if chunk.is_last else chunks
            raise
        if not chunk.is_last:
            self._session.say(f"250 2.0.0 {chunk.size_bytes} bytes received\r\n".encode())
            return
        try:
            message_id = await self._open_submission().commit()
        finally:
            await self.abandon()
        self._say_queued(message_id)

    async def abandon(self) -> None:
        """What was not committed goes."""
        submission, self._submission, self._chunks = self._submission, None, None
        if submission is not None:
            await submission.abandon()

    def _open_submission(self) -> Submission:
        if self._submission is None:
            raise CommandError(503, "5.5.1", "Say MAIL FROM first; it must have been accepted")
        return self._submission

    def _say_queued(self, message_id: int) -> None:
        self._session.say(f"250 2.0.0 OK queued as {public_id(message_id)}\r\n".encode())
