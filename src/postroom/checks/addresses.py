"""Whether a text can be a mail address or a host name, and the sentence when it cannot. Pure.

RFC 5321 4.1.2 for the address, RFC 6531 for letters beyond ASCII, RFC 5890 for such domains. Quoted local parts and
address literals are mail too, but nobody sends from them, so they are refused here as mistakes in typing.
"""

import re

import idna

_ATOM = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+)*"
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_ADDRESS_LITERAL = re.compile(r"\[?([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-f:]*:[0-9a-f:.]+)\]?", re.IGNORECASE)


def explain_address(text: str) -> str | None:
    """Why this is no mail address, as the rest of a sentence; None when it is one."""
    if not text:
        return "is missing"
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        return "holds a space or an invisible character"
    if "," in text or ";" in text:
        return "must be one address only"
    if "<" in text or ">" in text:
        return "must be the address alone, without a name or angle brackets"
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        return "must have the form name@example.com"
    return _explain_local(local) or explain_domain(domain)


def explain_domain(domain: str) -> str | None:
    """Why this is no domain of mail; None when it is one."""
    ascii_domain = to_ascii(domain)
    if ascii_domain is None:
        return f"has a domain that cannot exist ({domain})"
    labels = ascii_domain.split(".")
    if len(labels) < 2:
        return f"has a domain without a dot ({domain})"
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit() or len(ascii_domain) > 253:
        return f"has a domain that cannot exist ({domain})"
    return None


def explain_host(host: str) -> str | None:
    """Why this is no host name; None when it is one. A single label or an address of IP is allowed."""
    if not host:
        return "is missing"
    if "://" in host or "/" in host:
        return "must be the name alone, without smtp:// or a path"
    if _ADDRESS_LITERAL.fullmatch(host):
        return None
    if ":" in host:
        return "must be the name alone; the port has its own field"
    ascii_host = to_ascii(host.removesuffix("."))
    if ascii_host is None or not all(_LABEL.fullmatch(label) for label in ascii_host.split(".")):
        return "is no host name such as smtp.office365.com"
    return None


def to_ascii(domain: str) -> str | None:
    """The form of a domain that DNS knows; None when there is none."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None


def _explain_local(local: str) -> str | None:
    if len(local.encode()) > 64:
        return "has more than 64 bytes before the @ sign"
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "has a dot too many before the @ sign"
    if not _ATOM.fullmatch(local):
        return "holds a character before the @ sign that cannot stand there"
    return None
