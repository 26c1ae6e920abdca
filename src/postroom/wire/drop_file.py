"""A message in the drop folder: its envelope in SMTP's words, then its content to the end of the file.

Both ends are ours: the `sendmail` command writes it while the server is down, and the server reads it. Nothing heavy
is imported here, because the command must start fast.
"""

import re
from collections.abc import Sequence

FIRST_LINE = "POSTROOM DROP 1"
"""Followed by the content's size in bytes: a file that is shorter or longer was not written to its end by us."""
LAST_LINE = "DATA"

UNFINISHED, READY, REFUSED, REASON = ".new", ".mail", ".refused", ".reason"
"""Endings of names: being written, waiting, refused, and the file beside it that says why."""

NAME = re.compile(r"[0-9]{16}-[0-9a-f]{32}")
"""Microseconds since 1970, so that names sort by age, and 128 random bits: nobody can name another's file."""

ENVELOPE_LIMIT_BYTES = 512 * 1024
"""Five hundred recipients, each with its address twice and what is asked about it."""
RECIPIENT_LIMIT = 500
"""Of one file; those beyond it go into the next."""


class DropFileError(ValueError):
    """The file is not one that we wrote to its end; the text is half a sentence."""


def format_envelope(mail: str, recipients: Sequence[str], size_bytes: int) -> bytes:
    """All that stands before the content; `mail` and `recipients` are whole commands, without line ends."""
    lines = [f"{FIRST_LINE} {size_bytes}", mail, *recipients, LAST_LINE, ""]
    return "\r\n".join(lines).encode()


def parse_envelope(start: bytes, file_size_bytes: int) -> tuple[list[str], int]:
    """The commands, and where the content begins, of a file that starts with `start`. DropFileError."""
    marker = f"\r\n{LAST_LINE}\r\n".encode()
    end = start.find(marker)
    if end < 0:
        raise DropFileError("it does not begin with an envelope")
    try:
        first, *commands = start[:end].decode().split("\r\n")
    except UnicodeDecodeError:
        raise DropFileError("its envelope is not UTF-8") from None
    found = re.fullmatch(f"{FIRST_LINE} ([0-9]{{1,18}})", first)
    if found is None:
        raise DropFileError(f"it does not begin with {FIRST_LINE}")
    content_start = end + len(marker)
    if file_size_bytes - content_start != int(found[1]):
        raise DropFileError("it was not written to its end")
    return commands, content_start
