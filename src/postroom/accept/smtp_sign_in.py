"""AUTH: an app signs in with its user name and password (RFC 4954)."""

import asyncio
from typing import Protocol

import structlog

from postroom.accept.profiles import ListenerLimits
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.smtp_session import ConversationEnded, SmtpSession
from postroom.errors import PostroomError
from postroom.store.records import App
from postroom.wire.answers import format_answer, format_lines
from postroom.wire.commands import CommandError
from postroom.wire.sasl import MECHANISMS, Credentials, SaslError, SaslExchange, begin_exchange

log = structlog.stdlib.get_logger("postroom.accept")

_SHOWN_LOGIN_LENGTH = 64


class AppBook(Protocol):
    """What a listener asks of the store's apps."""

    async def authenticate(self, login: str, password: str) -> App | None: ...

    async def note_use(self, app_id: int, address: str, tls: str) -> None: ...


class SignInDesk:
    """The sign-ins of one connection."""

    def __init__(self, session: SmtpSession, apps: AppBook, guard: SignInGuard, limits: ListenerLimits) -> None:
        self._session = session
        self._apps = apps
        self._guard = guard
        self._limits = limits
        self._failures = 0
        self.mechanism: str | None = None
        self.login: str | None = None

    async def sign_in(self, argument: str) -> App | None:
        """Carry out `AUTH argument`, and answer it; the app, or None when it failed.

        CommandError: the exchange was wrong or cancelled, which is no guess. ConversationEnded: one guess too many.
        """
        name, _, initial = argument.partition(" ")
        exchange = begin_exchange(name)
        if exchange is None:
            offered = " and ".join(MECHANISMS)
            raise CommandError(504, "5.5.4", f"This way of signing in is not offered; {offered} are")
        credentials = await self._exchange(exchange, initial.strip().encode())
        app = await self._authenticate(credentials)
        if app is None:
            await self._refuse(credentials)
            return None
        self.mechanism, self.login = name.upper(), app.login
        self._session.say(format_answer(235, "2.7.0", f"Signed in as {app.login}"))
        return app

    async def _exchange(self, exchange: SaslExchange, initial: bytes) -> Credentials:
        answer = initial or await self._ask(exchange)
        while True:
            try:
                credentials = exchange.take(answer)
            except SaslError as trouble:
                raise CommandError(501, "5.5.2", str(trouble)) from None
            if credentials is not None:
                return credentials
            answer = await self._ask(exchange)

    async def _ask(self, exchange: SaslExchange) -> bytes:
        self._session.say(format_lines(334, [exchange.challenge()]))
        answer = await self._session.read_line(is_command=False)
        if answer.strip() == b"*":
            raise CommandError(501, "5.7.0", "The sign-in was cancelled")
        return answer

    async def _authenticate(self, credentials: Credentials) -> App | None:
        """Devices that insist on an address as user name get one: what stands behind the @ does not matter."""
        session = self._session
        try:
            app = await self._apps.authenticate(
                credentials.login.strip().partition("@")[0].lower(), credentials.password
            )
            if app is not None:
                await self._apps.note_use(app.app_id, session.peer_address or "", session.tls_version or "")
        except PostroomError:
            raise CommandError(454, "4.7.0", "Signing in is not possible now; try again later") from None
        return app

    async def _refuse(self, credentials: Credentials) -> None:
        """Never says whether the name or the password was wrong."""
        self._failures += 1
        address = self._session.peer_address or ""
        delay = self._guard.note_failure(address, asyncio.get_running_loop().time())
        login = credentials.login[:_SHOWN_LOGIN_LENGTH]
        log.warning("sign-in refused", peer=address, login=login, delay_seconds=delay)
        await self._session.pause(delay)
        self._session.say(
            format_answer(535, "5.7.8", f'Wrong user name or password for "{login}" (Postroom: Apps & devices)')
        )
        if self._failures >= self._limits.sign_in_failure_limit:
            goodbye = format_answer(421, "4.7.0", "Too many failed sign-ins on this connection; goodbye")
            raise ConversationEnded("too many failed sign-ins", goodbye)
