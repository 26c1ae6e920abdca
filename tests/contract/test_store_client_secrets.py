"""The client secret's two slots."""

from datetime import date

import msgspec
import pytest

from postroom.clock import DAY_US
from postroom.errors import WrongStateError
from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, StopCause
from postroom.store import Store
from tests.contract.kept_store import MAILBOX_ID, KeptStore
from tests.contract.test_store_setup import full_draft

pytestmark = pytest.mark.anyio

NEW_END, OLD_END = date(2030, 1, 1), date(2028, 11, 20)
EXPIRED = Failure(FailureClass.CONFIG, "client_refused", "AADSTS7000222", "secret_expired")


async def set_up(kept: KeptStore) -> Store:
    store = await kept.open()
    await store.mail_servers.save(full_draft(), "test")
    return store


async def change(store: Store, secret: str = "new secret", refresh_token: str = "rotated") -> None:
    await store.client_secrets.change(
        await store.mailboxes.open_grant(MAILBOX_ID), secret, NEW_END, refresh_token, "anna"
    )


async def test_the_new_one_is_used_and_the_old_one_is_kept_for_a_day(kept: KeptStore) -> None:
    store = await set_up(kept)
    await change(store)
    store = await kept.open()
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    assert (grant.client_secret, grant.secret_ends_on, grant.refresh_token) == ("new secret", NEW_END, "rotated")
    assert (grant.spare_secret, grant.spare_secret_ends_on) == ("client secret 1", OLD_END)
    assert grant.spare_secret_until_us == kept.clock.now_us() + DAY_US
    [entry] = [entry for entry in await store.audit.recent(10) if entry.action == "renewed client secret"]
    assert (entry.who, entry.before, entry.after) == ("anna", "2028-11-20", "2030-01-01")
    kept.clock.advance(23 * 3600)
    await store.client_secrets.forget_spares()
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).spare_secret
    kept.clock.advance(3600)
    await store.client_secrets.forget_spares()
    gone = await store.mailboxes.open_grant(MAILBOX_ID)
    assert (gone.client_secret, gone.spare_secret, gone.spare_secret_until_us) == ("new secret", "", None)


async def test_without_a_new_refresh_token_the_one_that_is_held_stays(kept: KeptStore) -> None:
    store = await set_up(kept)
    await change(store, refresh_token="")
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).refresh_token == "refresh token 1"


async def test_a_mailbox_that_was_stopped_for_its_secret_is_ready_and_for_anything_else_is_not(
    kept: KeptStore,
) -> None:
    store = await set_up(kept)
    await store.mailboxes.stop(MAILBOX_ID, EXPIRED, StopCause.SIGN_IN, None)
    await change(store)
    assert (await store.mailboxes.find(MAILBOX_ID)).cause is StopCause.SIGN_IN
    await store.mailboxes.resume(MAILBOX_ID, "anna")
    await store.mailboxes.stop(MAILBOX_ID, EXPIRED, StopCause.CREDENTIAL, None)
    await change(store, "newer secret")
    assert (await store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY


async def test_who_signed_in_anew_meanwhile_keeps_what_they_entered(kept: KeptStore) -> None:
    store = await set_up(kept)
    before = await store.mailboxes.open_grant(MAILBOX_ID)
    await store.mail_servers.save(msgspec.structs.replace(full_draft(), client_secret="entered", granted_at_us=9), "x")
    with pytest.raises(WrongStateError, match="signed in anew meanwhile"):
        await store.client_secrets.change(before, "new secret", NEW_END, "", "anna")
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).client_secret == "entered"


async def test_a_draft_that_began_before_does_not_bring_the_old_one_back(kept: KeptStore) -> None:
    store = await set_up(kept)
    await store.mail_servers.keep_draft(msgspec.structs.replace(full_draft(), port=25))
    await change(store)
    draft = await store.mail_servers.load_draft()
    assert draft is not None
    assert (draft.port, draft.client_secret, draft.secret_ends_on) == (25, "new secret", NEW_END)


async def test_another_apps_secret_is_no_spare(kept: KeptStore) -> None:
    store = await set_up(kept)
    await change(store)
    await store.mail_servers.save(msgspec.structs.replace(full_draft(), client_id="cid-2"), "x")
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).spare_secret == ""
