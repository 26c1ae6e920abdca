"""What becomes of a message that has arrived whole: refused, accepted, or met by a fault."""

from email.message import Message

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.faults import Fault
from postroom.simulator.sender_rights import check_originators
from postroom.simulator.tenant import Tenant, User


class Verdict(msgspec.Struct, frozen=True):
    """`reply` is empty where the connection breaks without a word."""

    reply: str = ""
    is_stored: bool = False
    is_delayed: bool = False
    hangs_up: bool = False


def refused(reply: str) -> Verdict:
    return Verdict(f"{reply} {replies.mailbox_tag()}")


def judge_content(tenant: Tenant, mailbox: User, content: bytes | None, head: Message | None) -> Verdict | None:
    """The refusal that the message itself earns, or None. `content` and `head` are None when too large."""
    if content is None:
        return refused(replies.TOO_LARGE)
    if head is None:
        return refused(replies.HEAD_TOO_LARGE)
    if content.count(b"\n") != content.count(b"\r\n"):
        return refused(replies.BARE_LINEFEEDS)
    denied = check_originators(tenant, mailbox, head)
    return refused(denied) if denied else None


def judge_by_fault(fault: Fault | None, message_id: str) -> Verdict:
    """The verdict on a message that nothing speaks against but the fault that its address asked for."""
    if fault is None or fault.effect == "delay":
        return Verdict(replies.accepted(message_id), is_stored=True, is_delayed=fault is not None)
    if fault.effect == "refuse":
        return msgspec.structs.replace(refused(fault.reply), hangs_up=fault.hangs_up)
    return Verdict(is_stored=fault.effect == "drop after storing", hangs_up=True)
