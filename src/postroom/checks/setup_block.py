"""The one block that the set-up script prints, read back. Pure."""

import base64
import binascii
from datetime import date

import msgspec

MARK = "POSTROOM-SETUP:"
LONGEST = 8_000


class SetupBlock(msgspec.Struct, frozen=True):
    """What a person would copy by hand in four fields."""

    tenant: str
    client_id: str
    client_secret: str
    secret_ends_on: date

    def __repr__(self) -> str:
        return f"SetupBlock({self.client_id})"


def read_setup_block(text: str) -> SetupBlock | None:
    """The block, even with a terminal's line breaks in it or lines before it; None when it is none or cut short."""
    _, found, rest = text[:LONGEST].rpartition(MARK)
    if not found:
        return None
    try:
        octets = base64.b64decode("".join(rest.split()), validate=True)
        return msgspec.json.decode(octets, type=SetupBlock)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
