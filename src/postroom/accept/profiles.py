"""What kind of listener it is, and the limits it holds."""

import msgspec

from postroom.settings import SmtpSettings
from postroom.store.records import App


class ListenerProfile(msgspec.Struct, frozen=True):
    """What a listener asks of its clients."""

    name: str
    needs_tls: bool
    """STARTTLS before a sign-in and before mail; of named devices only where their apps do not allow plain text."""
    begins_with_tls: bool = False
    """TLS before the greeting."""
    knows_devices: bool = False
    """Only clients that an app names by their address; what apps allow to old devices holds here, and only here."""
    serves_this_machine: bool = False
    """No sign-in asked: whose mail it is, the system says, or it is the app of this machine."""
    guest: App | None = None
    """Whose mail it is when nobody signed in, where that does not depend on the client."""


SUBMISSION = ListenerProfile("submission", needs_tls=True)
"""For apps and devices, on port 587 (RFC 6409)."""

IMPLICIT_TLS = ListenerProfile("implicit_tls", needs_tls=True, begins_with_tls=True)
"""For the same, on port 465 (RFC 8314 3.3)."""

LOCAL = ListenerProfile("local", needs_tls=False, serves_this_machine=True)
"""For programs of this machine, on loopback."""

SENDMAIL = ListenerProfile("sendmail", needs_tls=False, serves_this_machine=True)
"""For `sendmail`, on a Unix socket: the system says whose process it is."""

DEVICE = ListenerProfile("device", needs_tls=True, knows_devices=True)
"""For old devices, each named by its address."""


def local_profile(guest: App) -> ListenerProfile:
    """No TLS and no sign-in, and everybody's mail is the guest's. Whoever signs in sends as that app."""
    return ListenerProfile("local", needs_tls=False, guest=guest)


class ListenerLimits(msgspec.Struct, frozen=True):
    """Each with its reason; sizes and recipients are the intake's. They hold for all listeners together."""

    connection_limit: int = 500
    """Of all clients together: each costs memory, see `SmtpServer`."""
    client_connection_limit: int = 100
    """Of one address, so that no client takes all places; a building's devices may share one."""
    idle_timeout_seconds: float = 300
    """For the next command or the next bytes of a message (RFC 5321 4.5.3.2.7 asks for five minutes)."""
    stranger_timeout_seconds: float = 60
    """The same before a sign-in: who holds connections open without a word must not hold them for long."""
    message_timeout_seconds: float = 3_600
    """From 354 to the final dot, or from the first BDAT to the last: a client that drips must end some day."""
    handshake_timeout_seconds: float = 30
    """For TLS, and for a load balancer's PROXY header."""
    error_limit: int = 20
    """Commands in error, before we hang up: whoever has so many is not a mail client."""
    idle_command_limit: int = 100
    """Of NOOP, RSET, HELP and their like between two messages, before we hang up: a flood of them slows the others."""
    sign_in_failure_limit: int = 3
    """On one connection."""
    sign_in_delay_seconds: float = 1
    """After a failed sign-in; doubled with each more from the same address, or under the same name."""
    sign_in_delay_limit_seconds: float = 15
    """Devices give up after 20 seconds; a person should still see the reason."""
    linger_seconds: float = 10
    """For the last reply to leave, before a connection is cut."""


def limits_of(settings: SmtpSettings) -> ListenerLimits:
    """The limits that stand in the settings file; the others keep their defaults."""
    return ListenerLimits(
        connection_limit=settings.connection_limit, client_connection_limit=settings.client_connection_limit
    )
