"""What Microsoft announced, from one dated data file: dates never stand inside the sentences of pages."""

from datetime import date
from functools import cache
from importlib.resources import files

import msgspec


class Announcement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One plan of Microsoft's, as it stood on a day."""

    text: str
    as_of: date
    link: str
    on: date | None = None
    """The day on which it is to happen, where they name one."""


@cache
def announcement(name: str) -> Announcement:
    """The entry `name` of microsoft_dates.toml."""
    text = files("postroom.console").joinpath("microsoft_dates.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=dict[str, Announcement])[name]
