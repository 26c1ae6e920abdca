"""The submission listener: opens its port, counts its clients, and stops without breaking a promise."""

import asyncio
import ssl
from collections import Counter

import structlog

from postroom.accept.profiles import SUBMISSION, ListenerLimits, ListenerProfile
from postroom.accept.sign_in_guard import SignInGuard, network_of
from postroom.accept.smtp_conversation import Listener, SmtpConversation
from postroom.accept.smtp_session import ConversationEnded, SmtpSession
from postroom.accept.smtp_sign_in import AppBook
from postroom.accept.submission import Intake
from postroom.wire.answers import format_answer

log = structlog.stdlib.get_logger("postroom.accept")

_BACKLOG = 512  # a burst of devices after a power cut


class SmtpServer:
    """One listener. `start`, then `stop`; or, in tests, a `make_session` for each transport of their own."""

    def __init__(
        self,
        intake: Intake,
        apps: AppBook,
        tls: ssl.SSLContext | None = None,
        *,
        profile: ListenerProfile = SUBMISSION,
        limits: ListenerLimits | None = None,
    ) -> None:
        if profile.needs_tls and tls is None:
            raise ValueError(f"the listener profile {profile.name} needs a TLS context")
        limits = limits or ListenerLimits()
        guard = SignInGuard(limits.sign_in_delay_seconds, limits.sign_in_delay_limit_seconds)
        self._listener = Listener(intake, apps, profile, limits, guard, tls)
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._sessions: dict[SmtpSession, asyncio.Task[None]] = {}
        self._clients: Counter[str] = Counter()
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port that was taken, also when 0 was asked for."""
        assert self._server is not None, "start comes first"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connection_count(self) -> int:
        return len(self._sessions)

    async def start(self, host: str, port: int) -> None:
        """Listen on every address of `host`; OSError when that cannot be."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.make_session, host, port, reuse_address=True, backlog=_BACKLOG)

    def make_session(self) -> SmtpSession:
        """The protocol for one connection; give it a transport."""
        return SmtpSession(self._limits, self._admit)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new connection or message; let those on their way finish for so long, then cut."""
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.begin_stop()
        if sessions:
            await asyncio.wait([session.gone for session in sessions], timeout=grace_seconds)
        await self._cut(list(self._sessions.items()))

    async def _cut(self, open_sessions: list[tuple[SmtpSession, asyncio.Task[None]]]) -> None:
        for session, task in open_sessions:
            log.warning("connection cut at shutdown", peer=session.peer_address)
            session.abort()
            task.cancel()
        await asyncio.gather(*(task for _, task in open_sessions), return_exceptions=True)

    def _admit(self, session: SmtpSession) -> None:
        client = network_of(session.peer_address or "")
        refusal = self._why_not(client)
        if refusal is not None:
            log.warning("connection refused", peer=session.peer_address, reply=refusal.decode().rstrip())
            session.close(refusal)
            return
        self._clients[client] += 1
        task = asyncio.get_running_loop().create_task(self._serve(session))
        self._sessions[session] = task
        session.gone.add_done_callback(lambda _: self._forget(session, client))

    def _why_not(self, client: str) -> bytes | None:
        if self._is_stopping:
            return format_answer(421, "4.3.2", "Postroom is shutting down; send again in a minute")
        if len(self._sessions) >= self._limits.connection_limit:
            text = f"All {self._limits.connection_limit} connections are in use; try again in a minute"
            return format_answer(421, "4.7.0", text)
        if self._clients[client] >= self._limits.client_connection_limit:
            text = f"You have {self._limits.client_connection_limit} connections open; use or close one of them"
            return format_answer(421, "4.7.0", text)
        return None

    def _forget(self, session: SmtpSession, client: str) -> None:
        self._sessions.pop(session, None)
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]

    async def _serve(self, session: SmtpSession) -> None:
        conversation = SmtpConversation(session, self._listener)
        goodbye = b""
        try:
            await conversation.hold()
        except ConversationEnded as ended:
            goodbye = ended.goodbye
            log.debug("conversation ended", peer=session.peer_address, reason=ended.reason)
        except Exception:
            log.exception("conversation failed", peer=session.peer_address)
            goodbye = format_answer(421, "4.3.0", "Something went wrong here; try again later")
        finally:
            session.close(goodbye)
            await conversation.abandon_message()
