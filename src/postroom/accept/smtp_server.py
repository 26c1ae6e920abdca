"""The SMTP listeners: they open their addresses, count their clients, and stop without breaking a promise.

What a connection costs, by `bench/connections.py`: 6 KiB idle in clear, 16 KiB under TLS, and at most 400 KiB while a
message is on its way and the disk does not keep up: 500 of them at once are 200 MiB at the very worst, 8 MiB idle.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from postroom.accept import refusals
from postroom.accept.client import AppBook, Client, ClientBook, TlsContexts
from postroom.accept.local import QueueDesk
from postroom.accept.local_users import LocalUser, user_name
from postroom.accept.networks import Network, holds, is_inside, network_of, parse_address
from postroom.accept.profiles import SENDMAIL, SUBMISSION, ListenerLimits, ListenerProfile
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.smtp_conversation import Listener, SmtpConversation
from postroom.accept.smtp_session import SmtpSession
from postroom.accept.smtp_sign_in import time_of_day
from postroom.accept.smtp_stream import ConversationEnded, HandshakeFailed
from postroom.accept.submission import Intake
from postroom.errors import PostroomError, Refusal
from postroom.store.records import RefusedAttempt
from postroom.wire.answers import format_answer
from postroom.wire.proxy_header import ProxyHeaderError

log = structlog.stdlib.get_logger("postroom.accept")

_BACKLOG = 512  # a burst of devices after a power cut
_STRANGERS_PATIENCE_SECONDS = 5
"""A client that means it says the next word sooner."""
_SHUTTING_DOWN = format_answer(421, "4.3.2", "Postroom is shutting down; send again in a minute")


def _note_nothing(attempt: RefusedAttempt) -> None: ...


class SmtpServer:
    """All listeners, which share their limits. `start` each, then `stop`; tests `make_session` for their transports."""

    def __init__(
        self,
        intake: Intake,
        apps: AppBook,
        tls: TlsContexts | ssl.SSLContext | None = None,
        *,
        profile: ListenerProfile = SUBMISSION,
        limits: ListenerLimits | None = None,
        proxies: Sequence[Network] = (),
        note_refused: Callable[[RefusedAttempt], None] = _note_nothing,
    ) -> None:
        """`profile` is that of listeners which name none. `proxies` are load balancers that say who the client is."""
        self._intake = intake
        self._apps = apps
        self._tls = TlsContexts(tls) if isinstance(tls, ssl.SSLContext) else tls
        self._profile = profile
        self._limits = limits or ListenerLimits()
        self._proxies = tuple(proxies)
        self._note_refused = note_refused
        self.guard = SignInGuard(self._limits.sign_in_delay_seconds, self._limits.sign_in_delay_limit_seconds)
        """Shared with the HTTP API: who guesses here is known there."""
        self._clients = ClientBook(apps, self._tls)
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[SmtpSession, asyncio.Task[None]] = {}
        self._by_client: Counter[str] = Counter()
        self._is_stopping = False

    @property
    def port(self) -> int:
        """The port that was taken by the first listener, also when 0 was asked for."""
        assert self._servers, "start comes first"
        return _port_of(self._servers[0])

    @property
    def connection_count(self) -> int:
        return len(self._sessions)

    @property
    def is_listening(self) -> bool:
        """Whether every listener that was started takes connections."""
        return not self._is_stopping and all(server.is_serving() for server in self._servers)

    def connections(self) -> Counter[tuple[str, str]]:
        """How many are open, by listener and version of TLS (empty: in clear)."""
        return Counter((session.listener, session.tls_version or "") for session in self._sessions)

    async def start(self, hosts: str, port: int, profile: ListenerProfile | None = None) -> int:
        """Listen at each of these addresses, with blanks between them; the port, also when 0 was asked for. OSError."""
        loop = asyncio.get_running_loop()
        listener = self._listener_of(profile or self._profile)
        for host in hosts.split():
            # An IPv6 socket takes IPv6 only, so that :: and 0.0.0.0 can stand beside one another.
            server = await loop.create_server(
                lambda: self._make_session(listener), host, port, reuse_address=True, backlog=_BACKLOG
            )
            self._servers.append(server)
            port = port or _port_of(server)
        return port

    async def start_unix(self, listening: socket.socket, queue_desk: QueueDesk | None = None) -> None:
        """Serve the users of this machine on a Unix socket that listens already; the system says who they are."""
        listener = self._listener_of(SENDMAIL, queue_desk)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(lambda: self._make_session(listener), sock=listening))

    def make_session(self, profile: ListenerProfile | None = None) -> SmtpSession:
        """The protocol for one connection; give it a transport."""
        return self._make_session(self._listener_of(profile or self._profile))

    async def stop(self, grace_seconds: float) -> None:
        """Take no new connection or message; let those on their way finish for so long, then cut."""
        self._is_stopping = True
        for server in self._servers:
            server.close()
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

    def _listener_of(self, profile: ListenerProfile, queue_desk: QueueDesk | None = None) -> Listener:
        if profile.needs_tls and self._tls is None:
            raise ValueError(f"the listener profile {profile.name} needs a TLS context")
        return Listener(
            self._intake, self._apps, self._clients, profile, self._limits, self.guard, self._note_refused, queue_desk
        )

    def _make_session(self, listener: Listener) -> SmtpSession:
        return SmtpSession(self._limits, lambda session: self._admit(session, listener), listener.profile.name)

    # ---- a connection comes ----

    def _admit(self, session: SmtpSession, listener: Listener) -> None:
        refusal = self._why_full()
        if refusal is not None:
            log.warning("connection refused", peer=session.peer_address, reply=refusal.decode().rstrip())
            session.close(b"" if listener.profile.begins_with_tls else refusal)
            return
        task = asyncio.get_running_loop().create_task(self._serve(session, listener))
        self._sessions[session] = task
        session.gone.add_done_callback(lambda _: self._sessions.pop(session, None))

    def _why_full(self) -> bytes | None:
        if self._is_stopping:
            return _SHUTTING_DOWN
        if len(self._sessions) >= self._limits.connection_limit and not self._make_room():
            text = f"All {self._limits.connection_limit} connections are in use; try again in a minute"
            return format_answer(421, "4.7.0", text)
        return None

    def _make_room(self) -> bool:
        """Whoever is not known and has said nothing for longest gives way: idle connections starve nobody."""
        strangers = (it for it in self._sessions if it.is_stranger and it.silent_seconds >= _STRANGERS_PATIENCE_SECONDS)
        longest = max(strangers, key=lambda session: session.silent_seconds, default=None)
        if longest is None:
            return False
        self._sessions.pop(longest)
        longest.make_room()
        return True

    async def _serve(self, session: SmtpSession, listener: Listener) -> None:
        goodbye = b""
        try:
            client = await self._recognise(session, listener.profile)
            self._count(session, client)
            if listener.profile.begins_with_tls:
                await self._begin_tls(session, client, listener)
            await self._converse(session, listener, client)
        except ConversationEnded as ended:
            goodbye = ended.goodbye
            log.debug("conversation ended", peer=session.peer_address, reason=ended.reason)
        except Exception:
            log.exception("conversation failed", peer=session.peer_address)
            goodbye = format_answer(421, "4.3.0", "Something went wrong here; try again later")
        finally:
            if listener.profile.begins_with_tls and session.tls_version is None:
                goodbye = b""  # nobody would understand it
            session.close(goodbye)

    async def _converse(self, session: SmtpSession, listener: Listener, client: Client) -> None:
        conversation = SmtpConversation(session, listener, client)
        try:
            await conversation.hold()
        finally:
            await conversation.abandon_message()

    async def _recognise(self, session: SmtpSession, profile: ListenerProfile) -> Client:
        """Who it is, before anything is said to it. ConversationEnded when it may not come in."""
        local_user = None
        is_balancer = False
        if session.local_user_id is not None:
            # Names may come from a directory far away.
            name = await asyncio.to_thread(user_name, session.local_user_id)
            local_user = LocalUser(session.local_user_id, name)
        elif not profile.serves_this_machine and holds(self._proxies, session.peer_address or ""):
            is_balancer = await self._ask_proxy(session, profile)
        address = session.peer_address
        if profile.knows_devices and not (is_inside(address or "") and _is_private_end(session.own_address)):
            raise self._turned_away(refusals.public_client(address or ""), address or "", profile)
        try:
            client = await self._clients.look_up(profile, address, local_user, is_balancer=is_balancer)
        except PostroomError as trouble:
            log.warning("client not recognised", peer=address, reason=str(trouble))
            text = "Clients cannot be recognised now; try again later"
            raise ConversationEnded("the store is away", format_answer(421, "4.3.0", text)) from None
        if client.guest is None:  # who needs no password does not guess one
            self._refuse_banned(address or "", profile)
        return client

    async def _ask_proxy(self, session: SmtpSession, profile: ListenerProfile) -> bool:
        """Take the client's address from its load balancer; whether that speaks for itself."""
        proxy = session.peer_address
        try:
            header = await session.read_proxy_header()
        except (ProxyHeaderError, TimeoutError) as trouble:
            why = str(trouble) or "it did not come in time"
            log.warning("no PROXY header", listener=profile.name, proxy=proxy, reason=why)
            raise ConversationEnded("no PROXY header") from None
        if header.source_address is None:
            return True
        session.peer_address = header.source_address
        log.debug("proxied", listener=profile.name, proxy=proxy, peer=session.peer_address)
        return False

    def _refuse_banned(self, address: str, profile: ListenerProfile) -> None:
        seconds = self.guard.banned_seconds(address, asyncio.get_running_loop().time()) if address else 0
        if seconds > 0:
            refusal = refusals.client_banned(address, time_of_day(self._intake.clock, seconds), int(seconds) + 1)
            raise self._turned_away(refusal, address, profile)

    def _turned_away(self, refusal: Refusal, address: str, profile: ListenerProfile) -> ConversationEnded:
        reply = refusal.reply
        log.warning("connection refused", peer=address, listener=profile.name, reply=reply.smtp_reply)
        now_us = self._intake.clock.now_us()
        self._intake.metrics.note_refused(profile.name, reply.code)
        self._note_refused(RefusedAttempt(address, profile.name, "", "", reply.code, reply.text, now_us))
        return ConversationEnded(reply.code, format_answer(reply.smtp_code, reply.enhanced, reply.text))

    def _count(self, session: SmtpSession, client: Client) -> None:
        """ConversationEnded when this client has too many connections."""
        key = network_of(client.key)
        if self._by_client[key] >= self._limits.client_connection_limit:
            text = f"You have {self._limits.client_connection_limit} connections open; use or close one of them"
            refusal = format_answer(421, "4.7.0", text)
            log.warning("connection refused", peer=session.peer_address, reply=refusal.decode().rstrip())
            raise ConversationEnded("too many connections of one client", refusal)
        self._by_client[key] += 1
        session.gone.add_done_callback(lambda _: self._discount(key))

    def _discount(self, key: str) -> None:
        self._by_client[key] -= 1
        if not self._by_client[key]:
            del self._by_client[key]

    async def _begin_tls(self, session: SmtpSession, client: Client, listener: Listener) -> None:
        assert client.tls is not None, "the listener was not made without"
        try:
            await session.start_tls(client.tls)
        except HandshakeFailed as failed:
            log.info("no TLS", peer=session.peer_address, listener=listener.profile.name, reason=failed.reason)
            SmtpConversation(session, listener, client).note_stranger("old_tls", failed.reason)
            raise


def _is_private_end(own_address: str | None) -> bool:
    """Our own end, too: an address may have been added to the machine after the start."""
    return own_address is None or parse_address(own_address) is None or is_inside(own_address)


def _port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
