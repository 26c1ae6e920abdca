"""The address decides what goes wrong: one table for tests, the documentation and the demo.

A message to `451@anything` meets the first line of the table. What follows a plus sign is ignored
(`451+tuesday@` is `451@`). With `-once` behind the name (`451-once@`) the fault strikes the first
time a message is seen, by its Message-ID, and the next try is accepted; as the Message-ID must be
known for that, such a fault is always answered at the end of the message.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

Stage = Literal["recipient", "message"]
Effect = Literal["refuse", "delay", "drop after storing", "drop before storing"]


class Fault(msgspec.Struct, frozen=True):
    """One line of the table.

    `stage` is where it strikes: at RCPT TO, or at the end of the message. `reply` is the server's
    line without its closing tag, empty where no line is said. `hangs_up` closes the connection
    after the reply. Texts: microsoft365.md 2.2 and 2.3.
    """

    local_part: str
    meaning: str
    stage: Stage
    effect: Effect = "refuse"
    reply: str = ""
    hangs_up: bool = False
    is_once: bool = False

    @property
    def address(self) -> str:
        """How the fault is asked for, at any domain."""
        return f"{self.local_part}@"


ONCE = "-once"

FAULTS = (
    Fault(
        "451",
        "A temporary error for this recipient: try again later.",
        "recipient",
        reply="451 4.7.0 Temporary server error. Please try again later.",
    ),
    Fault(
        "450",
        "The organisation has too much waiting: try again later.",
        "recipient",
        reply="450 4.7.0 Organization queue quota exceeded.",
    ),
    Fault(
        "throttled",
        "Microsoft slows this sender down.",
        "recipient",
        reply="451 4.7.500 Server busy. Please try again later from [127.0.0.1]. (AS761)",
    ),
    Fault(
        "421",
        "The server says that it goes away, and does.",
        "recipient",
        reply="421 4.3.2 Service not available",
        hangs_up=True,
    ),
    Fault(
        "550",
        "This recipient does not exist.",
        "recipient",
        reply="550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
    ),
    Fault(
        "432",
        "Too many connections send for this mailbox at once.",
        "message",
        reply="432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
    ),
    Fault(
        "mailbox-full",
        "Sent Items has filled the sending mailbox.",
        "message",
        reply="554 5.2.2 mailbox full; STOREDRV.Submission.Exception:"
        "QuotaExceededException.MapiExceptionShutoffQuotaExceeded",
    ),
    Fault(
        "daily-limit",
        "The mailbox has reached its 10,000 recipients in 24 hours.",
        "message",
        reply="554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
    ),
    Fault(
        "blocked",
        "The mailbox is blocked because spam was suspected.",
        "message",
        reply="550 5.1.8 Access denied, bad outbound sender AS(42004)",
    ),
    Fault(
        "slow",
        "The message is accepted, but the answer takes its time.",
        "message",
        effect="delay",
    ),
    Fault(
        "drop-after-dot",
        "The message is accepted and delivered, but the connection breaks before the answer.",
        "message",
        effect="drop after storing",
    ),
    Fault(
        "drop-before-store",
        "The connection breaks after the last byte and the message is lost there.",
        "message",
        effect="drop before storing",
    ),
)

_BY_LOCAL_PART = {fault.local_part: fault for fault in FAULTS}


def fault_for(address: str) -> Fault | None:
    """The fault that `address` asks for, or None for an address that simply receives."""
    local_part = address.rpartition("@")[0].lower().partition("+")[0]
    if not local_part.endswith(ONCE):
        return _BY_LOCAL_PART.get(local_part)
    fault = _BY_LOCAL_PART.get(local_part.removesuffix(ONCE))
    return fault and msgspec.structs.replace(fault, local_part=local_part, stage="message", is_once=True)


def recipient_fault(address: str) -> Fault | None:
    """The fault to answer at RCPT TO."""
    fault = fault_for(address)
    return fault if fault and fault.stage == "recipient" else None


def message_faults(sender: str, recipients: Iterable[str]) -> tuple[Fault, ...]:
    """The faults to answer at the end of a message, each once: the sender's, then the recipients'."""
    found = [fault_for(address) for address in (sender, *recipients)]
    return tuple(dict.fromkeys(fault for fault in found if fault and fault.stage == "message"))
