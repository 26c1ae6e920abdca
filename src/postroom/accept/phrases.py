"""Names and texts as header fields write them: quoted where they must be, encoded beyond ASCII (RFC 2047)."""

import re
from base64 import b64encode

_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
_WORD_LETTERS_BYTES = 39  # as base64 52 letters: with the field's name a line has at most 76 (RFC 2047 2.)


def format_name(name: str) -> str:
    """A display name before angle brackets; empty for none."""
    if not name or (_ATOMS.fullmatch(name) and "=?" not in name):
        return name
    if name.isascii():
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return encode_words(name)


def safe_name(name: str, address: str) -> str:
    """Exchange has refused senders whose display name holds an `@`: it goes, or all of it when it is the address."""
    return "" if name.strip().casefold() == address.casefold() else " ".join(name.replace("@", " ").split())


def encode_words(text: str) -> str:
    """Encoded words in UTF-8, one behind the other with a blank, none of which cuts a letter."""
    words = []
    part = b""
    for letter in text:
        encoded = letter.encode("utf-8", "replace")
        if len(part) + len(encoded) > _WORD_LETTERS_BYTES:
            words.append(part)
            part = b""
        part += encoded
    words.append(part)
    return " ".join(f"=?utf-8?B?{b64encode(word).decode('ascii')}?=" for word in words)
