"""Our own test mail: it says what sent it, so that whoever finds it in a mailbox can tell."""

import secrets
from html import escape

import msgspec

from postroom import __version__
from postroom.accept.composer import compose_message
from postroom.accept.message_fields import MessageFields, NamedAddress
from postroom.accept.received import format_date

_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"


class _Told(msgspec.Struct, frozen=True):
    """What a test mail tells about itself; empty values are left out."""

    sender: str
    recipient: str
    instance_name: str
    host_name: str
    mail_server: str
    username: str
    code_word: str
    now_us: int | None


def compose_test_mail(
    *,
    sender: str,
    sender_name: str,
    recipient: str,
    instance_name: str,
    code_word: str,
    host_name: str = "",
    mail_server: str = "",
    username: str = "",
    now_us: int | None = None,
) -> bytes:
    """The message as it is handed to a `Submission`: text and HTML, no pictures, ASCII unless an address is not.

    `host_name` is this machine's, `mail_server` the way out, such as `smtp.office365.com:587`, and `username` who
    signs in there. Message-ID, and Date without `now_us`, are the submission's to add, as to everything that comes in.
    """
    told = _Told(sender, recipient, instance_name, host_name, mail_server, username, code_word, now_us)
    date = (("Date", format_date(now_us)),) if now_us is not None else ()
    fields = MessageFields(
        sender=NamedAddress(sender, one_line(sender_name)),
        to=(NamedAddress(recipient),),
        subject=f"{one_line(instance_name)}: test mail {code_word}",
        text=_text(told),
        html=_html(told),
        # RFC 3834: nobody answers it with an absence notice.
        headers=(*date, ("Auto-Submitted", "auto-generated")),
    )
    return b"".join(compose_message(fields))


def make_code_word() -> str:
    """By which a person knows this message from the one before; easy to read aloud."""
    return "".join(secrets.choice(_LETTERS) for _number in range(4))


def one_line(text: str) -> str:
    """What a person called something, fit for a header."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _facts(told: _Told) -> list[tuple[str, str]]:
    is_other = told.username not in ("", told.sender)
    facts = [
        ("Code word", told.code_word),
        ("Sent by", f"{told.instance_name} (Postroom {__version__})"),
        ("On", told.host_name),
        ("Through", told.mail_server),
        ("Sender", f"{told.sender}, signed in as {told.username}" if is_other else told.sender),
        ("To", told.recipient),
        ("At", format_date(told.now_us) if told.now_us is not None else ""),
    ]
    return [(name, one_line(value)) for name, value in facts if value]


_FIRST = "This is a test mail. It has arrived, so mail that apps and devices hand to Postroom can be sent."
_HOW_TO_READ = (
    "How long each server had it stands in the message's headers: each Received line is one server, the newest on top. "
    "In Outlook: File > Properties > Internet headers."
)
_IF_UNEXPECTED = "If you did not expect it: somebody chose your address to try the settings. There is nothing to do."


def _text(told: _Told) -> str:
    width = max(len(name) for name, _ in _facts(told)) + 2
    lines = [f"{name + ':':{width}}{value}" for name, value in _facts(told)]
    return "\n".join([_FIRST, "", *lines, "", _HOW_TO_READ, "", _IF_UNEXPECTED, ""])


def _html(told: _Told) -> str:
    """No colours of its own, so that light and dark both stay readable."""
    rows = "\n".join(
        f'<tr><th align="left">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in _facts(told)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark"><title>Test mail</title></head>\n'
        f"<body>\n<p>{escape(_FIRST)}</p>\n<table>\n{rows}\n</table>\n<p>{escape(_HOW_TO_READ)}</p>\n"
        f"<p>{escape(_IF_UNEXPECTED)}</p>\n</body>\n</html>\n"
    )
