"""One conversation with a mail server, step by step: connect, greet, TLS, sign in, and what a message needs.

Each step either succeeds or raises `SmtpFailure`, which carries the outcome. Secrets are never in a failure's words
nor in the dialogue. Sources: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH), microsoft365.md 1.2 and 1.3.
"""

import asyncio
import re
import ssl
from dataclasses import replace
from typing import Self

import msgspec

from postroom.deliver import network_failures
from postroom.deliver.authentication import Answer, NotOfferedError, authenticate, secrets_of
from postroom.deliver.certificates import describe_verified
from postroom.deliver.deadlines import Deadlines
from postroom.deliver.dialogue import Dialogue
from postroom.deliver.ehlo_name import default_ehlo_name
from postroom.deliver.replies import MAX_TEXT, outcome_of
from postroom.deliver.seen_certificate import find_seen_certificate
from postroom.deliver.smtp_stream import BrokenConnectionError, SmtpStream
from postroom.identity.sign_ins import Bearer, SignIn
from postroom.message import DsnRequest, RecipientDsn
from postroom.network import Network, explain_authorities, verifying_context
from postroom.outcome import Failure, FailureClass, Refused, StopCause, Stopped, TryLater, Unknown
from postroom.store.records import DialogueLine, EmailType
from postroom.wire.commands import ORIGINAL_RECIPIENT_LIMIT
from postroom.wire.extensions import NO_EXTENSIONS, Extensions, read_extensions
from postroom.wire.replies import Reply
from postroom.wire.xtext import embed_unicode

_CONTROL = re.compile(r"[\x00-\x20\x7f<>]")


NO_DSN = DsnRequest()
NO_WISH = RecipientDsn()


class SmtpFailure(Exception):
    """A step did not succeed; `outcome` says what that means, `dialogue` what was said until then."""

    def __init__(
        self,
        outcome: Stopped | TryLater | Refused | Unknown,
        *,
        reply: Reply | None = None,
        dialogue: tuple[DialogueLine, ...] = (),
    ) -> None:
        super().__init__(outcome.failure.text)
        self.outcome = outcome
        self.reply = reply
        """None when the connection broke or we gave up by ourselves."""
        self.dialogue = dialogue


