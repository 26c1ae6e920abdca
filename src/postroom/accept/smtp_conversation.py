"""What an SMTP client may say and what it is answered (RFC 5321, 6409, 4954, 3207); a session brings the bytes."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from postroom.accept import refusals
from postroom.accept.client import AppBook, Client, ClientBook
from postroom.accept.local import QueueDesk
from postroom.accept.profiles import ListenerLimits, ListenerProfile
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.smtp_local_verbs import Answer, local_answers
from postroom.accept.smtp_message import REFUSED_LIMIT_BYTES, swallow_chunk
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.smtp_sign_in import SignInDesk
from postroom.accept.smtp_stream import ConversationEnded, HandshakeFailed
from postroom.accept.smtp_transaction import SmtpTransaction
from postroom.accept.submission import Intake
from postroom.errors import PostroomError, Refusal
from postroom.message import Reception
from postroom.store.records import App, RefusedAttempt
from postroom.wire.answers import format_answer, format_lines, plain_text
from postroom.wire.bdat import BdatChunk, parse_bdat
from postroom.wire.commands import CommandError, parse_command

log = structlog.stdlib.get_logger("postroom.accept")

HELO_LIMIT_BYTES = 255
_STRANGERS_CHUNK_BYTES = 1024 * 1024

_OK = b"250 2.0.0 OK\r\n"
_READY = b"220 2.0.0 Ready to start TLS\r\n"

_FOREIGN_VERBS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PROXY"})
"""A browser made to speak to us, or a load balancer that is not named: what comes next is no command of this client."""
_PROXY_V2_LINE = b"\0"
"""The third line of the PROXY protocol's second form, which begins with two empty ones."""
_IDLE_VERBS = frozenset({"EHLO", "HELO", "RSET", "NOOP", "VRFY", "HELP"})
"""They bring no mail nearer: a few are manners, thousands are a flood."""


@dataclass(frozen=True)
class Listener:
    """What all conversations of one listener share."""

    intake: Intake
    apps: AppBook
    clients: ClientBook
    profile: ListenerProfile
    limits: ListenerLimits
    guard: SignInGuard
    note_refused: Callable[[RefusedAttempt], None]
    queue_desk: QueueDesk | None = None
    """For programs of this machine only."""


