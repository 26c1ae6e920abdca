"""Where the vault's key comes from, and what each source may not be."""

import os
from pathlib import Path

import pytest

from postroom.errors import VaultKeyError
from postroom.vault import KEY_BYTES
from postroom.vault_key import VARIABLE, VaultKeys, load_or_make_keys, write_keys

KEY, OTHER = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)


def load(folder: Path, **environment: str) -> VaultKeys:
    return load_or_make_keys(folder / "vault.key", folder / "data", environment)


def credential(folder: Path, *keys: bytes) -> dict[str, str]:
    (folder / "credentials").mkdir()
    (folder / "credentials" / "vault.key").write_text("\n".join(key.hex() for key in keys))
    return {"CREDENTIALS_DIRECTORY": str(folder / "credentials")}


def test_a_file_is_made_once_and_only_for_us(tmp_path: Path) -> None:
    made = load(tmp_path)
    assert (tmp_path / "vault.key").stat().st_mode & 0o777 == 0o600
    assert load(tmp_path) == made
    assert made.file == tmp_path / "vault.key"
    assert made.keys[0].hex() not in repr(made)


def test_no_key_is_made_inside_what_it_seals(tmp_path: Path) -> None:
    with pytest.raises(VaultKeyError, match="inside the data folder, and every backup of it would carry the key"):
        load_or_make_keys(tmp_path / "data" / "vault.key", tmp_path / "data", {})
    assert not (tmp_path / "data").exists()


def test_a_credential_or_the_environment_is_used_and_no_file_is_made(tmp_path: Path) -> None:
    found = load(tmp_path, **credential(tmp_path, KEY))
    assert (found.keys, found.source, found.file) == ((KEY,), "the systemd credential vault.key", None)
    found = load(tmp_path, **{VARIABLE: KEY.hex()})
    assert (found.keys, found.file) == ((KEY,), None)
    assert not (tmp_path / "vault.key").exists()
    other_credentials = load(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path), **{VARIABLE: KEY.hex()})
    assert other_credentials.keys == (KEY,), "a unit may have credentials of other kinds"


def test_sources_that_agree_are_one_and_those_that_differ_are_refused(tmp_path: Path) -> None:
    environment = credential(tmp_path, KEY)
    assert load(tmp_path, **environment, **{VARIABLE: KEY.hex()}).source == "the systemd credential vault.key"
    with pytest.raises(VaultKeyError, match=r"by the systemd credential vault\.key and by the environment variable"):
        load(tmp_path, **environment, **{VARIABLE: OTHER.hex()})
    write_keys(tmp_path / "vault.key", [OTHER])
    with pytest.raises(VaultKeyError, match=r"they differ\. Remove the one that does not belong"):
        load(tmp_path, **environment)


def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    load(tmp_path)
    path = tmp_path / "vault.key"
    path.chmod(0o640)
    with pytest.raises(VaultKeyError, match=rf"chmod 600 {path}"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    load(tmp_path)
    os.chown(tmp_path / "vault.key", 12345, -1)
    with pytest.raises(VaultKeyError, match=r"belongs to another user \(uid 12345\).*chown 0"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["not a key", "abcd", "", f"{KEY.hex()} {KEY.hex()} {KEY.hex()}"])
def test_something_else_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vault.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(VaultKeyError, match="must be 64 hexadecimal digits"):
        load(tmp_path)
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VaultKeyError, match="cannot be"):
        load_or_make_keys(tmp_path / "file" / "vault.key", tmp_path / "data", {})


def test_the_name_of_a_new_key_is_on_the_disk_before_it_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        "postroom.vault_key.os.fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink())
    )
    load(tmp_path)
    assert synced == [tmp_path / "vault.key.new", tmp_path]


def test_a_key_that_is_missing_beside_data_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "postroom.sqlite3").write_bytes(b"")
    with pytest.raises(VaultKeyError, match=r"is missing: it is neither in .*vault\.key, nor in POSTROOM_VAULT_KEY"):
        load(tmp_path)
    assert not (tmp_path / "vault.key").exists(), "it would stand in the way of the right one"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_changes_the_key_of_the_servers_user_who_can_still_read_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    load(tmp_path)
    for path in (tmp_path / "data", tmp_path / "vault.key"):
        os.chown(path, 12345, 12345)
    assert load(tmp_path).file
    write_keys(tmp_path / "vault.key", [KEY])
    status = (tmp_path / "vault.key").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 12345, 0o600)


def test_behind_a_link_the_file_itself_changes(tmp_path: Path) -> None:
    write_keys(tmp_path / "real", [OTHER])
    (tmp_path / "vault.key").symlink_to(tmp_path / "real")
    write_keys(tmp_path / "vault.key", [KEY])
    assert (tmp_path / "vault.key").is_symlink()
    assert (tmp_path / "real").read_text() == KEY.hex() + "\n"
