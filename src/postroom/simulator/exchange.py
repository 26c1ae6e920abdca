"""Exchange Online's SMTP front end, as a client of smtp.office365.com meets it on port 587.

Facts: microsoft365.md 1.2 to 1.4 (dialogue), 2 (replies), 3.1 (limits), 6 (sender rights). Each
connection is an `ExchangeSession`; this is what the sessions share.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Iterable

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_session import Arrival, ExchangeSession
from postroom.simulator.exchange_verdict import Verdict, judge_by_fault, judge_content, refused
from postroom.simulator.faults import Fault, message_faults
from postroom.simulator.sender_rights import read_head
from postroom.simulator.tenant import ReceivedMessage, Tenant, User
from postroom.simulator.tokens import Tokens

MAX_CONNECTIONS_PER_MAILBOX = 3
# A mailbox may send 35 MB unless its administrator says otherwise (Set-Mailbox -MaxSendSize).
DEFAULT_MESSAGE_LIMIT_BYTES = 36_700_160
STOP_SECONDS = 0.5


class ExchangeServer:
    """The listener. `slow_seconds` and `message_limit_bytes` may be set at any time."""

    def __init__(
        self,
        tenant: Tenant,
        tokens: Tokens,
        tls_context: ssl.SSLContext,
        *,
        slow_seconds: float = 5.0,
        message_limit_bytes: int = DEFAULT_MESSAGE_LIMIT_BYTES,
    ) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.tls_context = tls_context
        self.slow_seconds = slow_seconds
        self.message_limit_bytes = message_limit_bytes
        self.connections_made = 0
        self.sign_ins = 0
        self._sessions: set[ExchangeSession] = set()
        self._signed_in: dict[str, list[ExchangeSession]] = {}
        self._struck: set[tuple[str, str]] = set()
        self._upgrades: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._is_stopping = False

    @property
    def port(self) -> int:
        assert self._listener is not None, "the server has not been started"
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._is_stopping = False
        self._listener = await loop.create_server(lambda: ExchangeSession(self), host, port)

    async def stop(self) -> None:
        """Stop listening and break every connection; returns within `STOP_SECONDS`."""
        if self._listener is None:
            return
        self._is_stopping = True
        self._listener.close()
        ended = [session.ended for session in self._sessions]
        for session in list(self._sessions):
            session.abort()
        for upgrade in self._upgrades:
            upgrade.cancel()
        if waited_for := [*ended, *self._upgrades]:
            await asyncio.wait(waited_for, timeout=STOP_SECONDS)
        self._listener = None

    # What a session tells

    def open_session(self, session: ExchangeSession) -> None:
        self.connections_made += 1
        self._sessions.add(session)
        if self._is_stopping:
            session.abort()

    def start_upgrade(self, session: ExchangeSession) -> None:
        upgrade = asyncio.create_task(session.upgrade())
        self._upgrades.add(upgrade)
        upgrade.add_done_callback(self._upgrades.discard)

    def admit(self, session: ExchangeSession, mailbox: User) -> None:
        self.sign_ins += 1
        self._signed_in.setdefault(mailbox.object_id, []).append(session)

    def close_session(self, session: ExchangeSession) -> None:
        self._sessions.discard(session)
        for sessions in self._signed_in.values():
            if session in sessions:
                sessions.remove(session)

    # Messages

    def judge(self, session: ExchangeSession, arrival: Arrival) -> Verdict:
        """What becomes of a message. Nothing is stored yet."""
        head = read_head(arrival.content or b"")
        refusal = judge_content(self.tenant, arrival.mailbox, arrival.content, head)
        if refusal:
            return refusal
        if not self._is_within_connection_limit(session, arrival.mailbox):
            return refused(replies.TOO_MANY_CONNECTIONS)
        written = str(head["Message-ID"] or "").strip() if head else ""
        identity = written or hashlib.sha256(arrival.content or b"").hexdigest()
        fault = self._strike(message_faults(arrival.sender, arrival.recipients), identity)
        return judge_by_fault(fault, written or replies.make_message_id(self._next_number()))

    def store(self, arrival: Arrival, session: ExchangeSession) -> None:
        assert arrival.content is not None
        self.tenant.messages.append(
            ReceivedMessage(
                number=self._next_number(),
                received_at=self.tenant.clock.now(),
                signed_in_as=arrival.mailbox.user_principal_name,
                envelope_sender=arrival.sender,
                recipients=arrival.recipients,
                content=arrival.content,
                dialogue=session.dialogue.lines(),
                helo=session.helo,
                tls_version=session.tls_version,
            )
        )

    def _is_within_connection_limit(self, session: ExchangeSession, mailbox: User) -> bool:
        """Whether `session` is among the first three of its mailbox that are still open."""
        return session in self._signed_in[mailbox.object_id][:MAX_CONNECTIONS_PER_MAILBOX]

    def _strike(self, faults: Iterable[Fault], identity: str) -> Fault | None:
        """The first fault that is due; one of the `-once` kind is due once for each message."""
        for fault in faults:
            key = (fault.local_part, identity)
            if not (fault.is_once and key in self._struck):
                self._struck.add(key)
                return fault
        return None

    def _next_number(self) -> int:
        return self.tenant.messages[-1].number + 1 if self.tenant.messages else 1
