"""Our trace field, and dates as mail writes them."""

import re
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz

from postroom.clock import MICROSECONDS
from postroom.ids import public_id
from postroom.message import Reception

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._\-]{0,253}[A-Za-z0-9])?|\[[0-9A-Za-z.:]{2,60}\]")
_LOCAL_USER = re.compile(r"[A-Za-z0-9._\-]{1,64}")


def format_received(
    reception: Reception, *, message_id: int, host_name: str, now_us: int, uses_smtputf8: bool = False
) -> str:
    """Our trace field (RFC 5321 4.4) with the protocol's name of RFC 3848."""
    with_what = f" with {_protocol_name(reception, uses_smtputf8)}" if reception.way == "smtp" else ""
    tls = f" ({reception.tls_version})" if reception.tls_version else ""
    return (
        f"Received: {_origin(reception)}by {host_name} {own_comment(host_name)}{with_what}{tls}\r\n"
        f"\tid {public_id(message_id)}; {format_date(now_us)}\r\n"
    )


def own_comment(host_name: str) -> str:
    """By this we know our own Received fields again."""
    return f"(Postroom at {host_name})"


def format_date(now_us: int) -> str:
    """RFC 5322 3.3, in UTC, whatever the machine's language."""
    now = datetime.fromtimestamp(now_us // MICROSECONDS, UTC)
    return (
        f"{_DAYS[now.weekday()]}, {now.day:02} {_MONTHS[now.month - 1]} {now.year} "
        f"{now.hour:02}:{now.minute:02}:{now.second:02} +0000"
    )


def parse_date(value: bytes) -> int | None:
    """What a Date field says, in microseconds since 1970; None when nobody can tell."""
    try:
        parts = parsedate_tz(value[:128].decode("ascii"))
        return None if parts is None else mktime_tz(parts) * MICROSECONDS
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _origin(reception: Reception) -> str:
    if reception.peer_address:
        helo = reception.helo or ""
        name = helo if _HOST.fullmatch(helo) else "unknown"
        return f"from {name} ({_address_literal(reception.peer_address)})\r\n\t"
    user = reception.local_user or ""
    return f"from localhost (local user {user})\r\n\t" if _LOCAL_USER.fullmatch(user) else ""


def _protocol_name(reception: Reception, uses_smtputf8: bool) -> str:
    extended = "UTF8SMTP" if uses_smtputf8 else "ESMTP"
    return extended + ("S" if reception.tls_version else "") + ("A" if reception.login else "")


def _address_literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
