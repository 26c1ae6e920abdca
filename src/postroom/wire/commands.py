"""Command lines as a server reads them: RFC 5321 4.1.1, with the parameters of SIZE, 8BITMIME, SMTPUTF8, AUTH, DSN."""

import re

import msgspec

from postroom.wire.paths import split_path
from postroom.wire.xtext import decoded_length, is_utf8_xtext, is_xtext

COMMAND_LIMIT_BYTES = 2048
"""512 octets and what each extension adds (RFC 5321 4.5.3.1.4): AUTH= alone adds 500."""

AUTH_LIMIT_BYTES = 12_288
"""RFC 4954 4.: a sign-in's lines may be this long, with their CRLF."""

ENVELOPE_ID_LIMIT = 100
"""Characters of ENVID before they are encoded (RFC 3461 4.4)."""

ORIGINAL_RECIPIENT_LIMIT = 500
"""Characters of ORCPT (RFC 3461 4.2)."""

_NOTIFY = frozenset({"SUCCESS", "FAILURE", "DELAY"})
_ONCE = frozenset({"RET", "ENVID", "NOTIFY", "ORCPT"})  # RFC 3461 4.
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9\-]{1,64}")
_SIZE_DIGITS = 20  # RFC 1870 3.


class CommandError(ValueError):
    """A command that cannot be carried out as it was written; its text is the sentence of the reply."""

    def __init__(self, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.enhanced = enhanced


class Command(msgspec.Struct, frozen=True):
    """A verb in upper case and what follows it."""

    verb: str
    argument: str


class MailFrom(msgspec.Struct, frozen=True):
    """`MAIL FROM`, read but not judged: `sender` is empty for the null sender and may be no address at all."""

    sender: str
    size_bytes: int | None = None
    is_eight_bit: bool = False
    uses_smtputf8: bool = False
    return_content: str = ""
    """RET: `FULL`, `HDRS` or empty."""
    envelope_id: str = ""
    """ENVID, in xtext as it came."""


class RcptTo(msgspec.Struct, frozen=True):
    """`RCPT TO`, read but not judged."""

    recipient: str
    notify: tuple[str, ...] = ()
    """`NEVER` alone, or some of `SUCCESS`, `FAILURE`, `DELAY`; empty when nothing was said."""
    original_recipient: str = ""
    """ORCPT as it came: address type, `;`, xtext."""


def parse_command(line: bytes) -> Command:
    """A line without its CRLF. CommandError when it holds what no command may: NUL, bare CR or LF."""
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise CommandError(500, "5.5.2", "The line holds a bare CR, a bare LF or NUL; SMTP lines end with CR LF")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise CommandError(500, "5.5.2", "The line is neither ASCII nor UTF-8") from None
    verb, _, argument = text.strip().replace("\t", " ").partition(" ")
    return Command(verb.upper(), argument.strip())


def parse_mail(argument: str) -> MailFrom:
    """What follows `MAIL`. Old clients' ways are read: lower case, a space after the colon, no angle brackets."""
    sender, parameters = _split_argument(argument, "FROM", "MAIL FROM:<name@example.com>")
    mail = MailFrom(sender)
    for name, value in parameters:
        mail = _take_mail_parameter(mail, name, value)
    return mail


def parse_rcpt(argument: str) -> RcptTo:
    """What follows `RCPT`."""
    recipient, parameters = _split_argument(argument, "TO", "RCPT TO:<name@example.com>")
    if not recipient:
        raise CommandError(501, "5.1.3", "The recipient is empty; write RCPT TO:<name@example.com>")
    rcpt = RcptTo(recipient)
    for name, value in parameters:
        rcpt = _take_rcpt_parameter(rcpt, name, value)
    return rcpt


def _take_rcpt_parameter(rcpt: RcptTo, name: str, value: str | None) -> RcptTo:
    match name:
        case "NOTIFY":
            return msgspec.structs.replace(rcpt, notify=_parse_notify(value or ""))
        case "ORCPT":
            return msgspec.structs.replace(rcpt, original_recipient=_parse_original_recipient(value or ""))
        case _:
            raise _unknown_parameter(name, "RCPT TO")


def _parse_notify(value: str) -> tuple[str, ...]:
    """RFC 3461 4.1."""
    wishes = tuple(value.upper().split(","))
    if wishes == ("NEVER",) or (set(wishes) <= _NOTIFY and len(set(wishes)) == len(wishes)):
        return wishes
    raise CommandError(501, "5.5.4", "NOTIFY of RCPT TO is NEVER, or some of SUCCESS,FAILURE,DELAY")


def _parse_original_recipient(value: str) -> str:
    """RFC 3461 4.2; letters beyond ASCII as RFC 6533 3. has them."""
    address_type, _, text = value.partition(";")
    is_text = is_utf8_xtext(text) if address_type.lower() == "utf-8" else is_xtext(text)
    if _ADDRESS_TYPE.fullmatch(address_type) and is_text and len(value) <= ORIGINAL_RECIPIENT_LIMIT:
        return value
    raise CommandError(501, "5.5.4", "ORCPT of RCPT TO is written rfc822;name@example.com, with + and = as +2B and +3D")


def _split_argument(argument: str, word: str, example: str) -> tuple[str, list[tuple[str, str | None]]]:
    head, colon, rest = argument.partition(":")
    path = split_path(rest) if colon and head.strip().upper() == word else None
    if path is None:
        raise CommandError(501, "5.5.4", f"The command was not understood; write {example}")
    parameters = [_split_parameter(text) for text in path[1].split()]
    names = [name for name, _ in parameters if name in _ONCE]
    if len(set(names)) < len(names):
        raise CommandError(501, "5.5.4", f"Each of {', '.join(dict.fromkeys(names))} may be said once")
    return path[0], parameters


def _split_parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name.upper(), value if equals else None


def _take_mail_parameter(mail: MailFrom, name: str, value: str | None) -> MailFrom:
    match name, value.upper() if value is not None else None:
        case "SIZE", str(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _SIZE_DIGITS:
            return msgspec.structs.replace(mail, size_bytes=int(digits))
        case "BODY", "7BIT":
            return mail
        case "BODY", "8BITMIME":
            return msgspec.structs.replace(mail, is_eight_bit=True)
        case "BODY", "BINARYMIME":
            raise CommandError(501, "5.5.4", "BODY=BINARYMIME is not offered here; send 8BITMIME, encoded as base64")
        case "RET", ("FULL" | "HDRS") as content:
            return msgspec.structs.replace(mail, return_content=content)
        case "ENVID", str() if is_xtext(value or "") and decoded_length(value or "") <= ENVELOPE_ID_LIMIT:
            return msgspec.structs.replace(mail, envelope_id=value or "")
        case "SMTPUTF8", None:
            return msgspec.structs.replace(mail, uses_smtputf8=True)
        case "AUTH", str():  # who first handed the message in (RFC 4954 5.): we know who signed in here
            return mail
        case (("SIZE" | "BODY" | "SMTPUTF8" | "AUTH" | "RET" | "ENVID"), _):
            raise CommandError(501, "5.5.4", f"The parameter {name} of MAIL FROM has a value that is not allowed")
        case _:
            raise _unknown_parameter(name, "MAIL FROM")


def _unknown_parameter(name: str, command: str) -> CommandError:
    return CommandError(555, "5.5.4", f"The parameter {name[:40]} of {command} is not known here")
