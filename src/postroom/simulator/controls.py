"""What no administrator of a real tenant has: the clock, faults of Microsoft's own, and a tenant that starts anew.

`Controls(tenant)` keeps nothing itself; pages, set-up plans and tests make one where they need it. Each operation
refuses with OperationError, whose message is the sentence for the person who asked.
"""

from dataclasses import fields
from typing import get_args

import msgspec

from postroom.simulator.aadsts import read_problems
from postroom.simulator.directory_rules import RefreshRotation, TokenEndpointFault
from postroom.simulator.organisation import Organisation
from postroom.simulator.registration import ApplicationPermission
from postroom.simulator.tenant import (
    DAY_SECONDS,
    AppRegistration,
    ClientSecret,
    LicenseRead,
    OperationError,
    Tenant,
    add_demo_people,
)

LONGEST_STEP_DAYS = 3650


class Consent(msgspec.Struct, frozen=True):
    """Who has consented to what in an application: for everybody, to its own permissions, and by user."""

    admin: frozenset[str]
    roles: frozenset[ApplicationPermission]
    users: dict[str, frozenset[str]]

    @classmethod
    def of(cls, app: AppRegistration) -> "Consent":
        users = {object_id: frozenset(names) for object_id, names in app.user_consented.items()}
        return cls(frozenset(app.admin_consented), frozenset(app.granted_permissions), users)


class Controls:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    # The clock

    def advance_clock(self, *, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0) -> None:
        """Let time pass at once, at most ten years; there is no way back."""
        seconds = days * DAY_SECONDS + hours * 3600 + minutes * 60
        if not 0 < seconds <= LONGEST_STEP_DAYS * DAY_SECONDS:
            raise OperationError(f"The clock moves forward, by at most {LONGEST_STEP_DAYS} days at once.")
        self.tenant.clock.advance(seconds)

    # Entra ID

    def break_token_endpoint(self, fault: TokenEndpointFault | None) -> None:
        """Let each request for a token meet a fault; None mends it."""
        if fault is not None and fault not in get_args(TokenEndpointFault):
            raise OperationError(f"There is no such fault of the token endpoint: “{fault}”.")
        self.tenant.token_endpoint_fault = fault

    def answer_with(self, code: int | None) -> None:
        """Let token endpoint and sign-in page answer one AADSTS number, whatever is asked; None ends it."""
        if code is not None and code not in read_problems():
            raise OperationError(f"The simulator does not know AADSTS{code}.")
        self.tenant.entra.answer_with = code

    def set_refresh_rotation(self, rotation: RefreshRotation) -> None:
        """`lenient`: an old refresh token stays valid beside its successor, as at Entra (4.4); `strict`: once only."""
        if rotation not in get_args(RefreshRotation):
            raise OperationError(f"Refresh tokens rotate lenient or strict, not “{rotation}”.")
        self.tenant.entra.refresh_rotation = rotation

    def detect_loops(self, *, enabled: bool) -> None:
        """50196 for a client that asks the same again and again."""
        self.tenant.entra.detects_loops = enabled

    def subscribe_to_exchange(self, *, subscribed: bool) -> None:
        """Without Exchange Online among its services a tenant answers 650052."""
        self.tenant.entra.exchange_is_subscribed = subscribed

    def restore_sign_ins(self, object_id: str, valid_from: float) -> None:
        """Take a revocation back: sign-ins since `valid_from` (Unix seconds) count again."""
        self.tenant.user(object_id).sessions_valid_from = valid_from

    def restore_secret(self, client_id: str, secret: ClientSecret) -> None:
        """Put a client secret back as it was, whether it has expired since or is gone."""
        app = self.tenant.app(client_id)
        app.secrets = [*(one for one in app.secrets if one.secret_id != secret.secret_id), secret]

    def restore_consent(self, client_id: str, before: Consent) -> None:
        """Put the consents back that stood before; those given since stay."""
        app = self.tenant.app(client_id)
        app.admin_consented |= before.admin
        app.granted_permissions |= before.roles
        for object_id, names in before.users.items():
            app.user_consented.setdefault(object_id, set()).update(names)

    # Graph and Exchange Online

    def set_license_read(self, answer: LicenseRead) -> None:
        """What `GET /me/licenseDetails` says to `User.Read`; Microsoft's pages disagree (12)."""
        if answer not in get_args(LicenseRead):
            raise OperationError(f"There is no such answer of licenseDetails: “{answer}”.")
        self.tenant.license_read = answer

    def keep_x_headers(self, *, kept: bool) -> None:
        """Whether Graph delivers the X- headers of a MIME message; nobody has confirmed either (3.4)."""
        self.tenant.graph.keeps_x_headers = kept

    def require_send_as(self, *, required: bool) -> None:
        """The strict reading of a From that is not the mailbox's: Send on Behalf is not enough (12)."""
        self.tenant.strict_send_on_behalf = required

    # Everything

    def reset(self, *, is_empty: bool) -> None:
        """Forget everything but clock, name and ids: people, applications, settings, mail. `is_empty` leaves nobody,
        otherwise the demo's people are there again."""
        tenant = self.tenant
        fresh = Tenant(tenant.clock, tenant.domain, tenant.name, tenant.tenant_id, cloud=tenant.cloud)
        for each in fields(Tenant):
            setattr(tenant, each.name, getattr(fresh, each.name))
        tenant.exchange = Organisation(tenant)
        if is_empty:
            tenant.exchange.set_tenant_smtp_auth(enabled=False)
        else:
            add_demo_people(tenant)
