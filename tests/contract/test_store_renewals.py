"""The lease of renewing: one at a time, and who comes too late overwrites nothing."""

import sqlite3

import pytest

from postroom.errors import LeaseLostError
from postroom.store.database import FILE_NAME
from postroom.store.records import AccessToken, RenewalLease
from postroom.store.renewals import RENEWAL_LEASE_US
from tests.contract.kept_store import MAILBOX_ID, KeptStore

pytestmark = pytest.mark.anyio


async def take(kept: KeptStore, owner: str) -> RenewalLease | None:
    return await kept.store.mailboxes.take_renewal_lease(MAILBOX_ID, owner)


async def must_take(kept: KeptStore, owner: str) -> RenewalLease:
    lease = await take(kept, owner)
    assert lease is not None
    return lease


async def test_one_has_it_until_it_is_freed(ready: KeptStore) -> None:
    first = await must_take(ready, "one")
    assert await take(ready, "two") is None
    assert (await must_take(ready, "one")).fence > first.fence, "its owner may ask for a longer one"
    await ready.store.mailboxes.free_renewal_lease(first)
    assert await take(ready, "two") is None, "one that was replaced frees nothing"
    second = await must_take(ready, "one")
    await ready.store.mailboxes.free_renewal_lease(second)
    assert await take(ready, "two") is not None


async def test_it_runs_out_and_a_clock_that_was_set_back_makes_nobody_wait(ready: KeptStore) -> None:
    await must_take(ready, "one")
    ready.clock.advance(RENEWAL_LEASE_US // 1_000_000 - 1)
    assert await take(ready, "two") is None
    ready.clock.advance(1)
    await must_take(ready, "two")
    ready.clock.advance(-86_400)
    assert await take(ready, "three") is not None


async def test_keeping_ends_it_and_leaves_the_tokens_for_everybody(ready: KeptStore) -> None:
    mailboxes, lease = ready.store.mailboxes, await must_take(ready, "one")
    token = AccessToken("smtp", "access", 1, 2, "key", lease.fence)
    await mailboxes.keep_tokens(lease, await mailboxes.open_grant(MAILBOX_ID), "rotated", [token])
    grant = await mailboxes.open_grant(MAILBOX_ID)
    assert (grant.refresh_token, grant.access_tokens) == ("rotated", (token,))
    assert (await mailboxes.show_grant(MAILBOX_ID)).access_tokens == ()
    assert await take(ready, "two") is not None


async def test_who_was_overtaken_overwrites_nothing(ready: KeptStore) -> None:
    mailboxes, slow = ready.store.mailboxes, await must_take(ready, "slow")
    grant = await mailboxes.open_grant(MAILBOX_ID)
    ready.clock.advance(61)
    fast = await must_take(ready, "fast")
    await mailboxes.keep_tokens(fast, grant, "newer")
    with pytest.raises(LeaseLostError, match="came first"):
        await mailboxes.keep_tokens(slow, grant, "older")
    assert (await mailboxes.open_grant(MAILBOX_ID)).refresh_token == "newer"


async def test_who_was_only_slow_loses_no_rotated_token_and_frees_nobody_elses_lease(ready: KeptStore) -> None:
    mailboxes, slow = ready.store.mailboxes, await must_take(ready, "slow")
    grant = await mailboxes.open_grant(MAILBOX_ID)
    ready.clock.advance(61)
    fast = await must_take(ready, "fast")
    await mailboxes.keep_tokens(slow, grant, "first")
    assert (await mailboxes.open_grant(MAILBOX_ID)).refresh_token == "first"
    assert await take(ready, "third") is None
    await mailboxes.keep_tokens(fast, grant, "second")
    assert (await mailboxes.open_grant(MAILBOX_ID)).refresh_token == "second"


async def test_a_restart_ends_the_leases_of_the_boot_before(ready: KeptStore) -> None:
    before = await must_take(ready, "one")
    await ready.open()
    assert (await must_take(ready, "two")).fence > before.fence


async def test_a_fence_never_comes_twice(ready: KeptStore) -> None:
    before = await must_take(ready, "one")
    await ready.store.mailboxes.disconnect(MAILBOX_ID, "anna")
    await ready.store.mail_servers.save(ready.draft(), "anna")
    assert (await must_take(ready, "one")).fence > before.fence


async def test_two_connections_cannot_both_have_it(ready: KeptStore) -> None:
    """What the statement says holds for any writer of the file, not for ours alone."""
    await ready.store.mailboxes.free_renewal_lease(await must_take(ready, "one"))
    now_us = ready.clock.now_us()
    other = sqlite3.connect(ready.folder / FILE_NAME, isolation_level=None)
    other.execute("UPDATE renewals SET fence = fence + 1, owner = 'node1.1.x', until_us = ?", (now_us + 60_000_000,))
    assert await take(ready, "one") is None
    other.close()


async def test_signing_in_anew_erases_the_access_tokens_of_before(ready: KeptStore) -> None:
    mailboxes, lease = ready.store.mailboxes, await must_take(ready, "one")
    token = AccessToken("smtp", "access", 1, 2, "key", lease.fence)
    await mailboxes.keep_tokens(lease, await mailboxes.open_grant(MAILBOX_ID), "rotated", [token])
    assert await mailboxes.take_sign_in(MAILBOX_ID, ready.draft(), "anna")
    grant = await mailboxes.open_grant(MAILBOX_ID)
    assert (grant.refresh_token, grant.access_tokens) == ("the refresh token", ())
