"""Planted secrets are looked for in every file of the data folder, by another program, while the store is open."""

import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from postroom.store.records import AccessToken, AppSettings, Authentication
from tests.contract.kept_store import MAILBOX_ID, KeptStore

pytestmark = pytest.mark.anyio


def hits(folder: Path, text: str) -> list[str]:
    # Not read by this process: closing a file that SQLite has open would drop its locks.
    found = subprocess.run(["grep", "-rlaF", "--", text, str(folder)], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()


async def test_no_secret_stands_on_the_disk_in_clear(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "thread")
    store = await kept.open_set_up()
    planted = {
        name: f"planted-{name}-1f0c2b" for name in ("secret", "password", "token", "rotated", "access", "passphrase")
    }
    draft = msgspec.structs.replace(
        kept.draft(),
        client_secret=planted["secret"],
        password=planted["password"],
        refresh_token=planted["token"],
        test_address="visible@contoso.com",
    )
    await store.mail_servers.keep_draft(draft)
    await store.mail_servers.save(draft, "anna")
    await store.mail_servers.keep_draft(draft)
    lease = await store.mailboxes.take_renewal_lease(MAILBOX_ID, "keeper")
    assert lease is not None
    access = AccessToken("smtp", planted["access"], kept.clock.now_us(), kept.clock.now_us() + 1, "key", lease.fence)
    grant = await store.mailboxes.open_grant(MAILBOX_ID)
    await store.mailboxes.keep_tokens(lease, grant, planted["rotated"], [access])
    assert (await store.mailboxes.open_grant(MAILBOX_ID)).access_tokens == (access,)
    basic = msgspec.structs.replace(draft, authentication=Authentication.BASIC)
    await store.mail_servers.save(basic, "anna")
    link = await store.people.make_setup_link_token()
    person = await store.people.create_first(link, "Anna", "anna@contoso.com", planted["passphrase"])
    cookie, session = await store.people.open_session(person.person_id)
    _, app_password = await store.apps.create(AppSettings(name="HP"), "anna")
    secrets = [*planted.values(), link, cookie, session.csrf_token, app_password]
    assert hits(kept.folder, "visible@contoso.com") != [], "the search itself must be able to find something"
    for secret in secrets:
        assert hits(kept.folder, secret) == []
    await kept.close()
    for secret in secrets:
        assert hits(kept.folder, secret) == []


async def test_every_file_is_its_owners_alone_in_a_folder_that_all_may_enter(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    kept = KeptStore(folder, "thread")
    await kept.open_set_up()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    await kept.close()
    assert {"postroom.sqlite3", "postroom.sqlite3-wal", "bodies", "lock"} <= modes.keys()
    assert {name for name, mode in modes.items() if mode & 0o077} == set()
