"""What kind of listener it is, and the limits it holds."""

import msgspec

from postroom.settings import SmtpSettings
from postroom.store.records import App


class ListenerProfile(msgspec.Struct, frozen=True):
    """What a listener asks of its clients."""

    name: str
    needs_tls: bool
    """STARTTLS before a sign-in and before mail."""
    needs_sign_in: bool
    guest: App | None = None
    """Whose mail it is when nobody signed in, where that is allowed."""


SUBMISSION = ListenerProfile("submission", needs_tls=True, needs_sign_in=True)
"""For apps and devices, on port 587 (RFC 6409)."""


def local_profile(guest: App) -> ListenerProfile:
    """No TLS and no sign-in: for this machine only. Whoever signs in sends as that app."""
    return ListenerProfile("local", needs_tls=False, needs_sign_in=False, guest=guest)


class ListenerLimits(msgspec.Struct, frozen=True):
    """Each with its reason; sizes and recipients are the intake's."""

    connection_limit: int = 500
    """Of all clients together: each costs memory."""
    client_connection_limit: int = 100
    """Of one address, so that no client takes all places; a building's devices may share one."""
    idle_timeout_seconds: float = 300
    """For the next command or the next bytes of a message (RFC 5321 4.5.3.2.7 asks for five minutes)."""
    message_timeout_seconds: float = 3_600
    """From 354 to the final dot: a client that drips must end some day."""
    handshake_timeout_seconds: float = 30
    error_limit: int = 20
    """Commands in error, before we hang up: whoever has so many is not a mail client."""
    sign_in_failure_limit: int = 3
    """On one connection."""
    sign_in_delay_seconds: float = 1
    """After a failed sign-in; doubled with each more from the same address."""
    sign_in_delay_limit_seconds: float = 15
    """Devices give up after 20 seconds; a person should still see the reason."""
    linger_seconds: float = 10
    """For the last reply to leave, before a connection is cut."""


def limits_of(settings: SmtpSettings) -> ListenerLimits:
    """The limits that stand in the settings file; the others keep their defaults."""
    return ListenerLimits(
        connection_limit=settings.connection_limit, client_connection_limit=settings.client_connection_limit
    )
