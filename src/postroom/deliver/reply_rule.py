"""One line of the table of replies: what a reply must be like, and what it then means for us."""

from enum import Enum

import msgspec

from postroom.outcome import FailureClass as Class
from postroom.outcome import StopCause as Cause
from postroom.wire.replies import Reply


class Verdict(Enum):
    TRY_LATER = "try later"
    STOPPED = "stopped"
    REFUSED = "refused"


class Rule(msgspec.Struct, frozen=True):
    """One line of the table. A condition that is left empty fits everything."""

    code: str
    verdict: Verdict
    failure_class: Class
    remedy_id: str
    cause: Cause | None = None
    """Of a stop, and of nothing else."""
    smtp_codes: tuple[int, ...] = ()
    enhanced: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    """At least one of them is in the text."""
    commands: tuple[str, ...] = ()

    def fits(self, reply: Reply, command: str) -> bool:
        text = reply.text.lower()
        return (
            (not self.smtp_codes or reply.code in self.smtp_codes)
            and (not self.enhanced or reply.enhanced in self.enhanced)
            and (not self.commands or command in self.commands)
            and (not self.fragments or any(fragment in text for fragment in self.fragments))
        )
