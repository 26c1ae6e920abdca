"""Planted secrets, and the finder that looks for each of them in every form in which it may have travelled."""

import json
from base64 import b64encode, urlsafe_b64encode
from html import escape
from urllib.parse import quote, quote_plus

PIECE_LENGTH = 40


def forms_of(secret: bytes) -> set[bytes]:
    """As it is, base64 wherever it stands in what was encoded, percent-encoded, hex, and as JSON and HTML write it."""
    text = secret.decode("latin-1")
    return {
        secret,
        *_inside_base64(secret),
        quote(secret, safe="").encode(),
        quote_plus(secret).encode(),
        secret.hex().encode(),
        secret.hex().upper().encode(),
        json.dumps(text)[1:-1].encode(),
        escape(text).encode(),
    }


def _inside_base64(secret: bytes) -> list[bytes]:
    """The letters that depend on the secret alone, for each of the three places where it may begin."""
    found = []
    for shift in range(3):
        first, end = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
        found += [encode(bytes(shift) + secret)[first:end] for encode in (b64encode, urlsafe_b64encode)]
    return found


class Planted:
    """Secrets by name. Of a long one its middle and its end are looked for too, lest half of it stands somewhere."""

    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}

    def plant(self, name: str, secret: str | bytes) -> None:
        octets = secret.encode() if isinstance(secret, str) else secret
        assert len(octets) >= 8, f"{name} is too short to be looked for"
        pieces = [octets]
        if len(octets) > 2 * PIECE_LENGTH:
            middle = len(octets) // 2
            pieces += [octets[middle : middle + PIECE_LENGTH], octets[-PIECE_LENGTH:]]
        for piece in pieces:
            for form in forms_of(piece):
                self._forms[form] = name

    def find_in(self, content: bytes) -> set[str]:
        """The names of the secrets that stand in it, in any form."""
        return {name for form, name in self._forms.items() if form in content}
