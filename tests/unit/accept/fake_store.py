"""The few parts of the store that `accept` asks for, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from postroom.clock import ManualClock
from postroom.errors import AlreadyKeptError, StoreFullError
from postroom.ids import IdMaker
from postroom.message import MailboxState
from postroom.store import Store
from postroom.store.records import (
    App,
    Authentication,
    EmailType,
    Mailbox,
    MailServer,
    NewMessage,
    SendRight,
    StoredBody,
)

PASSWORD = "Kp7wXq2mRt9vBn4hJc6dFg3s"

SCANNER = App(app_id=7, name="HP 2nd floor", login="hp-2f", senders=("scanner@contoso.example", "it@contoso.example"))


class FakeWriter:
    def __init__(self, bodies: "FakeBodies") -> None:
        self._bodies = bodies
        self.content = b""
        self.is_discarded = False

    async def write(self, chunk: bytes) -> None:
        if self._bodies.is_full:
            raise StoreFullError("no space left")
        self.content += chunk

    async def finish(self) -> StoredBody:
        return StoredBody(len(self.content), content=self.content)

    async def discard(self) -> None:
        self.is_discarded = True


class FakeBodies:
    def __init__(self) -> None:
        self.writers: list[FakeWriter] = []
        self.is_full = False

    def spool(self) -> FakeWriter:
        self.writers.append(FakeWriter(self))
        return self.writers[-1]


class FakeOutbox:
    def __init__(self) -> None:
        self.kept: list[NewMessage] = []
        self.trouble: Exception | None = None
        self.room = True

    async def keep(self, new: NewMessage) -> None:
        if self.trouble is not None:
            raise self.trouble
        for kept in self.kept:
            if _has_same_key(kept, new):
                raise AlreadyKeptError(kept.message_id, kept.idempotency == new.idempotency)
        self.kept.append(new)

    async def keep_together(self, messages: Sequence[NewMessage]) -> None:
        for new in messages:
            await self.keep(new)

    async def has_room(self) -> bool:
        return self.room


def _has_same_key(one: NewMessage, other: NewMessage) -> bool:
    if one.idempotency is None or other.idempotency is None:
        return False
    return (one.app_id, one.idempotency.key) == (other.app_id, other.idempotency.key)


class FakeMailServers:
    def __init__(self) -> None:
        self.sender = "noreply@contoso.example"

    async def default(self) -> MailServer:
        return MailServer(
            mail_server_id=1,
            name="Microsoft 365",
            host="smtp.office365.com",
            port=587,
            email_type=EmailType.SMTP,
            use_tls=True,
            sender=self.sender,
            sender_name="",
            test_address="",
            send_right=SendRight.OWN,
            mailbox_id=1,
        )


class FakeMailboxes:
    def __init__(self) -> None:
        self.username = "robot@contoso.example"

    async def find(self, mailbox_id: int) -> Mailbox:
        return Mailbox(mailbox_id, self.username, self.username, Authentication.OAUTH, MailboxState.READY)


class FakeApps:
    def __init__(self, *apps: App) -> None:
        self.apps = {app.login: app for app in apps}
        self.trouble: Exception | None = None
        self.uses: list[tuple[int, str, str]] = []

    async def authenticate(self, login: str, password: str) -> App | None:
        if self.trouble is not None:
            raise self.trouble
        return self.apps.get(login) if password == PASSWORD else None

    async def find(self, app_id: int) -> App | None:
        return next((app for app in self.apps.values() if app.app_id == app_id), None)

    async def note_use(self, app_id: int, address: str, tls: str, mechanism: str = "") -> None:
        self.uses.append((app_id, address, tls))

    async def at_address(self, address: str) -> App | None:
        return next((app for app in self.apps.values() if address in app.addresses), None)

    async def of_local_user(self, user: str) -> App:
        return next(iter(self.apps.values()))

    async def cram_md5_secrets(self, login: str) -> list[tuple[App, str]]:
        return [(self.apps[login], PASSWORD)] if login in self.apps else []

    async def use_by_minute(self, app_id: int, since_us: int) -> dict[int, int]:
        return {}


@dataclass
class FakeStore:
    ids: IdMaker = field(default_factory=lambda: IdMaker(ManualClock()))
    outbox: FakeOutbox = field(default_factory=FakeOutbox)
    bodies: FakeBodies = field(default_factory=FakeBodies)
    mail_servers: FakeMailServers = field(default_factory=FakeMailServers)
    mailboxes: FakeMailboxes = field(default_factory=FakeMailboxes)
    apps: FakeApps = field(default_factory=lambda: FakeApps(SCANNER))

    def as_store(self) -> Store:
        return cast(Store, self)