class SmtpConversation:
    """One client's conversation, from the greeting to its end."""

    def __init__(self, session: SmtpSession, listener: Listener, client: Client) -> None:
        self._session = session
        self._listener = listener
        self._client = client
        self._host_name = listener.intake.host_name
        self._desk = SignInDesk(
            session,
            listener.apps,
            listener.profile,
            listener.guard,
            listener.limits,
            listener.intake.clock,
            self.note_stranger,
        )
        self._transaction = SmtpTransaction(session, listener.intake, listener.limits, listener.profile.name)
        self._helo: str | None = None
        self._signed_in: App | None = None
        self._errors = 0
        self._idle_commands = 0
        """Since the last MAIL."""
        self._answers: dict[str, Answer] = {
            "EHLO": self._answer_ehlo,
            "HELO": self._answer_helo,
            "STARTTLS": self._answer_starttls,
            "AUTH": self._answer_auth,
            "MAIL": self._answer_mail,
            "RCPT": self._answer_rcpt,
            "DATA": self._answer_data,
            "BDAT": self._answer_bdat,
            "RSET": self._answer_rset,
            "NOOP": self._answer_noop,
            "VRFY": self._answer_vrfy,
            "HELP": self._answer_help,
            "QUIT": self._answer_quit,
        }
        if client.local_user is not None and listener.queue_desk is not None:
            self._answers |= local_answers(session, listener.queue_desk, client.local_user)

    async def hold(self) -> None:
        """Answer commands until ConversationEnded."""
        self._know(self._app)
        self._session.say(f"220 {self._host_name} ESMTP Postroom\r\n".encode())
        while True:
            try:
                await self._obey(await self._session.read_line())
            except CommandError as trouble:
                self._note_error(format_answer(trouble.code, trouble.enhanced, str(trouble)))
            except Refusal as refusal:
                self._say_refusal(refusal)

    def _know(self, app: App | None) -> None:
        """Who is known may be silent for longer, and keeps the place."""
        limits = self._listener.limits
        self._session.is_stranger = app is None
        self._session.idle_timeout_seconds = (
            limits.stranger_timeout_seconds if app is None else limits.idle_timeout_seconds
        )

    async def abandon_message(self) -> None:
        """What was not committed goes."""
        await self._transaction.abandon()

    def note_stranger(self, code: str, text: str, login: str = "") -> None:
        """So that one click in the console can make an app of it."""
        if self._client.address is not None:
            profile, now_us = self._listener.profile.name, self._listener.intake.clock.now_us()
            attempt = RefusedAttempt(self._client.address, profile, self._helo or "", login, code, text, now_us)
            self._listener.note_refused(attempt)

    @property
    def _app(self) -> App | None:
        """Whose mail it is, as things stand."""
        return self._signed_in or self._client.guest

    async def _obey(self, line: bytes) -> None:
        if line == _PROXY_V2_LINE:
            raise _foreign("PROXY")
        command = parse_command(line)
        if command.verb in _FOREIGN_VERBS:
            raise _foreign(command.verb)
        if command.verb in _IDLE_VERBS:
            self._count_idle()
        answer = self._answers.get(command.verb)
        if answer is None:
            # It is not repeated: what stands there may be a password that came too early.
            raise CommandError(500, "5.5.1", "This is no command of this server; HELP lists them")
        await answer(command.argument)

    def _count_idle(self) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._listener.limits.idle_command_limit:
            goodbye = format_answer(421, "4.7.0", "Too many commands that bring no mail; goodbye")
            raise ConversationEnded("too many commands that bring no mail", goodbye)

    def _note_error(self, reply: bytes) -> None:
        self._session.say(reply)
        self._errors += 1
        log.info("command refused", peer=self._session.peer_address, helo=self._helo, reply=reply.decode().rstrip())
        if self._errors >= self._listener.limits.error_limit:
            goodbye = format_answer(421, "4.7.0", "Too many commands in error; goodbye")
            raise ConversationEnded("too many commands in error", goodbye)

    def _say_refusal(self, refusal: Refusal) -> None:
        reply = refusal.reply
        self._listener.intake.metrics.note_refused(self._listener.profile.name, reply.code)
        answer = format_answer(reply.smtp_code, reply.enhanced, reply.text)
        if reply.code in refusals.OF_STRANGERS:
            self.note_stranger(reply.code, reply.text)
            self._note_error(answer)
            return
        app = self._app.login if self._app else None
        log.info("refused", peer=self._session.peer_address, helo=self._helo, app=app, reply=reply.smtp_reply)
        self._session.say(answer)

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
        intake, app = self._listener.intake, self._app
        size = intake.size_limit_of(app) if app is not None else intake.size_limit_bytes
        lines = ["PIPELINING", f"SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"]
        if self._client.tls is not None and not self._session.tls_version:
            lines.append("STARTTLS")
        if self._signed_in is None and not self._tls_is_missing and self._client.local_user is None:
            # The second form is what clients of the nineties look for.
            offered = " ".join(self._desk.mechanisms_for(self._client))
            lines += [f"AUTH {offered}", f"AUTH={offered}"]
        return lines

    @property
    def _tls_is_missing(self) -> bool:
        return self._client.needs_tls and not self._session.tls_version

    @property
    def _is_unknown_device(self) -> bool:
        return self._listener.profile.knows_devices and self._client.device is None

    async def _answer_starttls(self, argument: str) -> None:
        if argument:
            raise CommandError(501, "5.5.4", "STARTTLS takes nothing behind it")
        if self._session.tls_version:
            raise CommandError(503, "5.5.1", "TLS is up already")
        if self._client.tls is None:
            raise CommandError(502, "5.5.1", "STARTTLS is not offered here")
        self._session.refuse_injected()
        self._session.say(_READY)
        self._session.flush()
        try:
            await self._session.start_tls(self._client.tls)
        except HandshakeFailed as failed:
            self.note_stranger("old_tls", failed.reason)
            raise
        # RFC 3207 4.2: what was said in clear is forgotten.
        await self.abandon_message()
        self._helo = self._signed_in = None
        self._know(self._app)
        self._desk.forget()

    async def _answer_auth(self, argument: str) -> None:
        if self._client.local_user is not None:
            raise CommandError(502, "5.5.1", "AUTH is not offered here: the system says who you are")
        if self._is_unknown_device:
            raise refusals.unknown_device(self._client.address or "")
        if self._tls_is_missing:
            raise refusals.tls_needed_to_sign_in()
        if self._helo is None:
            raise CommandError(503, "5.5.1", "Say EHLO first, after STARTTLS once more")
        if self._signed_in is not None:
            raise CommandError(503, "5.5.1", "You are signed in already")
        if self._transaction.is_open:
            raise CommandError(503, "5.5.1", "AUTH cannot come inside a message")
        self._signed_in = await self._desk.sign_in(argument, self._client)
        self._know(self._app)

    # ---- a message ----

    async def _answer_mail(self, argument: str) -> None:
        if not self._transaction.is_open:
            await self._look_again()
        app = self._require_app()
        await self._transaction.begin(app, self._reception(), argument)
        self._idle_commands = 0
        if self._signed_in is None:
            await self._note_guest(app)

    async def _look_again(self) -> None:
        """A change in the console holds for connections that are open, too."""
        client = self._client
        if self._signed_in is None and client.guest is not None and client.device is not None:
            try:
                self._client = await self._listener.clients.look_up(self._listener.profile, client.address, None)
            except PostroomError:
                raise refusals.storage_unavailable() from None

    def _require_app(self) -> App:
        if self._is_unknown_device:
            raise refusals.unknown_device(self._client.address or "")
        if self._tls_is_missing:
            raise refusals.tls_needed()
        if self._app is None:
            raise refusals.sign_in_needed()
        if self._helo is None:
            raise CommandError(503, "5.5.1", "Say EHLO or HELO first")
        return self._app

    def _reception(self) -> Reception:
        user = self._client.local_user
        return Reception(
            way="smtp" if user is None else "sendmail",
            peer_address=self._client.address,
            helo=self._helo,
            tls_version=self._session.tls_version,
            mechanism=self._desk.mechanism,
            login=self._desk.login,
            local_user=user.name if user is not None else None,
        )

    async def _note_guest(self, app: App) -> None:
        """When and how something came that does not sign in: a device that fell back to plain text is seen by it."""
        user = self._client.local_user
        address = self._client.address or (user.name if user is not None else "")
        try:
            await self._listener.apps.note_use(app.app_id, address, self._session.tls_version or "")
        except PostroomError as trouble:
            log.warning("use of an app not noted", app=app.login, reason=str(trouble))

    def _require_message(self) -> None:
        if not self._transaction.is_open:
            self._require_app()
            raise CommandError(503, "5.5.1", "Say MAIL FROM first; it must have been accepted")

    async def _answer_rcpt(self, argument: str) -> None:
        self._require_message()
        await self._transaction.add_recipient(argument)

    async def _answer_data(self, argument: str) -> None:
        self._require_message()
        await self._transaction.receive(argument)

    async def _answer_bdat(self, argument: str) -> None:
        """Whatever is answered, the chunk's bytes are read: they are no commands."""
        chunk = _parse_chunk(argument)
        if self._transaction.takes_chunks:
            await self._transaction.receive_chunk(chunk)
            return
        limit_bytes = _STRANGERS_CHUNK_BYTES if self._app is None else REFUSED_LIMIT_BYTES
        await swallow_chunk(self._session, chunk, limit_bytes)
        self._require_message()

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


def _foreign(verb: str) -> ConversationEnded:
    goodbye = format_answer(421, "4.7.0", f"{verb} is no command of this server; goodbye")
    return ConversationEnded(f"the client said {verb}", goodbye)


def _parse_chunk(argument: str) -> BdatChunk:
    try:
        return parse_bdat(argument)
    except CommandError as trouble:
        goodbye = format_answer(trouble.code, trouble.enhanced, f"{trouble}; goodbye")
        raise ConversationEnded("where a chunk ends is not known", goodbye) from None
