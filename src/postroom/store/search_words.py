"""The words of the search field: `status:failed from:scanner@ to:@contoso.com app:"HP" subject:"backup" id:…`.

Anything else is looked for in sender, recipients and subject. Case does not matter.
"""

import re
from collections.abc import Callable

import msgspec

from postroom.ids import parse_public_id
from postroom.message import RecipientState

WORDS = ("status", "from", "to", "app", "subject", "id")
_TOKEN = re.compile(r'(?:(?P<word>[a-z]+):)?(?:"(?P<quoted>[^"]*)"?|(?P<plain>[^\s"]+))', re.IGNORECASE)


class Condition(msgspec.Struct, frozen=True):
    """One part of a WHERE clause with its values."""

    text: str
    values: tuple[str | int, ...]
    reads_texts: bool = False
    """Whether it needs the table of search texts."""


def parse_search(words: str) -> list[Condition]:
    """The conditions that all have to hold. ValueError says which word is not understood, and which are."""
    conditions = []
    for match in _TOKEN.finditer(words):
        text = match["quoted"] if match["quoted"] is not None else match["plain"]
        word = (match["word"] or "").lower()
        if not word or (match["word"] and not text and match["quoted"] is None):
            conditions.append(_anywhere(text))
        elif word in _MAKERS:
            conditions.append(_MAKERS[word](text))
        else:
            raise ValueError(
                f"The search does not know “{word}:”. It knows {', '.join(name + ':' for name in WORDS)}; "
                "put quotation marks around text that has a colon."
            )
    return conditions


def _status(text: str) -> Condition:
    try:
        state = RecipientState(text.lower())
    except ValueError:
        known = ", ".join(RecipientState)
        raise ValueError(f"“status:{text}” is no state of a message. The states are {known}.") from None
    return Condition("messages.state = ?", (state.value,))


def _id(text: str) -> Condition:
    try:
        return Condition("messages.message_id = ?", (parse_public_id(text),))
    except ValueError:
        raise ValueError(f"“id:{text}” is no message id: it has 13 letters and digits.") from None


def _app(text: str) -> Condition:
    inner = "SELECT app_id FROM apps WHERE instr(lower(name), ?) OR login = ?"
    return Condition(f"messages.app_id IN ({inner})", (text.lower(), text.lower()))


def _in_columns(*columns: str) -> Callable[[str], Condition]:
    condition = "(" + " OR ".join(f"instr(search_texts.{column}, ?)" for column in columns) + ")"

    def make(text: str) -> Condition:
        return Condition(condition, (text.casefold(),) * len(columns), reads_texts=True)

    return make


_anywhere = _in_columns("senders", "recipients", "subject")
_MAKERS: dict[str, Callable[[str], Condition]] = {
    "status": _status,
    "from": _in_columns("senders"),
    "to": _in_columns("recipients"),
    "app": _app,
    "subject": _in_columns("subject"),
    "id": _id,
}
