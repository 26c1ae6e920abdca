"""One client's session with the simulated Exchange Online: its commands, before and after signing in.

The connection beneath is `exchange_connection.py`, AUTH is `exchange_sasl.py`, the mail itself
`exchange_transaction.py`.
"""

import ssl
from collections.abc import Callable
from typing import Protocol

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_connection import Connection, Reader
from postroom.simulator.exchange_sasl import SaslDialogue
from postroom.simulator.exchange_sign_in import Admission
from postroom.simulator.exchange_transaction import Arrival, Transactions
from postroom.simulator.exchange_verdict import Verdict
from postroom.simulator.tenant import Tenant
from postroom.simulator.tokens import Tokens

MECHANISMS = frozenset({"LOGIN", "XOAUTH2"})
OLD_TLS = frozenset({"TLSv1", "TLSv1.1"})


class Exchange(Protocol):
    """What a session needs of its server."""

    tenant: Tenant
    tokens: Tokens
    tls_context: ssl.SSLContext
    slow_seconds: float

    def open_session(self, session: "ExchangeSession") -> None: ...
    def start_upgrade(self, session: "ExchangeSession") -> None: ...
    def admit(self, session: "ExchangeSession", admission: Admission) -> None: ...
    def close_session(self, session: "ExchangeSession") -> None: ...
    def judge(self, session: "ExchangeSession", arrival: Arrival) -> Verdict: ...
    def store(self, session: "ExchangeSession", arrival: Arrival) -> None: ...


class ExchangeSession:
    def __init__(self, server: Exchange) -> None:
        self.helo = ""
        self._server = server
        self._tenant = server.tenant
        self.connection = Connection(self, server.tenant.clock, server.tenant.exchange.front_end)
        self.ended = self.connection.ended
        self._sasl = SaslDialogue(
            self.connection, server.tenant, server.tokens, read_command=self._read_command, admit=self._admit
        )
        self._transactions = Transactions(
            self.connection,
            server.tenant,
            _BoundJudge(self, server),
            read_command=self._read_command,
            refuse_out_of_turn=self._refuse_out_of_turn,
        )

    # What the connection tells

    def start(self) -> Reader:
        self._server.open_session(self)
        if self._tenant.exchange.front_end.is_available:
            self.connection.say(replies.banner(self.connection.session_id, self._tenant.clock.now()))
        else:
            self.connection.say(replies.NOT_AVAILABLE)
            self.connection.hang_up()
        return self._read_command

    def start_anew(self) -> Reader:
        self.helo = ""
        return self._read_command

    def end(self) -> None:
        self._server.close_session(self)

    def abort(self) -> None:
        self.connection.abort()

    async def upgrade(self) -> None:
        await self.connection.upgrade(self._server.tls_context)

    # Commands

    def _read_command(self) -> bool:
        line = self.connection.take_line()
        if line is None:
            return False
        verb, _, argument = line.decode("utf-8", "replace").partition(" ")
        command = _COMMANDS.get(verb.upper())
        if verb.upper() == "MAIL":
            self.connection.dialogue.begin_transaction()
        self.connection.dialogue.note_client(line.decode("utf-8", "replace"))
        # Only CRLF ends a command: a line with another CR or LF in it is none.
        if command is None or b"\r" in line or b"\n" in line:
            self.connection.refuse(replies.UNRECOGNIZED)
        else:
            command(self, argument.strip())
        return True

    def _ehlo(self, argument: str) -> None:
        if self._greet(argument):
            lines = replies.hello_lines(self.connection.peer_address, over_tls=bool(self.connection.tls_version))
            *first, last = lines
            self.connection.say(*(f"250-{line}" for line in first), f"250 {last}")

    def _helo(self, argument: str) -> None:
        if self._greet(argument):
            self.connection.say(f"250 {replies.BANNER_HOST} Hello [{self.connection.peer_address}]")

    def _greet(self, argument: str) -> bool:
        if not argument:
            self.connection.refuse(replies.INVALID_DOMAIN)
            return False
        if self._speaks_old_tls() and self._tenant.exchange.in_effect().legacy_tls == "refused":
            self.connection.refuse(replies.TLS_TOO_OLD)
            self.connection.hang_up()
            return False
        self.helo = argument
        self._transactions.forget()
        return True

    def _speaks_old_tls(self) -> bool:
        return self.connection.tls_version in OLD_TLS

    def _starttls(self, argument: str) -> None:
        if not self.helo:
            self.connection.refuse(replies.HELLO_FIRST)
        elif argument:
            self.connection.refuse(replies.INVALID_ARGUMENTS)
        elif self.connection.tls_version:
            self.connection.refuse(replies.BAD_SEQUENCE)
        elif self.connection.input:
            # Bytes sent ahead of the handshake must never count as bytes from behind it.
            self.connection.refuse(replies.PLAIN_TEXT_BEFORE_TLS)
            self.connection.hang_up()
        else:
            self.connection.pause()
            self.connection.say(replies.START_TLS)
            self._server.start_upgrade(self)

    def _noop(self, _argument: str) -> None:
        self.connection.say(replies.OK)

    def _vrfy(self, _argument: str) -> None:
        self.connection.say(replies.CANNOT_VERIFY)

    def _rset(self, _argument: str) -> None:
        self._transactions.forget()
        self.connection.say(replies.RESETTING)

    def _quit(self, _argument: str) -> None:
        self.connection.say(replies.CLOSING)
        self.connection.hang_up()

    # Signing in

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        legacy_tls = self._tenant.exchange.in_effect().legacy_tls
        if not self.helo:
            self.connection.refuse(replies.HELLO_FIRST)
        elif self._sasl.admission:
            self.connection.refuse(replies.AUTH_TWICE)
        elif not mechanism:
            self.connection.refuse(replies.INVALID_ARGUMENTS)
        elif not self.connection.tls_version or mechanism.upper() not in MECHANISMS:
            self.connection.refuse(replies.UNRECOGNIZED_AUTH)
        elif self._speaks_old_tls() and legacy_tls == "refused by the organisation":
            self.connection.refuse(replies.TLS_TOO_OLD_FOR_ORGANISATION)
        else:
            self._sasl.begin(mechanism.upper(), initial)

    def _admit(self, admission: Admission) -> None:
        self._transactions.admission = admission
        self._server.admit(self, admission)

    def _refuse_out_of_turn(self) -> None:
        """A command at the wrong time; before signing in nothing else is said, with what failed there."""
        refusal = self._sasl.refusal
        quoted = f" Error: {refusal}" if " 5.7.139 " in refusal else ""
        stranger = f"{replies.NOT_AUTHENTICATED}{quoted}"
        self.connection.refuse(replies.BAD_SEQUENCE if self._sasl.admission else stranger)

    # Mail

    def _mail(self, argument: str) -> None:
        self._transactions.take_mail(argument)

    def _rcpt(self, argument: str) -> None:
        self._transactions.take_rcpt(argument)

    def _data(self, argument: str) -> None:
        self._transactions.take_data(argument)

    def _bdat(self, argument: str) -> None:
        self._transactions.take_bdat(argument)


class _BoundJudge:
    """The server's judgement of what this session brings."""

    def __init__(self, session: ExchangeSession, server: Exchange) -> None:
        self._session = session
        self._server = server

    @property
    def slow_seconds(self) -> float:
        return self._server.slow_seconds

    def judge(self, arrival: Arrival) -> Verdict:
        return self._server.judge(self._session, arrival)

    def store(self, arrival: Arrival) -> None:
        self._server.store(self._session, arrival)


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
