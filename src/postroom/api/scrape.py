"""What is read at a scrape, by the name of its metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from postroom import __version__
from postroom.clock import MICROSECONDS
from postroom.ids import public_id
from postroom.message import MailboxState
from postroom.metrics import Samples, Values
from postroom.store.figures import Figures, MailboxFigures
from postroom.store.records import Mailbox


@dataclass(frozen=True)
class Monitors:
    """What monitors may ask of rooms that the API does not know."""

    connections: Callable[[], Mapping[tuple[str, str], int]] = dict
    """Open ones, by listener and version of TLS."""
    token_ends: Callable[[], Mapping[tuple[int, Any], int]] = dict
    """When each access token ends, by mailbox and resource."""
    is_listening: Callable[[], bool] = lambda: True
    certificate_ends: datetime | None = None
    """That of the SMTP listeners."""
    is_open_to_loopback: bool = False


def process_values(monitors: Monitors, is_ready: bool, disk_free_bytes: int) -> dict[str, Samples]:
    """What is known without the store."""
    ends = monitors.certificate_ends
    return {
        "up": [([], 1)],
        "build_info": [([__version__], 1)],
        "ready": [([], float(is_ready))],
        "disk_free_bytes": [([], disk_free_bytes)],
        "smtp_connections": [
            ([listener, tls or "none"], number) for (listener, tls), number in monitors.connections().items()
        ],
        "oauth_token_expiry_timestamp_seconds": [
            ([public_id(mailbox_id), resource], ends_at_us / MICROSECONDS)
            for (mailbox_id, resource), ends_at_us in monitors.token_ends().items()
        ],
        "credential_expiry_timestamp_seconds": [(["tls_certificate", ""], ends.timestamp())] if ends else [],
    }


def store_values(figures: Figures, now_us: int) -> Values:
    """What the store knows."""
    oldest_us, canary = figures.oldest_received_at_us, figures.canary
    canary_age_us = canary.age_us(now_us)
    values: dict[str, Samples] = {
        "queue_messages": [([state.value], number) for state, number in figures.messages.items()],
        "queue_recipients": [([state.value], number) for state, number in figures.recipients.items()],
        "queue_waiting_recipients": [([cause], number) for cause, number in figures.waiting_by_cause.items()],
        "queue_oldest_age_seconds": [([], max(0, now_us - oldest_us) / MICROSECONDS if oldest_us is not None else 0.0)],
        "messages_finished": [([*labels], number) for labels, number in figures.finished.items()],
        "last_accepted_timestamp_seconds": _once(figures.last_sent_at_us),
        "canary_age_seconds": _once(canary_age_us),
        "canary_period_seconds": _once(canary.every_us if canary.is_on else None),
        "mail_server_ready": _ways(figures),
        "mailbox_ready": [],
        "mailbox_state": [],
        "quota_used_ratio": [],
        "credential_expiry_timestamp_seconds": [],
    }
    for mailbox in figures.mailboxes:
        for name, labels, number in _mailbox_values(mailbox):
            values[name].append((labels, number))
    return values


def _ways(figures: Figures) -> Samples:
    ready = {it.mailbox.mailbox_id for it in figures.mailboxes if _may_send(it.mailbox)}
    return [
        (
            [public_id(server.mail_server_id), public_id(server.mailbox_id)],
            float(server.is_set_up and server.cause is None and server.mailbox_id in ready),
        )
        for server in figures.mail_servers
    ]


def _may_send(mailbox: Mailbox) -> bool:
    return mailbox.state in (MailboxState.READY, MailboxState.SLOWED)


def _once(at_us: int | None) -> Samples:
    return [([], at_us / MICROSECONDS)] if at_us is not None else []


def _mailbox_values(figures: MailboxFigures) -> list[tuple[str, list[str], float]]:
    mailbox = figures.mailbox
    name = public_id(mailbox.mailbox_id)
    found: list[tuple[str, list[str], float]] = [
        ("mailbox_ready", [name], float(_may_send(mailbox))),
        ("mailbox_state", [name, mailbox.state.value, mailbox.cause or ""], 1),
        (
            "quota_used_ratio",
            [name, "messages_a_minute"],
            figures.messages_last_minute / figures.message_limit_a_minute,
        ),
        ("quota_used_ratio", [name, "recipients_a_day"], figures.recipients_last_day / mailbox.recipient_limit_a_day),
    ]
    if figures.external is not None:
        used = figures.external.used / figures.external.limit
        found.append(("quota_used_ratio", [name, "external_recipients_a_day"], used))
    for expiry in figures.expiries:
        ends = _begin_of(expiry.ends_on)
        found.append(("credential_expiry_timestamp_seconds", [expiry.kind.value, name], ends))
    return found


def _begin_of(day: date) -> float:
    """The earliest moment of a day on which something ends."""
    return datetime.combine(day, time(), UTC).timestamp()
