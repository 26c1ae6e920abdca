"""Notices are planned where their reason is settled, for whom they may be, and each once."""

import msgspec
import pytest

from postroom.clock import HOUR_US, MINUTE_US
from postroom.message import DsnRequest, RecipientDsn
from postroom.store.notices_due import DELAY, FAILURE
from postroom.store.records import NewMessage
from tests.contract.kept_store import REFUSED, SENT, KeptStore, later

pytestmark = pytest.mark.anyio

BOB, EVE = "bob@fabrikam.com", "eve@fabrikam.com"


async def keep(ready: KeptStore, new: NewMessage) -> int:
    await ready.store.outbox.keep(new)
    return new.message_id


async def test_who_failed_together_is_told_together(ready: KeptStore) -> None:
    message = await ready.keep(BOB, EVE, "anna@contoso.com")
    await ready.settle(await ready.lease_one(), REFUSED, SENT, REFUSED)
    [notice] = await ready.store.notices_due.due()
    assert (notice.kind, notice.message_id) == (FAILURE, message)
    assert [recipient.address for recipient in notice.recipients] == [BOB, "anna@contoso.com"]
    assert notice.recipients[0].failure is not None
    assert notice.envelope_sender == "scanner@contoso.com"
    await ready.store.notices_due.done(notice, "Told ops@contoso.com that it failed.")
    assert await ready.store.notices_due.due() == []
    detail = await ready.store.messages.find(message)
    assert detail is not None
    assert [entry.text for entry in detail.timeline if entry.kind == "notice"] == [
        "Told ops@contoso.com that it failed."
    ]


@pytest.mark.parametrize(
    ("change", "planned"),
    [
        ({}, 1),
        ({"envelope_sender": ""}, 0),
        ({"is_notice": True}, 0),
        ({"is_canary": True}, 0),
        ({"app_id": 1}, 0),
        ({"dsn": DsnRequest(recipients={BOB: RecipientDsn(("NEVER",))})}, 0),
        ({"dsn": DsnRequest(recipients={BOB: RecipientDsn(("SUCCESS", "DELAY"))})}, 0),
        ({"dsn": DsnRequest(recipients={BOB: RecipientDsn(("SUCCESS", "FAILURE"))})}, 1),
        ({"dsn": DsnRequest("HDRS", "7")}, 1),
    ],
)
async def test_whom_nobody_may_tell(ready: KeptStore, change: dict[str, object], planned: int) -> None:
    await keep(ready, msgspec.structs.replace(ready.message(BOB), **change))
    await ready.settle(await ready.lease_one(), REFUSED)
    assert len(await ready.store.notices_due.due()) == planned


async def test_what_is_late_is_told_once(ready: KeptStore) -> None:
    message = await ready.keep(BOB)
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + 10 * HOUR_US))
    assert await ready.store.notices_due.plan_delays() == 0
    ready.clock.advance(4 * 3_600)
    assert await ready.store.notices_due.plan_delays() == 1
    assert await ready.store.notices_due.plan_delays() == 0
    [notice] = await ready.store.notices_due.due()
    assert (notice.kind, notice.message_id) == (DELAY, message)


async def test_beside_a_mailbox_that_is_stopped_no_notice_waits_too(ready: KeptStore) -> None:
    await ready.keep(BOB)
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + 10 * HOUR_US))
    ready.clock.advance(5 * 3_600)
    await ready.store.mailboxes.pause(1, "anna")
    assert await ready.store.notices_due.plan_delays() == 0


async def test_who_does_not_want_to_hear_of_delays_does_not(ready: KeptStore) -> None:
    await keep(
        ready, msgspec.structs.replace(ready.message(BOB), dsn=DsnRequest(recipients={BOB: RecipientDsn(("FAILURE",))}))
    )
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + 10 * HOUR_US))
    ready.clock.advance(5 * 3_600)
    await ready.store.notices_due.plan_delays()
    assert await ready.store.notices_due.due() == []


async def test_a_lifetime_of_its_own_is_in_the_lease(ready: KeptStore) -> None:
    await keep(ready, msgspec.structs.replace(ready.message(BOB), lifetime_us=MINUTE_US))
    assert (await ready.lease_one()).lifetime_us == MINUTE_US
    await ready.write("UPDATE sending_settings SET lifetime_us = 7200000000, delay_notice_after_us = NULL")
    await ready.keep(BOB)
    assert (await ready.lease_one()).lifetime_us == 2 * HOUR_US
