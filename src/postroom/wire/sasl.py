"""The server's half of a sign-in: PLAIN (RFC 4616) and the older LOGIN, as devices speak them."""

import binascii
import hmac
import re
from base64 import b64decode, b64encode
from typing import Protocol

import msgspec

MECHANISMS = ("PLAIN", "LOGIN")

_MD5_HEX = re.compile(r"[0-9A-Fa-f]{32}")
_FIRST_CHALLENGE = "VXNlcm5hbWU6"  # Username:
_SECOND_CHALLENGE = "UGFzc3dvcmQ6"  # Password:


class SaslError(ValueError):
    """An answer that cannot be read; the text is a sentence that never repeats it."""


class Credentials(msgspec.Struct, frozen=True):
    """What the client signs in with."""

    login: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.login!r})"


class SaslExchange(Protocol):
    """A sign-in under way: each answer leads to the next challenge, or to the credentials."""

    def challenge(self) -> str:
        """What to say after `334 `, in base64."""
        ...

    def take(self, answer: bytes) -> Credentials | None:
        """One answer in base64; None when another challenge follows. SaslError when it cannot be read."""
        ...


class PlainExchange:
    """One answer: authorization identity, NUL, user name, NUL, password."""

    def challenge(self) -> str:
        return ""

    def take(self, answer: bytes) -> Credentials | None:
        parts = _decode(answer).split("\0")
        if len(parts) != 3 or not parts[1]:
            raise SaslError("The answer to AUTH PLAIN does not hold a user name and a password")
        identity, login, password = parts
        if identity not in ("", login):
            raise SaslError("AUTH PLAIN asks to act as somebody else, which is not offered; leave that part empty")
        return Credentials(login, password)


class LoginExchange:
    """Two answers: the user name, then the password."""

    def __init__(self) -> None:
        self._login: str | None = None

    def challenge(self) -> str:
        return _FIRST_CHALLENGE if self._login is None else _SECOND_CHALLENGE

    def take(self, answer: bytes) -> Credentials | None:
        text = _decode(answer).rstrip("\0")  # some firmware sends its strings' end with them
        if self._login is not None:
            return Credentials(self._login, text)
        self._login = text
        return None


class CramMd5Answer(msgspec.Struct, frozen=True):
    """Who signs in, and the proof that the password is known (RFC 2195)."""

    login: str
    digest: str
    """In hex, small letters."""


class CramMd5Exchange:
    """One answer to a challenge that is used once; the server must know the password itself."""

    def __init__(self, challenge_text: str) -> None:
        self._challenge_text = challenge_text

    def challenge(self) -> str:
        return b64encode(self._challenge_text.encode()).decode("ascii")

    def take(self, answer: bytes) -> CramMd5Answer:
        """SaslError when it cannot be read."""
        login, _, digest = _decode(answer).rstrip("\0").rpartition(" ")
        if not login or not _MD5_HEX.fullmatch(digest):
            raise SaslError("The answer to AUTH CRAM-MD5 is not a user name, a space and 32 hex digits")
        return CramMd5Answer(login, digest.lower())


def cram_md5_digest(password: str, challenge_text: str) -> str:
    """What whoever knows the password answers to the challenge."""
    return hmac.digest(password.encode(), challenge_text.encode(), "md5").hex()


def begin_exchange(mechanism: str) -> SaslExchange | None:
    """The exchange of this mechanism, in any case of letters; None when it is not offered."""
    match mechanism.upper():
        case "PLAIN":
            return PlainExchange()
        case "LOGIN":
            return LoginExchange()
        case _:
            return None


def _decode(answer: bytes) -> str:
    """RFC 4954 4.: `=` stands for an empty initial response."""
    answer = answer.strip()
    try:
        return b64decode(b"" if answer == b"=" else answer, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SaslError("The answer is not valid base64 of UTF-8 text") from None
