"""All that is sealed changes over to another key, or nothing does."""

import os

import pytest

from postroom.errors import VaultKeyError
from postroom.store import Store
from postroom.store.sealed_columns import SEALED_COLUMNS
from postroom.vault import Vault
from tests.contract.kept_store import MAILBOX_ID, KeptStore
from tests.contract.test_store_setup import full_draft

pytestmark = pytest.mark.anyio

NOT_SEALED = {"password_hash", "token_hash", "key_hash", "request_hash", "content"}
OLD, NEW = os.urandom(32), os.urandom(32)


async def open_with(kept: KeptStore, *keys: bytes) -> Store:
    kept.vault = Vault(*keys)
    return await kept.open()


async def fill(kept: KeptStore) -> None:
    """A value in every column that is sealed."""
    store = await open_with(kept, OLD)
    await store.mail_servers.save(full_draft(), "anna")
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    await store.client_secrets.change(grant, "secret 2", None, "refresh 2", "anna")
    await store.mail_servers.keep_draft(full_draft())


async def test_every_column_of_bytes_is_sealed_or_known_not_to_be(kept: KeptStore) -> None:
    await kept.open()
    rows = await kept.read(
        "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns "
        "WHERE tables.type = 'table' AND columns.type = 'BLOB'"
    )
    found = {(row[0], row[1]) for row in rows if row[1] not in NOT_SEALED}
    assert found == {(column.table, column.column) for column in SEALED_COLUMNS}, (
        "a column of bytes that store/sealed_columns.py does not know would be lost with the next key"
    )


async def test_everything_changes_over_and_the_old_key_opens_nothing(kept: KeptStore) -> None:
    await fill(kept)
    store = await open_with(kept, NEW, OLD)
    [entry] = [entry for entry in await store.audit.recent(20) if entry.action == "changed the vault key"]
    assert entry.after.endswith("secrets")
    store = await open_with(kept, NEW)
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    assert (grant.client_secret, grant.spare_secret, grant.refresh_token) == (
        "secret 2",
        "client secret 1",
        "refresh 2",
    )
    draft = await store.mail_servers.load_draft()
    assert draft is not None
    assert draft.client_secret == "client secret 1"
    with pytest.raises(VaultKeyError, match="nothing was changed"):
        await open_with(kept, OLD)


async def test_one_value_that_does_not_open_leaves_all_as_they_were(kept: KeptStore) -> None:
    await fill(kept)
    await kept.write("UPDATE grants SET password = client_secret")  # which does not open in another place
    with pytest.raises(VaultKeyError, match=r"grants\.password\.1 does not open: it was changed or moved"):
        await open_with(kept, NEW, OLD)
    store = await open_with(kept, OLD)
    draft = await store.mail_servers.load_draft()
    assert draft is not None, "still sealed with the old key"


async def test_neither_key_is_the_right_one(kept: KeptStore) -> None:
    await fill(kept)
    with pytest.raises(VaultKeyError, match="does not belong to the data folder"):
        await open_with(kept, NEW, os.urandom(32))
