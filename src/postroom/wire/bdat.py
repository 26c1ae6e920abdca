"""BDAT: a message in chunks of a known size, without dots or an end mark (RFC 3030)."""

import re

import msgspec

from postroom.wire.commands import CommandError

_ARGUMENT = re.compile(r"([0-9]{1,20})(?:\s+(LAST))?", re.IGNORECASE | re.ASCII)


class BdatChunk(msgspec.Struct, frozen=True):
    """What `BDAT` announces: so many bytes follow its line, whatever we answer."""

    size_bytes: int
    is_last: bool


def parse_bdat(argument: str) -> BdatChunk:
    """What stands behind BDAT. CommandError: where the chunk ends is then not known."""
    found = _ARGUMENT.fullmatch(argument)
    if found is None:
        raise CommandError(501, "5.5.4", "Write BDAT and the chunk's size in bytes, and LAST behind the last one")
    return BdatChunk(int(found[1]), found[2] is not None)
