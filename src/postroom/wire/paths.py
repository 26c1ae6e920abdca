"""Mailboxes and paths: RFC 5321 4.1.2, with the letters that SMTPUTF8 adds (RFC 6531 3.3)."""

import ipaddress
import re

ADDRESS_LIMIT_BYTES = 254
"""A path has 256 octets with its angle brackets (RFC 5321 4.5.3.1.3). The limit of 64 octets for what stands before
the `@` is not held: addresses for replies that large services make are longer, and arrive."""

LABEL_LIMIT_BYTES = 63  # RFC 1035 2.3.4

_QUOTED = r'"(?:\\[\x20-\x7e]|[^"\\\x00-\x1f\x7f])*"'
_BRACKETED_PATH = re.compile(rf'\s*<((?:{_QUOTED}|[^">])*)>')
_BARE_PATH = re.compile(rf'\s*((?:{_QUOTED}|[^\s"<>])+)')
_SOURCE_ROUTE = re.compile(r"@[^:]*:")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_LOCAL_PART = re.compile(rf"{_ATOM}(?:\.{_ATOM})*|{_QUOTED}")
_LABEL = re.compile(r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9\-\u0080-\U0010ffff]*[A-Za-z0-9\u0080-\U0010ffff])?")


class AddressError(ValueError):
    """The address is not one; the text is a sentence that says why."""


def split_path(text: str) -> tuple[str, str] | None:
    """The path's inside, and what follows it; None when no path stands there.

    A path without its angle brackets is read too: devices write `MAIL FROM:scanner@example.com`.
    """
    found = _BRACKETED_PATH.match(text) or _BARE_PATH.match(text)
    if found is None:
        return None
    rest = text[found.end() :]
    if rest and not rest[0].isspace():
        return None
    return _without_route(found[1].strip()), rest.strip()


def _without_route(path: str) -> str:
    """RFC 5321 appendix C: a source route is read and ignored."""
    route = _SOURCE_ROUTE.match(path)
    return path[route.end() :] if route else path


def check_address(address: str) -> str:
    """The same address when it has the form of one, ASCII or not; AddressError says what is wrong with it."""
    shown = f'"{address[:80]}"'
    if not address.isprintable() or len(address.encode(errors="replace")) > ADDRESS_LIMIT_BYTES:
        raise AddressError(f"{shown} is longer than {ADDRESS_LIMIT_BYTES} bytes or has characters that cannot be read")
    local_part, at, domain = address.rpartition("@")
    if not at or not local_part:
        raise AddressError(f"{shown} is not a complete address; write it like name@example.com")
    if not _LOCAL_PART.fullmatch(local_part):
        raise AddressError(f"{shown} is not an address: check what stands before the @")
    if not _is_domain(domain):
        raise AddressError(f"{shown} is not an address: check what stands after the @")
    return address


def _is_domain(domain: str) -> bool:
    if domain.startswith("["):
        return _is_address_literal(domain)
    labels = domain.split(".")
    return all(len(label.encode()) <= LABEL_LIMIT_BYTES and _LABEL.fullmatch(label) for label in labels)


def _is_address_literal(domain: str) -> bool:
    """RFC 5321 4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]."""
    inside = domain[1:-1]
    is_version_6 = inside[:5].lower() == "ipv6:"
    try:
        found = ipaddress.ip_address(inside[5:] if is_version_6 else inside)
    except ValueError:
        return False
    return domain.endswith("]") and found.version == (6 if is_version_6 else 4)
