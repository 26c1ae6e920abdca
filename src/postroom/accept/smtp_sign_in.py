"""AUTH: an app signs in with its user name and password (RFC 4954)."""

import asyncio
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple

import structlog

from postroom.accept import refusals
from postroom.accept.client import AppBook, Client
from postroom.accept.legacy import names, permissions_at
from postroom.accept.profiles import ListenerLimits, ListenerProfile
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.smtp_stream import ConversationEnded
from postroom.clock import MICROSECONDS, Clock
from postroom.errors import PostroomError, Refusal, StoreFullError
from postroom.store.records import App
from postroom.wire.answers import format_answer, format_lines
from postroom.wire.commands import CommandError
from postroom.wire.sasl import (
    MECHANISMS,
    CramMd5Exchange,
    Credentials,
    SaslError,
    begin_exchange,
    cram_md5_digest,
)

log = structlog.stdlib.get_logger("postroom.accept")

CRAM_MD5 = "CRAM-MD5"
_SHOWN_LOGIN_LENGTH = 64
_DAY_SECONDS = 86_400

NoteStranger = Callable[[str, str, str], None]
"""A refused client: code, sentence, and the user name it tried."""


class _Tried(NamedTuple):
    """A sign-in that was carried out: under which name, and whose it is, if it was right."""

    login: str
    app: App | None


