"""The store as a whole: opened once, handed to every room that keeps or reads something."""

from pathlib import Path
from typing import Literal

from postroom.clock import Clock
from postroom.errors import VaultKeyError
from postroom.ids import IdMaker
from postroom.store.apps import Apps
from postroom.store.audit import Audit
from postroom.store.bodies import Bodies, BodyFiles
from postroom.store.calls import Calls, InlineCalls, ThreadCalls
from postroom.store.committer import Committer
from postroom.store.data_folder import FolderLock
from postroom.store.database import BUSY_SECONDS, FILE_NAME, Connection, open_reader, open_writer
from postroom.store.faults import FaultHook, FaultPoints
from postroom.store.mail_servers import MailServers
from postroom.store.mailboxes import Mailboxes
from postroom.store.messages import Messages
from postroom.store.migrations import migrate
from postroom.store.outbox import Outbox, Wakeup
from postroom.store.people import People
from postroom.store.reader import Reader
from postroom.store.settling import end_leases_of_earlier_boots
from postroom.store.statements import load_statements
from postroom.store.writer import InlineWriter, ThreadWriter, Writer
from postroom.vault import Vault

NODE = "node0"  # SQLite serves one node
READERS = 2
_CHECK_TEXT = b"Postroom's vault key opens this"
_CHECK_CONTEXT = "instance.vault_check.1"


class Store:
    """What must survive. Made by `Store.open`, ended by `close`."""

    def __init__(
        self, opened: "_Opening", writer: Writer, reader: Reader, calls: Calls, wakeup: Wakeup, lock: FolderLock
    ) -> None:
        clock, vault, files = opened.clock, opened.vault, BodyFiles(opened.bodies_folder, calls, opened.faults)
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
        )
        self.messages: Messages = Messages(reader)
        self.mail_servers: MailServers = MailServers(writer, reader, vault)
        self.mailboxes: Mailboxes = Mailboxes(writer, reader, vault)
        self.apps: Apps = Apps(writer, reader, clock)
        self.people: People = People(writer, reader, calls)
        self.audit: Audit = Audit(writer, reader)

    @classmethod
    async def open(
        cls,
        data_folder: Path,
        clock: Clock,
        vault: Vault,
        *,
        writer: Literal["thread", "inline"] = "thread",
        fault: FaultHook | None = None,
    ) -> "Store":
        """Take the folder, bring the schema up to date, prove the vault's key, end what earlier boots left open.

        `inline` commits in the event loop and uses no threads: for tests on virtual time. `fault` is called at the
        points of `faults.FaultPoints`. Errors: DataFolderError, VaultKeyError; both leave everything as it was.
        """
        lock = FolderLock(data_folder)
        try:
            return await cls._open_locked(lock, _Opening(data_folder, clock, vault, FaultPoints(fault)), writer)
        except BaseException:
            lock.release()
            raise

    @classmethod
    async def _open_locked(cls, lock: FolderLock, opening: "_Opening", kind: str) -> "Store":
        lock.make_folder(opening.bodies_folder)
        wakeup = Wakeup()
        writer: ThreadWriter | InlineWriter
        calls: Calls
        reader_calls: Calls
        if kind == "thread":
            writer = ThreadWriter(wakeup.set)
            await writer.start(opening.open_committer)
            calls, reader_calls = ThreadCalls("store-disk", 2), ThreadCalls("store-reader", READERS)
        else:
            writer = InlineWriter(wakeup.set, opening.open_committer())
            calls, reader_calls = InlineCalls(), InlineCalls()
        try:
            reader = Reader(opening.open_reader, reader_calls, READERS if kind == "thread" else 1)
            store = cls(opening, writer, reader, calls, wakeup, lock)
        except BaseException:
            await writer.close()
            raise
        try:
            await store.bodies.sweep()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Commit what waits, copy the log into the database, let go of every file. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        # Readers first: the connection that is closed last checkpoints, and that must be the one that writes.
        self._reader.close()
        await self._writer.close()
        self._calls.close()
        self._lock.release()


class _Opening:
    """What is done on the writer's thread before anything else, and what was found there."""

    def __init__(self, folder: Path, clock: Clock, vault: Vault, faults: FaultPoints) -> None:
        self.folder = folder
        self.bodies_folder = folder / "bodies"
        self.clock = clock
        self.vault = vault
        self.faults = faults
        self.owner = ""
        self.ids = IdMaker(clock)
        self.last_heartbeat_us: int | None = None
        self.interrupted_attempts = 0
        self._path = folder / FILE_NAME
        self._statements = load_statements()

    def open_committer(self) -> Committer:
        busy_seconds = BUSY_SECONDS
        connection = open_writer(self._path, self._statements, self.clock, busy_seconds=busy_seconds)
        try:
            self._prove_key(connection)
            migrate(connection)
            self._begin_boot(connection)
            return Committer(connection, self._path, self.faults)
        except BaseException:
            connection.close()
            raise

    def open_reader(self) -> Connection:
        return open_reader(self._path, self._statements, self.clock)

    def _prove_key(self, connection: Connection) -> None:
        """Before anything is written: another key must not add a single row."""
        known = connection.raw.execute("SELECT 1 FROM sqlite_schema WHERE name = 'instance'").fetchone()
        sealed = connection.only_row("instance")["vault_check"] if known else None
        if sealed is None:
            return
        try:
            is_right = self.vault.open(sealed, _CHECK_CONTEXT) == _CHECK_TEXT
        except VaultKeyError:
            is_right = False
        if not is_right:
            raise VaultKeyError(
                f"The vault key does not belong to the data folder {self.folder}. Start with the key that was made "
                "with it (vault_key_file); nothing was changed."
            )

    def _begin_boot(self, connection: Connection) -> None:
        connection.begin(writes=True)
        try:
            before = connection.only_row("instance")
            self.last_heartbeat_us = before["heartbeat_at_us"]
            sealed = self.vault.seal(_CHECK_TEXT, _CHECK_CONTEXT)
            connection.change("begin_boot", now_us=connection.now_us, vault_check=sealed)
            self.owner = f"{NODE}.{before['boot_epoch'] + 1}"
            greatest_id = connection.only_row("greatest_id")["id"]
            self.ids = IdMaker(self.clock, after=greatest_id)
            connection.ids = IdMaker(self.clock, after=greatest_id)
            if self.last_heartbeat_us is not None:
                connection.change(
                    "count_readiness_until", heartbeat_at_us=self.last_heartbeat_us, now_us=connection.now_us
                )
            self.interrupted_attempts = end_leases_of_earlier_boots(connection, NODE, self.owner)
            connection.commit()
        finally:
            connection.roll_back()
