"""What an SMTP client may say and what it is answered (RFC 5321, 6409, 4954, 3207); a session brings the bytes."""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from postroom.accept.profiles import ListenerLimits, ListenerProfile
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.smtp_message import receive_message
from postroom.accept.smtp_session import ConversationEnded, SmtpSession
from postroom.accept.smtp_sign_in import AppBook, SignInDesk
from postroom.accept.submission import Intake, Submission
from postroom.errors import Refusal
from postroom.ids import public_id
from postroom.message import Reception
from postroom.store.records import App
from postroom.wire.answers import format_answer, format_lines, plain_text
from postroom.wire.commands import CommandError, parse_command, parse_mail, parse_rcpt

log = structlog.stdlib.get_logger("postroom.accept")

HELO_LIMIT_BYTES = 255

_GO_AHEAD = b"354 End the message with <CR><LF>.<CR><LF>\r\n"
_SENDER_OK = b"250 2.1.0 Sender OK\r\n"
_RECIPIENT_OK = b"250 2.1.5 Recipient OK\r\n"
_OK = b"250 2.0.0 OK\r\n"

_FOREIGN_VERBS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "BDAT"})
"""A browser made to speak to us, or bytes of a message about to follow: what comes next is no command."""

Answer = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Listener:
    """What all conversations of one listener share."""

    intake: Intake
    apps: AppBook
    profile: ListenerProfile
    limits: ListenerLimits
    guard: SignInGuard
    tls: ssl.SSLContext | None


