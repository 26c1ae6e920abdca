"""Reads remedies.toml, and fills a remedy's words with the real values."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, TypeVar
from urllib.parse import quote

import msgspec

PLACEHOLDERS = frozenset(
    {
        "username",
        "sender",
        "mailbox",
        "host",
        "port",
        "tenant",
        "client_id",
        "redirect_url",
        "recipient",
        "email_type",
        "ehlo_name",
    }
)
"""The words that may stand in braces in a remedy."""

Way = Literal["delegated", "application", "password"]
"""How we sign in: a person did it once, the app on its own, or with a password."""

UNCLEAR = "unexpected_reply"
"""The remedy of a failure that nobody has understood yet."""

_PLACEHOLDER = re.compile(r'(?P<quote>"?)\{(?P<name>[a-z_]+)\}(?P=quote)')
# A word that begins with @ would be splatted (about_Splatting), one that begins with - is read as a parameter.
_PLAIN = re.compile(r"[\w.+][\w.@+-]*")


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do."""

    text: str
    command: str | None = None
    """To copy into PowerShell, with the real values."""
    link: str | None = None


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of several things that are answered alike."""

    cause_id: str
    title: str
    tell: str
    """What tells it from the others: where a person looks."""
    way: Way | None = None
    """Of this way to sign in only."""


class Remedy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The error card's words: what it is, what it means, what to do, and who can."""

    title: str
    meaning: str
    steps: tuple[Step, ...]
    who: str
    link: str | None = None
    causes: tuple[Cause, ...] = ()
    """What it may be when one answer stands for several things, the likeliest first; empty when it is one thing."""
    remedy_id: str = ""

    def causes_of(self, way: str | None) -> tuple[Cause, ...]:
        """Those of one way to sign in; of all ways where it is not known."""
        return tuple(cause for cause in self.causes if way is None or cause.way in (None, way))


Filled = TypeVar("Filled", Step, Cause, Remedy)


@cache
def all_remedies() -> Mapping[str, Remedy]:
    """Every remedy by its id, as the data file has them."""
    text = files("postroom.remedies").joinpath("remedies.toml").read_text(encoding="utf-8")
    book = msgspec.toml.decode(text, type=dict[str, Remedy])
    return {remedy_id: msgspec.structs.replace(entry, remedy_id=remedy_id) for remedy_id, entry in book.items()}


def remedy(remedy_id: str) -> Remedy:
    """The remedy with this id; the general one when a newer or older version knew another."""
    book = all_remedies()
    return book.get(remedy_id) or book[UNCLEAR]


def fill(part: Filled, values: Mapping[str, str]) -> Filled:
    """The step, or the whole remedy, with the values in place of `{username}` and the like.

    `way` among the values is how we sign in: causes of other ways are left out. A value that is missing or empty
    reads `<username>`. In a command a value that PowerShell could read as more than a word is quoted, because some
    come from the mail of strangers; in a link it is percent-encoded.
    """
    if isinstance(part, Step):
        return msgspec.structs.replace(
            part,
            text=_fill_text(part.text, values),
            command=_fill_command(part.command, values) if part.command else None,
            link=_fill_link(part.link, values) if part.link else None,
        )
    if isinstance(part, Cause):
        return msgspec.structs.replace(part, title=_fill_text(part.title, values), tell=_fill_text(part.tell, values))
    return msgspec.structs.replace(
        part,
        title=_fill_text(part.title, values),
        meaning=_fill_text(part.meaning, values),
        steps=tuple(fill(step, values) for step in part.steps),
        who=_fill_text(part.who, values),
        causes=tuple(fill(cause, values) for cause in part.causes_of(values.get("way") or None)),
        link=_fill_link(part.link, values) if part.link else None,
    )


def _fill_text(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: _in_text(found, values), text)


def _in_text(found: re.Match[str], values: Mapping[str, str]) -> str:
    value = values.get(found["name"]) or f"<{found['name']}>"
    return f"{found['quote']}{value}{found['quote']}"


def _fill_command(command: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: _in_command(found, values), command)


def _in_command(found: re.Match[str], values: Mapping[str, str]) -> str:
    value = values.get(found["name"]) or f"<{found['name']}>"
    if _PLAIN.fullmatch(value):
        return f"{found['quote']}{value}{found['quote']}"
    return quote_for_powershell(value)


def quote_for_powershell(value: str) -> str:
    """The value as one literal word of PowerShell, whatever is in it; what cannot be seen is left out."""
    # PowerShell reads typographic quotes as quotes too: all of them are doubled (about_Quoting_Rules).
    visible = "".join(letter for letter in value if letter.isprintable())
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", visible) + "'"


def _fill_link(link: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: quote(values.get(found["name"]) or f"<{found['name']}>", safe=""), link)
