"""The name with which we say hello, when none is set."""

import re
import socket

_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+")


def default_ehlo_name(own_address: str) -> str:
    """The machine's name when it is a full one, otherwise its address as a literal (RFC 5321 4.1.3)."""
    name = socket.gethostname()
    if len(name) <= 253 and _HOST_NAME.fullmatch(name):
        return name
    return f"[IPv6:{own_address}]" if ":" in own_address else f"[{own_address}]"
