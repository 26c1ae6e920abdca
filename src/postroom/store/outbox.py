"""The outbox: where mail waits. What `keep` returned from is on the disk until its last recipient has ended."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from postroom.clock import MICROSECONDS, Clock
from postroom.errors import AlreadyKeptError, LeaseLostError
from postroom.message import RecipientState
from postroom.store import alarm, claims, interventions, keeping, pruning, settling
from postroom.store.bodies import Bodies, BodyFiles
from postroom.store.committer import Work
from postroom.store.database import Connection
from postroom.store.faults import FaultPoints
from postroom.store.reader import Reader
from postroom.store.records import IdempotencyKey, Lease, NewMessage, Settlement, StoredBody
from postroom.store.writer import Writer

COUNTED_AGAIN_AFTER_US = MICROSECONDS


class OutboxLimits(msgspec.Struct, frozen=True):
    """How much may wait; beyond it `has_room` says no, until there is room again."""

    recipient_limit: int = 1_000_000
    """Recipients that have not ended."""
    reserved_bytes: int = 64 * 1024 * 1024
    """Left on the disk for settling what was taken."""


class Wakeup:
    """Remembers that something changed until somebody has waited for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, timeout_seconds: float | None) -> None:
        """Return at once when something changed since the last wait, else when it does or when time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self._event.clear()


class Outbox:
    """Keeps messages, leases deliveries, settles attempts."""

    def __init__(
        self,
        *,
        writer: Writer,
        reader: Reader,
        bodies: Bodies,
        files: BodyFiles,
        owner: str,
        wakeup: Wakeup,
        faults: FaultPoints,
        folder: Path,
        clock: Clock,
        limits: OutboxLimits,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._bodies = bodies
        self._files = files
        self._owner = owner
        self._wakeup = wakeup
        self._faults = faults
        self._folder = folder
        self._clock = clock
        self._limits = limits
        self._open_recipients = 0
        self._counted_at_us = 0
        self._keep_work: Work[NewMessage, None] = Work(
            "keep", partial(keeping.keep_messages, faults=faults), wakes=True
        )
        self._settle_work: Work[settling.SettleRequest, None] = Work(
            "settle", partial(settling.settle_attempts, faults=faults), wakes=True
        )

    async def keep(self, new: NewMessage) -> None:
        """Store a message; it is on the disk when this returns. Errors: StoreFullError, StoreUnavailableError.

        Who is cancelled while waiting has handed the message over all the same: it may have been stored.
        """
        if not new.recipients:
            raise ValueError("a message needs at least one recipient")
        self._files.hand_over(new.body)
        try:
            kept = self._writer.submit(self._keep_work, new, keeping.weigh(new))
        except Exception:
            self._files.take_back(new.body)
            raise
        kept.add_done_callback(partial(self._learn_fate, new.body))
        await asyncio.shield(kept)

    async def keep_together(self, messages: Sequence[NewMessage]) -> None:
        """All of them or none. Errors: as `keep`, AlreadyKeptError for the first whose key is in use."""
        for new in messages:
            self._files.hand_over(new.body)
        work: Work[Sequence[NewMessage], None] = Work("keep together", _keep_each_together, wakes=True)
        try:
            kept = self._writer.submit(work, messages, sum(map(keeping.weigh, messages)))
        except Exception:
            for new in messages:
                self._files.take_back(new.body)
            raise
        for new in messages:
            kept.add_done_callback(partial(self._learn_fate, new.body))
        await asyncio.shield(kept)

    async def find_kept(self, app_id: int, idempotency: IdempotencyKey) -> AlreadyKeptError | None:
        """What was taken under this key within the last day, if anything."""

        def find(connection: Connection) -> AlreadyKeptError | None:
            row = connection.row(
                "idempotency_key",
                app_id=app_id,
                key=idempotency.key,
                item=idempotency.item,
                oldest_us=connection.now_us - keeping.IDEMPOTENCY_US,
            )
            if row is None:
                return None
            return AlreadyKeptError(row["message_id"], row["request_hash"] == idempotency.request_hash)

        return await self._reader.read(find)

    def _learn_fate(self, body: StoredBody, kept: "asyncio.Future[None]") -> None:
        """A file that was not kept is its writer's again; one that was kept is its row's."""
        if kept.exception() is None:
            self._files.belongs_to_row(body)
        else:
            self._files.take_back(body)

    async def lease_due(self, limit: int) -> list[Lease]:
        """Claim at most `limit` deliveries that may go now; their attempts are on the disk when this returns."""
        step: Callable[[Connection], list[Lease]] = partial(
            claims.lease_due, owner=self._owner, limit=limit, faults=self._faults
        )
        return await self._writer.run(step)

    async def renew(self, lease: Lease, seconds: float = 900) -> Lease:
        """The same lease, ending later. Errors: LeaseLostError."""

        def renew_lease(connection: Connection) -> Lease:
            expires_at_us = connection.now_us + int(seconds * MICROSECONDS)
            if not connection.change(
                "renew_lease",
                delivery_id=lease.delivery_id,
                owner=lease.owner,
                attempt_id=lease.attempt_id,
                expires_at_us=expires_at_us,
            ):
                raise LeaseLostError(f"The lease of attempt {lease.attempt_number} ended and cannot be renewed.")
            return msgspec.structs.replace(lease, expires_at_us=expires_at_us)

        return await self._writer.run(renew_lease)

    async def settle(self, lease: Lease, settlement: Settlement) -> None:
        """Write what an attempt came to, for every recipient of the lease. Errors: LeaseLostError, ValueError."""
        await self._writer.perform(self._settle_work, settling.SettleRequest(lease, settlement))

    async def next_due_at_us(self) -> int | None:
        """When to ask for leases again; None when only a change (`wait_for_change`) can bring something."""
        return await self._reader.read(alarm.next_due_at_us)

    async def wait_for_change(self, timeout_seconds: float | None) -> None:
        """Until something may have become due: mail came, an attempt was settled, a mailbox is ready again."""
        await self._wakeup.wait(timeout_seconds)

    async def retry(self, message_id: int, who: str) -> None:
        """What failed or was put off goes again now. Errors: WrongStateError."""
        await self._writer.run(partial(interventions.retry, message_id=message_id, who=who), wakes=True)

    async def hurry(self, message_id: int, who: str) -> None:
        """What was put off goes again now; what failed does not. Errors: WrongStateError."""
        await self._writer.run(partial(interventions.hurry, message_id=message_id, who=who), wakes=True)

    async def cancel(self, message_id: int, who: str) -> None:
        """Nothing more of the message is sent. Errors: WrongStateError."""
        await self._writer.run(partial(interventions.cancel, message_id=message_id, who=who), wakes=True)

    async def hold(self, message_id: int, who: str) -> None:
        """The message waits until it is released. Errors: WrongStateError."""
        await self._writer.run(partial(interventions.hold, message_id=message_id, who=who), wakes=True)

    async def release(self, message_id: int, who: str) -> None:
        """What was held is due now. Errors: WrongStateError."""
        await self._writer.run(partial(interventions.release, message_id=message_id, who=who), wakes=True)

    async def change_times(self, message_id: int, times: interventions.Times, who: str) -> None:
        """Another time, expiry or lane for what has not ended. Errors: WrongStateError."""
        change = partial(interventions.change_times, message_id=message_id, times=times, who=who)
        await self._writer.run(change, wakes=True)

    async def prune(self, content_days: int, metadata_days: int, batch: int = 500) -> int:
        """Forget what is over its time, one small batch; how many messages that were. Call it until it says 0."""
        pruned = await self._writer.run(
            partial(pruning.prune, content_days=content_days, metadata_days=metadata_days, batch=batch)
        )
        await self._bodies.remove(pruned.file_names)
        if not pruned.messages:
            await self._bodies.sweep()
        return pruned.messages

    @property
    def disk_free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    async def has_room(self) -> bool:
        """Whether a message can be taken now: room in the outbox, on the disk and in the writer's queue.

        The outbox is counted once a second.
        """
        if not self._writer.has_room or self.disk_free_bytes <= self._limits.reserved_bytes:
            return False
        now_us = self._clock.now_us()
        if not 0 <= now_us - self._counted_at_us < COUNTED_AGAIN_AFTER_US:
            self._counted_at_us = now_us
            self._open_recipients = await self._reader.read(_count_open_recipients)
        return self._open_recipients < self._limits.recipient_limit


def _count_open_recipients(connection: Connection) -> int:
    rows = connection.rows("recipient_counts")
    return sum(row["recipients"] for row in rows if not RecipientState(row["state"]).is_final)


def _keep_each_together(connection: Connection, groups: Sequence[Sequence[NewMessage]]) -> list[Exception | None]:
    """One group at a time: a key that is in use is found before anything of its group is written."""
    answers: list[Exception | None] = []
    for group in groups:
        try:
            keeping.keep_together(connection, group)
            answers.append(None)
        except AlreadyKeptError as kept:
            answers.append(kept)
    return answers
