"""What a mail server's reply means for a message and its mailbox: from a reply to an outcome, without I/O.

Whatever is known by its words is in `reply_rules`; what is not is judged by its class (RFC 5321 4.2.1), by the
subject of its enhanced code (RFC 3463 3) and by the command that it answers.
"""

import re

from postroom.deliver.reply_rule import Rule, Verdict
from postroom.deliver.reply_rules import RULES
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater
from postroom.wire.replies import Reply

MAX_TEXT = 2000
"""Letters of a reply that we keep; Exchange's diagnostics repeat themselves beyond."""

# `[SN2PR00CA0018.namprd00.prod.outlook.com 2024-10-10T20:31:23.429Z 08DCE853B9232A86]`, or `[Hostname=…]`.
_TAG = re.compile(r"\[(?:Hostname=)?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]+(?: [^\[\]]{1,100})?)\]")
_MAILBOX_COMMANDS = frozenset({"CONNECT", "EHLO", "STARTTLS", "AUTH"})


def outcome_of(reply: Reply, *, command: str, server: str | None = None) -> Outcome:
    """The outcome of `reply` to the SMTP verb `command` (`CONNECT` for the greeting, `DATA` also for its end).

    A `TryLater` has no time yet, and a `Stopped` none either: `retry` gives them theirs.
    """
    if 200 <= reply.code < 300:
        return Sent(str(reply)[:MAX_TEXT])
    rule = known_rule(reply, command) or _rule_by_class(reply, command)
    failure = Failure(
        failure_class=rule.failure_class,
        code=rule.code,
        text=reply.words[:MAX_TEXT],
        remedy_id=rule.remedy_id,
        smtp_code=reply.code,
        enhanced=reply.enhanced or None,
        command=command,
        server=server,
        trace=find_trace(reply.text),
    )
    if rule.verdict is Verdict.STOPPED:
        return Stopped(failure, rule.cause or StopCause.CONFIGURATION)
    return TryLater(failure) if rule.verdict is Verdict.TRY_LATER else Refused(failure)


def find_trace(text: str) -> str | None:
    """The last bracketed tag of the server, which Microsoft's support asks for."""
    tags = _TAG.findall(text)
    return tags[-1] if tags else None


def known_rule(reply: Reply, command: str) -> Rule | None:
    """The line of the table that decides; None for a reply that is judged by its class."""
    fitting = (rule for rule in RULES if rule.fits(reply, command))
    # Words alone never make a temporary answer permanent.
    return next((rule for rule in fitting if reply.code >= 500 or rule.verdict is not Verdict.REFUSED), None)


def _rule_by_class(reply: Reply, command: str) -> Rule:
    if reply.code < 400:
        return Rule("out_of_step", Verdict.TRY_LATER, FailureClass.LOCAL, "unexpected_reply")
    if reply.code < 500:
        return _temporary(reply)
    if command in _MAILBOX_COMMANDS:
        return _refused_before_mail(command)
    return _permanent(reply, command)


_SUBJECTS = {
    "1": FailureClass.RECIPIENT,
    "2": FailureClass.RECIPIENT,
    "4": FailureClass.NETWORK,
    "6": FailureClass.CONTENT,
    "7": FailureClass.POLICY,
}
"""The second number of an enhanced code says what it is about."""


def _subject_of(reply: Reply) -> FailureClass:
    return _SUBJECTS.get(reply.enhanced[2:3], FailureClass.UNKNOWN)


def _temporary(reply: Reply) -> Rule:
    code = "service_closing" if reply.code == 421 else "temporary_refusal"
    return Rule(code, Verdict.TRY_LATER, _subject_of(reply), "server_busy")


def _refused_before_mail(command: str) -> Rule:
    """Nothing was said about a message yet, so that no message may fail for it."""
    if command == "AUTH":
        cause = StopCause.SIGN_IN
        return Rule("sign_in_refused", Verdict.STOPPED, FailureClass.IDENTITY, "sign_in_not_accepted", cause)
    if command == "CONNECT":
        cause = StopCause.MAIL_SERVER_AWAY
        return Rule("connection_refused_by_server", Verdict.STOPPED, FailureClass.POLICY, "unexpected_reply", cause)
    code = "hello_refused" if command == "EHLO" else "starttls_refused"
    return Rule(code, Verdict.STOPPED, FailureClass.CONFIG, "unexpected_reply", StopCause.CONFIGURATION)


def _permanent(reply: Reply, command: str) -> Rule:
    if command == "RCPT":
        code = "recipient_unknown" if reply.enhanced.startswith("5.1.") else "recipient_refused"
        return Rule(code, Verdict.REFUSED, FailureClass.RECIPIENT, code)
    if command == "MAIL":
        return Rule("sender_refused", Verdict.REFUSED, FailureClass.PERMISSION, "sender_refused")
    return Rule("message_refused", Verdict.REFUSED, _subject_of(reply), "message_refused")
