"""What becomes of a message that has arrived whole: refused, accepted, or met by a fault."""

from email.message import Message

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.exchange_sign_in import Admission
from postroom.simulator.faults import Fault
from postroom.simulator.sender_rights import check_originators
from postroom.simulator.submissions import Exhausted
from postroom.simulator.tenant import Tenant

_LIMIT_REPLIES: dict[Exhausted, str] = {
    "mailbox full": replies.MAILBOX_FULL,
    "recipients a day": replies.SUBMISSION_QUOTA,
    "external recipients a day": replies.TENANT_EXTERNAL_LIMIT,
    "external recipients of a trial": replies.TRIAL_EXTERNAL_LIMIT,
}


class Verdict(msgspec.Struct, frozen=True):
    """`reply` is empty where the connection breaks without a word (`hangs_up`), or stays silent."""

    reply: str = ""
    is_stored: bool = False
    is_delayed: bool = False
    hangs_up: bool = False


def refused(reply: str) -> Verdict:
    return Verdict(f"{reply} {replies.mailbox_tag()}")


def judge_content(tenant: Tenant, admission: Admission, content: bytes | None, head: Message | None) -> Verdict | None:
    """The refusal that the message itself earns, or None. `content` and `head` are None when too large."""
    if content is None:
        return refused(replies.TOO_LARGE)
    if head is None:
        return refused(replies.HEAD_TOO_LARGE)
    if content.count(b"\n") != content.count(b"\r\n"):
        return refused(replies.BARE_LINEFEEDS)
    denied = check_originators(tenant, admission, head)
    return refused(denied) if denied else None


def judge_by_limits(
    tenant: Tenant, admission: Admission, recipients: tuple[str, ...], size_bytes: int
) -> Verdict | None:
    """The refusal that a mailbox earns which has sent enough, or whose token has run out meanwhile."""
    if _token_has_run_out(tenant, admission):
        return refused(replies.LOGON_FAILURE)
    exhausted = tenant.exchange.submissions.find_exhausted(admission.mailbox, recipients, size_bytes)
    return refused(_LIMIT_REPLIES[exhausted]) if exhausted else None


def _token_has_run_out(tenant: Tenant, admission: Admission) -> bool:
    """What a real session does then is not known (microsoft365.md 12); MailKit's users saw this reply [C]."""
    if tenant.exchange.readings.session_outlives_its_token or admission.expires_at is None:
        return False
    return tenant.clock.now() >= admission.expires_at


def judge_by_fault(fault: Fault | None, message_id: str) -> Verdict:
    """The verdict on a message that nothing speaks against but the fault that its address asked for."""
    if fault is None or fault.effect == "delay":
        return Verdict(replies.accepted(message_id), is_stored=True, is_delayed=fault is not None)
    if fault.effect == "refuse":
        return msgspec.structs.replace(refused(fault.reply), hangs_up=fault.hangs_up)
    if fault.effect == "say nothing":
        return Verdict()
    return Verdict(is_stored=fault.effect == "drop after storing", hangs_up=True)
