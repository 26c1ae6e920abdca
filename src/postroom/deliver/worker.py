"""The worker: takes what is due from the outbox, sends it, and writes down what it came to.

Everything waits by asyncio only. Whatever a message, a mail server or the store does, the loop goes on: trouble with
one message is that message's outcome, trouble with the store is waited out.
"""

import asyncio
import contextlib
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import structlog

from postroom.clock import MICROSECONDS, Clock
from postroom.deliver.lease_keeper import LeaseBook, LeaseKeeper
from postroom.deliver.outgoing import make_parcel
from postroom.deliver.retry import Circumstances, Strikes, conclude
from postroom.deliver.transport import Report, Transport
from postroom.errors import LeaseLostError, PostroomError, StoreFullError, StoreUnavailableError
from postroom.ids import public_id
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, TryLater, Unknown
from postroom.store.records import Lease, Mailbox, MailServer, Settlement, StoredBody

log = structlog.get_logger("postroom.deliver")

MAX_AT_WORK = 50
"""Messages in flight over all mailboxes; each mailbox has a limit of its own in the claim."""
LOOK_AGAIN_SECONDS = 60.0
"""Even when nothing is announced, the outbox is looked at: leases of others may have ended."""
LOOK_SOON_SECONDS = 0.25
STORE_TROUBLE_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)

Done = TypeVar("Done")
TransportFor = Callable[[MailServer, Mailbox], Transport]


EXPIRED = Refused(
    Failure(
        FailureClass.LOCAL,  # it proves nothing about the mailbox
        code="expired",
        text="It was not sent before the expiry that its sender set.",
        remedy_id="message_expired",
    )
)
"""The one expiry that is wall time: the sender chose it."""


class WorkerOutbox(LeaseBook, Protocol):
    """What the worker needs of the outbox."""

    async def lease_due(self, limit: int) -> list[Lease]: ...
    async def next_due_at_us(self) -> int | None: ...
    async def wait_for_change(self, timeout_seconds: float | None) -> None: ...
    async def settle(self, lease: Lease, settlement: Settlement) -> None: ...


class WorkerBodies(Protocol):
    def read(self, body: StoredBody) -> AsyncIterator[bytes]: ...


class WorkerStore(Protocol):
    @property
    def outbox(self) -> WorkerOutbox: ...
    @property
    def bodies(self) -> WorkerBodies: ...


NoteAttempt = Callable[[Lease, tuple[Outcome, ...], float], None]
"""Told of each attempt that ended: what it came to, and how many seconds it took."""


def _note_nothing(lease: Lease, outcomes: tuple[Outcome, ...], seconds: float) -> None: ...


