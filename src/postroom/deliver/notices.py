"""Notices: what a sender is told of a message that failed or is late, as mail (RFC 3464, RFC 6522). Pure.

A notice says first what happened and what to do, in the words of the remedy; what programs read stands behind.
"""

import quopri
from collections.abc import Sequence
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr

import msgspec

from postroom.clock import DAY_US, HOUR_US, MICROSECONDS
from postroom.ids import public_id
from postroom.outcome import Failure
from postroom.remedies import fill, remedy
from postroom.store.notices_due import DELAY, NoticeDue
from postroom.store.records import RecipientRow

SUBJECT_LETTERS = 80
DIAGNOSTIC_LETTERS = 900
"""With its name well below the 998 bytes of a line, in whatever letters."""


class NoticeFrom(msgspec.Struct, frozen=True):
    """Who reports, and as whom."""

    host_name: str
    instance_name: str
    sender: str


def compose_notice(notice: NoticeDue, original: bytes, recipient: str, made_by: NoticeFrom) -> bytes:
    """The whole message. `original` is the head of the one it is about, or all of it; Message-ID is not made here."""
    boundary = f"=_{public_id(notice.notice_id)}_{public_id(notice.message_id)}"
    fields = [
        ("From", formataddr((_one_line(made_by.instance_name), made_by.sender))),
        ("To", recipient),
        ("Subject", _encoded(_subject(notice))),
        ("Date", _date(notice.made_at_us)),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834: nobody answers it
        ("X-Auto-Response-Suppress", "All"),
        *((name, notice.internet_message_id) for name in ("In-Reply-To", "References") if _has_message_id(notice)),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'),
    ]
    parts = (_words_part(notice, made_by), _status_part(notice, made_by.host_name), _original_part(notice, original))
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return _head(fields) + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def _subject(notice: NoticeDue) -> str:
    what = "Not sent yet" if notice.kind == DELAY else "Could not be sent"
    subject = _one_line(notice.subject)[:SUBJECT_LETTERS]
    return f"{what}: {subject}" if subject else what


def _encoded(subject: str) -> str:
    charset = "us-ascii" if subject.isascii() else "utf-8"
    return Header(subject, charset, header_name="Subject").encode(linesep="\r\n")