class SmtpConnection:
    """A connection in conversation. Not to be shared by two tasks at a time."""

    def __init__(
        self,
        network: Network,
        host: str,
        port: int,
        *,
        email_type: EmailType,
        ehlo_name: str = "",
        authorities: str = "",
        deadlines: Deadlines | None = None,
    ) -> None:
        """Says nothing yet; use `open`."""
        self.server = f"{host}:{port}"
        self.extensions: Extensions = NO_EXTENSIONS
        self.deadlines = deadlines or Deadlines()
        self.is_signed_in = False
        self._answered_at = float("-inf")
        self._route = network.route(host, port)
        self._authorities = authorities
        self._email_type = email_type
        self._ehlo_name = ehlo_name
        self._stream: SmtpStream | None = None
        self._dialogue = Dialogue(asyncio.get_running_loop().time)

    @classmethod
    async def open(
        cls,
        network: Network,
        host: str,
        port: int,
        *,
        email_type: EmailType,
        ehlo_name: str = "",
        authorities: str = "",
        timeout_seconds: float | None = None,
        deadlines: Deadlines | None = None,
    ) -> Self:
        """TCP, TLS too for SMTPS, and the greeting. `timeout_seconds` bounds each later step as well.

        `authorities` (PEM) vouch for the server instead of those of the system.
        """
        limits = deadlines or Deadlines()
        if timeout_seconds is not None:
            limits = limits.capped(timeout_seconds)
        connection = cls(
            network,
            host,
            port,
            email_type=email_type,
            ehlo_name=ehlo_name,
            authorities=authorities,
            deadlines=limits,
        )
        try:
            await connection._connect()
        except BaseException:
            connection.abort()
            raise
        return connection

    # What it is like

    @property
    def dialogue(self) -> list[DialogueLine]:
        return list(self._dialogue.lines)

    @property
    def is_open(self) -> bool:
        return self._stream is not None and self._stream.is_open

    @property
    def is_quiet(self) -> bool:
        """Open, and the server has said nothing unasked: fit to begin a message."""
        return self.is_open and not self.stream.has_unread

    def has_answered_within(self, seconds: float) -> bool:
        return asyncio.get_running_loop().time() - self._answered_at <= seconds

    @property
    def is_encrypted(self) -> bool:
        return self._stream is not None and self._stream.tls is not None

    @property
    def stream(self) -> SmtpStream:
        assert self._stream is not None, "the connection was not opened"
        return self._stream

    # The steps until a message may be sent

    async def hello(self) -> Extensions:
        """EHLO, anew after STARTTLS: what the server offers now."""
        name = self._ehlo_name or default_ehlo_name(self.stream.own_address)
        reply = await self.command("EHLO", f"EHLO {name}", seconds=self.deadlines.hello)
        self.extensions = read_extensions(reply)
        return self.extensions

    async def start_tls(self) -> str:
        """STARTTLS without a way back; the protocol and the certificate in words. Say `hello` again afterwards."""
        if not self.extensions.offers_starttls:
            raise self.stopped("starttls_not_offered", f"{self.server} does not offer STARTTLS.", command="STARTTLS")
        await self.command("STARTTLS", "STARTTLS", seconds=self.deadlines.tls)
        if self.stream.has_unread:
            # Bytes from before the handshake must never be taken for bytes from behind it.
            raise self._broken("STARTTLS", "The mail server went on talking before the TLS handshake.")
        self.extensions = NO_EXTENSIONS
        try:
            await self.stream.upgrade(self._route.tls, self._route.server_name, self.deadlines.tls)
        except OSError as error:  # ssl.SSLError is one
            raise await self._tls_failure(error) from error
        return self._remark_tls()

    async def sign_in(self, sign_in: SignIn, *, may_be_in_clear: bool = False) -> Reply:
        """AUTH XOAUTH2 for a token, PLAIN or LOGIN for a password; never in clear unless a person chose so."""
        if not self.is_encrypted and (isinstance(sign_in, Bearer) or not may_be_in_clear):
            text = f"The connection to {self.server} is not encrypted; we do not sign in over it."
            raise self.stopped("sign_in_in_clear", text, command="AUTH", remedy_id="settings_do_not_fit")
        try:
            answer = await self._authenticate(sign_in)
            if answer.reply.code != 235:
                raise self._sign_in_failure(answer)
        finally:
            self._dialogue.hide(())
        self.is_signed_in = True
        return answer.reply

    # What a message needs

    async def mail_from(
        self, address: str, size_bytes: int = 0, *, is_eight_bit: bool = False, needs_smtputf8: bool = False
    ) -> Reply:
        line = self.mail_line(address, size_bytes, is_eight_bit=is_eight_bit, needs_smtputf8=needs_smtputf8)
        return await self.command("MAIL", line, seconds=self.deadlines.mail)

    async def rcpt_to(self, address: str) -> Reply:
        return await self.command("RCPT", self.rcpt_line(address), seconds=self.deadlines.rcpt)

    async def reset(self) -> Reply:
        """RSET: forget the sender and the recipients given so far."""
        return await self.command("RSET", "RSET", seconds=self.deadlines.mail)

    async def quit(self) -> None:
        """QUIT and close; never fails."""
        if self._stream is not None and self._stream.is_open:
            self._dialogue.we_say("QUIT")
            await self._stream.leave(b"QUIT\r\n", self.deadlines.quit)

    def abort(self) -> None:
        """Close at once, in whatever step it is."""
        if self._stream is not None:
            self._stream.abort()

    def mail_line(
        self,
        address: str,
        size_bytes: int,
        *,
        is_eight_bit: bool,
        needs_smtputf8: bool,
        dsn: DsnRequest = NO_DSN,
    ) -> str:
        """The MAIL command with the parameters that the server offers."""
        line = f"MAIL FROM:<{self._checked(address)}>"
        if size_bytes and self.extensions.offers_size:
            line += f" SIZE={size_bytes}"
        if is_eight_bit and self.extensions.offers_eight_bit:
            line += " BODY=8BITMIME"
        if needs_smtputf8 and self.extensions.offers_smtputf8:
            line += " SMTPUTF8"
        if dsn.return_content and self.extensions.offers_dsn:
            line += f" RET={dsn.return_content}"
        if dsn.envelope_id and self.extensions.offers_dsn:
            line += f" ENVID={dsn.envelope_id}"
        return line

    def rcpt_line(self, address: str, dsn: RecipientDsn = NO_WISH, *, uses_smtputf8: bool = False) -> str:
        """The RCPT command; `uses_smtputf8` says that MAIL asked for SMTPUTF8."""
        line = f"RCPT TO:<{self._checked(address)}>"
        if not self.extensions.offers_dsn:
            return line
        if dsn.notify:
            line += f" NOTIFY={','.join(dsn.notify)}"
        original = dsn.original_recipient if uses_smtputf8 else embed_unicode(dsn.original_recipient)
        if 0 < len(original) <= ORIGINAL_RECIPIENT_LIMIT:  # no recipient is to be refused for a wish
            line += f" ORCPT={original}"
        return line

    # How anything is said and heard

    async def command(self, verb: str, line: str, *, seconds: float) -> Reply:
        """Say one line and hear a positive answer; anything else raises SmtpFailure."""
        self.say(line)
        reply = await self.hear(verb, seconds)
        if reply.code // 100 != 2:
            raise self.refused(reply, verb)
        return reply

    def say(self, *lines: str, followed_by: bytes = b"") -> None:
        """Send lines, and what follows the last, in one flight. SmtpFailure when the connection is gone."""
        for line in lines:
            self._dialogue.we_say(line)
        if followed_by:
            self._dialogue.remark(f"The message, {len(followed_by):,} bytes, in the same flight")
        flight = "".join(f"{line}\r\n" for line in lines).encode() + followed_by
        self._write(flight, lines[0].partition(" ")[0])

    async def hear(self, verb: str, seconds: float) -> Reply:
        """The next reply, whatever it says. SmtpFailure when the connection breaks."""
        try:
            reply = await self.stream.next_reply(seconds)
        except BrokenConnectionError as error:
            raise self._broken(verb, str(error)) from None
        self._answered_at = asyncio.get_running_loop().time()
        if self._dialogue.is_hiding:
            reply = self._redacted(reply)
        self._dialogue.they_say(str(reply))
        if reply.code == 421:
            self.abort()  # RFC 5321 3.8: the server closes after it
        return reply

    def remark(self, text: str) -> None:
        self._dialogue.remark(text)

    def begin_dialogue(self, remark: str) -> None:
        """Record anew, for the next message on this connection."""
        self._dialogue.begin()
        self._dialogue.remark(remark)

    def refused(self, reply: Reply, verb: str) -> SmtpFailure:
        """The failure that a reply means."""
        outcome = outcome_of(reply, command=verb, server=self.server)
        assert isinstance(outcome, Stopped | TryLater | Refused)
        return self.failure(outcome, reply)

    def stopped(self, code: str, text: str, *, command: str, remedy_id: str | None = None) -> SmtpFailure:
        """The failure of settings that cannot work."""
        failure = Failure(FailureClass.CONFIG, code, text, remedy_id or code, command=command, server=self.server)
        return self.failure(Stopped(failure, StopCause.CONFIGURATION))

    def failure(self, outcome: Stopped | TryLater | Refused | Unknown, reply: Reply | None = None) -> SmtpFailure:
        return SmtpFailure(outcome, reply=reply, dialogue=self._dialogue.lines)

    # Inside

    async def _connect(self) -> None:
        over_tls = self._email_type is EmailType.SMTPS
        self._trust_own_authorities()
        self._dialogue.remark(f"Connecting to {self.server}" + (" with TLS" if over_tls else ""))
        try:
            self._stream = await SmtpStream.connect(
                self._route, with_tls=over_tls, timeout_seconds=self.deadlines.connect
            )
        except ssl.SSLError as error:
            raise await self._tls_failure(error) from error
        except OSError as error:
            outcome = network_failures.no_connection(error, self.server)
            self._dialogue.remark(outcome.failure.text)
            raise self.failure(outcome) from error
        if over_tls:
            self._remark_tls()
        greeting = await self.hear("CONNECT", self.deadlines.greeting)
        if greeting.code >= 400:
            raise self.refused(greeting, "CONNECT")
        if greeting.code != 220:
            raise self._broken("CONNECT", f"This is no greeting of a mail server: {greeting}.")

    def _trust_own_authorities(self) -> None:
        if not self._authorities:
            return
        if why := explain_authorities(self._authorities):
            text = f"The authorities that vouch for {self.server} cannot be used. {why}"
            raise self.stopped("authorities_unusable", text, command="CONNECT", remedy_id="settings_do_not_fit")
        self._route = replace(self._route, tls=verifying_context(self._authorities))

    def _remark_tls(self) -> str:
        tls = self.stream.tls
        assert tls is not None
        text = f"{tls.version()}, {describe_verified(tls.getpeercert() or {})}"
        self._dialogue.remark(text)
        return text

    async def _tls_failure(self, error: OSError) -> SmtpFailure:
        seen = None
        if isinstance(error, ssl.SSLCertVerificationError):
            seen = await find_seen_certificate(self._route, self._email_type)
        outcome = network_failures.tls_failed(error, self.server, seen)
        self._dialogue.remark(outcome.failure.text)
        return self.failure(outcome)

    def _write(self, octets: bytes, verb: str) -> None:
        try:
            self.stream.write(octets)
        except BrokenConnectionError as error:
            raise self._broken(verb, str(error)) from None

    def _broken(self, verb: str, text: str) -> SmtpFailure:
        """Before a message, trouble is the mailbox's; during one, the message is tried again by its own schedule."""
        self.abort()
        text = self._dialogue.redact(text)
        self._dialogue.remark(text)
        outcome: Stopped | TryLater = network_failures.away(
            "connection_broke", text, self.server, command=verb, remedy_id="connection_broke"
        )
        if self.is_signed_in or verb in ("MAIL", "RCPT", "DATA", "RSET"):
            outcome = TryLater(outcome.failure)
        return self.failure(outcome)

    def _checked(self, address: str) -> str:
        if _CONTROL.search(address):
            text = (
                "The address contains a space, a bracket or a control character and cannot be given to a mail server."
            )
            failure = Failure(FailureClass.LOCAL, "address_unusable", text, "recipient_unknown", server=self.server)
            raise self.failure(Refused(failure))
        return address

    # Signing in

    async def _authenticate(self, sign_in: SignIn) -> Answer:
        try:
            self._dialogue.hide(secrets_of(sign_in))
            return await authenticate(sign_in, self.extensions.mechanisms, self._exchange)
        except NotOfferedError as error:
            offered = ", ".join(self.extensions.mechanisms) or "no way to sign in"
            text = f"{self.server} does not offer AUTH {error}; it offers {offered}."
            raise self.stopped("sign_in_not_offered", text, command="AUTH") from None
        except ValueError as error:
            raise self.stopped(
                "sign_in_unusable", str(error), command="AUTH", remedy_id="settings_do_not_fit"
            ) from None

    async def _exchange(self, line: str, shown: str) -> Reply:
        self._dialogue.we_say(shown)
        self._write(f"{line}\r\n".encode(), "AUTH")
        return await self.hear("AUTH", self.deadlines.sign_in)

    def _sign_in_failure(self, answer: Answer) -> SmtpFailure:
        if answer.reply.code < 400:
            return self._broken("AUTH", f"The mail server answered the sign-in with {answer.reply.code}.")
        failed = self.refused(answer.reply, "AUTH")
        if answer.challenge is None:
            return failed
        self._dialogue.remark(f"The challenge said: {answer.challenge}")
        failure = failed.outcome.failure
        text = f"{failure.text} (challenge: {answer.challenge})"[:MAX_TEXT]
        explained = msgspec.structs.replace(failed.outcome, failure=msgspec.structs.replace(failure, text=text))
        return self.failure(explained, answer.reply)

    def _redacted(self, reply: Reply) -> Reply:
        return Reply(reply.code, tuple(self._dialogue.redact(line) for line in reply.lines), reply.enhanced)
