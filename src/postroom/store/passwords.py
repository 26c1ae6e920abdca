"""How passwords are made, hashed and recognised: fast for those of a machine, slowly for those of a person."""

import hashlib
import os
import secrets

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

PASSWORD_LENGTH = 24
SHORT_LENGTH = 16
LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no 0 O, no 1 l I i o

# Argon2id with 19 MiB, two passes, one lane: the OWASP password storage cheat sheet's first choice.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1


def make_password(length: int = PASSWORD_LENGTH) -> str:
    """Letters and digits that nobody confuses: 24 of them are 138 random bits, 16 are 92."""
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def hash_fast(secret: str) -> bytes:
    """SHA-256: enough for a secret with more than 90 random bits, which nobody guesses."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def hash_slowly(secret: str) -> str:
    """Argon2id in the PHC form, with its parameters: for what a person chose."""
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive_phc_encoded(secret.encode("utf-8", "surrogatepass"))


def matches_slowly(secret: str, stored: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(secret.encode("utf-8", "surrogatepass"), stored)
    except InvalidKey:
        return False
    return True