class Worker:
    """Sends what is due, many messages at a time."""

    def __init__(
        self,
        store: WorkerStore,
        transport_for: TransportFor,
        clock: Clock,
        chance: random.Random,
        *,
        at_work_limit: int = MAX_AT_WORK,
        note_attempt: NoteAttempt = _note_nothing,
    ) -> None:
        self._store = store
        self._transport_for = transport_for
        self._clock = clock
        self._chance = chance
        self._at_work_limit = at_work_limit
        self._note_attempt = note_attempt
        self._strikes = Strikes()
        self._at_work: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._is_stopping = asyncio.Event()
        self._looking_ended = asyncio.Event()
        self._looking_ended.set()
        self.leases_lost = 0
        """Attempts whose lease ended before they were settled: each may mean a duplicate."""

    async def run(self) -> None:
        """Work until `stop`. Cancelling it cancels what is being sent, too."""
        self._looking_ended.clear()
        watching = asyncio.create_task(self._watch())
        try:
            while not self._is_stopping.is_set():
                await self._look()
        except BaseException:
            await asyncio.gather(*self._cancel_work(), return_exceptions=True)
            raise
        finally:
            self._looking_ended.set()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def stop(self, grace_seconds: float) -> None:
        """Take nothing new, let what runs finish for so long, then end it: the next start finds it as unknown."""
        self._is_stopping.set()
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._looking_ended.wait()
                while self._at_work:
                    await asyncio.wait(set(self._at_work))
        if unfinished := self._cancel_work():
            log.warning("stopped_while_sending", unfinished=len(unfinished))
            await asyncio.gather(*unfinished, return_exceptions=True)

    def _cancel_work(self) -> set[asyncio.Task[None]]:
        unfinished = set(self._at_work)
        for task in unfinished:
            task.cancel()
        return unfinished

    # Looking for work

    async def _look(self) -> None:
        """Take what is due, or rest until there may be something."""
        self._wake.clear()
        leases = await self._patiently(self._lease_due)
        for lease in leases or ():
            self._start(lease)
        if not leases:
            await self._rest()

    async def _lease_due(self) -> list[Lease]:
        room = self._at_work_limit - len(self._at_work)
        return await self._store.outbox.lease_due(room) if room > 0 else []

    async def _rest(self) -> None:
        """Until something changes or becomes due."""
        seconds = await self._patiently(self._seconds_to_next)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _seconds_to_next(self) -> float:
        if len(self._at_work) >= self._at_work_limit:
            return LOOK_AGAIN_SECONDS
        due_at_us = await self._store.outbox.next_due_at_us()
        if due_at_us is None:
            return LOOK_AGAIN_SECONDS
        seconds = (due_at_us - self._clock.now_us()) / MICROSECONDS
        # What is due and was not handed out waits for something that is announced: no need to ask for it in a circle.
        return min(max(seconds, LOOK_SOON_SECONDS), LOOK_AGAIN_SECONDS)

    async def _watch(self) -> None:
        while True:
            await self._store.outbox.wait_for_change(None)
            self._wake.set()

    async def _patiently(self, ask: Callable[[], Awaitable[Done]]) -> Done | None:
        """What the store answers, however long it takes to be there again; None when we are to stop."""
        for pause_seconds in _with_last_repeated(STORE_TROUBLE_SECONDS):
            if self._is_stopping.is_set():
                break
            try:
                return await ask()
            except (StoreUnavailableError, StoreFullError) as trouble:
                log.warning("store_unavailable", reason=str(trouble), pause_seconds=pause_seconds)
            except Exception:
                log.exception("outbox_failed_unexpectedly", pause_seconds=pause_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._is_stopping.wait()
        return None

    # Working

    def _start(self, lease: Lease) -> None:
        task = asyncio.create_task(self._work(lease), name=f"attempt {lease.attempt_id}")
        self._at_work.add(task)
        task.add_done_callback(self._notice_end)

    def _notice_end(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        self._wake.set()
        if not task.cancelled() and (trouble := task.exception()) is not None:
            log.error("attempt_fell", exc_info=trouble)

    async def _work(self, lease: Lease) -> None:
        keeper = LeaseKeeper(lease, self._store.outbox, self._clock)
        began = asyncio.get_running_loop().time()
        try:
            report = await self._send(lease, keeper)
        finally:
            keeper.stop()
        outcomes = self._conclude(lease, report.outcomes)
        seconds = asyncio.get_running_loop().time() - began
        _log_attempt(lease, report, outcomes)
        by_recipient = {
            recipient.recipient_id: outcome for recipient, outcome in zip(lease.recipients, outcomes, strict=True)
        }
        await self._settle(lease, Settlement(by_recipient, report.dialogue, report.server))
        self._note_attempt(lease, outcomes, seconds)

    async def _send(self, lease: Lease, keeper: LeaseKeeper) -> Report:
        """The transport's report; an error of our own is an outcome too, so that no message stops another."""
        if lease.message_expires_at_us is not None and lease.message_expires_at_us <= self._clock.now_us():
            return Report((EXPIRED,) * len(lease.recipients))
        try:
            parcel = await make_parcel(
                lease, self._store.bodies.read, may_finish=keeper.may_finish, is_moving=keeper.is_moving
            )
            report = await self._transport_for(lease.mail_server, lease.mailbox).send(parcel)
            if len(report.outcomes) != len(lease.recipients):
                raise RuntimeError(f"{len(report.outcomes)} outcomes for {len(lease.recipients)} recipients")
        except PostroomError as trouble:
            log.warning("message_not_readable", message=public_id(lease.message_id), reason=str(trouble))
            return _report_of_trouble(lease, keeper, "store_unavailable", str(trouble))
        except Exception as trouble:
            log.exception("attempt_failed_unexpectedly", message=public_id(lease.message_id))
            return _report_of_trouble(lease, keeper, "unexpected", f"Sending met an error of ours: {trouble!r}")
        return report

    def _conclude(self, lease: Lease, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        now_us = self._clock.now_us()
        circumstances = Circumstances(
            now_us=now_us,
            attempt_number=lease.attempt_number,
            age_us=lease.age_us,
            lifetime_us=lease.lifetime_us,
            strikes=self._strikes.count(lease.mailbox.mailbox_id, outcomes, now_us),
            made_progress=any(isinstance(outcome, Sent) for outcome in outcomes),
        )
        return tuple(conclude(outcome, circumstances, self._chance) for outcome in outcomes)

    async def _settle(self, lease: Lease, settlement: Settlement) -> None:
        """Write it down, waiting for the store if need be: what is lost here is sent twice."""
        for pause_seconds in _with_last_repeated(STORE_TROUBLE_SECONDS):
            try:
                await self._store.outbox.settle(lease, settlement)
                return
            except LeaseLostError as trouble:
                self.leases_lost += 1
                log.error("attempt_not_recorded", message=public_id(lease.message_id), reason=str(trouble))
                return
            except (StoreUnavailableError, StoreFullError) as trouble:
                log.warning("settling_waits", message=public_id(lease.message_id), reason=str(trouble))
            except Exception:
                # The lease ends in the meantime, and with it these tries.
                log.exception("settling_failed_unexpectedly", message=public_id(lease.message_id))
            await asyncio.sleep(pause_seconds)


def _with_last_repeated(pauses: tuple[float, ...]) -> Iterator[float]:
    return itertools.chain(pauses, itertools.repeat(pauses[-1]))


def _report_of_trouble(lease: Lease, keeper: LeaseKeeper, code: str, text: str) -> Report:
    """Trouble of our own. After the last byte nobody knows what the mail server made of it."""
    outcome: Outcome
    if keeper.last_byte_may_have_left:
        outcome = Unknown(Failure(FailureClass.LOCAL, code, text, "unknown_outcome"))
    else:
        outcome = TryLater(Failure(FailureClass.LOCAL, code, text, "local_trouble"))
    return Report((outcome,) * len(lease.recipients))


def _log_attempt(lease: Lease, report: Report, outcomes: tuple[Outcome, ...]) -> None:
    kinds = Counter(type(outcome).__name__ for outcome in outcomes)
    codes = {outcome.failure.code for outcome in outcomes if not isinstance(outcome, Sent)}
    log.info(
        "attempt_ended",
        message=public_id(lease.message_id),
        attempt=lease.attempt_number,
        server=report.server,
        outcomes=dict(kinds),
        codes=sorted(codes),
    )
