"""Where the vault's key comes from: a systemd credential, the environment, or a file beside the data folder.

A source holds one key as 64 hexadecimal digits. While secrets change over to a new key it holds two, the new one first.
"""

import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from postroom.errors import VaultKeyError
from postroom.vault import KEY_BYTES, Vault

CREDENTIAL = "vault.key"
"""What the credential is called in the unit: `LoadCredentialEncrypted=vault.key`."""
VARIABLE = "POSTROOM_VAULT_KEY"


class VaultKeys(msgspec.Struct, frozen=True):
    """The keys, the one that seals first, and where they come from."""

    keys: tuple[bytes, ...]
    source: str
    """As a sentence names it."""
    file: Path | None = None
    """When they come from a file of our own, which we may change."""

    def __repr__(self) -> str:
        return f"VaultKeys({len(self.keys)} from {self.source})"

    def vault(self) -> Vault:
        return Vault(*self.keys)


def load_or_make_keys(file: Path, data_folder: Path, environment: Mapping[str, str]) -> VaultKeys:
    """The keys of the one source that has any; when none has, a new key in `file`, mode 0600.

    Errors: VaultKeyError, when sources disagree, when others can read the file, or when it would be made inside the
    data folder, whose backups would then carry the key along with what it seals.
    """
    found = [
        each
        for each in (_credential(environment), _variable(environment), _file(file, data_folder))
        if each is not None
    ]
    if not found:
        return _make(file, data_folder)
    first, *others = found
    for other in others:
        if other.keys[0] != first.keys[0]:
            raise VaultKeyError(
                f"The vault key is given by {first.source} and by {other.source}, and they differ. Remove the one that "
                "does not belong to this data folder; nothing was changed."
            )
    return first


def make_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


def write_keys(file: Path, keys: Sequence[bytes]) -> None:
    """Put these in place of what the file holds, whole or not at all, whatever happens meanwhile."""
    file = file.resolve()  # behind a link the file itself is changed, or the old key would stay there
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as text:
        text.write("".join(key.hex() + "\n" for key in keys))
        text.flush()
        if file.exists():  # whoever owned it must still be able to read it
            os.fchown(text.fileno(), file.stat().st_uid, file.stat().st_gid)
        os.fsync(text.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key without its name is lost, and with it every secret that it sealed
    finally:
        os.close(folder)


def _make(file: Path, data_folder: Path) -> VaultKeys:
    if any(data_folder.glob("*.sqlite3")):
        raise VaultKeyError(
            f"The vault key of the data folder {data_folder} is missing: it is neither in {file}, nor in {VARIABLE}, "
            f"nor a systemd credential {CREDENTIAL}. Put back the key that was made with it; nothing was changed."
        )
    if file.resolve().is_relative_to(data_folder.resolve()):
        raise VaultKeyError(
            f"The vault key {file} would be made inside the data folder, and every backup of it would carry the key "
            "along. Name a file elsewhere in vault_key_file."
        )
    key = make_key()
    try:
        write_keys(file, [key])
    except OSError as trouble:
        raise VaultKeyError(f"The vault key {file} cannot be made: {trouble.strerror}.") from trouble
    return VaultKeys((key,), f"the file {file}", file)


def _credential(environment: Mapping[str, str]) -> VaultKeys | None:
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    path = Path(folder) / CREDENTIAL
    if not folder or not path.exists():
        return None
    source = f"the systemd credential {CREDENTIAL}"
    try:
        return VaultKeys(_parse(path.read_bytes()[:1024], source), source)
    except OSError as trouble:
        raise VaultKeyError(f"The vault key from {source} cannot be read: {trouble.strerror}.") from trouble


def _variable(environment: Mapping[str, str]) -> VaultKeys | None:
    text = environment.get(VARIABLE, "")
    source = f"the environment variable {VARIABLE}"
    return VaultKeys(_parse(text.encode(), source), source) if text else None


def _file(file: Path, data_folder: Path) -> VaultKeys | None:
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read(1024)
    except FileNotFoundError:
        return None
    except OSError as trouble:
        raise VaultKeyError(f"The vault key {file} cannot be read: {trouble.strerror}.") from trouble
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise VaultKeyError(f"The vault key {file} can be read by others (mode {mode:04o}). Run: chmod 600 {file}")
    # A command that root runs finds the key of the user that the server runs as.
    trusted = {0, os.geteuid(), data_folder.stat().st_uid if data_folder.exists() else 0}
    if status.st_uid not in trusted:
        raise VaultKeyError(
            f"The vault key {file} belongs to another user (uid {status.st_uid}), who can read and change it. "
            f"Run: chown {os.geteuid()} {file}"
        )
    return VaultKeys(_parse(text, f"the file {file}"), f"the file {file}", file)


def _parse(text: bytes, source: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(bytes.fromhex(word) for word in text.decode("ascii").split())
    except ValueError:
        keys = ()
    if not 1 <= len(keys) <= 2 or any(len(key) != KEY_BYTES for key in keys):
        raise VaultKeyError(
            f"The vault key from {source} must be {2 * KEY_BYTES} hexadecimal digits; or two of these, the new one "
            "first, while secrets change over to it."
        )
    return keys
