"""MAIL FROM and RCPT TO as Exchange Online reads them (RFC 5321 4.1.1, 1870, 3461, 6152, 6531)."""

import re

import msgspec

from postroom.simulator import exchange_replies as replies

_PATH = re.compile(r"(?P<keyword>[A-Z]+):\s*<(?P<address>[^<>]*)>(?P<parameters>.*)", re.IGNORECASE)
_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)+"|[^\s"@<>(),;:\\]+)@(?:[^\s@<>(),;:\\]+)')
_BODY_TYPES = frozenset({"7BIT", "8BITMIME", "BINARYMIME"})
# AUTH= is RFC 4954's parameter of MAIL; RET and ENVID, NOTIFY and ORCPT belong to DSN (RFC 3461).
_MAIL_PARAMETERS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
_RCPT_PARAMETERS = frozenset({"NOTIFY", "ORCPT"})


class Malformed(msgspec.Struct, frozen=True):
    """The reply that says what is wrong with the command."""

    reply: str


class Sender(msgspec.Struct, frozen=True):
    """MAIL FROM: the address ("" for the null sender), and what was declared with it."""

    address: str
    size_bytes: int = 0
    body_type: str = "7BIT"
    is_utf8: bool = False


def parse_mail(argument: str) -> Sender | Malformed:
    parsed = _split_path(argument, "FROM", _MAIL_PARAMETERS)
    if isinstance(parsed, Malformed):
        return parsed
    address, parameters = parsed
    size, body_type = parameters.get("SIZE", "0"), parameters.get("BODY", "7BIT").upper()
    if not (size.isascii() and size.isdigit() and body_type in _BODY_TYPES):
        return Malformed(replies.INVALID_ARGUMENTS)
    is_utf8 = "SMTPUTF8" in parameters
    if address and not _is_address(address, is_utf8=is_utf8):
        return Malformed(replies.INVALID_SENDER)
    return Sender(address, int(size), body_type, is_utf8)


def parse_rcpt(argument: str, *, is_utf8: bool) -> str | Malformed:
    """The recipient's address; `is_utf8` says that SMTPUTF8 was given with MAIL FROM."""
    parsed = _split_path(argument, "TO", _RCPT_PARAMETERS)
    if isinstance(parsed, Malformed):
        return parsed
    if not _is_address(parsed[0], is_utf8=is_utf8):
        return Malformed(replies.INVALID_RECIPIENT)
    return parsed[0]


def parse_chunk(argument: str) -> tuple[int, bool] | Malformed:
    """BDAT: the chunk's size in octets and whether it is the last (RFC 3030 section 2)."""
    size, _, last = argument.partition(" ")
    if not (size.isascii() and size.isdigit()) or last.strip().upper() not in {"", "LAST"}:
        return Malformed(replies.INVALID_ARGUMENTS)
    return int(size), bool(last.strip())


def _split_path(argument: str, keyword: str, known: frozenset[str]) -> tuple[str, dict[str, str]] | Malformed:
    match = _PATH.fullmatch(argument.strip())
    if match is None or match["keyword"].upper() != keyword:
        return Malformed(replies.INVALID_ARGUMENTS)
    pairs = [parameter.partition("=") for parameter in match["parameters"].split()]
    parameters = {name.upper(): value for name, _, value in pairs}
    if not parameters.keys() <= known:
        return Malformed(replies.INVALID_ARGUMENTS)
    return match["address"], parameters


def _is_address(address: str, *, is_utf8: bool) -> bool:
    return (is_utf8 or address.isascii()) and _ADDRESS.fullmatch(address) is not None
