from pathlib import Path

import pytest

from postroom.errors import VaultKeyError
from postroom.vault import KEY_BYTES, Vault, load_or_make_key

KEY = bytes(range(KEY_BYTES))


def test_what_is_sealed_opens_at_its_place_only() -> None:
    vault = Vault(KEY)
    sealed = vault.seal(b"secret", "grants.password.1")
    assert b"secret" not in sealed
    assert vault.open(sealed, "grants.password.1") == b"secret"
    with pytest.raises(VaultKeyError, match="was changed or moved"):
        vault.open(sealed, "grants.password.2")


def test_the_same_secret_never_looks_the_same() -> None:
    vault = Vault(KEY)
    assert vault.seal(b"secret", "x") != vault.seal(b"secret", "x")


def test_another_key_is_named_as_the_reason() -> None:
    sealed = Vault(KEY).seal(b"secret", "x")
    with pytest.raises(VaultKeyError, match="sealed with another vault key"):
        Vault(bytes(KEY_BYTES)).open(sealed, "x")


@pytest.mark.parametrize("sealed", [b"", b"\x01short", b"\x02" + bytes(40)])
def test_a_damaged_value_says_so(sealed: bytes) -> None:
    with pytest.raises(VaultKeyError, match="is damaged"):
        Vault(KEY).open(sealed, "x")


def test_the_key_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    path = tmp_path / "new" / "vault.key"
    key = load_or_make_key(path)
    assert len(key) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_make_key(path) == key


def test_a_key_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    load_or_make_key(path)
    path.chmod(0o644)
    with pytest.raises(VaultKeyError, match=rf"chmod 600 {path}"):
        load_or_make_key(path)


def test_a_key_file_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(VaultKeyError, match="64 hexadecimal digits"):
        load_or_make_key(path)
    path.write_text("abcd")
    with pytest.raises(VaultKeyError, match="needs exactly 32"):
        Vault(load_or_make_key(path))


def test_the_name_of_a_new_key_is_on_the_disk_before_it_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        "postroom.vault.os.fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink())
    )
    load_or_make_key(tmp_path / "vault.key")
    assert synced == [tmp_path / "vault.key", tmp_path]
