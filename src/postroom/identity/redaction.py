"""What is shown of a stranger's words never repeats a secret that we told it, however it is written. Pure."""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

HIDDEN = "(hidden)"

_SHORTEST_PIECE = 8
"""Of base64 written within more text the ends are not ours alone; a shorter middle would hide ordinary words."""


def hide_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets: plain, in JSON, percent-encoded up to twice, in hex or base64, in any case."""
    forms = sorted({form for secret in secrets if secret for form in _forms_of(secret)}, key=len, reverse=True)
    if not forms:
        return text
    return re.sub("|".join(map(re.escape, forms)), HIDDEN, text, flags=re.IGNORECASE)


def _forms_of(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    for encode in (_quote, quote_plus):
        once = encode(secret)
        yield from (once, encode(once))
    octets = secret.encode()
    yield octets.hex()
    yield from _base64_of(octets)


def _quote(text: str) -> str:
    return quote(text, safe="")


def _base64_of(octets: bytes) -> Iterator[str]:
    """As it stands in base64 and base64url (RFC 4648), alone or after any other octets, with or without padding."""
    for before in range(3):
        written = b64encode(bytes(before) + octets).decode()
        # What the octets before and after take part in is left away.
        first = -(-before * 8 // 6)
        end = (before + len(octets)) * 8 // 6
        if end - first >= _SHORTEST_PIECE:
            piece = written[first:end]
            yield from (piece, piece.replace("+", "-").replace("/", "_"))
