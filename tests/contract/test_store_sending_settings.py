import msgspec
import pytest

from postroom.clock import DAY_US, HOUR_US, MINUTE_US
from postroom.store.sending_settings import SendingSettings, read_sending_settings
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio

CHANGED = SendingSettings(
    lifetime_us=2 * DAY_US,
    delay_notice_after_us=None,
    administrator="it@contoso.com",
    canary_is_on=True,
    canary_every_us=30 * MINUTE_US,
    canary_recipient="canary@contoso.com",
)


async def test_a_new_installation_has_the_defaults_that_the_code_names(kept: KeptStore) -> None:
    store = await kept.open()
    assert await store.sending_settings.load() == SendingSettings()


async def test_what_was_saved_is_there_after_a_restart(kept: KeptStore) -> None:
    store = await kept.open()
    await store.sending_settings.save(CHANGED, "anna")
    store = await kept.open()
    assert await store.sending_settings.load() == CHANGED
    assert await store._writer.run(read_sending_settings) == CHANGED


async def test_the_audit_tells_who_changed_what_from_what_to_what(kept: KeptStore) -> None:
    store = await kept.open()
    await store.sending_settings.save(SendingSettings(administrator="it@contoso.com"), "anna", "192.0.2.7")
    [entry] = await store.audit.recent(10)
    assert (entry.who, entry.from_address, entry.action) == ("anna", "192.0.2.7", "changed sending settings")
    assert (entry.before, entry.after) == ('{"administrator":""}', '{"administrator":"it@contoso.com"}')


async def test_saving_the_same_is_no_change(kept: KeptStore) -> None:
    store = await kept.open()
    await store.sending_settings.save(SendingSettings(), "anna")
    assert await store.audit.recent(10) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lifetime_us": HOUR_US - 1}, "tried for one hour at least"),
        ({"lifetime_us": 31 * DAY_US}, "30 days at most"),
        ({"delay_notice_after_us": 0}, "after one minute at the earliest"),
        ({"delay_notice_after_us": 5 * DAY_US}, "before the mail is given up"),
        ({"canary_every_us": 4 * MINUTE_US}, "every 5 minutes at most"),
        ({"canary_every_us": 8 * DAY_US}, "once in 7 days at least"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(
    kept: KeptStore, change: dict[str, int], sentence: str
) -> None:
    store = await kept.open()
    with pytest.raises(ValueError, match=sentence):
        await store.sending_settings.save(msgspec.structs.replace(SendingSettings(), **change), "anna")
    assert await store.sending_settings.load() == SendingSettings()
