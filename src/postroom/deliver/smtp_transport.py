"""The way out over SMTP: connections that are signed in once and kept, for one mail server and one mailbox."""

import asyncio
import contextlib

import msgspec
import structlog

from postroom.clock import Clock
from postroom.deliver.deadlines import Deadlines
from postroom.deliver.microsoft_hosts import is_microsoft
from postroom.deliver.reply_rules import TOKEN_CODES
from postroom.deliver.smtp_connection import SmtpConnection, SmtpFailure
from postroom.deliver.transaction import Transaction
from postroom.deliver.transport import Parcel, Report
from postroom.errors import SignInTroubleError
from postroom.identity.sign_ins import Bearer, SignIn, SignInSource
from postroom.network import Network
from postroom.outcome import Outcome, StopCause, Stopped, TryLater
from postroom.store.records import Authentication, DialogueLine, EmailType, Mailbox, MailServer

log = structlog.get_logger("postroom.deliver")


class Keeping(msgspec.Struct, frozen=True):
    """How long a connection is kept: well within what Exchange Online allows, so that it rarely hangs up on us."""

    messages: int = 100
    idle_seconds: float = 60
    life_seconds: float = 600


class _Kept(msgspec.Struct):
    """A connection with its history."""

    connection: SmtpConnection
    opened_at: float
    messages: int = 0
    idle_since: float = 0
    timer: asyncio.TimerHandle | None = None
    needs_reset: bool = False


