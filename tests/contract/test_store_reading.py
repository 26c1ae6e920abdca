import pytest

from postroom.clock import HOUR_US, MINUTE_US
from postroom.ids import public_id
from postroom.message import RecipientState
from postroom.outcome import StopCause
from postroom.store import messages
from postroom.store.records import AppSettings
from tests.contract.kept_store import REFUSED, SENT, KeptStore, later, stopped

pytestmark = pytest.mark.anyio


async def found(kept: KeptStore, words: str) -> list[str]:
    rows, _ = await kept.store.messages.search(words)
    return [row.subject for row in rows]


async def fill(kept: KeptStore) -> None:
    await kept.store.outbox.keep(kept.message("bob@fabrikam.com", subject="Nightly backup"))
    await kept.store.outbox.keep(
        kept.message("eve@contoso.com", "dan@contoso.com", sender="nas@contoso.com", subject="Über 90 % full")
    )
    other, _ = await kept.store.apps.create(AppSettings(name="HP 2nd floor"), "anna")
    await kept.store.outbox.keep(kept.message("bob@fabrikam.com", subject="Scan", app_id=other.app_id))


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        ("", ["Scan", "Über 90 % full", "Nightly backup"]),
        ("from:nas@", ["Über 90 % full"]),
        ("FROM:NAS@CONTOSO", ["Über 90 % full"]),
        ("to:@fabrikam.com", ["Scan", "Nightly backup"]),
        ("to:dan@", ["Über 90 % full"]),
        ('app:"HP 2nd"', ["Scan"]),
        ("app:hp-2nd-floor", ["Scan"]),
        ('subject:"nightly BACKUP"', ["Nightly backup"]),
        ("über", ["Über 90 % full"]),
        ('"90 %"', ["Über 90 % full"]),
        ("bob@ backup", ["Nightly backup"]),
        ("status:queued to:bob", ["Scan", "Nightly backup"]),
        ("status:sent", []),
        ("nothing has this", []),
        ("100%_", []),
    ],
)
async def test_the_words_of_the_search(ready: KeptStore, words: str, subjects: list[str]) -> None:
    await fill(ready)
    assert await found(ready, words) == subjects


