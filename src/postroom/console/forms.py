"""What a person typed, and what is wrong with it: one sentence a field, and a summary on top."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from postroom.console.language import _

_ADDRESS = re.compile(r"[^\s@<>\",;:\\()\[\]]{1,64}@[^\s@<>\",;:\\()\[\]_]{1,255}")
_TRUE = frozenset({"on", "yes", "true", "1"})


@dataclass(frozen=True)
class Form:
    """The fields of a posted form; a missing field is empty."""

    values: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """One line, without blanks at its ends."""
        return " ".join(self.values.get(name, "").split())

    def secret(self, name: str) -> str:
        """Exactly as typed, but for the line end that pasting adds."""
        return self.values.get(name, "").strip("\r\n\t ")

    def passphrase(self, name: str) -> str:
        return self.values.get(name, "")

    def is_on(self, name: str) -> bool:
        return self.values.get(name, "").lower() in _TRUE

    def lines(self, name: str) -> tuple[str, ...]:
        """Words apart by commas, semicolons, blanks or lines, each once."""
        return tuple(dict.fromkeys(filter(None, re.split(r"[\s,;]+", self.values.get(name, "")))))


Troubles = dict[str, str]
"""Field name to the sentence that stands beside it."""


def address_trouble(address: str, name: str) -> str | None:
    """Why this is no e-mail address; None when it may be one. The mail server has the last word."""
    if not address:
        return _("Enter the %(name)s.", name=name)
    if not _ADDRESS.fullmatch(address) or "." not in address.rpartition("@")[2] or ".." in address:
        return _("%(address)s is not an e-mail address. Write it like scanner@contoso.com.", address=address)
    return None