class SmtpTransport:
    """Implements `Transport`. As many tasks may send at a time as the caller allows; each has its own connection."""

    def __init__(
        self,
        network: Network,
        sign_ins: SignInSource,
        clock: Clock,
        mail_server: MailServer,
        mailbox: Mailbox,
        *,
        deadlines: Deadlines | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._network = network
        self._sign_ins = sign_ins
        self._clock = clock
        self._mail_server = mail_server
        self._mailbox = mailbox
        self._deadlines = deadlines or Deadlines()
        self._keeping = keeping or Keeping()
        self._server = f"{mail_server.host}:{mail_server.port}"
        self._idle: list[_Kept] = []
        self._farewells: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._may_chunk = True
        """Until the server offers CHUNKING and turns out not to know it."""

    async def send(self, parcel: Parcel) -> Report:
        """Send one parcel. Raises only what the parcel's own body raises."""
        kept = self._take_idle()
        if kept is not None:
            report = await self._hand_over(kept, parcel)
            if report is not None:
                return report
            log.info("kept_connection_ended", server=self._server)
        report = await self._send_anew(parcel)
        if report is None:
            log.info("chunking_failed", server=self._server)
            report = await self._send_anew(parcel)
        assert report is not None
        return report

    async def _send_anew(self, parcel: Parcel) -> Report | None:
        """Over a new connection; None when the server turned out not to know BDAT, and nothing was sent."""
        try:
            kept = await self._open(parcel)
        except SmtpFailure as failure:
            return self._report_unsent(parcel, failure.outcome, StopCause.MAIL_SERVER_AWAY, *failure.dialogue)
        except SignInTroubleError as trouble:
            return self._report_unsent(parcel, trouble.outcome, StopCause.SIGN_IN)
        return await self._hand_over(kept, parcel, is_fresh=True)

    async def close(self) -> None:
        """Leave every connection politely; what is being sent is finished by its own task."""
        self._is_closing = True
        while self._idle:
            self._let_go(self._idle.pop())
        if self._farewells:
            await asyncio.wait(self._farewells)

    # Opening

    async def _open(self, parcel: Parcel) -> _Kept:
        """A connection that is signed in. SmtpFailure, SignInTroubleError."""
        if self._mailbox.authentication is Authentication.NONE:
            return await self._open_signed_in(parcel, None)
        sign_in = await self._sign_ins.sign_in_for(self._mailbox.mailbox_id)
        parcel.is_moving()
        try:
            return await self._open_signed_in(parcel, sign_in)
        except SmtpFailure as failure:
            if not isinstance(sign_in, Bearer) or failure.outcome.failure.code not in TOKEN_CODES:
                raise
            # The token may have ended before its time: once, another one is tried.
            other = await self._sign_ins.sign_in_for(self._mailbox.mailbox_id, refuse_token=sign_in.token)
            if other == sign_in:
                raise
            log.info("token_not_accepted", server=self._server, mailbox=self._mailbox.username)
            return await self._open_signed_in(parcel, other)

    async def _open_signed_in(self, parcel: Parcel, sign_in: SignIn | None) -> _Kept:
        """Without a sign-in the mail server knows us by our address."""
        server = self._mail_server
        connection = await SmtpConnection.open(
            self._network,
            server.host,
            server.port,
            email_type=server.email_type,
            ehlo_name=server.ehlo_name,
            authorities=server.authorities,
            deadlines=self._deadlines,
        )
        try:
            parcel.is_moving()
            await connection.hello()
            if server.email_type is EmailType.SMTP and self._uses_tls:
                await connection.start_tls()
                parcel.is_moving()
                await connection.hello()
            parcel.is_moving()
            if sign_in is not None:
                await connection.sign_in(sign_in, may_be_in_clear=not self._uses_tls)
        except BaseException:
            connection.abort()
            raise
        parcel.is_moving()
        return _Kept(connection, opened_at=_now())

    @property
    def _uses_tls(self) -> bool:
        return self._mail_server.use_tls or is_microsoft(self._mail_server.host)

    # Sending

    async def _hand_over(self, kept: _Kept, parcel: Parcel, *, is_fresh: bool = False) -> Report | None:
        """The report; None when this connection was of no use, nothing was sent, and another may do."""
        connection = kept.connection
        try:
            if not is_fresh:
                connection.begin_dialogue(f"On a connection kept since {round(_now() - kept.opened_at)} s")
            if kept.needs_reset and not await _reset(connection):
                return None
            transaction = Transaction(connection, parcel, may_chunk=self._may_chunk)
            outcomes = await transaction.run()
        except BaseException:
            connection.abort()
            raise
        if transaction.chunking_failed and self._may_chunk:
            self._may_chunk = False
            return None
        if not is_fresh and (transaction.met_a_dead_connection or _ended_the_sign_in(outcomes)):
            connection.abort()
            return None
        kept.messages += 1
        kept.needs_reset = transaction.needs_reset
        report = Report(outcomes, tuple(connection.dialogue), self._server)
        if _was_one_too_many(outcomes):
            self._let_go(kept)
        else:
            self._keep(kept)
        return report

    def _report_unsent(self, parcel: Parcel, outcome: Outcome, cause: StopCause, *dialogue: DialogueLine) -> Report:
        """Before a message was offered, a temporary answer is about the mailbox: no message grows older by it."""
        if isinstance(outcome, TryLater):
            outcome = Stopped(outcome.failure, cause, outcome.until_us or self._clock.now_us())
        return Report((outcome,) * len(parcel.recipients), dialogue, self._server)

    # Keeping

    def _take_idle(self) -> _Kept | None:
        while self._idle:
            kept = self._idle.pop()
            if kept.timer is not None:
                kept.timer.cancel()
            if kept.connection.is_quiet and _now() - kept.opened_at < self._keeping.life_seconds:
                return kept
            self._let_go(kept)
        return None

    def _keep(self, kept: _Kept) -> None:
        may_be_kept = (
            kept.connection.is_quiet
            and not self._is_closing
            and kept.messages < self._keeping.messages
            and _now() - kept.opened_at < self._keeping.life_seconds
        )
        if not may_be_kept:
            self._let_go(kept)
            return
        loop = asyncio.get_running_loop()
        kept.timer = loop.call_later(self._keeping.idle_seconds, self._retire, kept)
        self._idle.append(kept)

    def _retire(self, kept: _Kept) -> None:
        self._idle.remove(kept)
        self._let_go(kept)

    def _let_go(self, kept: _Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
        if not kept.connection.is_quiet:
            kept.connection.abort()
            return
        farewell = asyncio.create_task(kept.connection.quit())
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)


def _ended_the_sign_in(outcomes: tuple[Outcome, ...]) -> bool:
    """The sign-in of the connection holds no longer; a new one may, so that the mailbox is not stopped for it."""
    return all(isinstance(outcome, Stopped) and outcome.cause is StopCause.SIGN_IN for outcome in outcomes)


def _was_one_too_many(outcomes: tuple[Outcome, ...]) -> bool:
    """The mailbox has more connections than it may: this one would be refused again and again, the others are not."""
    return any(isinstance(each, TryLater) and each.failure.code == "too_many_connections" for each in outcomes)


async def _reset(connection: SmtpConnection) -> bool:
    with contextlib.suppress(SmtpFailure):
        await connection.reset()
        return True
    connection.abort()
    return False


def _now() -> float:
    return asyncio.get_running_loop().time()
