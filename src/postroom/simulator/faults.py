"""The address decides what goes wrong: one table for tests, the documentation and the demo.

A message to `451@anything` meets the first line of the table. What follows a plus sign is ignored
(`451+tuesday@` is `451@`). With `-once` behind the name (`451-once@`) the fault strikes the first
time a message is seen, by its Message-ID, and the next try is accepted; as the Message-ID must be
known for that, such a fault is always answered at the end of the message.

A fault of signing in is asked for by the user name, or by `Organisation.set_sign_in_fault`; one of the
sender by MAIL FROM; one of the recipient by RCPT TO; one of the message by either. The lines stand in
`fault_table.py`.
"""

from collections.abc import Iterable

import msgspec

from postroom.simulator.fault_table import (
    MESSAGE_FAULTS,
    RECIPIENT_FAULTS,
    SENDER_FAULTS,
    SIGN_IN_FAULTS,
)
from postroom.simulator.fault_table import Fault as Fault
from postroom.simulator.fault_table import Stage as Stage

ONCE = "-once"

# What each stage is called, and how its faults are asked for.
STAGES: dict[Stage, tuple[str, str]] = {
    "recipient": ("At RCPT TO", "Send to the address; the other recipients of the message are not touched."),
    "message": ("After the message", "Send to the address, or from it: the whole message meets the fault."),
    "sender": ("At MAIL FROM", "Use the address as the envelope's sender."),
    "sign-in": (
        "At AUTH",
        "Sign in with the address as the user name, whatever the password or token; or switch the fault on for a "
        "mailbox.",
    ),
}

FAULTS = (*SIGN_IN_FAULTS, *SENDER_FAULTS, *RECIPIENT_FAULTS, *MESSAGE_FAULTS)

_BY_LOCAL_PART = {fault.local_part: fault for fault in FAULTS}


def fault_for(address: str) -> Fault | None:
    """The fault that `address` asks for, or None for an address that simply receives."""
    local_part = address.rpartition("@")[0].lower().partition("+")[0]
    if not local_part.endswith(ONCE):
        return _BY_LOCAL_PART.get(local_part)
    fault = _BY_LOCAL_PART.get(local_part.removesuffix(ONCE))
    return fault and msgspec.structs.replace(fault, local_part=local_part, stage="message", is_once=True)


def sign_in_fault(user_name: str) -> Fault | None:
    """The fault to answer when `user_name` signs in."""
    return _fault_at("sign-in", user_name)


def sender_fault(address: str) -> Fault | None:
    """The fault to answer at MAIL FROM."""
    return _fault_at("sender", address)


def recipient_fault(address: str) -> Fault | None:
    """The fault to answer at RCPT TO."""
    return _fault_at("recipient", address)


def sign_in_faults() -> dict[str, Fault]:
    """Those that a switch can ask for, by their names."""
    return {fault.local_part: fault for fault in SIGN_IN_FAULTS}


def _fault_at(stage: Stage, address: str) -> Fault | None:
    fault = fault_for(address)
    return fault if fault and fault.stage == stage else None


def message_faults(sender: str, recipients: Iterable[str]) -> tuple[Fault, ...]:
    """The faults to answer at the end of a message, each once: the sender's, then the recipients'."""
    found = [fault_for(address) for address in (sender, *recipients)]
    return tuple(dict.fromkeys(fault for fault in found if fault and fault.stage == "message"))
