"""What monitors read of the store."""

from datetime import date

import msgspec
import pytest

from postroom.clock import MICROSECONDS
from postroom.message import MailboxState, RecipientState
from postroom.store.expiries import ExpiryKind
from tests.contract.kept_store import BUSY, MAILBOX_ID, REFUSED, SENT, UNKNOWN, KeptStore, later, stopped

pytestmark = pytest.mark.anyio


async def test_an_empty_store_has_no_figures_but_zeros(kept: KeptStore) -> None:
    store = await kept.open()
    figures = await store.figures.read()
    assert set(figures.messages) == {state for state in RecipientState if not state.is_final}
    assert set(figures.messages.values()) == set(figures.recipients.values()) == {0}
    assert (figures.waiting_by_cause, figures.finished) == ({}, {})
    assert (figures.oldest_received_at_us, figures.last_sent_at_us) == (None, None)
    [mailbox] = figures.mailboxes
    assert (mailbox.mailbox.state, mailbox.expiries) == (MailboxState.DISCONNECTED, ())


async def test_what_waits_is_counted_in_messages_and_recipients_and_by_its_cause(ready: KeptStore) -> None:
    await ready.keep("a@fabrikam.com", "b@fabrikam.com")
    oldest_us = ready.clock.now_us()
    ready.clock.advance(60)
    await ready.keep()
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + 600 * MICROSECONDS))
    figures = await ready.store.figures.read()
    assert (figures.messages[RecipientState.QUEUED], figures.messages[RecipientState.DEFERRED]) == (1, 1)
    assert (figures.recipients[RecipientState.QUEUED], figures.recipients[RecipientState.DEFERRED]) == (1, 2)
    assert figures.waiting_by_cause == {"lane": 1, "a later try": 2}
    assert figures.oldest_received_at_us == oldest_us
    await ready.settle(await ready.lease_one(), stopped())
    figures = await ready.store.figures.read()
    assert figures.waiting_by_cause == {"sign-in": 3}
    [mailbox] = figures.mailboxes
    assert (mailbox.mailbox.state, mailbox.mailbox.cause) == (MailboxState.STOPPED, "sign-in")


async def test_messages_that_ended_are_counted_once_by_state_and_class(ready: KeptStore) -> None:
    for outcomes in ((SENT,), (REFUSED,), (SENT, REFUSED)):
        await ready.keep(*(f"{n}@fabrikam.com" for n in range(len(outcomes))))
        await ready.settle(await ready.lease_one(), *outcomes)
    cancelled = await ready.keep()
    await ready.store.outbox.cancel(cancelled, "anna")
    await ready.keep()
    figures = await ready.store.figures.read()
    expected = {("sent", ""): 1, ("failed", "recipient"): 1, ("partly failed", "recipient"): 1, ("cancelled", ""): 1}
    assert figures.finished == expected
    await ready.write("UPDATE messages SET finished_at_us = finished_at_us + 1")
    assert (await ready.store.figures.read()).finished == expected, "what has ended ended once"
    assert figures.last_sent_at_us == ready.clock.now_us()


async def test_the_counts_of_what_ended_outlive_restart_and_pruning_and_count_a_retry_again(ready: KeptStore) -> None:
    failed = await ready.keep()
    await ready.settle(await ready.lease_one(), REFUSED)
    await ready.store.outbox.retry(failed, "anna")
    await ready.settle(await ready.lease_one(), UNKNOWN)
    ready.clock.advance(24 * 3600)
    await ready.settle(await ready.lease_one(), SENT)
    ready.clock.advance(3600)
    while await ready.store.outbox.prune(content_days=0, metadata_days=0):
        pass
    store = await ready.open()
    figures = await store.figures.read()
    assert figures.finished == {("failed", "recipient"): 1, ("sent", ""): 1}
    assert figures.last_sent_at_us is None


async def test_every_class_of_failure_is_cut_out_of_it_whole(ready: KeptStore) -> None:
    from postroom.outcome import FailureClass, Refused

    await ready.widen(message_limit_a_minute=1000)
    for failure_class in FailureClass:
        await ready.keep()
        failure = msgspec.structs.replace(BUSY, failure_class=failure_class, text='"quoted", and {braces}')
        await ready.settle(await ready.lease_one(), Refused(failure))
    figures = await ready.store.figures.read()
    assert figures.finished == {("failed", failure_class.value): 1 for failure_class in FailureClass}


async def test_how_much_of_its_limits_a_mailbox_uses(ready: KeptStore) -> None:
    draft = msgspec.structs.replace(ready.draft(), secret_ends_on=date(2027, 3, 1))
    await ready.store.mail_servers.save(draft, "anna")
    await ready.keep("a@fabrikam.com", "b@fabrikam.com", "c@fabrikam.com")
    await ready.settle(await ready.lease_one(), SENT)
    [mailbox] = (await ready.store.figures.read()).mailboxes
    assert (mailbox.messages_last_minute, mailbox.recipients_last_day) == (1, 3)
    assert (mailbox.message_limit_a_minute, mailbox.mailbox.mailbox_id) == (25, MAILBOX_ID)
    ends = {expiry.kind: expiry.ends_on for expiry in mailbox.expiries}
    assert ends[ExpiryKind.CLIENT_SECRET] == date(2027, 3, 1)
    await ready.widen(learnt_message_limit=10, learnt_at_us=ready.clock.now_us())
    ready.clock.advance(61)
    [mailbox] = (await ready.store.figures.read()).mailboxes
    assert (mailbox.messages_last_minute, mailbox.recipients_last_day) == (0, 3)
    assert mailbox.message_limit_a_minute == 10, "what holds is what was learnt"
    ready.clock.advance(3600)
    [mailbox] = (await ready.store.figures.read()).mailboxes
    assert mailbox.message_limit_a_minute == 22, "it recovers"


async def test_the_day_of_a_tenant_is_told_and_every_way_out(ready: KeptStore) -> None:
    await ready.add_mail_server("graph", shares_mailbox=True)
    await ready.keep("a@fabrikam.com", "b@contoso.com")
    await ready.settle(await ready.lease_one(), SENT)
    figures = await ready.store.figures.read()
    [mailbox] = figures.mailboxes
    assert mailbox.external is not None
    assert (mailbox.external.used, mailbox.external.limit) == (1, 10_000)
    assert [server.name for server in figures.mail_servers][1:] == ["graph"]
