"""`postroom vault rotate`: whatever interrupts it, the key that is there opens everything."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import postroom.cli.vault as command
from postroom.cli.commands import main
from postroom.clock import SystemClock
from postroom.store import Store
from postroom.store.records import MailServerDraft
from postroom.vault import Vault
from postroom.vault_key import VARIABLE, load_or_make_keys, write_keys


class Folder:
    """A data folder with a secret in it, and its settings."""

    def __init__(self, path: Path) -> None:
        self.config = path / "postroom.toml"
        self.key_file = path / "vault.key"
        self.data = path / "data"
        assert self.run("init").exit_code == 0
        asyncio.run(self._keep_secret())

    def run(self, *arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--config", str(self.config)], env=environment)

    def keys(self) -> tuple[bytes, ...]:
        return load_or_make_keys(self.key_file, self.data, {}).keys

    def secret(self, *keys: bytes) -> str:
        return asyncio.run(self._read_secret(*keys))

    async def _keep_secret(self) -> None:
        store = await Store.open(self.data, SystemClock(), Vault(*self.keys()))
        draft = MailServerDraft(sender="a@contoso.com", username="a@contoso.com", client_secret="kept secret")
        await store.mail_servers.save(draft, "test")
        await store.close()

    async def _read_secret(self, *keys: bytes) -> str:
        store = await Store.open(self.data, SystemClock(), Vault(*keys))
        try:
            server = await store.mail_servers.default()
            return (await store.mailboxes.open_grant(server.mailbox_id)).client_secret
        finally:
            await store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_new_key_opens_everything_and_the_old_one_nothing(folder: Folder) -> None:
    old = folder.keys()
    result = folder.run("vault", "rotate")
    assert result.exit_code == 0, result.output
    assert "keep a copy apart from the backups" in result.output
    [new] = folder.keys()
    assert (new,) != old
    assert new.hex() not in result.output
    assert folder.secret(new) == "kept secret"
    with pytest.raises(Exception, match="does not belong to the data folder"):
        folder.secret(*old)


@pytest.mark.parametrize("steps", range(4))
def test_an_interruption_at_any_step_loses_nothing_and_is_finished_later(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    done = iter(range(10))

    class Interrupted(Exception):
        pass

    def count() -> None:
        if next(done) == steps:
            raise Interrupted

    async def open_with(*given: object) -> None:
        count()
        await real_open(*given)  # type: ignore[arg-type]

    def write(file: Path, keys: Sequence[bytes]) -> None:
        count()
        write_keys(file, keys)

    real_open = command._open_with
    with monkeypatch.context() as patched:
        patched.setattr(command, "_open_with", open_with)
        patched.setattr(command, "write_keys", write)
        assert isinstance(folder.run("vault", "rotate").exception, Interrupted)
    assert folder.secret(*folder.keys()) == "kept secret"
    assert folder.run("vault", "rotate").exit_code == 0
    [only] = folder.keys()
    assert folder.secret(only) == "kept secret"


def test_a_key_that_we_cannot_write_is_changed_by_hand(folder: Folder) -> None:
    [old] = folder.keys()
    folder.key_file.unlink()
    told = folder.run("vault", "rotate", **{VARIABLE: old.hex()})
    assert told.exit_code == 1
    assert "Put a new key" in told.output
    new = os.urandom(32)
    done = folder.run("vault", "rotate", **{VARIABLE: f"{new.hex()} {old.hex()}"})
    assert (done.exit_code, "Now remove the older key from the environment variable" in done.output) == (0, True)
    assert not folder.key_file.exists()
    assert folder.secret(new) == "kept secret"


def test_not_while_postroom_runs(folder: Folder) -> None:
    async def scene() -> Result:
        store = await Store.open(folder.data, SystemClock(), Vault(*folder.keys()))
        try:
            return await asyncio.to_thread(folder.run, "vault", "rotate")
        finally:
            await store.close()

    before = folder.key_file.read_bytes()
    result = asyncio.run(scene())
    assert (result.exit_code, "in use by another Postroom" in result.output) == (1, True)
    assert folder.key_file.read_bytes() == before
