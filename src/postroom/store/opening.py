"""What is done before the store serves anybody: prove the key, migrate, begin a boot, end what earlier ones left."""

import sqlite3
from pathlib import Path

import structlog

from postroom.clock import Clock
from postroom.errors import DataFolderError, VaultKeyError
from postroom.ids import IdMaker
from postroom.store.audit import note
from postroom.store.choices import LONG_ABSENCE_US, set_aside_after_absence
from postroom.store.claims import queue_scheduled
from postroom.store.committer import Committer
from postroom.store.database import BUSY_SECONDS, FILE_NAME, Connection, advice, open_reader, open_writer
from postroom.store.faults import FaultPoints
from postroom.store.migrations import migrate
from postroom.store.renewals import end_renewals_of_earlier_boots
from postroom.store.sealed_columns import reseal
from postroom.store.settling import end_leases_of_earlier_boots
from postroom.store.statements import load_statements
from postroom.vault import Vault

log = structlog.stdlib.get_logger("postroom.store")

NODE = "node0"  # SQLite serves one node
_CHECK_TEXT = b"Postroom's vault key opens this"
_CHECK_CONTEXT = "instance.vault_check.1"


class Opening:
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
        """Open and prepare the one connection that writes. Errors: DataFolderError, VaultKeyError."""
        connection = open_writer(self._path, self._statements, self.clock, busy_seconds=BUSY_SECONDS)
        try:
            self._prove_key(connection)
            migrate(connection)
            self._begin_boot(connection)
            return Committer(connection, self._path, self.faults)
        except sqlite3.Error as trouble:
            connection.close()
            raise DataFolderError(
                f"The database {self._path} cannot be used: {trouble}. {advice(trouble)}"
            ) from trouble
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
            if self.vault.has_older_keys:
                self._change_over(connection)
            if self.last_heartbeat_us is not None:
                connection.change(
                    "count_readiness_until", heartbeat_at_us=self.last_heartbeat_us, now_us=connection.now_us
                )
            end_renewals_of_earlier_boots(connection, NODE)
            has_crashed = before["stopped_at_us"] is None
            self.interrupted_attempts = end_leases_of_earlier_boots(
                connection, NODE, self.owner, has_crashed=has_crashed
            )
            self._set_aside_after_absence(connection)
            connection.commit()
        finally:
            connection.roll_back()
        if has_crashed and self.interrupted_attempts:
            # What was being sent may be the reason: it goes again one message at a time.
            log.warning("went_down_while_sending", attempts=self.interrupted_attempts)

    def _set_aside_after_absence(self, connection: Connection) -> None:
        """A machine that was off for long, or a restored snapshot: what waits may be stale, or sent already."""
        if self.last_heartbeat_us is None or connection.now_us - self.last_heartbeat_us <= LONG_ABSENCE_US:
            return
        while queue_scheduled(connection):
            pass
        set_aside_after_absence(connection)

    def _change_over(self, connection: Connection) -> None:
        """With an older key beside the one that seals, everything changes over to that one, or nothing does."""
        count = reseal(connection, self.vault)
        if count:
            note(connection, "postroom", "changed the vault key", "", after=f"{count} secrets")
        log.info("vault_key_changed", secrets=count, next_step="the older key can be removed from its source")
