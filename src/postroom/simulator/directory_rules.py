"""What a directory demands of those who sign in: roles, Conditional Access, and the switches of Entra ID."""

from dataclasses import dataclass, field
from typing import Literal

# Directory roles by their name in the portal, with their template ids (Microsoft Learn, "Microsoft Entra
# built-in roles"); the template ids are what the claim `wids` holds.
ROLES: dict[str, str] = {
    "Global Administrator": "62e90394-69f5-4237-9190-012177145e10",
    "Application Administrator": "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
    "Cloud Application Administrator": "158c047a-c907-4556-b7ef-446551a6b5f7",
    "Application Developer": "cf1c38e5-3621-4004-a7cb-879624dced7c",
    "Exchange Administrator": "29232cdf-9323-42fd-ade2-1d097af3e4de",
    "Exchange Recipient Administrator": "31392ffb-586c-42d1-9346-e59415a2cc4e",
    "Conditional Access Administrator": "b1be1c3e-b65d-4f19-8427-f6fa0d97feb9",
    "Global Reader": "f2ef992c-3afb-46b9-b7cf-a126ee74c451",
}
# Every member of a directory has this one in `wids` as well (documentation of the access token's claims).
DEFAULT_USER_ROLE = "b79fbf4d-3ef9-4689-8143-76b194e85509"
CONSENTING_ROLES = frozenset({"Global Administrator", "Application Administrator", "Cloud Application Administrator"})

PasswordReset = Literal["user", "self-service", "Azure portal", "Entra admin center"]
PolicyControl = Literal[
    "block",
    "block device code",
    "require MFA",
    "require compliant device",
    "require joined device",
    "require approved app",
    "sign-in frequency",
]
UserConsent = Literal["allowed", "admin only", "admin request workflow"]
RefreshRotation = Literal["lenient", "strict"]
TokenEndpointFault = Literal["500", "503_retry_after", "429_retry_after", "html", "empty", "slow"]


@dataclass
class SignInState:
    """A person's side of signing in; `locked_until` and `failed_sign_ins` are smart lockout's own count."""

    is_enabled: bool = True
    is_locked: bool = False
    password_is_expired: bool = False
    mfa_is_required: bool = False
    mfa_is_registered: bool = False
    is_guest: bool = False
    roles: set[str] = field(default_factory=set)
    password_changed_at: float = 0.0
    failed_sign_ins: int = 0
    locked_until: float = 0.0


@dataclass
class ConditionalAccessPolicy:
    """A policy for every user but the excluded ones or, with `applies_to_apps`, for workload identities instead."""

    name: str
    control: PolicyControl
    excluded_users: set[str] = field(default_factory=set)
    frequency_seconds: float = 0.0
    applies_to_apps: bool = False
    is_enabled: bool = True


@dataclass
class EntraSwitches:
    """The settings of Entra ID that a person or a test turns; `answer_with` makes the token endpoint and the
    sign-in page answer one AADSTS code, whatever is asked."""

    policies: list[ConditionalAccessPolicy] = field(default_factory=list)
    user_consent: UserConsent = "allowed"
    refresh_rotation: RefreshRotation = "lenient"
    answer_with: int | None = None
    slow_seconds: float = 5.0
    retry_after_seconds: int = 30
    detects_loops: bool = False
    exchange_is_subscribed: bool = True