async def test_one_message_is_found_by_its_id(ready: KeptStore) -> None:
    await fill(ready)
    message_id = await ready.keep(subject="this one")
    assert await found(ready, f"id:{public_id(message_id).lower()}") == ["this one"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("colour:red", "does not know “colour:”. It knows status:, from:, to:, app:, subject:, id:"),
        ("status:gone", "“status:gone” is no state of a message. The states are scheduled, queued"),
        ("id:XYZ", "“id:XYZ” is no message id: it has 13 letters and digits"),
    ],
)
async def test_a_word_that_is_not_understood_is_named(ready: KeptStore, words: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        await ready.store.messages.search(words)


async def test_a_cursor_that_is_none_is_refused(ready: KeptStore) -> None:
    with pytest.raises(ValueError, match="This place in the list does not exist"):
        await ready.store.messages.search("", cursor="no cursor")


async def test_pages_follow_one_another_without_gap_or_repeat(ready: KeptStore) -> None:
    ids = [await ready.keep(subject=f"number {number}") for number in range(7)]
    seen: list[int] = []
    cursor = None
    sizes = []
    for _ in range(10):
        rows, cursor = await ready.store.messages.search("subject:number", cursor=cursor, limit=3)
        seen += [row.message_id for row in rows]
        sizes.append(len(rows))
        if cursor is None:
            break
        await ready.keep(subject="number that came meanwhile")
    assert seen == ids[::-1]
    assert sizes == [3, 3, 1]


async def test_a_page_that_is_exactly_full_is_the_last(ready: KeptStore) -> None:
    for _ in range(3):
        await ready.keep()
    rows, cursor = await ready.store.messages.search("", limit=3)
    assert (len(rows), cursor) == (3, None)


async def test_a_search_through_much_goes_on_from_its_cursor(ready: KeptStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "WINDOW_MESSAGES", 3)
    monkeypatch.setattr(messages, "WINDOWS", 2)
    first = await ready.keep(subject="needle")
    for _ in range(9):
        await ready.keep(subject="hay")
    last = await ready.keep(subject="needle")
    rows, cursor = await ready.store.messages.search("needle")
    assert [row.message_id for row in rows] == [last]
    assert cursor is not None, "only so much is looked through for one page"
    rows, cursor = await ready.store.messages.search("needle", cursor=cursor)
    assert [row.message_id for row in rows] == [first]
    assert cursor is None


async def test_the_first_three_recipients_stand_in_the_list(ready: KeptStore) -> None:
    await ready.keep(*(f"r{number}@x.example" for number in range(5)))
    rows, _ = await ready.store.messages.search("")
    assert rows[0].recipients == ("r0@x.example", "r1@x.example", "r2@x.example")
    assert rows[0].recipient_count == 5


async def test_what_waits_for_its_pace_says_so(ready: KeptStore) -> None:
    await ready.widen(message_limit_a_minute=1)
    await ready.keep()
    await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    rows, _ = await ready.store.messages.search("status:queued")
    assert [row.waits_for for row in rows] == ["pace"]
    ready.clock.advance(60)
    rows, _ = await ready.store.messages.search("status:queued")
    assert [row.waits_for for row in rows] == [None]


async def test_what_waits_for_a_day_says_so(ready: KeptStore) -> None:
    await ready.widen(recipient_limit_a_day=1)
    await ready.keep()
    await ready.keep()
    await ready.settle(await ready.lease_one(), SENT)
    rows, _ = await ready.store.messages.search("status:queued")
    assert [row.waits_for for row in rows] == ["daily limit"]


async def test_what_waits_for_a_pause_says_so(ready: KeptStore) -> None:
    await ready.keep()
    await ready.store.mailboxes.pause(1, "anna")
    rows, _ = await ready.store.messages.search("")
    assert [row.waits_for for row in rows] == ["paused"]


async def test_the_overview_counts_recipients(ready: KeptStore) -> None:
    began_us = ready.clock.now_us()
    await ready.keep("a@x.example", "b@x.example")
    await ready.settle(await ready.lease_one(), SENT, REFUSED)
    ready.clock.advance(3600)
    oldest_us = ready.clock.now_us()
    await ready.keep("c@x.example")
    ready.clock.advance(10)
    await ready.settle(await ready.lease_one(), later(ready.clock.now_us() + HOUR_US))
    await ready.keep("d@x.example", "e@x.example")
    overview = await ready.store.messages.overview(began_us)
    assert (overview.sent, overview.failed, overview.waiting) == (1, 1, 3)
    assert overview.oldest_waiting_received_at_us == oldest_us
    assert overview.waiting_by_cause == {"a later try": 1, "lane": 2}
    later_overview = await ready.store.messages.overview(began_us + 30 * MINUTE_US)
    assert (later_overview.sent, later_overview.failed) == (0, 0)


async def test_the_overview_tells_for_what_mail_waits(ready: KeptStore) -> None:
    for _ in range(3):
        await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SMTP_AUTH_OFF))
    assert (await ready.store.messages.overview(0)).waiting_by_cause == {"SMTP AUTH off": 3}


async def test_counts_are_those_of_the_recipients(ready: KeptStore) -> None:
    await ready.keep("a@x.example", "b@x.example", "c@x.example", "d@x.example")
    await ready.keep("e@x.example")
    held = await ready.keep("f@x.example")
    await ready.store.outbox.hold(held, "anna")
    await ready.settle(await ready.lease_one(), SENT, SENT, REFUSED, later(ready.clock.now_us() + HOUR_US))
    assert {state.value: count for state, count in (await ready.store.messages.counts()).items() if count} == {
        "queued": 1,
        "deferred": 1,
        "held": 1,
        "sent": 2,
        "failed": 1,
    }
    assert set(await ready.store.messages.counts()) == set(RecipientState)


async def test_nothing_is_found_of_a_message_that_never_was(ready: KeptStore) -> None:
    assert await ready.store.messages.find(4711) is None
