"""How the `sendmail` command ends: the codes of sysexits(3), and which reply of a mail system means which."""

import os
from typing import NamedTuple


class SendmailError(Exception):
    """It cannot be done; the text is the one line for standard error."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class ServerAwayError(Exception):
    """Nobody can take the message now, though somebody may later; the text is half a sentence that says why."""


class Reply(NamedTuple):
    """An SMTP reply; `enhanced` is empty where the server gave none."""

    code: int
    enhanced: str
    text: str

    @property
    def is_good(self) -> bool:
        return self.code < 400

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def words(self) -> str:
        return " ".join(filter(None, (str(self.code), self.enhanced, self.text)))


_BY_ENHANCED = {
    "5.1.2": os.EX_NOHOST,
    "5.1.7": os.EX_DATAERR,
    "5.1.8": os.EX_DATAERR,
    "5.3.4": os.EX_DATAERR,
    "5.3.5": os.EX_CONFIG,
    "5.4.4": os.EX_NOHOST,
    "5.4.6": os.EX_DATAERR,
}
_BY_SUBJECT = {
    "5.1": os.EX_NOUSER,
    "5.2": os.EX_UNAVAILABLE,
    "5.6": os.EX_DATAERR,
    "5.7": os.EX_NOPERM,
}  # the first two numbers of an enhanced code (RFC 3463 3.)
_BY_CODE = {530: os.EX_NOPERM, 534: os.EX_NOPERM, 535: os.EX_NOPERM, 538: os.EX_NOPERM, 552: os.EX_DATAERR}


def exit_code_of(reply: Reply) -> int:
    """What a script should learn from a reply: try again, mend the message or the address, or ask for the right."""
    if reply.is_good:
        return os.EX_OK
    if reply.is_temporary:
        return os.EX_TEMPFAIL
    subject = reply.enhanced.rpartition(".")[0]
    found = _BY_ENHANCED.get(reply.enhanced) or _BY_SUBJECT.get(subject) or _BY_CODE.get(reply.code)
    return found or os.EX_UNAVAILABLE


_MAY_WAIT = frozenset({"4.3.0", "4.3.2", "4.3.5"})


def may_wait_outside(reply: Reply) -> bool:
    """Whether mail may wait in the drop folder: the server stops, has no connection free, or is not set up yet.

    Not when it says that there is no room, or that this user sent too much: then the program must slow down, and a
    second queue without a bound would only hide that.
    """
    return reply.code == 421 or reply.enhanced in _MAY_WAIT
