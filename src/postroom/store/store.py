"""The store as a whole: opened once, handed to every room that keeps or reads something."""

from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from postroom.clock import Clock
from postroom.ids import IdMaker
from postroom.store.api_keys import ApiKeys
from postroom.store.apps import Apps
from postroom.store.audit import Audit
from postroom.store.bodies import Bodies, BodyFiles
from postroom.store.calls import Calls, InlineCalls, ThreadCalls
from postroom.store.canaries import Canaries
from postroom.store.choices import Choices
from postroom.store.client_secrets import ClientSecrets
from postroom.store.data_folder import FolderLock
from postroom.store.faults import Crash, FaultHook, FaultPoints
from postroom.store.figures import FigureBook
from postroom.store.mail_servers import MailServers
from postroom.store.mailboxes import Mailboxes
from postroom.store.messages import Messages
from postroom.store.notices_due import NoticesDue
from postroom.store.opening import Opening
from postroom.store.outbox import Outbox, OutboxLimits, Wakeup
from postroom.store.people import People
from postroom.store.reader import Reader
from postroom.store.refused_clients import RefusedClients
from postroom.store.refused_senders import RefusedSenders
from postroom.store.sending_settings import SendingSettingsTable
from postroom.store.sign_in_links import SignInLinks
from postroom.store.ways import Ways
from postroom.store.writer import InlineWriter, ThreadWriter, Writer
from postroom.vault import Vault

READERS = 2


class Store:
    """What must survive. Made by `Store.open`, ended by `close`."""

    def __init__(
        self,
        opened: Opening,
        writer: Writer,
        reader: Reader,
        calls: "AllCalls",
        wakeup: Wakeup,
        lock: FolderLock,
        limits: OutboxLimits,
    ) -> None:
        clock, vault, files = opened.clock, opened.vault, BodyFiles(opened.bodies_folder, calls.disk, opened.faults)
        self._writer = writer
        self._reader = reader
        self._calls = calls
        self._lock = lock
        self._is_closed = False
        self.owner: str = opened.owner
        """This boot's owner of leases: the node and the epoch of its start."""
        self.last_heartbeat_us: int | None = opened.last_heartbeat_us
        """When the boot before this one was last alive; None at the first start."""
        self.interrupted_attempts: int = opened.interrupted_attempts
        """Attempts that the end of an earlier boot left open; they are unknown now."""
        self.ids: IdMaker = opened.ids
        self.bodies: Bodies = Bodies(files, reader, clock)
        self.outbox: Outbox = Outbox(
            writer=writer,
            reader=reader,
            bodies=self.bodies,
            files=files,
            owner=opened.owner,
            wakeup=wakeup,
            faults=opened.faults,
            folder=opened.folder,
            clock=clock,
            limits=limits,
        )
        self.messages: Messages = Messages(reader)
        self.mail_servers: MailServers = MailServers(writer, reader, vault)
        self.notices_due: NoticesDue = NoticesDue(writer, reader)
        self.ways: Ways = Ways(writer, reader)
        self.mailboxes: Mailboxes = Mailboxes(writer, reader, vault, opened.owner)
        self.client_secrets: ClientSecrets = ClientSecrets(writer, vault)
        self.apps: Apps = Apps(writer, reader, clock, vault, calls.hashing)
        self.api_keys: ApiKeys = ApiKeys(writer, reader, clock)
        self.refused_clients: RefusedClients = RefusedClients(writer, reader)
        self.refused_senders: RefusedSenders = RefusedSenders(reader)
        self.sign_in_links: SignInLinks = SignInLinks(writer, reader)
        self.people: People = People(writer, reader, calls.hashing)
        self.audit: Audit = Audit(writer, reader)
        self.canaries: Canaries = Canaries(reader)
        self.choices: Choices = Choices(writer, reader)
        self.figures: FigureBook = FigureBook(reader)
        self.sending_settings: SendingSettingsTable = SendingSettingsTable(writer, reader)

    @classmethod
    async def open(
        cls,
        data_folder: Path,
        clock: Clock,
        vault: Vault,
        *,
        writer: Literal["thread", "inline"] = "thread",
        fault: FaultHook | None = None,
        limits: OutboxLimits = OutboxLimits(),  # noqa: B008 - frozen
    ) -> "Store":
        """Take the folder, bring the schema up to date, prove the vault's key, end what earlier boots left open.

        `inline` commits in the event loop and uses no threads: for tests on virtual time. `fault` is called at the
        points of `faults.FaultPoints`. Errors: DataFolderError, VaultKeyError; both leave everything as it was.
        """
        lock = FolderLock(data_folder)
        try:
            opening = Opening(data_folder, clock, vault, FaultPoints(fault))
            return await cls._open_locked(lock, opening, writer, limits)
        except BaseException:
            lock.release()
            raise

    @classmethod
    async def _open_locked(cls, lock: FolderLock, opening: Opening, kind: str, limits: OutboxLimits) -> "Store":
        lock.make_folder(opening.bodies_folder)
        wakeup = Wakeup()
        writer = await _start_writer(opening, kind, wakeup)
        calls = AllCalls.threaded() if kind == "thread" else AllCalls.inline()
        try:
            reader = Reader(opening.open_reader, calls.reading, READERS)
        except BaseException:
            await writer.close()
            raise
        store = cls(opening, writer, reader, calls, wakeup, lock, limits)
        try:
            await store.bodies.sweep()
            await store.choices.go_on()
        except BaseException:
            await store.close()
            raise
        return store

    async def prove_writable(self) -> None:
        """Write a row and sync it, as keeping a message does. Errors: StoreFullError, StoreUnavailableError."""
        await self._writer.run(lambda connection: connection.change("beat", now_us=connection.now_us))

    async def close(self) -> None:
        """Commit what waits, copy the log into the database, let go of every file. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        await self.choices.stop()
        # A store that cannot be written to any more has crashed, whoever closes it.
        with suppress(Exception, Crash):
            await self._writer.run(lambda connection: connection.change("note_stop", now_us=connection.now_us))
        # Readers first: the connection that is closed last checkpoints, and that must be the one that writes.
        self._reader.close()
        await self._writer.close()
        self._calls.disk.close()
        self._calls.hashing.close()
        self._lock.release()


async def _start_writer(opening: Opening, kind: str, wakeup: Wakeup) -> Writer:
    if kind == "inline":
        return InlineWriter(wakeup.set, opening.open_committer())
    writer = ThreadWriter(wakeup.set)
    await writer.start(opening.open_committer)
    return writer


class AllCalls(NamedTuple):
    """A pool for each kind of blocking call, so that none waits for another kind."""

    disk: Calls
    reading: Calls
    hashing: Calls

    @classmethod
    def threaded(cls) -> "AllCalls":
        return cls(ThreadCalls("store-disk", 2), ThreadCalls("store-reader", READERS), ThreadCalls("store-hash", 1))

    @classmethod
    def inline(cls) -> "AllCalls":
        return cls(InlineCalls(), InlineCalls(), InlineCalls())
