"""Comparing mail addresses as people mean them."""

import idna


def normal_address(address: str) -> str:
    """Lower case, and the domain in its ASCII form (RFC 5890), so that two spellings of one address are equal.

    Mailboxes at Microsoft do not differ by capitals. What is no address is only made lower case.
    """
    lower = address.strip().lower()
    local, at, domain = lower.rpartition("@")
    if not at or domain.isascii():
        return lower
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError:
        return lower


def is_same_address(one: str, other: str) -> bool:
    return normal_address(one) == normal_address(other)
