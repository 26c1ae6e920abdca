"""The sentences for states: what a person reads, made from what the store knows. Pure."""

from postroom.console.language import _, ngettext
from postroom.console.times import relative
from postroom.message import RecipientState
from postroom.outcome import Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.store.expiries import Expiry, ExpiryKind
from postroom.store.records import AttemptRow, MailServer, MessageDetail, RecipientRow

_S = RecipientState

STATES = (_S.QUEUED, _S.SENDING, _S.DEFERRED, _S.SCHEDULED, _S.HELD, _S.SENT, _S.FAILED, _S.CANCELLED)
"""In the order of the counters: what is on its way, then what ended."""

_STATE_WORDS = {
    _S.SCHEDULED: "Scheduled",
    _S.QUEUED: "Queued",
    _S.SENDING: "Sending",
    _S.DEFERRED: "Deferred",
    _S.HELD: "Held",
    _S.SENT: "Sent",
    _S.FAILED: "Failed",
    _S.CANCELLED: "Cancelled",
}

PERMISSIONS = {
    "SMTP.Send": _("send mail as the mailbox"),
    "Mail.Send": _("send mail as the mailbox"),
    "Mail.Send.Shared": _("send mail for another mailbox, where that is granted in Exchange"),
    "Mail.ReadWrite": _("read and write the mailbox's mail, for large messages"),
    "offline_access": _("renew access without asking again"),
    "User.Read": _("read who signed in"),
}
"""What each permission that we ask for allows."""

_WAITS = {
    "pace": "waiting for a free minute; the mailbox sends only so many messages a minute",
    "slowed": "waiting because the mail server asked us to slow down",
    "external limit": "waiting until the organisation may send to outside recipients again",
    "lane": "waiting for their turn",
    "a later try": "waiting for its next try after a temporary answer",
    "choice": "waiting for somebody to choose, after a long stop, what is still sent",
    "release": "held until somebody releases it",
    StopCause.PAUSED: "waiting because sending is paused",
    StopCause.NOT_SET_UP: "waiting until the mail server is set up",
    StopCause.SIGN_IN: "waiting until someone signs in again as %(username)s",
    StopCause.CREDENTIAL: "waiting for a new client secret",
    StopCause.SMTP_AUTH_OFF: "waiting until SMTP AUTH is turned on for %(username)s",
    StopCause.DAILY_LIMIT: "waiting until the daily limit of recipients lets mail through again",
    StopCause.MAILBOX_FULL: "waiting until %(username)s has room in its mailbox again",
    StopCause.BANNED: "waiting until Microsoft lifts its block of %(username)s",
    StopCause.CONFIGURATION: "waiting until the settings of the mail server are corrected",
    StopCause.MAIL_SERVER_AWAY: "waiting until the mail server can be reached again",
}


def state_word(state: RecipientState) -> str:
    return _(_STATE_WORDS[state])


def waiting_words(waits_for: str, username: str) -> str:
    """What queued mail waits for, to stand after "Queued: "."""
    sentence = _WAITS.get(waits_for)
    if sentence is None:
        return _("waiting for: %(cause)s", cause=waits_for)
    return _(sentence, username=username or _("the mailbox"))


def expiry_words(expiry: Expiry) -> str:
    """One line of the expiry calendar."""
    if expiry.kind is ExpiryKind.CLIENT_SECRET:
        what = _("Client secret for %(username)s", username=expiry.username)
    elif expiry.kind is ExpiryKind.CERTIFICATE:
        what = _("Certificate of the app for %(username)s", username=expiry.username)
    else:
        what = _("Sign-in of %(username)s, unless it is renewed (weekly, by itself)", username=expiry.username)
    if expiry.days < 0:
        return _("%(what)s: its day has passed", what=what)
    return f"{what}: {ngettext('in %(num)s day', 'in %(num)s days', expiry.days)}"


_ENTRY_TITLES = {"routed": "Way chosen by a rule", "rerouted": "Goes another way"}


def entry_title(kind: str) -> str:
    """The heading of a timeline entry."""
    return _(_ENTRY_TITLES.get(kind, kind.capitalize()))


