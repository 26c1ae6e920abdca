"""What an Exchange organisation remembers: values without behaviour, read by the rules of the front end.

`ExchangeSettings` and all in it take effect late (`Organisation.set_propagation`); `MailboxLimits` and
`OrganisationLimits` count at once.
"""

from dataclasses import dataclass, field
from typing import Literal

Right = Literal["send_as", "send_on_behalf", "full_access"]
# `disabled` is the state from the end of December 2026 that an administrator may undo, `removed` the one after
# it (microsoft365.md 8.1).
BasicAuth = Literal["on", "disabled", "removed"]
# What becomes of a client that speaks TLS 1.0 or 1.1 (1.1): refused by the service, refused by the organisation,
# or admitted as on smtp-legacy.office365.com (8.2).
LegacyTls = Literal["refused", "refused by the organisation", "allowed"]
RateMode = Literal["delay", "reject"]

SMTP_SEND_AS_APP = "SMTP.SendAsApp"
RBAC_ROLE = "Application SMTP.SendAsApp"

GIB = 1024**3


@dataclass
class MailboxSettings:
    """One mailbox. `smtp_auth` None inherits; the rights name the object ids of those who hold them."""

    smtp_auth: bool | None = None
    authentication_policy: str = ""
    send_as: set[str] = field(default_factory=set)
    send_on_behalf: set[str] = field(default_factory=set)
    full_access: set[str] = field(default_factory=set)

    def trustees(self, right: Right) -> set[str]:
        """KeyError for a right that there is not."""
        return {
            "send_as": self.send_as,
            "send_on_behalf": self.send_on_behalf,
            "full_access": self.full_access,
        }[right]


@dataclass(frozen=True)
class AuthenticationPolicy:
    """`New-AuthenticationPolicy`; it speaks of Basic only."""

    name: str
    allow_basic_auth_smtp: bool = False


@dataclass(frozen=True)
class ServicePrincipal:
    """`New-ServicePrincipal`: an application as Exchange knows it.

    `object_id` is what the administrator typed. Tokens are accepted only if it is the object id of the
    enterprise application; Exchange does not say so when it is given another (microsoft365.md 1.5).
    """

    app_id: str
    object_id: str
    display_name: str = ""


@dataclass(frozen=True)
class RoleAssignment:
    """`New-ManagementRoleAssignment -App`: with `scope` empty it covers every mailbox."""

    name: str
    app_id: str
    role: str = RBAC_ROLE
    scope: str = ""


@dataclass
class ExchangeSettings:
    """The organisation's switches, its policies and every mailbox's settings by object id."""

    smtp_auth_disabled: bool = False
    basic_auth: BasicAuth = "on"
    legacy_authentication_blocked: bool = False
    send_from_alias_enabled: bool = False
    legacy_tls: LegacyTls = "refused"
    default_authentication_policy: str = ""
    authentication_policies: dict[str, AuthenticationPolicy] = field(default_factory=dict)
    service_principals: dict[str, ServicePrincipal] = field(default_factory=dict)
    management_scopes: dict[str, frozenset[str]] = field(default_factory=dict)
    role_assignments: dict[str, RoleAssignment] = field(default_factory=dict)
    mailboxes: dict[str, MailboxSettings] = field(default_factory=dict)

    def mailbox(self, object_id: str) -> MailboxSettings:
        """A mailbox that Exchange has not heard of yet has the settings of a new one."""
        return self.mailboxes.get(object_id) or MailboxSettings()

    def policy_of(self, object_id: str) -> AuthenticationPolicy | None:
        """The mailbox's own authentication policy, else the organisation's, else none."""
        name = self.mailbox(object_id).authentication_policy or self.default_authentication_policy
        return self.authentication_policies.get(name)


@dataclass
class MailboxLimits:
    """What one mailbox may send (microsoft365.md 3.1); `recipients_per_message` None leaves it to the organisation.

    `quota_bytes` is what Sent Items may fill; its default is not confirmed [C]. `retention_days` empties
    Sent Items of what is older; None keeps everything.
    """

    message_size_bytes: int = 36_700_160
    recipients_per_message: int | None = 500
    recipients_per_day: int = 10_000
    messages_per_minute: int = 30
    connections: int = 3
    quota_bytes: int = 50 * GIB
    retention_days: int | None = None


@dataclass
class OrganisationLimits:
    """What the organisation may send (3.2). `external_recipients_per_day` None goes by the licences."""

    external_recipients_per_day: int | None = None
    recipients_per_message: int = 1_000
    is_trial: bool = False


@dataclass
class FrontEnd:
    """The front end's own: how long it waits, and whether it is there at all.

    A client is silent for `idle_seconds` at most, and a connection stands for `connection_seconds` at most
    (None: as long as it likes). The times are not confirmed [C]. `sign_in_faults` answers each sign-in to a
    mailbox (by object id; "" for all) with a line of the table in `faults.py`.
    """

    is_available: bool = True
    idle_seconds: float = 300.0
    connection_seconds: float | None = None
    sign_in_faults: dict[str, str] = field(default_factory=dict)


@dataclass
class Readings:
    """What nobody has confirmed [C] (microsoft365.md 12): each reading can be turned, and a page says so.

    The first value of each is the simulator's own choice.
    """

    rate_mode: RateMode = "delay"
    full_access_is_enough: bool = False
    null_sender_is_accepted: bool = True
    session_outlives_its_token: bool = True
    malformed_token_is_a_syntax_error: bool = False
    security_defaults_refuse_tokens: bool = False


# What each reading means when it is true (for `rate_mode`: when it is "reject").
READINGS: dict[str, str] = {
    "rate_mode": "Messages beyond 30 a minute are rejected (421 4.4.2), not delivered later without a word",
    "full_access_is_enough": "A member of a shared mailbox may send from it with Full Access alone, without Send As",
    "null_sender_is_accepted": "MAIL FROM:<> is accepted from a client that has signed in",
    "session_outlives_its_token": "A connection goes on sending after the token that opened it has expired",
    "malformed_token_is_a_syntax_error": "A malformed XOAUTH2 response gets 501 5.5.4, not 535 5.7.3",
    "security_defaults_refuse_tokens": "Security defaults refuse XOAUTH2 over SMTP too, not only passwords",
}