class SignInDesk:
    """The sign-ins of one connection."""

    def __init__(
        self,
        session: SmtpSession,
        apps: AppBook,
        profile: ListenerProfile,
        guard: SignInGuard,
        limits: ListenerLimits,
        clock: Clock,
        note_stranger: NoteStranger,
    ) -> None:
        self._session = session
        self._apps = apps
        self._profile = profile
        self._guard = guard
        self._limits = limits
        self._clock = clock
        self._note_stranger = note_stranger
        self._failures = 0
        self.mechanism: str | None = None
        self.login: str | None = None

    @staticmethod
    def mechanisms_for(client: Client) -> tuple[str, ...]:
        """CRAM-MD5 for the devices that insist on it, and nobody else: it needs a password that can be read."""
        return (*MECHANISMS, CRAM_MD5) if client.permissions.cram_md5 else MECHANISMS

    def forget(self) -> None:
        """What was said in clear, before TLS."""
        self.mechanism = self.login = None

    async def sign_in(self, argument: str, client: Client) -> App | None:
        """Carry out `AUTH argument`, and answer it; the app, or None when it failed.

        CommandError: the exchange was wrong or cancelled, which is no guess. ConversationEnded: one guess too many.
        Refusal: not now.
        """
        name, _, initial = argument.partition(" ")
        name = name.upper()
        offered = self.mechanisms_for(client)
        if name not in offered:
            raise CommandError(504, "5.5.4", f"This way of signing in is not offered; {_listed(offered)} are")
        if name == CRAM_MD5:
            tried = await self._try_cram_md5(initial.strip(), client)
        else:
            tried = await self._try_password(name, initial.strip().encode(), client)
        if tried.app is None or not self._may_come_from(tried.app, client):
            await self._refuse(tried, client)
            return None
        await self._welcome(tried.app, tried.login, name, client)
        return tried.app

    # ---- the exchange ----

    async def _try_password(self, name: str, initial: bytes, client: Client) -> _Tried:
        credentials = await self._exchange(name, initial)
        self._require_unlocked(credentials.login, client)
        try:
            return _Tried(credentials.login, await self._apps.authenticate(credentials.login, credentials.password))
        except PostroomError as trouble:
            raise _not_now(trouble) from None

    async def _exchange(self, name: str, initial: bytes) -> Credentials:
        exchange = begin_exchange(name)
        assert exchange is not None, "the name is one of the mechanisms"
        answer = initial or await self._ask(exchange.challenge())
        while True:
            try:
                credentials = exchange.take(answer)
            except SaslError as trouble:
                raise CommandError(501, "5.5.2", str(trouble)) from None
            if credentials is not None:
                return credentials
            answer = await self._ask(exchange.challenge())

    async def _try_cram_md5(self, initial: str, client: Client) -> _Tried:
        """RFC 2195: the challenge is made of time and chance, and used once."""
        if initial:
            raise CommandError(501, "5.5.4", "AUTH CRAM-MD5 takes nothing behind it: the server speaks first")
        challenge = f"<{secrets.token_hex(16)}.{self._clock.now_us() // MICROSECONDS}@postroom>"
        exchange = CramMd5Exchange(challenge)
        answer = await self._ask(exchange.challenge())
        try:
            found = exchange.take(answer)
        except SaslError as trouble:
            raise CommandError(501, "5.5.2", str(trouble)) from None
        self._require_unlocked(found.login, client)
        try:
            secret = await self._apps.cram_md5_secrets(found.login)
        except PostroomError as trouble:
            raise _not_now(trouble) from None
        app = None
        for candidate, password in secret:
            is_right = hmac.compare_digest(cram_md5_digest(password, challenge), found.digest)
            if is_right and permissions_at(candidate, client.address or "").cram_md5:
                app = candidate
        return _Tried(found.login, app)

    async def _ask(self, challenge: str) -> bytes:
        self._session.say(format_lines(334, [challenge]))
        answer = await self._session.read_line(is_command=False)
        if answer.strip() == b"*":
            raise CommandError(501, "5.7.0", "The sign-in was cancelled")
        return answer

    # ---- what came of it ----

    def _may_come_from(self, app: App, client: Client) -> bool:
        """An app with addresses signs in from there only; on the device listener each must name its own.

        What another app at the same address is allowed, such as plain text, is not allowed to this one.
        """
        if not self._profile.knows_devices:
            return not app.addresses or names(app, client.address or "")
        permissions = permissions_at(app, client.address or "")
        match self._session.tls_version:
            case None:
                return permissions.plain_text
            case "TLSv1" | "TLSv1.1":
                return permissions.old_tls
            case _:
                return names(app, client.address or "")

    async def _welcome(self, app: App, login: str, mechanism: str, client: Client) -> None:
        self._guard.note_success(client.address or "", login)
        self.mechanism, self.login = mechanism, app.login
        try:
            await self._apps.note_use(app.app_id, client.address or "", self._session.tls_version or "", mechanism)
        except PostroomError as trouble:  # a full disk is told where it matters, at MAIL
            log.warning("use of an app not noted", app=app.login, reason=str(trouble))
        self._session.say(format_answer(235, "2.7.0", f"Signed in as {app.login}"))

    def _require_unlocked(self, login: str, client: Client) -> None:
        seconds = self._guard.locked_seconds(client.address or "", login, asyncio.get_running_loop().time())
        if seconds > 0:
            shown = login[:_SHOWN_LOGIN_LENGTH]
            raise refusals.sign_in_locked(shown, time_of_day(self._clock, seconds), int(seconds) + 1)

    async def _refuse(self, tried: _Tried, client: Client) -> None:
        """The client hears one answer after one time, whatever was wrong; the log and the console hear why."""
        self._failures += 1
        address = client.address or ""
        delay = self._guard.note_failure(address, tried.login, asyncio.get_running_loop().time())
        login = tried.login[:_SHOWN_LOGIN_LENGTH]
        refusal = refusals.sign_in_refused(login)
        code, text = refusal.reply.code, refusal.reply.text
        if tried.app is not None:
            code = "address_not_allowed"
            text = f'"{tried.app.name}" signed in from {address}, where it may not, or not in this way'
        log.warning("sign-in refused", peer=address, login=login, delay_seconds=delay, code=code)
        self._note_stranger(code, text, login)
        await self._session.pause(delay)
        self._session.say(format_answer(refusal.reply.smtp_code, refusal.reply.enhanced, refusal.reply.text))
        if self._failures >= self._limits.sign_in_failure_limit:
            goodbye = format_answer(421, "4.7.0", "Too many failed sign-ins on this connection; goodbye")
            raise ConversationEnded("too many failed sign-ins", goodbye)


def time_of_day(clock: Clock, in_seconds: float) -> str:
    """As a person reads it, so many seconds from now: 14:35 UTC."""
    minutes = (clock.now_us() // MICROSECONDS + int(in_seconds) + 59) % _DAY_SECONDS // 60
    return f"{minutes // 60:02}:{minutes % 60:02} UTC"


def _not_now(trouble: PostroomError) -> Refusal:
    return refusals.storage_full() if isinstance(trouble, StoreFullError) else refusals.sign_in_unavailable()


def _listed(names_of: tuple[str, ...]) -> str:
    return f"{', '.join(names_of[:-1])} and {names_of[-1]}"