def server_name(host: str) -> str:
    """Microsoft 365 under its own name, any other mail server under its host's."""
    name = host.partition(":")[0].lower()
    is_microsoft = name.endswith((".office365.com", ".outlook.com", "graph.microsoft.com"))
    return "Microsoft 365" if is_microsoft else name or _("the mail server")


def status_sentence(detail: MessageDetail, server: MailServer, username: str, now_us: int) -> str:
    """The one sentence on top of a message's page."""
    row = detail.row
    name = server_name(detail.attempts[-1].server if detail.attempts else server.host)
    if row.is_partly_failed:
        failed = sum(recipient.state is _S.FAILED for recipient in detail.recipients)
        return _("Partly failed: %(failed)s of %(all)s recipients", failed=failed, all=row.recipient_count)
    if row.state is _S.SENT:
        return _("Sent: accepted by %(name)s", name=name)
    if row.state is _S.QUEUED:
        return _("Queued: %(why)s", why=waiting_words(row.waits_for, username)) if row.waits_for else _("Queued")
    if row.state is _S.SENDING:
        return _("Sending: being handed to %(name)s now", name=name)
    if row.state is _S.DEFERRED:
        return _("Deferred: a temporary problem. %(next)s", next=_next_try(detail.recipients, now_us))
    return _(
        {
            _S.FAILED: "Failed: refused for good",
            _S.HELD: "Held: stopped until somebody releases it",
            _S.CANCELLED: "Cancelled: stopped before it was sent",
            _S.SCHEDULED: "Scheduled: it will be sent later",
        }[row.state]
    )


def _next_try(recipients: tuple[RecipientRow, ...], now_us: int) -> str:
    times = [row.next_attempt_at_us for row in recipients if row.next_attempt_at_us is not None]
    return _("Next try %(when)s.", when=relative(min(times), now_us)) if times else ""


def status_remark(state: RecipientState) -> str:
    """What stands below the status sentence; empty when nothing need be added."""
    if state is _S.SENT:
        return _("Final delivery is up to the receiving system; no mail server can promise more.")
    if state is _S.QUEUED:
        return _("It is stored on disk and leaves by itself.")
    return ""


def outcome_word(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return _("accepted")
        case TryLater():
            return _("try later")
        case Stopped(cause=cause):
            return _("mailbox stopped: %(cause)s", cause=cause)
        case Refused():
            return _("refused")
        case Unknown():
            return _("unknown: it may have been sent")


def outcome_text(outcome: Outcome) -> str:
    """The server's words."""
    return outcome.reply if isinstance(outcome, Sent) else outcome.failure.text


def attempt_outcomes(attempt: AttemptRow) -> list[tuple[Outcome, list[str]]]:
    """Each different outcome of an attempt once, with the recipients it holds for."""
    grouped: list[tuple[Outcome, list[str]]] = []
    for address, outcome in attempt.outcomes:
        for known, addresses in grouped:
            if known == outcome:
                addresses.append(address)
                break
        else:
            grouped.append((outcome, [address]))
    return grouped


def attempt_mark(attempt: AttemptRow) -> str:
    """`pass`, `warn`, `fail` or `now`: the worst outcome colours the attempt."""
    if not attempt.outcomes:
        return "now"
    outcomes = [outcome for _address, outcome in attempt.outcomes]
    if any(isinstance(outcome, Refused) for outcome in outcomes):
        return "fail"
    return "pass" if all(isinstance(outcome, Sent) for outcome in outcomes) else "warn"


def may_retry(detail: MessageDetail) -> bool:
    return any(recipient.state in (_S.FAILED, _S.DEFERRED) for recipient in detail.recipients)


def may_cancel(detail: MessageDetail) -> bool:
    return any(row.state in (_S.QUEUED, _S.DEFERRED, _S.SCHEDULED, _S.HELD) for row in detail.recipients)


def may_hold(detail: MessageDetail) -> bool:
    return any(row.state in (_S.QUEUED, _S.DEFERRED, _S.SCHEDULED) for row in detail.recipients)


def may_release(detail: MessageDetail) -> bool:
    return any(recipient.state is _S.HELD for recipient in detail.recipients)
