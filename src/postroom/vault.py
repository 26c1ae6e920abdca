"""Seal and open secrets: AES-256-GCM, with the place of the secret as associated data.

A sealed value is one byte of version, four bytes that name the key, twelve of nonce, then the ciphertext. Its
context ("mail_servers.client_secret.17") is authenticated, so that a value moved to another row does not open.
"""

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from postroom.errors import VaultKeyError

KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_NAME_BYTES = 4
_NONCE_BYTES = 12
_HEAD_BYTES = 1 + _KEY_NAME_BYTES + _NONCE_BYTES


class Vault:
    """Seals with one key; opens with it, and with older ones while secrets change over to it. Never shows any."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        for each in (key, *older):
            if len(each) != KEY_BYTES:
                raise VaultKeyError(f"The vault key has {len(each)} bytes; it needs exactly {KEY_BYTES}.")
        self._cipher = AESGCM(key)
        self._key_name = _name_of(key)
        self._ciphers = {_name_of(each): AESGCM(each) for each in (*older, key)}

    def __repr__(self) -> str:
        return f"Vault(key {self._key_name.hex()})"

    @property
    def has_older_keys(self) -> bool:
        return len(self._ciphers) > 1

    def is_up_to_date(self, sealed: bytes) -> bool:
        """Sealed with the key that seals now."""
        return sealed[1 : 1 + _KEY_NAME_BYTES] == self._key_name

    def seal(self, clear: bytes, context: str) -> bytes:
        """Seal `clear` for the place named by `context`."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + self._key_name + nonce + self._cipher.encrypt(nonce, clear, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """The clear bytes; VaultKeyError when another key or another place sealed them."""
        if sealed[:1] != _VERSION or len(sealed) < _HEAD_BYTES:
            raise VaultKeyError(f"The secret at {context} is damaged; restore it from a backup or enter it again.")
        cipher = self._ciphers.get(sealed[1 : 1 + _KEY_NAME_BYTES])
        if cipher is None:
            raise VaultKeyError(
                f"The secret at {context} was sealed with another vault key. Start with the key that belongs to "
                "this data folder; nothing was changed."
            )
        try:
            return cipher.decrypt(sealed[1 + _KEY_NAME_BYTES : _HEAD_BYTES], sealed[_HEAD_BYTES:], context.encode())
        except InvalidTag:
            raise VaultKeyError(
                f"The secret at {context} does not open: it was changed or moved. Nothing was overwritten."
            ) from None


def _name_of(key: bytes) -> bytes:
    return hashlib.sha256(b"postroom vault key name" + key).digest()[:_KEY_NAME_BYTES]
