"""A store on a folder of its own, that can be closed, opened again and cut off, for every engine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from postroom.clock import ManualClock
from postroom.message import AfterUnknown, Lane, Reception
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store import Store
from postroom.store.choices import ChoiceAnswer, ChosenMail
from postroom.store.faults import FaultHook
from postroom.store.outbox import OutboxLimits
from postroom.store.records import (
    NEW,
    AppSettings,
    Grant,
    Lease,
    MailServer,
    MailServerDraft,
    NewMessage,
    Settlement,
    StoredBody,
)
from postroom.vault import Vault

Engine = Literal["thread", "inline"]
ENGINES: tuple[Engine, ...] = ("thread", "inline")
MAILBOX_ID = 1
NO_LIMITS = OutboxLimits()

BUSY = Failure(FailureClass.THROTTLE, "busy", "451 4.7.500 Server busy", "wait", smtp_code=451, enhanced="4.7.500")
NO_SUCH_USER = Failure(FailureClass.RECIPIENT, "recipient_unknown", "550 5.1.1 No such user", "recipient_unknown")
SIGNED_OUT = Failure(FailureClass.IDENTITY, "grant_revoked", "AADSTS50173: the grant was revoked", "sign_in_again")
LINE_DROPPED = Failure(FailureClass.UNKNOWN, "connection_broke", "The connection broke", "unknown_outcome")

SENT = Sent("250 2.0.0 OK <abc> [Hostname=AM0.example]")
REFUSED = Refused(NO_SUCH_USER)
UNKNOWN = Unknown(LINE_DROPPED)


def later(at_us: int) -> TryLater:
    return TryLater(BUSY, at_us)


def stopped(cause: StopCause = StopCause.SIGN_IN, until_us: int | None = None) -> Stopped:
    return Stopped(SIGNED_OUT, cause, until_us)


class KeptStore:
    """Opens stores on one folder, one clock and one key; every store is closed at the end."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        self.clock = ManualClock()
        self.vault = Vault(os.urandom(32))
        self.app_id = 0
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    async def open(self, fault: FaultHook | None = None, limits: OutboxLimits = NO_LIMITS) -> Store:
        await self.close()
        self._store = await Store.open(
            self.folder, self.clock, self.vault, writer=self.engine, fault=fault, limits=limits
        )
        return self._store

    async def open_set_up(self, fault: FaultHook | None = None, limits: OutboxLimits = NO_LIMITS) -> Store:
        """With a mailbox that is ready and an app."""
        store = await self.open(fault, limits)
        await store.mail_servers.save(self.draft(), "anna")
        app, _ = await store.apps.create(AppSettings(name="Scanner"), "anna")
        self.app_id = app.app_id
        return store

    async def add_mail_server(self, name: str, *, shares_mailbox: bool = False, **changes: Any) -> MailServer:
        """Another mail server, with a mailbox of its own unless it shares the first one's."""
        changes = {"mailbox_id": MAILBOX_ID if shares_mailbox else NEW, **changes}
        changes.setdefault("username", "scanner@contoso.com" if shares_mailbox else f"{name}@contoso.com")
        draft = msgspec.structs.replace(self.draft(), mail_server_id=NEW, name=name, **changes)
        return await self.store.mail_servers.save(draft, "anna")

    async def keep_refresh_token(self, refresh_token: str, grant: Grant | None = None) -> None:
        """As the token keeper does, of the grant as it is unless one is given."""
        lease = await self.store.mailboxes.take_renewal_lease(MAILBOX_ID, "keeper")
        assert lease is not None, "somebody else renews"
        grant = grant or await self.store.mailboxes.open_grant(MAILBOX_ID)
        await self.store.mailboxes.keep_tokens(lease, grant, refresh_token)

    async def close(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None

    def draft(self) -> MailServerDraft:
        return MailServerDraft(
            sender="scanner@contoso.com",
            username="scanner@contoso.com",
            test_address="anna@contoso.com",
            tenant="contoso.onmicrosoft.com",
            client_id="00000000-0000-0000-0000-000000000001",
            client_secret="the client secret",
            refresh_token="the refresh token",
            scopes=("https://outlook.office.com/SMTP.Send", "offline_access"),
            granted_at_us=self.clock.now_us(),
        )

    def message(
        self,
        *recipients: str,
        sender: str = "scanner@contoso.com",
        subject: str = "Scan",
        body: StoredBody | None = None,
        lane: Lane = Lane.NORMAL,
        app_id: int | None = None,
    ) -> NewMessage:
        content = b"Subject: Scan\r\n\r\nHello\r\n"
        return NewMessage(
            message_id=self.store.ids.make_id(),
            app_id=app_id or self.app_id,
            envelope_sender=sender,
            recipients=recipients or ("bob@fabrikam.com",),
            header_from=sender,
            subject=subject,
            internet_message_id="<1@scanner.contoso.com>",
            body=body or StoredBody(len(content), content=content),
            reception=Reception("smtp", "192.0.2.7", "scanner", "TLSv1.3", "LOGIN", "scanner"),
            received_at_us=self.clock.now_us(),
            lane=lane,
        )

    async def keep(self, *recipients: str, subject: str = "Scan", lane: Lane = Lane.NORMAL) -> int:
        """Keep a message; its id."""
        new = self.message(*recipients, subject=subject, lane=lane)
        await self.store.outbox.keep(new)
        return new.message_id

    async def lease_one(self) -> Lease:
        leases = await self.store.outbox.lease_due(1)
        assert len(leases) == 1, "nothing was due"
        return leases[0]

    async def send_what_was_set_aside(self) -> None:
        """A person's answer, after a long stop: all of it."""
        choices = await self.store.choices.open()
        assert choices, "nothing was set aside"
        for choice in choices:
            await self.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "anna")

    async def settle(self, lease: Lease, *outcomes: Outcome) -> None:
        """One outcome for all recipients, or one for each."""
        await self.store.outbox.settle(lease, settlement(lease, outcomes))

    async def states(self, message_id: int) -> list[str]:
        detail = await self.store.messages.find(message_id)
        assert detail is not None, "the message is gone"
        return [recipient.state.value for recipient in detail.recipients]

    async def widen(self, **limits: int) -> None:
        """Set the mailbox's limits; the page for it comes later, so the row is written directly."""
        columns = ", ".join(f"{column} = {value}" for column, value in limits.items())
        await self.write(f"UPDATE mailboxes SET {columns}")

    async def hold_after_unknown(self) -> None:
        await self.write(f"UPDATE apps SET after_unknown = '{AfterUnknown.HOLD}' WHERE app_id = {self.app_id}")

    async def write(self, statement: str) -> None:
        await self.store._writer.run(lambda connection: connection.raw.execute(statement).rowcount)

    async def read(self, statement: str) -> list[tuple[Any, ...]]:
        found = await self.store._reader.read(lambda connection: connection.raw.execute(statement).fetchall())
        return [tuple(row) for row in found]

    async def count(self, table: str) -> int:
        """How many rows it has."""
        text = f"SELECT count(*) FROM {table}"
        rows: int = await self.store._reader.read(lambda connection: connection.raw.execute(text).fetchone()[0])
        return rows


def settlement(lease: Lease, outcomes: Sequence[Outcome]) -> Settlement:
    each = list(outcomes) if len(outcomes) > 1 else list(outcomes) * len(lease.recipients)
    ids = [recipient.recipient_id for recipient in lease.recipients]
    return Settlement(dict(zip(ids, each, strict=True)), server="AM0.example")
