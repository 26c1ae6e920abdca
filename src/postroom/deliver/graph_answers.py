"""What Microsoft Graph's answer means for a message and its mailbox: a table, and what it does not know by its status.

Facts: microsoft365.md 3.3, 3.4; Microsoft Learn, "user: sendMail" and "Microsoft Graph throttling guidance". The first
rule that fits decides.
"""

import email.utils

import msgspec

from postroom.clock import DAY_US, MICROSECONDS
from postroom.deliver.reply_rule import Verdict
from postroom.outcome import Failure, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.outcome import FailureClass as Class
from postroom.outcome import StopCause as Cause

COMMAND = "POST sendMail"
MAX_TEXT = 500
LONGEST_WAIT_US = DAY_US
"""A server that asks for more is asked again after it all the same."""


class GraphAnswer(msgspec.Struct, frozen=True):
    """One answer, read."""

    status: int
    code: str = ""
    message: str = ""
    request_id: str = ""
    retry_after: str = ""


class GraphRule(msgspec.Struct, frozen=True):
    """One line of the table. A condition that is left empty fits everything."""

    code: str
    verdict: Verdict
    failure_class: Class
    remedy_id: str
    cause: Cause | None = None
    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()

    def fits(self, answer: GraphAnswer) -> bool:
        text = answer.message.lower()
        return (
            (not self.statuses or answer.status in self.statuses)
            and (not self.codes or answer.code in self.codes)
            and (not self.fragments or any(fragment in text for fragment in self.fragments))
        )


_LATER, _STOP, _REFUSE = Verdict.TRY_LATER, Verdict.STOPPED, Verdict.REFUSED

RULES = (
    GraphRule(
        "tenant_external_limit", _STOP, Class.QUOTA, "tenant_external_limit", Cause.DAILY_LIMIT,
        codes=("ErrorExceededMessageLimit",), fragments=("external recipients",),
    ),
    GraphRule(
        "daily_limit", _STOP, Class.QUOTA, "daily_limit", Cause.DAILY_LIMIT,
        codes=("ErrorExceededMessageLimit", "ErrorSubmissionQuotaExceeded"),
    ),
    GraphRule(
        "mailbox_full", _STOP, Class.QUOTA, "mailbox_full", Cause.MAILBOX_FULL, codes=("ErrorQuotaExceeded",),
    ),
    GraphRule(
        "sender_blocked", _STOP, Class.POLICY, "tenant_blocked", Cause.BANNED,
        codes=("ErrorMessageSubmissionBlocked", "ErrorAccountSuspend"),
    ),
    GraphRule("send_as_denied", _REFUSE, Class.PERMISSION, "send_as_denied", codes=("ErrorSendAsDenied",)),
    GraphRule(
        "graph_mailbox_missing", _STOP, Class.CONFIG, "graph_mailbox_missing", Cause.CONFIGURATION,
        codes=("MailboxNotEnabledForRESTAPI", "ErrorInvalidUser", "MailboxNotHostedInExchangeOnline"),
    ),
    GraphRule(
        "graph_not_allowed", _STOP, Class.PERMISSION, "graph_not_allowed", Cause.SIGN_IN,
        codes=("ErrorAccessDenied", "Authorization_RequestDenied", "AccessDenied"),
    ),
    GraphRule(
        "too_many_connections", _LATER, Class.THROTTLE, "too_many_connections",
        statuses=(429,), fragments=("concurrency",),
    ),
    GraphRule("server_busy", _LATER, Class.THROTTLE, "server_busy", statuses=(429,)),
    GraphRule("graph_too_large", _REFUSE, Class.SIZE, "graph_too_large", codes=("RequestEntityTooLarge",)),
    GraphRule("message_too_large", _REFUSE, Class.SIZE, "message_too_large", codes=("ErrorMessageSizeExceeded",)),
    GraphRule("graph_too_large", _REFUSE, Class.SIZE, "graph_too_large", statuses=(413,)),
    GraphRule(
        "too_many_recipients", _REFUSE, Class.RECIPIENT, "recipient_refused", codes=("ErrorExceededMaxRecipientLimit",),
    ),
    GraphRule("recipient_refused", _REFUSE, Class.RECIPIENT, "recipient_refused", codes=("ErrorInvalidRecipients",)),
    GraphRule(
        "message_refused", _REFUSE, Class.CONTENT, "message_refused",
        codes=("ErrorMimeContentInvalid", "ErrorMimeContentInvalidBase64String"),
    ),
    GraphRule("token_not_accepted", _STOP, Class.IDENTITY, "token_not_accepted", Cause.SIGN_IN, statuses=(401,)),
    GraphRule(
        "me_without_user", _STOP, Class.CONFIG, "settings_do_not_fit", Cause.CONFIGURATION,
        statuses=(400,), fragments=("/me request is only valid",),
    ),
    GraphRule("graph_away", _LATER, Class.NETWORK, "server_busy", statuses=(408, 500, 503)),
    GraphRule("graph_forbidden", _STOP, Class.PERMISSION, "graph_not_allowed", Cause.SIGN_IN, statuses=(403,)),
    GraphRule("unexpected_answer", _STOP, Class.CONFIG, "unexpected_reply", Cause.CONFIGURATION, statuses=(404, 405)),
)  # fmt: skip

