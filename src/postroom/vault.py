"""Seal and open secrets: AES-256-GCM, with the place of the secret as associated data.

A sealed value is one byte of version, four bytes that name the key, twelve of nonce, then the ciphertext. Its
context ("mail_servers.client_secret.17") is authenticated, so that a value moved to another row does not open.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postroom.errors import VaultKeyError

KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_NAME_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = 1 + _KEY_NAME_BYTES + _NONCE_BYTES


class Vault:
    """Seals and opens with one key, which it never shows."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise VaultKeyError(f"The vault key has {len(key)} bytes; it needs exactly {KEY_BYTES}.")
        self._cipher = AESGCM(key)
        self._key_name = hashlib.sha256(b"postroom vault key name" + key).digest()[:_KEY_NAME_BYTES]

    def __repr__(self) -> str:
        return f"Vault(key {self._key_name.hex()})"

    def seal(self, clear: bytes, context: str) -> bytes:
        """Seal `clear` for the place named by `context`."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + self._key_name + nonce + self._cipher.encrypt(nonce, clear, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The clear bytes; VaultKeyError when another key or another place sealed them."""
        if sealed[:1] != _VERSION or len(sealed) < _HEAD_BYTES:
            raise VaultKeyError(f"The secret at {context} is damaged; restore it from a backup or enter it again.")
        if sealed[1 : 1 + _KEY_NAME_BYTES] != self._key_name:
            raise VaultKeyError(
                f"The secret at {context} was sealed with another vault key. Start with the key that belongs to "
                "this data folder; nothing was changed."
            )
        try:
            return self._cipher.decrypt(
                sealed[1 + _KEY_NAME_BYTES : _HEAD_BYTES], sealed[_HEAD_BYTES:], context.encode()
            )
        except InvalidTag:
            raise VaultKeyError(
                f"The secret at {context} does not open: it was changed or moved. Nothing was overwritten."
            ) from None


def load_or_make_key(path: Path) -> bytes:
    """The key in `path` (64 hex digits), made there with mode 0600 when the file does not exist yet."""
    try:
        return _read_key(path)
    except FileNotFoundError:
        return _make_key(path)
    except OSError as trouble:
        raise VaultKeyError(f"The vault key {path} cannot be read: {trouble.strerror}.") from trouble


def _read_key(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        text = file.read(1024)
    if mode & 0o077:
        raise VaultKeyError(f"The vault key {path} can be read by others (mode {mode:04o}). Run: chmod 600 {path}")
    try:
        return bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        raise VaultKeyError(f"The vault key {path} must hold {2 * KEY_BYTES} hexadecimal digits.") from None


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key without its name is lost, and with it every secret that it sealed
    finally:
        os.close(folder)
    return key
