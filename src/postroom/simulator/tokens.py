"""Access tokens, ID tokens, authorization codes and refresh tokens of the simulated Entra ID."""

from typing import Literal

import msgspec

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.tenant import Tenant

Reason = Literal[
    "malformed", "bad signature", "audience", "expired", "scope missing", "revoked", "unknown user"
]

# What Exchange Online takes as the audience of a token for SMTP.
SMTP_AUDIENCES = frozenset(
    {"https://outlook.office.com", "https://outlook.office365.com", "https://outlook.office365.us"}
)


class AccessClaims(msgspec.Struct, frozen=True):
    """What a verified access token says. `scopes` are short names, `SMTP.Send`."""

    audience: str
    scopes: frozenset[str]
    user_principal_name: str
    object_id: str
    tenant_id: str
    client_id: str
    expires_at: float


class TokenProblem(msgspec.Struct, frozen=True):
    """Why a token is refused: the reason to branch on, the detail to read."""

    reason: Reason
    detail: str


class Tokens:
    def __init__(self, tenant: Tenant, clock: SimulatorClock | None = None) -> None:
        self.tenant = tenant
        self.clock = clock or tenant.clock

    def check_access_token(
        self,
        token: str,
        now: float | None = None,
        *,
        audiences: frozenset[str] = SMTP_AUDIENCES,
        scope: str = "SMTP.Send",
    ) -> AccessClaims | TokenProblem:
        """Check signature, audience, life time, scope and the user's sessions; `now` is Unix seconds."""
        raise NotImplementedError
