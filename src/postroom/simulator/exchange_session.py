"""One connection to the simulated Exchange Online: commands, signing in, envelope and message.

`_reader` is the session's state: it takes what it can from the input and says whether it got on.
Whom a message may come from is judged after its last byte, never at MAIL FROM.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_body import Body, ChunkedBody, DottedBody
from postroom.simulator.exchange_dialogue import Dialogue
from postroom.simulator.exchange_envelope import Malformed, Sender, parse_chunk, parse_mail, parse_rcpt
from postroom.simulator.exchange_sign_in import SignInRefused, sign_in_with_password, sign_in_with_token
from postroom.simulator.exchange_verdict import Verdict
from postroom.simulator.faults import recipient_fault
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens

log = logging.getLogger("postroom.simulator.exchange")

MAX_RECIPIENTS = 500
# RFC 4954 4 asks for 12,288 octets in a line of AUTH; tokens with many claims are longer still.
MAX_LINE_BYTES = 65_536
HANDSHAKE_SECONDS = 10


class Arrival(msgspec.Struct, frozen=True):
    """A message that has arrived whole; `content` is None if it was larger than the limit."""

    mailbox: User
    sender: str
    recipients: tuple[str, ...]
    content: bytes | None


class Exchange(Protocol):
    """What a session needs of its server."""

    tenant: Tenant
    tokens: Tokens
    tls_context: ssl.SSLContext
    slow_seconds: float
    message_limit_bytes: int

    def open_session(self, session: "ExchangeSession") -> None: ...
    def start_upgrade(self, session: "ExchangeSession") -> None: ...
    def admit(self, session: "ExchangeSession", mailbox: User) -> None: ...
    def close_session(self, session: "ExchangeSession") -> None: ...
    def judge(self, session: "ExchangeSession", arrival: Arrival) -> Verdict: ...
    def store(self, arrival: Arrival, session: "ExchangeSession") -> None: ...


class ExchangeSession(asyncio.Protocol):
    def __init__(self, server: Exchange) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dialogue = Dialogue()
        self.helo = ""
        self.tls_version = ""
        self._server = server
        # The client finds the id of the banner again in the tag of each refusal.
        self._session_id = f"08DE{secrets.token_hex(6).upper()}"
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._input = bytearray()
        self._reader: Callable[[], bool] = self._read_command
        self._mailbox: User | None = None
        self._auth_refusal = ""
        self._sender: Sender | None = None
        self._recipients: list[str] = []
        self._body: Body | None = None

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, though they do the same.
        self._transport = cast(asyncio.Transport, transport)
        self._server.open_session(self)
        self._say(replies.banner(self._session_id, self._server.tenant.clock.now()))

    def data_received(self, data: bytes) -> None:
        self._input += data
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._transport = None
        self._server.close_session(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def abort(self) -> None:
        """Break the connection without a word."""
        if self._transport:
            self._transport.abort()

    async def upgrade(self) -> None:
        """The server's half of the TLS handshake; then the session begins anew (RFC 3207 4.2)."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        try:
            transport = await loop.start_tls(
                self._transport,
                self,
                self._server.tls_context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except (OSError, asyncio.CancelledError) as problem:
            log.info("the TLS handshake failed: %s", problem)
            # asyncio tells a protocol nothing of a handshake that failed.
            self.abort()
            self.connection_lost(None)
            return
        self._begin_anew(transport)

    def _begin_anew(self, transport: asyncio.Transport | None) -> None:
        assert transport is not None
        self._transport = transport
        self.tls_version = str(transport.get_extra_info("ssl_object").version())
        self.dialogue.note_event(f"{self.tls_version} begins")
        self.helo = ""
        self._reader = self._read_command
        self._advance()

    def _advance(self) -> None:
        while self._input and self._transport and not self._transport.is_closing() and self._reader():
            pass

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.dialogue.note_server(line)
        self._write(*lines)

    def _write(self, *lines: str) -> None:
        if self._transport:
            self._transport.write("".join(f"{line}\r\n" for line in lines).encode())

    def _refuse(self, reply: str) -> None:
        tag = replies.front_end_tag(self._session_id, self._server.tenant.clock.now())
        self._say(f"{reply} {tag}")

    def _hang_up(self) -> None:
        if self._transport:
            self._transport.close()

    def _wait(self) -> bool:
        """The state in which input is left alone."""
        return False

    # Commands

    def _take_line(self) -> bytes | None:
        end = self._input.find(b"\n")
        if end < 0:
            if len(self._input) > MAX_LINE_BYTES:
                self._refuse(replies.UNRECOGNIZED)
                self._hang_up()
            return None
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        return line.removesuffix(b"\r\n")

    def _read_command(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        verb, _, argument = line.decode("utf-8", "replace").partition(" ")
        command = _COMMANDS.get(verb.upper())
        if verb.upper() == "MAIL":
            self.dialogue.begin_transaction()
        self.dialogue.note_client(line.decode("utf-8", "replace"))
        # Only CRLF ends a command: a line with another CR or LF in it is none.
        if command is None or b"\r" in line or b"\n" in line:
            self._refuse(replies.UNRECOGNIZED)
        else:
            command(self, argument.strip())
        return True

    def _ehlo(self, argument: str) -> None:
        if self._greet(argument):
            *first, last = replies.hello_lines(self._peer_address(), over_tls=bool(self.tls_version))
            self._say(*(f"250-{line}" for line in first), f"250 {last}")

    def _helo(self, argument: str) -> None:
        if self._greet(argument):
            self._say(f"250 {replies.BANNER_HOST} Hello [{self._peer_address()}]")

    def _greet(self, argument: str) -> bool:
        if not argument:
            self._refuse(replies.INVALID_DOMAIN)
            return False
        self.helo = argument
        self._forget_transaction()
        return True

    def _peer_address(self) -> str:
        assert self._transport is not None
        return str(self._transport.get_extra_info("peername")[0])

    def _starttls(self, argument: str) -> None:
        if not self.helo:
            self._refuse(replies.HELLO_FIRST)
        elif argument:
            self._refuse(replies.INVALID_ARGUMENTS)
        elif self.tls_version:
            self._refuse(replies.BAD_SEQUENCE)
        elif self._input:
            # Bytes sent ahead of the handshake must never count as bytes from behind it.
            self._refuse(replies.PLAIN_TEXT_BEFORE_TLS)
            self._hang_up()
        elif self._transport:
            self._transport.pause_reading()
            self._say(replies.START_TLS)
            self._reader = self._wait
            self._server.start_upgrade(self)

    def _noop(self, _argument: str) -> None:
        self._say(replies.OK)

    def _vrfy(self, _argument: str) -> None:
        self._say(replies.CANNOT_VERIFY)

    def _rset(self, _argument: str) -> None:
        self._forget_transaction()
        self._say(replies.RESETTING)

    def _quit(self, _argument: str) -> None:
        self._say(replies.CLOSING)
        self._hang_up()

    # Signing in

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if not self.helo:
            self._refuse(replies.HELLO_FIRST)
        elif self._mailbox:
            self._refuse(replies.AUTH_TWICE)
        elif not mechanism:
            self._refuse(replies.INVALID_ARGUMENTS)
        elif not self.tls_version or mechanism.upper() not in {"LOGIN", "XOAUTH2"}:
            self._refuse(replies.UNRECOGNIZED_AUTH)
        elif mechanism.upper() == "XOAUTH2":
            self._start_sasl(initial, replies.ASK_TOKEN, self._take_token)
        else:
            self._start_sasl(initial, replies.ASK_USERNAME, self._take_username)

    def _start_sasl(self, initial: str, challenge: str, take: Callable[[bytes], None]) -> None:
        if initial:
            # "=" is an initial response of no length (RFC 4954 4).
            take(b"" if initial == "=" else initial.encode())
        else:
            self._ask(challenge, take)

    def _ask(self, challenge: str, take: Callable[[bytes], None]) -> None:
        self._reader = partial(self._read_answer, take)
        self._say(challenge)

    def _read_answer(self, take: Callable[[bytes], None]) -> bool:
        line = self._take_line()
        if line is None:
            return False
        self._reader = self._read_command
        if line == b"*":
            self.dialogue.note_client("*")
            self._refuse(replies.AUTH_CANCELLED)
        else:
            self.dialogue.note_secret(len(line))
            take(line)
        return True

    def _take_token(self, answer: bytes) -> None:
        self._conclude_sign_in(sign_in_with_token(self._server.tenant, self._server.tokens, answer))

    def _take_username(self, answer: bytes) -> None:
        self._ask(replies.ASK_PASSWORD, partial(self._take_password, answer))

    def _take_password(self, username: bytes, answer: bytes) -> None:
        self._conclude_sign_in(sign_in_with_password(self._server.tenant, username, answer))

    def _conclude_sign_in(self, result: User | SignInRefused) -> None:
        if isinstance(result, SignInRefused):
            log.info("sign-in refused: %s", result.reason)
            self._auth_refusal = result.reply
            self._refuse(result.reply)
            return
        self._mailbox = result
        self._server.admit(self, result)
        self._say(replies.AUTHENTICATED)

    # The envelope

    def _refuse_sequence(self) -> None:
        """Refuse a command that comes at the wrong time, or before signing in, with what failed there."""
        quoted = f" Error: {self._auth_refusal}" if " 5.7.139 " in self._auth_refusal else ""
        self._refuse(replies.BAD_SEQUENCE if self._mailbox else f"{replies.NOT_AUTHENTICATED}{quoted}")

    def _mail(self, argument: str) -> None:
        if self._mailbox is None or self._sender:
            self._refuse_sequence()
            return
        sender = parse_mail(argument)
        if isinstance(sender, Malformed):
            self._refuse(sender.reply)
        elif sender.size_bytes > self._server.message_limit_bytes:
            self._refuse(replies.TOO_LARGE)
        else:
            self._sender = sender
            self._say(replies.SENDER_OK)

    def _rcpt(self, argument: str) -> None:
        if self._sender is None or self._body:
            self._refuse_sequence()
            return
        recipient = parse_rcpt(argument, is_utf8=self._sender.is_utf8)
        if isinstance(recipient, Malformed):
            self._refuse(recipient.reply)
        elif len(self._recipients) >= MAX_RECIPIENTS:
            self._refuse(replies.TOO_MANY_RECIPIENTS)
        elif fault := recipient_fault(recipient):
            self._refuse(fault.reply)
            if fault.hangs_up:
                self._hang_up()
        else:
            self._recipients.append(recipient)
            self._say(replies.RECIPIENT_OK)

    def _forget_transaction(self) -> None:
        self._sender = None
        self._recipients = []
        self._body = None

    # The message

    def _data(self, argument: str) -> None:
        is_expected = self._sender and self._recipients and self._body is None
        if argument:
            self._refuse(replies.INVALID_ARGUMENTS)
        elif not is_expected or (self._sender and self._sender.body_type == "BINARYMIME"):
            self._refuse_sequence()
        else:
            self._body = DottedBody(self._server.message_limit_bytes)
            self._reader = partial(self._read_data, self._body)
            self._say(replies.START_INPUT)

    def _read_data(self, body: Body) -> bool:
        if not body.feed(self._input):
            return False
        self._reader = self._read_command
        self._settle(body)
        return True

    def _bdat(self, argument: str) -> None:
        chunk = parse_chunk(argument)
        if isinstance(chunk, Malformed):
            self._refuse(chunk.reply)
            return
        # The octets come whatever we think of them: a chunk out of turn is read and refused.
        body = self._body if isinstance(self._body, ChunkedBody) else ChunkedBody(self._server.message_limit_bytes)
        self._body = body if self._sender and self._recipients else None
        body.expect(chunk[0])
        self._reader = partial(self._read_chunk, body, *chunk)
        if chunk[0] == 0:
            self._read_chunk(body, *chunk)

    def _read_chunk(self, body: ChunkedBody, size_bytes: int, is_last: bool) -> bool:
        if not body.feed(self._input):
            return False
        self._reader = self._read_command
        if self._body is not body:
            self._refuse_sequence()
        elif is_last:
            self._settle(body)
        else:
            self._say(replies.chunk_received(size_bytes))
        return True

    def _settle(self, body: Body) -> None:
        """Answer a message that has arrived whole, and end its transaction."""
        assert self._mailbox is not None
        assert self._sender is not None
        arrival = Arrival(self._mailbox, self._sender.address, tuple(self._recipients), body.content())
        self._forget_transaction()
        self.dialogue.note_event(f"a message of {len(arrival.content or b'')} octets")
        verdict = self._server.judge(self, arrival)
        if verdict.reply:
            self.dialogue.note_server(verdict.reply)
        else:
            self.dialogue.note_event("the connection breaks without an answer")
        if verdict.is_stored:
            self._server.store(arrival, self)
        if verdict.is_delayed:
            self._reader = self._wait
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._server.slow_seconds, self._answer_late, verdict)
        else:
            self._answer(verdict)

    def _answer(self, verdict: Verdict) -> None:
        if verdict.reply:
            self._write(verdict.reply)
        else:
            self.abort()
        if verdict.hangs_up:
            self._hang_up()

    def _answer_late(self, verdict: Verdict) -> None:
        self._timer = None
        self._reader = self._read_command
        self._answer(verdict)
        self._advance()


_COMMANDS: dict[str, Callable[[ExchangeSession, str], None]] = {
    "EHLO": ExchangeSession._ehlo,
    "HELO": ExchangeSession._helo,
    "STARTTLS": ExchangeSession._starttls,
    "AUTH": ExchangeSession._auth,
    "MAIL": ExchangeSession._mail,
    "RCPT": ExchangeSession._rcpt,
    "DATA": ExchangeSession._data,
    "BDAT": ExchangeSession._bdat,
    "RSET": ExchangeSession._rset,
    "NOOP": ExchangeSession._noop,
    "VRFY": ExchangeSession._vrfy,
    "QUIT": ExchangeSession._quit,
}