_NOBODY_KNOWS = frozenset({502, 504})
"""A gateway answers in place of Graph: whether Graph took the message it does not say."""


def outcome_of_answer(answer: GraphAnswer, *, server: str, now_us: int, command: str = COMMAND) -> Outcome:
    """The outcome of an answer to what sends. A wait that Graph asks for is kept, up to LONGEST_WAIT_US."""
    if answer.status == 202:
        return Sent(f"202 Accepted, request-id {answer.request_id}" if answer.request_id else "202 Accepted")
    if answer.status in _NOBODY_KNOWS:
        text = f"A gateway of Microsoft Graph answered {answer.status}: whether the message was taken is not known."
        return Unknown(_failure(answer, _UNKNOWN_RULE, server, command, text))
    rule = next((rule for rule in RULES if rule.fits(answer)), None) or _rule_by_status(answer)
    failure = _failure(answer, rule, server, command)
    wait_until_us = wait_until(answer.retry_after, now_us)
    if rule.verdict is Verdict.STOPPED:
        return Stopped(failure, rule.cause or StopCause.CONFIGURATION, wait_until_us)
    return TryLater(failure, wait_until_us) if rule.verdict is Verdict.TRY_LATER else Refused(failure)


STEP_RULES = (
    GraphRule(
        "large_mail_not_allowed", _LATER, Class.PERMISSION, "large_mail_not_allowed",
        statuses=(401, 403), codes=("ErrorAccessDenied", "AccessDenied", "Authorization_RequestDenied"),
    ),
    GraphRule("graph_away", _LATER, Class.NETWORK, "server_busy", statuses=(502, 504)),
    GraphRule("draft_lost", _LATER, Class.UNKNOWN, "large_mail_interrupted", statuses=(404, 410)),
)  # fmt: skip
"""Before the message is sent: nothing is uncertain, and what is missing for large mail stops no other."""
UPLOAD_RULE = GraphRule("upload_interrupted", _LATER, Class.UNKNOWN, "large_mail_interrupted")
_NO_MAILBOX = frozenset({"MailboxNotEnabledForRESTAPI", "ErrorInvalidUser", "MailboxNotHostedInExchangeOnline"})


def outcome_of_step(
    answer: GraphAnswer, *, server: str, now_us: int, command: str, is_upload: bool = False
) -> Stopped | TryLater | Refused:
    """The outcome of a refused step before the one that sends. An upload's URL has a sign-in of its own."""
    rule = next((rule for rule in STEP_RULES if rule.fits(answer) and answer.code not in _NO_MAILBOX), None)
    if is_upload and answer.status in (400, 401, 403, 404, 409, 410, 416):
        rule = UPLOAD_RULE
    if rule is not None or answer.status < 400:
        failure = _failure(answer, rule or UPLOAD_RULE, server, command)
        return TryLater(failure, wait_until(answer.retry_after, now_us))
    outcome = outcome_of_answer(answer, server=server, now_us=now_us, command=command)
    assert isinstance(outcome, Stopped | TryLater | Refused)
    return outcome


def wait_until(retry_after: str, now_us: int) -> int | None:
    """`Retry-After` in seconds or as a date (RFC 9110 10.2.3); None when there is none that can be read."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return now_us + min(int(text[:9]) * MICROSECONDS, LONGEST_WAIT_US)
    try:
        at_us = int(email.utils.parsedate_to_datetime(text).timestamp() * MICROSECONDS)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(at_us, now_us), now_us + LONGEST_WAIT_US)


_UNKNOWN_RULE = GraphRule("gateway_timeout", _LATER, Class.NETWORK, "unknown_outcome")


def _rule_by_status(answer: GraphAnswer) -> GraphRule:
    if answer.status >= 500:
        return GraphRule("graph_away", _LATER, Class.NETWORK, "server_busy")
    if 400 <= answer.status < 500:
        return GraphRule("message_refused", _REFUSE, Class.UNKNOWN, "message_refused")
    return GraphRule("unexpected_answer", _LATER, Class.UNKNOWN, "unexpected_reply")


def _failure(answer: GraphAnswer, rule: GraphRule, server: str, command: str, text: str = "") -> Failure:
    said = ": ".join(filter(None, (answer.code, answer.message)))
    return Failure(
        failure_class=rule.failure_class,
        code=rule.code,
        text=text or f"{answer.status} {said}"[:MAX_TEXT].rstrip(),
        remedy_id=rule.remedy_id,
        command=command,
        server=server,
        trace=answer.request_id or None,
    )