class SmtpConversation:
    """One client's conversation, from the greeting to its end."""

    def __init__(self, session: SmtpSession, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._host_name = listener.intake.host_name
        self._desk = SignInDesk(session, listener.apps, listener.guard, listener.limits)
        self._helo: str | None = None
        self._app = listener.profile.guest
        self._is_signed_in = False
        self._submission: Submission | None = None
        self._errors = 0
        self._answers: dict[str, Answer] = {
            "EHLO": self._answer_ehlo,
            "HELO": self._answer_helo,
            "STARTTLS": self._answer_starttls,
            "AUTH": self._answer_auth,
            "MAIL": self._answer_mail,
            "RCPT": self._answer_rcpt,
            "DATA": self._answer_data,
            "RSET": self._answer_rset,
            "NOOP": self._answer_noop,
            "VRFY": self._answer_vrfy,
            "HELP": self._answer_help,
            "QUIT": self._answer_quit,
        }

    async def hold(self) -> None:
        """Answer commands until ConversationEnded."""
        self._session.say(f"220 {self._host_name} ESMTP Postroom\r\n".encode())
        while True:
            try:
                await self._obey(await self._session.read_line())
            except CommandError as trouble:
                self._note_error(format_answer(trouble.code, trouble.enhanced, str(trouble)))
            except Refusal as refusal:
                self._say_refusal(refusal)

    async def abandon_message(self) -> None:
        """What was not committed goes."""
        submission, self._submission = self._submission, None
        if submission is not None:
            await submission.abandon()

    async def _obey(self, line: bytes) -> None:
        command = parse_command(line)
        if command.verb in _FOREIGN_VERBS:
            goodbye = format_answer(421, "4.7.0", f"{command.verb} is no command of this server; goodbye")
            raise ConversationEnded(f"the client said {command.verb}", goodbye)
        answer = self._answers.get(command.verb)
        if answer is None:
            # It is not repeated: what stands there may be a password that came too early.
            raise CommandError(500, "5.5.1", "This is no command of this server; HELP lists them")
        await answer(command.argument)

    def _note_error(self, reply: bytes) -> None:
        self._session.say(reply)
        self._errors += 1
        log.info("command refused", peer=self._session.peer_address, helo=self._helo, reply=reply.decode().rstrip())
        if self._errors >= self._listener.limits.error_limit:
            goodbye = format_answer(421, "4.7.0", "Too many commands in error; goodbye")
            raise ConversationEnded("too many commands in error", goodbye)

    def _say_refusal(self, refusal: Refusal) -> None:
        reply = refusal.reply
        app = self._app.login if self._app else None
        log.info("refused", peer=self._session.peer_address, helo=self._helo, app=app, reply=reply.smtp_reply)
        self._session.say(format_answer(reply.smtp_code, reply.enhanced, reply.text))

    # ---- who is there ----

    async def _answer_helo(self, name: str) -> None:
        await self._greet(name)
        self._session.say(format_lines(250, [self._host_name]))

    async def _answer_ehlo(self, name: str) -> None:
        await self._greet(name)
        self._session.say(format_lines(250, [self._host_name, *self._extensions()]))

    async def _greet(self, name: str) -> None:
        """Any name is taken: devices say "localhost", a bare address, or two words."""
        if not name or len(name.encode()) > HELO_LIMIT_BYTES:
            raise CommandError(501, "5.5.4", f"Say your name behind it, in at most {HELO_LIMIT_BYTES} bytes")
        await self.abandon_message()
        self._helo = plain_text(name)

    def _extensions(self) -> list[str]:
        size = self._listener.intake.size_limit_bytes
        lines = ["PIPELINING", f"SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self._listener.tls is not None and not self._session.tls_version:
            lines.append("STARTTLS")
        if not self._is_signed_in and not self._tls_is_missing():
            # The second form is what clients of the nineties look for.
            lines += ["AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN"]
        return lines

    def _tls_is_missing(self) -> bool:
        return self._listener.profile.needs_tls and not self._session.tls_version

    async def _answer_starttls(self, argument: str) -> None:
        if argument:
            raise CommandError(501, "5.5.4", "STARTTLS takes nothing behind it")
        if self._session.tls_version:
            raise CommandError(503, "5.5.1", "TLS is up already")
        if self._listener.tls is None:
            raise CommandError(502, "5.5.1", "STARTTLS is not offered here")
        await self._session.start_tls(self._listener.tls, b"220 2.0.0 Ready to start TLS\r\n")
        # RFC 3207 4.2: what was said in clear is forgotten.
        await self.abandon_message()
        self._helo = None
        self._app, self._is_signed_in = self._listener.profile.guest, False

    async def _answer_auth(self, argument: str) -> None:
        if self._tls_is_missing():
            raise CommandError(
                538, "5.7.11", "Start TLS first (STARTTLS), then sign in: passwords are not taken in clear"
            )
        if self._helo is None or self._is_signed_in or self._submission is not None:
            raise CommandError(503, "5.5.1", self._why_no_auth())
        app = await self._desk.sign_in(argument)
        if app is not None:
            self._app, self._is_signed_in = app, True

    def _why_no_auth(self) -> str:
        if self._helo is None:
            return "Say EHLO first, after STARTTLS once more"
        return "You are signed in already" if self._is_signed_in else "AUTH cannot come inside a message"

    # ---- a message ----

    async def _answer_mail(self, argument: str) -> None:
        app = self._require_app()
        if self._submission is not None:
            raise CommandError(503, "5.5.1", "A message is open already; end it with DATA or RSET")
        mail = parse_mail(argument)
        self._submission = await self._listener.intake.open(
            app,
            mail.sender,
            self._reception(),
            size_bytes=mail.size_bytes,
            is_eight_bit=mail.is_eight_bit,
            needs_smtputf8=mail.uses_smtputf8,
        )
        self._session.say(_SENDER_OK)

    def _require_app(self) -> App:
        if self._tls_is_missing():
            raise CommandError(530, "5.7.0", "Start TLS first (STARTTLS), then sign in (AUTH)")
        if self._app is None:
            text = "Sign in first (AUTH) with the user name and password of an app (Postroom: Apps & devices)"
            raise CommandError(530, "5.7.0", text)
        if self._helo is None:
            raise CommandError(503, "5.5.1", "Say EHLO or HELO first")
        return self._app

    def _reception(self) -> Reception:
        return Reception(
            way="smtp",
            peer_address=self._session.peer_address,
            helo=self._helo,
            tls_version=self._session.tls_version,
            mechanism=self._desk.mechanism,
            login=self._desk.login,
        )

    def _require_submission(self) -> Submission:
        if self._submission is None:
            self._require_app()
            raise CommandError(503, "5.5.1", "Say MAIL FROM first; it must have been accepted")
        return self._submission

    async def _answer_rcpt(self, argument: str) -> None:
        submission = self._require_submission()
        await submission.add_recipient(parse_rcpt(argument).recipient)
        self._session.say(_RECIPIENT_OK)

    async def _answer_data(self, argument: str) -> None:
        submission = self._require_submission()
        if argument:
            raise CommandError(501, "5.5.4", "DATA takes nothing behind it")
        if not submission.recipients:
            raise CommandError(554, "5.5.1", "No recipient was accepted; say RCPT TO first")
        self._session.say(_GO_AHEAD)
        try:
            message_id = await receive_message(self._session, submission, self._listener.limits)
        finally:
            await self.abandon_message()
        self._session.say(f"250 2.0.0 OK queued as {public_id(message_id)}\r\n".encode())

    async def _answer_rset(self, argument: str) -> None:
        await self.abandon_message()
        self._session.say(_OK)

    # ---- the rest ----

    async def _answer_noop(self, argument: str) -> None:
        self._session.say(_OK)

    async def _answer_vrfy(self, argument: str) -> None:
        self._session.say(
            format_answer(252, "2.5.2", "Addresses are not looked up; send, and the mail server will tell")
        )

    async def _answer_help(self, argument: str) -> None:
        self._session.say(format_answer(214, "2.0.0", "Commands: " + " ".join(self._answers)))

    async def _answer_quit(self, argument: str) -> None:
        raise ConversationEnded("the client said QUIT", b"221 2.0.0 Goodbye\r\n")
