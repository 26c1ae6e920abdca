"""The worker on the real store, with a transport that does what a test says."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from postroom.clock import DAY_US, MICROSECONDS, MINUTE_US
from postroom.deliver import lease_keeper, worker
from postroom.deliver.lease_keeper import LeaseKeeper
from postroom.deliver.outgoing import make_parcel
from postroom.deliver.transport import Parcel, Report
from postroom.deliver.worker import Worker
from postroom.errors import LeaseLostError, StoreUnavailableError
from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.outbox import Outbox
from postroom.store.records import DialogueLine, Lease, Mailbox, MailServer, MessageDetail, Settlement
from tests.contract.kept_store import MAILBOX_ID, KeptStore

pytestmark = pytest.mark.anyio

SENT = Sent("250 2.0.0 OK")
BUSY = TryLater(Failure(FailureClass.THROTTLE, "temporary_refusal", "4.3.2 Not now", "server_busy", smtp_code=451))
NO_USER = Refused(Failure(FailureClass.RECIPIENT, "recipient_unknown", "5.1.1 No such user", "recipient_unknown"))
AWAY = Stopped(
    Failure(FailureClass.NETWORK, "connection_refused", "refused", "no_connection"), StopCause.MAIL_SERVER_AWAY
)

Sending = Callable[[Parcel], Awaitable[Sequence[Outcome]]]


async def read(parcel: Parcel) -> bytes:
    return b"".join([chunk async for chunk in parcel.open_body()])


class TestTransport:
    """Sends by the function of the test; every mail server and mailbox gets this one."""

    __test__ = False

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self.parcels: list[Parcel] = []

    def transport_for(self, mail_server: MailServer, mailbox: Mailbox) -> "TestTransport":
        return self

    async def send(self, parcel: Parcel) -> Report:
        self.parcels.append(parcel)
        outcomes = tuple(await self._sending(parcel))
        return Report(outcomes, (DialogueLine(3, "S", "250 2.0.0 OK"),), "smtp.office365.com:587")

    async def close(self) -> None: ...


def always(outcome: Outcome) -> Sending:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        return [outcome] * len(parcel.recipients)

    return sending


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[KeptStore]:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    yield kept
    await kept.close()


class AtWork:
    """A worker that runs for the length of a test."""

    def __init__(self, kept: KeptStore, sending: Sending) -> None:
        self.kept = kept
        self.transport = TestTransport(sending)
        self.worker = Worker(kept.store, self.transport.transport_for, kept.clock, random.Random(1))

    async def __aenter__(self) -> "AtWork":
        self._running = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.stop(5)
        await self._running

    async def until(self, message_id: int, *states: str) -> MessageDetail:
        """Wait until the recipients are in these states."""
        while await self.kept.states(message_id) != list(states):
            assert not self._running.done(), "the worker has ended"
            await asyncio.sleep(0)
        detail = await self.kept.store.messages.find(message_id)
        assert detail is not None
        return detail


async def test_what_is_due_is_sent_and_written_down(ready: KeptStore) -> None:
    contents: list[bytes] = []

    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        contents.append(await read(parcel))
        return [SENT]

    message_id = await ready.keep()
    async with AtWork(ready, sending) as work:
        detail = await work.until(message_id, "sent")
    assert contents == [b"Subject: Scan\r\n\r\nHello\r\n"]
    (attempt,) = detail.attempts
    assert attempt.server == "smtp.office365.com:587"
    assert attempt.dialogue == (DialogueLine(3, "S", "250 2.0.0 OK"),)
    assert attempt.outcomes == (("bob@fabrikam.com", SENT),)


async def test_what_has_expired_is_not_sent_and_says_so(ready: KeptStore) -> None:
    new = msgspec.structs.replace(ready.message(), expires_at_us=ready.clock.now_us())
    await ready.store.outbox.keep(new)
    async with AtWork(ready, always(SENT)) as work:
        detail = await work.until(new.message_id, "failed")
    assert work.transport.parcels == []
    assert detail.recipients[0].failure is not None
    assert detail.recipients[0].failure.code == "expired"


async def test_what_comes_later_wakes_the_worker(ready: KeptStore) -> None:
    async with AtWork(ready, always(SENT)) as work:
        for _ in range(3):
            await work.until(await ready.keep(), "sent")


async def test_each_recipient_is_settled_by_itself(ready: KeptStore) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        return [SENT, BUSY, NO_USER]

    message_id = await ready.keep("a@x.test", "b@x.test", "c@x.test")
    async with AtWork(ready, sending) as work:
        detail = await work.until(message_id, "sent", "deferred", "failed")
    next_at_us = detail.recipients[1].next_attempt_at_us
    assert next_at_us is not None
    assert MINUTE_US <= next_at_us - ready.clock.now_us() <= 1.2 * MINUTE_US
    assert detail.recipients[2].failure == NO_USER.failure


async def test_only_the_recipients_still_open_are_tried_again(ready: KeptStore) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        return [SENT, BUSY] if len(parcel.recipients) == 2 else [SENT]

    message_id = await ready.keep("a@x.test", "b@x.test")
    async with AtWork(ready, sending) as work:
        await work.until(message_id, "sent", "deferred")
        ready.clock.advance(120)
        await ready.keep()  # something that wakes the worker, as the minute's end would
        await work.until(message_id, "sent", "sent")
        tried = [parcel.recipients for parcel in work.transport.parcels if parcel.recipients != ("bob@fabrikam.com",)]
        assert tried == [("a@x.test", "b@x.test"), ("b@x.test",)]


async def test_a_message_that_could_not_be_sent_for_five_days_fails_with_the_last_answer(ready: KeptStore) -> None:
    message_id = await ready.keep()
    ready.clock.advance(5 * DAY_US / MICROSECONDS)
    async with AtWork(ready, always(BUSY)) as work:
        detail = await work.until(message_id, "failed")
    failure = detail.recipients[0].failure
    assert failure is not None
    assert failure.code == "too_old"
    assert "4.3.2 Not now" in failure.text


async def test_a_mail_server_that_is_away_stops_the_mailbox_and_ages_nobody(ready: KeptStore) -> None:
    outcomes: list[Outcome] = [AWAY]

    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        return outcomes

    message_id = await ready.keep()
    async with AtWork(ready, sending) as work:
        while (mailbox := await ready.store.mailboxes.find(MAILBOX_ID)).state is not MailboxState.STOPPED:
            await asyncio.sleep(0)
        assert mailbox.cause is StopCause.MAIL_SERVER_AWAY
        assert mailbox.until_us is not None
        assert 30 * MICROSECONDS <= mailbox.until_us - ready.clock.now_us() <= 36 * MICROSECONDS
        assert await ready.states(message_id) == ["queued"]

        ready.clock.advance(30 * DAY_US / MICROSECONDS)
        outcomes[0] = SENT
        await ready.keep()
        await work.until(message_id, "sent")
        assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY


async def test_an_answer_that_got_lost_is_settled_as_unknown(ready: KeptStore) -> None:
    unknown = Unknown(Failure(FailureClass.NETWORK, "answer_lost", "no answer", "unknown_outcome"))
    message_id = await ready.keep()
    async with AtWork(ready, always(unknown)) as work:
        while not (detail := await ready.store.messages.find(message_id)).attempts[0:1]:  # type: ignore[union-attr]
            await asyncio.sleep(0)
        detail = await work.until(message_id, "queued")
    (attempt,) = detail.attempts
    assert isinstance(attempt.outcomes[0][1], Unknown)


# Troubles of our own


async def test_one_bad_message_stops_no_other(ready: KeptStore) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        if parcel.recipients == ("poison@x.test",):
            raise RecursionError("a message that nobody foresaw")
        return [SENT]

    bad = await ready.keep("poison@x.test")
    good = await ready.keep("b@x.test")
    async with AtWork(ready, sending) as work:
        await work.until(good, "sent")
        detail = await work.until(bad, "deferred")
    failure = detail.recipients[0].failure
    assert failure is not None
    assert failure.failure_class is FailureClass.LOCAL
    assert "nobody foresaw" in failure.text


async def test_a_transport_that_miscounts_is_our_trouble_too(ready: KeptStore) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        return [SENT, SENT]

    message_id = await ready.keep()
    async with AtWork(ready, sending) as work:
        detail = await work.until(message_id, "deferred")
    failure = detail.recipients[0].failure
    assert failure is not None
    assert "2 outcomes for 1 recipients" in failure.text


async def test_an_error_after_the_last_byte_is_unknown_not_later(ready: KeptStore) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        assert parcel.may_finish()
        raise RuntimeError("between the dot and the answer")

    message_id = await ready.keep()
    async with AtWork(ready, sending) as work:
        while not (detail := await work.until(message_id, *await ready.states(message_id))).attempts or not (
            detail.attempts[0].outcomes
        ):
            await asyncio.sleep(0)
    assert isinstance(detail.attempts[0].outcomes[0][1], Unknown)


async def test_a_body_that_is_gone_is_tried_again(ready: KeptStore, tmp_path: Path) -> None:
    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        await read(parcel)
        return [SENT]

    writer = ready.store.bodies.spool()
    await writer.write(b"x" * 200_000)
    body = await writer.finish()
    new = ready.message("b@x.test", body=body)
    await ready.store.outbox.keep(new)
    for path in (tmp_path / "data" / "bodies").rglob("*"):
        if path.is_file():
            path.unlink()
    async with AtWork(ready, sending) as work:
        detail = await work.until(new.message_id, "deferred")
    failure = detail.recipients[0].failure
    assert failure is not None
    assert failure.code == "store_unavailable"
    assert "Restore the file from a backup" in failure.text


async def test_trouble_with_the_store_is_waited_out(ready: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    troubles = {"lease": 3, "settle": 3}
    lease_truly, settle_truly = Outbox.lease_due, Outbox.settle

    async def lease_due(self: Outbox, limit: int) -> list[Lease]:
        if troubles["lease"]:
            troubles["lease"] -= 1
            raise StoreUnavailableError("the disk is away") if troubles["lease"] else RuntimeError("a bug")
        return await lease_truly(self, limit)

    async def settle(self: Outbox, lease: Lease, settlement: Settlement) -> None:
        if troubles["settle"]:
            troubles["settle"] -= 1
            raise StoreUnavailableError("the disk is away") if troubles["settle"] else RuntimeError("a bug")
        await settle_truly(self, lease, settlement)

    monkeypatch.setattr(Outbox, "lease_due", lease_due)
    monkeypatch.setattr(Outbox, "settle", settle)
    monkeypatch.setattr(worker, "STORE_TROUBLE_SECONDS", (0.0,))
    message_id = await ready.keep()
    async with AtWork(ready, always(SENT)) as work:
        await work.until(message_id, "sent")
        assert len(work.transport.parcels) == 1, "what was sent is not sent again"
    assert troubles == {"lease": 0, "settle": 0}


async def test_a_lease_that_was_lost_is_counted(ready: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = asyncio.Event()

    async def settle(self: Outbox, lease: Lease, settlement: Settlement) -> None:
        tried.set()
        raise LeaseLostError("too late")

    monkeypatch.setattr(Outbox, "settle", settle)
    await ready.keep()
    async with AtWork(ready, always(SENT)) as work:
        await tried.wait()
    assert work.worker.leases_lost == 1


# Stopping


async def test_a_graceful_stop_finishes_what_runs_and_takes_nothing_new(ready: KeptStore) -> None:
    is_sending, may_go_on = asyncio.Event(), asyncio.Event()

    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        is_sending.set()
        await may_go_on.wait()
        return [SENT]

    running_id = await ready.keep()
    work = AtWork(ready, sending)
    async with work:
        await is_sending.wait()
        stopping = asyncio.create_task(work.worker.stop(60))
        await asyncio.sleep(0)
        waiting_id = await ready.keep()
        may_go_on.set()
        await stopping
    assert await ready.states(running_id) == ["sent"]
    assert await ready.states(waiting_id) == ["queued"]


async def test_what_outlasts_the_grace_is_ended_and_found_again_as_unknown(ready: KeptStore) -> None:
    is_sending = asyncio.Event()

    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        is_sending.set()
        await asyncio.Event().wait()
        raise AssertionError

    message_id = await ready.keep()
    work = AtWork(ready, sending)
    async with work:
        await is_sending.wait()
        await work.worker.stop(0)
    assert await ready.states(message_id) == ["sending"]
    await ready.open()
    assert ready.store.interrupted_attempts == 1
    assert await ready.states(message_id) == ["queued"]


async def test_a_worker_that_is_cancelled_leaves_nothing_running(ready: KeptStore) -> None:
    ended = asyncio.Event()

    async def sending(parcel: Parcel) -> Sequence[Outcome]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    await ready.keep()
    transport = TestTransport(sending)
    running = asyncio.create_task(Worker(ready.store, transport.transport_for, ready.clock, random.Random(1)).run())
    while not transport.parcels:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


# Leases


async def test_the_last_byte_needs_ten_minutes_of_lease(ready: KeptStore) -> None:
    await ready.keep()
    lease = await ready.lease_one()
    keeper = LeaseKeeper(lease, ready.store.outbox, ready.clock)
    before = (keeper.may_finish(), keeper.last_byte_may_have_left)
    ready.clock.advance(15 * 60 - 614)
    after = (keeper.may_finish(), keeper.last_byte_may_have_left)
    keeper.stop()
    assert before == (True, True)
    assert after == (False, False)


async def test_a_lease_is_renewed_while_bytes_move(ready: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_EVERY_SECONDS", 0.0)
    await ready.keep()
    lease = await ready.lease_one()
    keeper = LeaseKeeper(lease, ready.store.outbox, ready.clock)
    ready.clock.advance(500)
    keeper.is_moving()
    assert not keeper.may_finish()
    while not keeper.may_finish():
        await asyncio.sleep(0)
    keeper.stop()


async def test_the_lease_of_a_message_that_stands_still_is_left_to_end(
    ready: KeptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewals: list[Lease] = []

    async def renew(self: Outbox, lease: Lease, seconds: float = 900) -> Lease:
        renewals.append(lease)
        return lease

    monkeypatch.setattr(Outbox, "renew", renew)
    monkeypatch.setattr(lease_keeper, "RENEW_EVERY_SECONDS", 0.0)
    await ready.keep()
    keeper = LeaseKeeper(await ready.lease_one(), ready.store.outbox, ready.clock)
    ready.clock.advance(661)
    for _ in range(50):
        await asyncio.sleep(0)
    keeper.stop()
    assert not renewals


async def test_after_a_lost_lease_no_last_byte_leaves(ready: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_EVERY_SECONDS", 0.0)
    await ready.keep()
    lease = await ready.lease_one()
    await ready.settle(lease, SENT)
    keeper = LeaseKeeper(lease, ready.store.outbox, ready.clock)
    assert keeper.may_finish(), "nobody knows yet"
    while keeper.may_finish():
        await asyncio.sleep(0)
    keeper.stop()


async def test_a_large_body_is_read_as_it_leaves(ready: KeptStore) -> None:
    """Not all of it, and only once."""
    writer = ready.store.bodies.spool()
    await writer.write(b"Subject: x\r\n\r\n" + b"y" * 300_000)
    new = ready.message("b@x.test", body=await writer.finish())
    await ready.store.outbox.keep(new)
    lease = await ready.lease_one()
    parcel = await make_parcel(lease, ready.store.bodies.read, may_finish=lambda: True, is_moving=lambda: None)
    sizes = [len(chunk) async for chunk in parcel.open_body()]
    assert sum(sizes) == parcel.size_bytes == 300_014
    assert max(sizes) <= 64 * 1024
