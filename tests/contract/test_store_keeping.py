import asyncio

import pytest

from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.message import RecipientState
from postroom.store.records import StoredBody
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio


async def test_a_kept_message_is_there_with_everything_it_came_with(ready: KeptStore) -> None:
    new = ready.message("bob@fabrikam.com", "eve@fabrikam.com", subject="Scan 7")
    await ready.store.outbox.keep(new)
    detail = await ready.store.messages.find(new.message_id)
    assert detail is not None
    assert detail.row.subject == "Scan 7"
    assert detail.row.state is RecipientState.QUEUED
    assert detail.row.app_name == "Scanner"
    assert [recipient.address for recipient in detail.recipients] == ["bob@fabrikam.com", "eve@fabrikam.com"]
    assert detail.envelope_sender == "scanner@contoso.com"
    assert detail.reception == new.reception
    assert detail.body == new.body
    assert [entry.kind for entry in detail.timeline] == ["received", "stored"]
    assert detail.timeline[0].text == (
        "Received by SMTP from 192.0.2.7 (scanner), signed in as scanner with LOGIN, TLSv1.3."
    )


async def test_repairs_stand_in_the_timeline(ready: KeptStore) -> None:
    import msgspec

    new = msgspec.structs.replace(ready.message(), repairs=("Added a Date header.",))
    await ready.store.outbox.keep(new)
    detail = await ready.store.messages.find(new.message_id)
    assert detail is not None
    assert [(entry.kind, entry.text) for entry in detail.timeline][1] == ("repaired", "Added a Date header.")


async def test_a_message_is_still_there_after_a_restart(ready: KeptStore) -> None:
    message_id = await ready.keep()
    store = await ready.open()
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert detail.row.state is RecipientState.QUEUED
    assert [lease.message_id for lease in await store.outbox.lease_due(5)] == [message_id]


async def test_what_arrives_together_is_kept_completely(ready: KeptStore) -> None:
    messages = [ready.message(f"r{number}@fabrikam.com", "x@fabrikam.com") for number in range(107)]
    await asyncio.gather(*(ready.store.outbox.keep(new) for new in messages))
    rows, cursor = await ready.store.messages.search("", limit=200)
    assert cursor is None
    assert {row.message_id: row.recipients for row in rows} == {new.message_id: new.recipients for new in messages}
    assert (await ready.store.messages.counts())[RecipientState.QUEUED] == 214


async def test_one_bad_message_in_a_batch_fails_alone(ready: KeptStore) -> None:
    good = [ready.message() for _ in range(3)]
    bad = ready.message(app_id=4711)
    results = await asyncio.gather(
        *(ready.store.outbox.keep(new) for new in [good[0], bad, *good[1:]]), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), StoreUnavailableError, type(None), type(None)]
    assert "FOREIGN KEY" in str(results[1])
    rows, _ = await ready.store.messages.search("")
    assert {row.message_id for row in rows} == {new.message_id for new in good}


async def test_a_message_without_recipients_is_a_mistake_of_the_caller(ready: KeptStore) -> None:
    import msgspec

    with pytest.raises(ValueError, match="at least one recipient"):
        await ready.store.outbox.keep(msgspec.structs.replace(ready.message(), recipients=()))


async def test_header_bytes_that_are_no_text_are_kept_as_a_question_mark(ready: KeptStore) -> None:
    new = ready.message(subject="Scan \udce4")
    await ready.store.outbox.keep(new)
    detail = await ready.store.messages.find(new.message_id)
    assert detail is not None
    assert detail.row.subject == "Scan ?"


async def test_a_full_disk_is_a_temporary_matter(kept: KeptStore) -> None:
    is_full = False

    def fault(point: str) -> None:
        if is_full and point == "before_commit":
            raise OSError(28, "No space left on device")

    await kept.open_set_up(fault)
    is_full = True
    with pytest.raises(StoreFullError, match="The disk is full"):
        await kept.keep()
    is_full = False
    message_id = await kept.keep()
    rows, _ = await kept.store.messages.search("")
    assert [row.message_id for row in rows] == [message_id]


async def test_a_failed_sync_is_never_acknowledged(kept: KeptStore) -> None:
    is_failing = False

    def fault(point: str) -> None:
        if is_failing and point == "before_commit":
            raise OSError(5, "Input/output error")

    await kept.open_set_up(fault)
    is_failing = True
    with pytest.raises(StoreUnavailableError, match=r"Input/output error.*Nothing was acknowledged"):
        await kept.keep()
    is_failing = False
    assert (await kept.store.messages.search(""))[0] == []


async def test_new_mail_wakes_whoever_waits_for_a_change(ready: KeptStore) -> None:
    waiting = asyncio.create_task(ready.store.outbox.wait_for_change(None))
    await ready.keep()
    await waiting


async def test_a_change_before_the_wait_is_not_missed(ready: KeptStore) -> None:
    await ready.keep()
    await ready.store.outbox.wait_for_change(None)


async def test_waiting_for_a_change_ends_with_its_time(ready: KeptStore) -> None:
    await ready.store.outbox.wait_for_change(0)  # what the set-up changed
    await ready.store.outbox.wait_for_change(0)


async def test_there_is_room_on_an_empty_disk(ready: KeptStore) -> None:
    assert await ready.store.outbox.has_room()


async def test_a_cancelled_keeper_has_handed_its_message_over(ready: KeptStore) -> None:
    writer = ready.store.bodies.spool()
    await writer.write(b"x" * 100_000)
    new = ready.message(body=await writer.finish())
    keeping = asyncio.create_task(ready.store.outbox.keep(new))
    await asyncio.sleep(0)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await writer.discard()
    await ready.keep()  # whatever was being committed is committed now
    detail = await ready.store.messages.find(new.message_id)
    assert detail is not None
    assert detail.body is not None
    assert sum([len(chunk) async for chunk in ready.store.bodies.read(detail.body)]) == 100_000


async def test_a_closed_store_says_so(ready: KeptStore) -> None:
    new = ready.message()
    await ready.store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await ready.store.outbox.keep(new)


async def test_a_stored_body_may_be_empty(ready: KeptStore) -> None:
    new = ready.message(body=StoredBody(0, content=b""))
    await ready.store.outbox.keep(new)
    lease = await ready.lease_one()
    assert [chunk async for chunk in ready.store.bodies.read(lease.body)] == []