def _head(fields: Sequence[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("utf-8", "replace")


def _part(content_type: str, encoding: str, body: bytes) -> bytes:
    return _head((("Content-Type", content_type), ("Content-Transfer-Encoding", encoding))) + b"\r\n" + body


# ---- for people


def _words_part(notice: NoticeDue, made_by: NoticeFrom) -> bytes:
    text = _words(notice, made_by).encode("utf-8", "replace")
    return _part("text/plain; charset=utf-8", "quoted-printable", _quoted(text))


def _words(notice: NoticeDue, made_by: NoticeFrom) -> str:
    paragraphs = [_opening(notice), _what_it_was(notice)]
    paragraphs += [_about(notice, failure, recipients) for failure, recipients in _by_failure(notice.recipients)]
    if notice.kind == DELAY:
        paragraphs.append(
            f"It is tried again by itself, for {_span(notice.lifetime_us)} in all. Nothing is to be done."
        )
    paragraphs.append(f"-- \n{made_by.instance_name} on {made_by.host_name}, message {public_id(notice.message_id)}")
    return "\n\n".join(paragraphs) + "\n"


def _opening(notice: NoticeDue) -> str:
    if notice.kind == DELAY:
        return "This message has not been sent yet. It is not lost: it waits for its next try."
    return "This message could not be sent, and is not tried again by itself."


def _what_it_was(notice: NoticeDue) -> str:
    lines = [
        f"Subject:   {notice.subject or '(none)'}",
        f"From:      {notice.header_from or notice.envelope_sender}",
        f"Handed in: {_date(notice.received_at_us)} by {notice.app.name}",
    ]
    return "\n".join(lines)


def _about(notice: NoticeDue, failure: Failure | None, recipients: Sequence[str]) -> str:
    lines = ["For " + ", ".join(recipients) + ":"]
    if failure is None:
        return lines[0] + "\n  the reason is not known."
    values = {
        "sender": notice.header_from or notice.envelope_sender,
        "recipient": recipients[0],
        "host": (failure.server or notice.mail_server).partition(":")[0],
    }
    cure = fill(remedy(failure.remedy_id), values)
    lines += [f"  {cure.title}. {cure.meaning}", f"  What the mail server said: {failure.text}"]
    if notice.kind != DELAY:
        lines += [f"  {number}. {step.text}" for number, step in enumerate(cure.steps, start=1)]
        lines.append(f"  Who can do it: {cure.who}")
    return "\n".join(lines)


def _by_failure(recipients: Sequence[RecipientRow]) -> list[tuple[Failure | None, list[str]]]:
    """Recipients with the same trouble are told of together."""
    found: list[tuple[Failure | None, list[str]]] = []
    for recipient in recipients:
        for failure, addresses in found:
            if failure == recipient.failure:
                addresses.append(recipient.address)
                break
        else:
            found.append((recipient.failure, [recipient.address]))
    return found


def _span(microseconds: int) -> str:
    if microseconds % DAY_US == 0:
        days = microseconds // DAY_US
        return f"{days} day{'s' if days > 1 else ''}"
    return f"{round(microseconds / HOUR_US)} hours"


# ---- for programs


def _status_part(notice: NoticeDue, host_name: str) -> bytes:
    """RFC 3464 2: fields of the message, then of each recipient, blank lines between them."""
    blocks = [_message_fields(notice, host_name)]
    blocks += [_recipient_fields(notice, recipient) for recipient in notice.recipients]
    body = b"\r\n".join(_head(block) for block in blocks)
    # Addresses beyond ASCII have a form of their own (RFC 6533).
    kind = "delivery-status" if body.isascii() else "global-delivery-status"
    return _part(f"message/{kind}", "7bit" if body.isascii() else "8bit", body)


def _message_fields(notice: NoticeDue, host_name: str) -> list[tuple[str, str]]:
    fields = [("Reporting-MTA", f"dns; {host_name}"), ("Arrival-Date", _date(notice.received_at_us))]
    if notice.dsn.envelope_id:
        fields.insert(0, ("Original-Envelope-Id", notice.dsn.envelope_id))
    return fields


def _recipient_fields(notice: NoticeDue, recipient: RecipientRow) -> list[tuple[str, str]]:
    failure = recipient.failure
    wish = notice.dsn.recipients.get(recipient.address)
    fields = []
    if wish is not None and wish.original_recipient:
        fields.append(("Original-Recipient", _one_line(wish.original_recipient)))
    kind = "rfc822" if recipient.address.isascii() else "utf-8"
    fields.append(("Final-Recipient", f"{kind}; {recipient.address}"))
    fields.append(("Action", "delayed" if notice.kind == DELAY else "failed"))
    fields.append(("Status", _status(notice, failure)))
    if failure is not None and failure.server:
        fields.append(("Remote-MTA", f"dns; {failure.server.partition(':')[0]}"))
    if failure is not None and failure.smtp_code:
        said = f"{failure.smtp_code} {failure.enhanced or ''} {failure.text}"
        fields.append(("Diagnostic-Code", f"smtp; {_ascii(_one_line(said))}"))
    fields.append(("Last-Attempt-Date", _date(recipient.changed_at_us)))
    return fields


def _status(notice: NoticeDue, failure: Failure | None) -> str:
    """The class says whether it ended; the server's own code where it has the same class (RFC 3463)."""
    wanted = "4" if notice.kind == DELAY else "5"
    enhanced = (failure.enhanced if failure is not None else None) or ""
    if enhanced.startswith(f"{wanted}."):
        return enhanced
    if failure is not None and failure.code in ("too_old", "expired"):
        return "4.4.7" if wanted == "4" else "5.4.7"
    return f"{wanted}.0.0"


def _original_part(notice: NoticeDue, original: bytes) -> bytes:
    """What was handed in: its header, or all of it where the sender asked for that (RET=FULL)."""
    if _is_whole(notice, original) and original.isascii():
        return _part("message/rfc822", "7bit", original)
    head = original.partition(b"\r\n\r\n")[0] + b"\r\n"
    return _part("text/rfc822-headers; charset=utf-8", "quoted-printable", _quoted(head))


def _quoted(content: bytes) -> bytes:
    """Quoted-printable, with CR LF (RFC 2045 6.7)."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return quopri.encodestring(lines).replace(b"\n", b"\r\n")


def _is_whole(notice: NoticeDue, original: bytes) -> bool:
    return notice.dsn.return_content == "FULL" and notice.body is not None and len(original) == notice.body.size_bytes


def _has_message_id(notice: NoticeDue) -> bool:
    text = notice.internet_message_id
    return text.isascii() and text.isprintable() and " " not in text and text.startswith("<") and text.endswith(">")


def _one_line(text: str) -> str:
    visible = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(visible.split())[:DIAGNOSTIC_LETTERS]


def _ascii(text: str) -> str:
    """Only addresses may be more in a status (RFC 6533)."""
    return text.encode("ascii", "replace").decode()


def _date(at_us: int) -> str:
    return format_datetime(datetime.fromtimestamp(at_us / MICROSECONDS, UTC))
