"""Who used the one-time link: told to whoever had opened the same link, and to nobody else."""

import hashlib
import hmac
from dataclasses import dataclass


@dataclass
class SetupLink:
    """Remembered until the next start, as a hash of the link's code."""

    _code_hash: bytes = b""
    _winner: str = ""

    def note_use(self, code: str, winner: str) -> None:
        self._code_hash, self._winner = _hash(code), winner

    def winner_for(self, code: str) -> str:
        """The name of the first administrator, if it was made with this very code; else empty."""
        return self._winner if hmac.compare_digest(_hash(code), self._code_hash) else ""


def _hash(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
