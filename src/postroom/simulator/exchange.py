"""Exchange Online's SMTP front end, as a client of smtp.office365.com meets it on port 587.

Facts: microsoft365.md 1.2 to 1.4 (dialogue), 2 (replies), 3.1 (limits), 6 (sender rights). Each
connection is an `ExchangeSession`; this is what the sessions share.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Iterable

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_session import ExchangeSession
from postroom.simulator.exchange_sign_in import Admission
from postroom.simulator.exchange_transaction import Arrival
from postroom.simulator.exchange_verdict import Verdict, judge_by_fault, judge_by_limits, judge_content, refused
from postroom.simulator.faults import Fault, message_faults
from postroom.simulator.sender_rights import read_head, replace_alias
from postroom.simulator.tenant import ReceivedMessage, Tenant
from postroom.simulator.tokens import Tokens

STOP_SECONDS = 0.5


class ExchangeServer:
    """The listener. `slow_seconds` may be set at any time; all else is the tenant's."""

    def __init__(
        self,
        tenant: Tenant,
        tokens: Tokens,
        tls_context: ssl.SSLContext,
        *,
        slow_seconds: float = 5.0,
    ) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.tls_context = tls_context
        self.slow_seconds = slow_seconds
        self.connections_made = 0
        self.sign_ins = 0
        self._sessions: set[ExchangeSession] = set()
        self._signed_in: dict[str, list[ExchangeSession]] = {}
        self._struck: set[tuple[str, str]] = set()
        self._upgrades: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._is_stopping = False
        self._stop_listening_to_clock: Callable[[], None] | None = None

    @property
    def port(self) -> int:
        assert self._listener is not None, "the server has not been started"
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._is_stopping = False
        self._listener = await loop.create_server(lambda: ExchangeSession(self).connection, host, port)

        # Whoever moves the clock may do so in another thread.
        def check_patience_soon() -> None:
            loop.call_soon_threadsafe(self._check_patience)

        self._stop_listening_to_clock = self.tenant.clock.on_advance(check_patience_soon)

    async def stop(self) -> None:
        """Stop listening and break every connection; returns within `STOP_SECONDS`."""
        if self._listener is None:
            return
        self._is_stopping = True
        self._listener.close()
        if self._stop_listening_to_clock:
            self._stop_listening_to_clock()
        ended = [session.ended for session in self._sessions]
        for session in list(self._sessions):
            session.abort()
        for upgrade in self._upgrades:
            upgrade.cancel()
        if waited_for := [*ended, *self._upgrades]:
            await asyncio.wait(waited_for, timeout=STOP_SECONDS)
        self._listener = None

    def _check_patience(self) -> None:
        for session in list(self._sessions):
            session.connection.check_patience()

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

    def admit(self, session: ExchangeSession, admission: Admission) -> None:
        self.sign_ins += 1
        self._signed_in.setdefault(admission.mailbox.object_id, []).append(session)

    def close_session(self, session: ExchangeSession) -> None:
        self._sessions.discard(session)
        for sessions in self._signed_in.values():
            if session in sessions:
                sessions.remove(session)

    # Messages

    def judge(self, session: ExchangeSession, arrival: Arrival) -> Verdict:
        """What becomes of a message. Nothing is stored yet."""
        head = read_head(arrival.content or b"")
        admission = arrival.admission
        refusal = judge_content(self.tenant, admission, arrival.content, head)
        if refusal:
            return refusal
        if not self._is_within_connection_limit(session, admission.mailbox.object_id):
            return refused(replies.TOO_MANY_CONNECTIONS)
        size_bytes = len(arrival.content or b"")
        if exhausted := judge_by_limits(self.tenant, admission, arrival.recipients, size_bytes):
            return exhausted
        written = str(head["Message-ID"] or "").strip() if head else ""
        identity = written or hashlib.sha256(arrival.content or b"").hexdigest()
        fault = self._strike(message_faults(arrival.sender, arrival.recipients), identity)
        return judge_by_fault(fault, written or replies.make_message_id(self._next_number()))

    def store(self, session: ExchangeSession, arrival: Arrival) -> None:
        """Put an accepted message where its recipients find it, and a copy into Sent Items."""
        assert arrival.content is not None
        mailbox, submissions = arrival.admission.mailbox, self.tenant.exchange.submissions
        message = ReceivedMessage(
            number=self._next_number(),
            received_at=self.tenant.clock.now(),
            signed_in_as=mailbox.user_principal_name,
            envelope_sender=arrival.sender,
            recipients=arrival.recipients,
            content=replace_alias(self.tenant, mailbox, arrival.content),
            dialogue=session.connection.dialogue.lines(),
            helo=session.helo,
            tls_version=session.connection.tls_version,
            mailbox_id=mailbox.object_id,
            delivered_at=submissions.delivery_time(mailbox.object_id),
        )
        submissions.keep(mailbox, message)

    def _is_within_connection_limit(self, session: ExchangeSession, mailbox_id: str) -> bool:
        """Whether `session` is among the first three of its mailbox that are still open."""
        limit = self.tenant.exchange.limits_of(mailbox_id).connections
        return session in self._signed_in[mailbox_id][:limit]

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
