"""Exchange's side of the tenant: what its administrator sets with PowerShell or in the Exchange admin center.

Each operation is named for its cmdlet or its page and raises `OperationError` with a sentence. Mailboxes
are named by the object id of their user; a trustee by address, or by the id of a service principal.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, get_args

from postroom.simulator.faults import Fault, sign_in_faults
from postroom.simulator.operation_error import OperationError
from postroom.simulator.organisation_settings import (
    RBAC_ROLE,
    READINGS,
    AuthenticationPolicy,
    BasicAuth,
    ExchangeSettings,
    FrontEnd,
    LegacyTls,
    MailboxLimits,
    MailboxSettings,
    OrganisationLimits,
    Readings,
    Right,
    RoleAssignment,
    ServicePrincipal,
)
from postroom.simulator.submissions import Submissions

if TYPE_CHECKING:
    from postroom.simulator.tenant import Tenant, User

LONGEST_PROPAGATION_MINUTES = 60
MAX_MESSAGE_SIZE_BYTES = 157_286_400
MAX_RECIPIENTS_PER_MESSAGE = 1_000


class Organisation:
    """`settings` is what the administrator sees; `in_effect()` is what the front end goes by."""

    def __init__(self, tenant: "Tenant") -> None:
        self.settings = ExchangeSettings()
        self.limits = OrganisationLimits()
        self.front_end = FrontEnd()
        self.readings = Readings()
        self.submissions = Submissions(tenant)
        self.propagation_minutes = 0.0
        self._tenant = tenant
        self._limits_of: dict[str, MailboxLimits] = {}
        # What was in effect before each change that has not arrived yet, and until when.
        self._pending: list[tuple[float, ExchangeSettings]] = []

    def add_mailbox(self, user: "User") -> None:
        """A user's settings are Exchange's from now on; their own object holds them."""
        self.settings.mailboxes[user.object_id] = user.settings

    # Settings that arrive late

    def set_propagation(self, minutes: float) -> None:
        """How long each later change of a setting or a right takes to be in effect: 0 to 60 minutes."""
        if not 0 <= minutes <= LONGEST_PROPAGATION_MINUTES:
            raise OperationError(f"Changes arrive within 0 to {LONGEST_PROPAGATION_MINUTES} minutes, not {minutes:g}.")
        self.propagation_minutes = minutes

    def in_effect(self) -> ExchangeSettings:
        """The settings that the front end knows by now; changes arrive in their order."""
        now = self._tenant.clock.now()
        self._pending = [(until, before) for until, before in self._pending if until > now]
        return self._pending[0][1] if self._pending else self.settings

    def changes_pending_until(self) -> float | None:
        """When the last change will have arrived (the simulator's clock); None if all have."""
        self.in_effect()
        return max(until for until, _ in self._pending) if self._pending else None

    def settle_changes(self) -> None:
        """Let every change be in effect at once."""
        self._pending.clear()

    def _begin_change(self) -> ExchangeSettings:
        if self.propagation_minutes:
            until = self._tenant.clock.now() + 60 * self.propagation_minutes
            self._pending.append((until, copy.deepcopy(self.settings)))
        return self.settings

    def _change_mailbox(self, object_id: str) -> MailboxSettings:
        self._tenant.user(object_id)
        return self._begin_change().mailboxes.setdefault(object_id, MailboxSettings())

    # SMTP AUTH and Basic

    def set_smtp_auth(self, object_id: str, enabled: bool | None) -> None:
        """`Set-CASMailbox -SmtpClientAuthenticationDisabled`, turned round; None inherits (1.6)."""
        self._change_mailbox(object_id).smtp_auth = enabled

    def set_tenant_smtp_auth(self, *, enabled: bool) -> None:
        """`Set-TransportConfig -SmtpClientAuthenticationDisabled`, turned round."""
        self._begin_change().smtp_auth_disabled = not enabled

    def set_basic_auth(self, state: BasicAuth) -> None:
        """Whether Basic still works for Client Submission: `on`, `disabled` or `removed` (8.1)."""
        if state not in get_args(BasicAuth):
            raise OperationError(f"Basic authentication is on, disabled or removed, not “{state}”.")
        self._begin_change().basic_auth = state

    def block_legacy_authentication(self, *, blocked: bool) -> None:
        """Conditional Access, policy “Block legacy authentication”: it refuses Basic whatever Exchange allows."""
        self._begin_change().legacy_authentication_blocked = blocked

    def new_authentication_policy(self, name: str, *, allow_basic_auth_smtp: bool = False) -> None:
        """`New-AuthenticationPolicy`; the same name again is `Set-AuthenticationPolicy`."""
        if not name.strip():
            raise OperationError("Give the authentication policy a name.")
        policy = AuthenticationPolicy(name.strip(), allow_basic_auth_smtp)
        self._begin_change().authentication_policies[policy.name] = policy

    def remove_authentication_policy(self, name: str) -> None:
        self._refuse_unknown(name, self.settings.authentication_policies, "authentication policy")
        if name in {self.settings.default_authentication_policy, *self._policies_in_use()}:
            raise OperationError(f"The authentication policy “{name}” is in use.")
        del self._begin_change().authentication_policies[name]

    def set_authentication_policy(self, object_id: str | None, name: str) -> None:
        """`Set-User -AuthenticationPolicy`; with None `Set-OrganizationConfig -DefaultAuthenticationPolicy`.

        An empty name takes the policy away.
        """
        if name:
            self._refuse_unknown(name, self.settings.authentication_policies, "authentication policy")
        if object_id is None:
            self._begin_change().default_authentication_policy = name
        else:
            self._change_mailbox(object_id).authentication_policy = name

    def _policies_in_use(self) -> set[str]:
        return {mailbox.authentication_policy for mailbox in self.settings.mailboxes.values()}

    def set_legacy_tls(self, state: LegacyTls) -> None:
        """`Set-TransportConfig -AllowLegacyTLSClients`, and who refuses TLS 1.0 and 1.1 otherwise."""
        if state not in get_args(LegacyTls):
            raise OperationError(f"There is no such setting for old TLS: “{state}”.")
        self._begin_change().legacy_tls = state

    # Who may use a mailbox

    def add_mailbox_permission(self, object_id: str, trustee: str) -> None:
        """`Add-MailboxPermission -AccessRights FullAccess`: sign in to this mailbox with one's own token."""
        self.grant("full_access", object_id, trustee)

    def remove_mailbox_permission(self, object_id: str, trustee: str) -> None:
        """`Remove-MailboxPermission -AccessRights FullAccess`."""
        self.withdraw("full_access", object_id, trustee)

    def add_recipient_permission(self, object_id: str, trustee: str) -> None:
        """`Add-RecipientPermission -AccessRights SendAs`: stand in From as this mailbox."""
        self.grant("send_as", object_id, trustee)

    def remove_recipient_permission(self, object_id: str, trustee: str) -> None:
        """`Remove-RecipientPermission -AccessRights SendAs`."""
        self.withdraw("send_as", object_id, trustee)

    def grant_send_on_behalf(self, object_id: str, trustee: str) -> None:
        """`Set-Mailbox -GrantSendOnBehalfTo @{add=…}`."""
        self.grant("send_on_behalf", object_id, trustee)

    def withdraw_send_on_behalf(self, object_id: str, trustee: str) -> None:
        """`Set-Mailbox -GrantSendOnBehalfTo @{remove=…}`."""
        self.withdraw("send_on_behalf", object_id, trustee)

    def grant(self, right: Right, object_id: str, trustee: str) -> None:
        self.refuse_unknown_right(right)
        trustee_id = self._trustee_id(trustee)
        self._change_mailbox(object_id).trustees(right).add(trustee_id)

    def withdraw(self, right: Right, object_id: str, trustee: str) -> None:
        self.refuse_unknown_right(right)
        trustee_id = self._trustee_id(trustee)
        self._change_mailbox(object_id).trustees(right).discard(trustee_id)

    def refuse_unknown_right(self, right: str) -> None:
        if right not in get_args(Right):
            raise OperationError(f"There is no right named “{right}”.")

    def _trustee_id(self, trustee: str) -> str:
        """The object id behind an address, an object id, or a service principal's id or app id."""
        user = self._tenant.user_by_address(trustee) or self._tenant.users.get(trustee)
        if user:
            return user.object_id
        for principal in self.settings.service_principals.values():
            if trustee in {principal.object_id, principal.app_id, principal.display_name}:
                return principal.object_id
        raise OperationError(f"There is no user with the address {trustee}, and no such service principal.")

    # Applications

    def new_service_principal(self, app_id: str, object_id: str, display_name: str = "") -> ServicePrincipal:
        """`New-ServicePrincipal -AppId -ObjectId -DisplayName`.

        Like Exchange's it takes any object id: one that is not the enterprise application's shows only when
        a token is refused with 535 5.7.3 (1.5).
        """
        principal = ServicePrincipal(app_id.strip(), object_id.strip(), display_name.strip())
        if not (principal.app_id and principal.object_id):
            raise OperationError("New-ServicePrincipal needs both -AppId and -ObjectId.")
        if any(known.app_id == principal.app_id for known in self.settings.service_principals.values()):
            raise OperationError(f"The application {principal.app_id} has a service principal already.")
        self._begin_change().service_principals[principal.object_id] = principal
        return principal

    def remove_service_principal(self, object_id: str) -> None:
        """`Remove-ServicePrincipal`; the rights it held go with it."""
        self._refuse_unknown(object_id, self.settings.service_principals, "service principal")
        settings = self._begin_change()
        del settings.service_principals[object_id]
        for mailbox in settings.mailboxes.values():
            for right in get_args(Right):
                mailbox.trustees(right).discard(object_id)

    def new_management_scope(self, name: str, members: Iterable[str]) -> None:
        """`New-ManagementScope -RecipientRestrictionFilter`, with the addresses that its group has as members."""
        if not name.strip():
            raise OperationError("Give the management scope a name.")
        ids = frozenset(self._tenant.user(self._trustee_id(member)).object_id for member in members)
        self._begin_change().management_scopes[name.strip()] = ids

    def new_role_assignment(self, app_id: str, name: str = "", *, scope: str = "", role: str = RBAC_ROLE) -> None:
        """`New-ManagementRoleAssignment -Role -App -CustomResourceScope`.

        Without a scope the application may use every mailbox. It counts for tokens that bring no
        `SMTP.SendAsApp` of their own (1.5).
        """
        if app_id not in {principal.app_id for principal in self.settings.service_principals.values()}:
            raise OperationError(f"The application {app_id} has no service principal in Exchange.")
        if scope:
            self._refuse_unknown(scope, self.settings.management_scopes, "management scope")
        assignment = RoleAssignment(name.strip() or f"{role} {app_id}", app_id, role, scope)
        self._begin_change().role_assignments[assignment.name] = assignment

    def remove_role_assignment(self, name: str) -> None:
        """`Remove-ManagementRoleAssignment`."""
        self._refuse_unknown(name, self.settings.role_assignments, "role assignment")
        del self._begin_change().role_assignments[name]

    # Mailboxes

    def convert_to_shared(self, object_id: str) -> None:
        """`Set-Mailbox -Type Shared`: no licence and no password of its own; members use it."""
        user = self._mailbox_user(object_id)
        user.is_shared, user.licensed = True, False

    def convert_to_regular(self, object_id: str) -> None:
        """`Set-Mailbox -Type Regular`; it needs a licence then."""
        self._mailbox_user(object_id).is_shared = False

    def set_alias(self, object_id: str, address: str) -> None:
        """`Set-Mailbox -EmailAddresses @{add=…}`."""
        self._tenant.add_alias(object_id, address)

    def remove_alias(self, object_id: str, address: str) -> None:
        """`Set-Mailbox -EmailAddresses @{remove=…}`."""
        self._tenant.remove_alias(object_id, address)

    def set_send_from_alias(self, *, enabled: bool) -> None:
        """`Set-OrganizationConfig -SendFromAliasEnabled`; without it an alias in From becomes the primary address."""
        self._begin_change().send_from_alias_enabled = enabled

    def _mailbox_user(self, object_id: str) -> "User":
        user = self._tenant.user(object_id)
        if not user.is_mailbox:
            raise OperationError(f"{user.user_principal_name} has no mailbox.")
        return user

    # Limits

    def limits_of(self, object_id: str) -> MailboxLimits:
        return self._limits_of.setdefault(object_id, MailboxLimits())

    def set_limits(
        self,
        object_id: str,
        *,
        message_size_bytes: int | None = None,
        recipients_per_message: int | None = None,
        recipients_per_day: int | None = None,
        messages_per_minute: int | None = None,
        connections: int | None = None,
        quota_bytes: int | None = None,
    ) -> None:
        """`Set-Mailbox -MaxSendSize -RecipientLimits -ProhibitSendQuota`, and what is the service's own; None stays."""
        self._mailbox_user(object_id)
        asked = {
            "message_size_bytes": (message_size_bytes, MAX_MESSAGE_SIZE_BYTES),
            "recipients_per_message": (recipients_per_message, MAX_RECIPIENTS_PER_MESSAGE),
            "recipients_per_day": (recipients_per_day, 10**9),
            "messages_per_minute": (messages_per_minute, 10**6),
            "connections": (connections, 10**3),
            "quota_bytes": (quota_bytes, 10**15),
        }
        given = {name: (value, most) for name, (value, most) in asked.items() if value is not None}
        for name, (value, most) in given.items():
            if not 1 <= value <= most:
                raise OperationError(f"The limit {name.replace('_', ' ')} is 1 to {most}, not {value}.")
        for name, (value, _) in given.items():
            setattr(self.limits_of(object_id), name, value)

    def set_recipients_unlimited(self, object_id: str) -> None:
        """`Set-Mailbox -RecipientLimits Unlimited`: the organisation's limit counts instead."""
        self._mailbox_user(object_id)
        self.limits_of(object_id).recipients_per_message = None

    def set_tenant_limits(
        self, *, external_recipients_per_day: int | None, recipients_per_message: int = MAX_RECIPIENTS_PER_MESSAGE
    ) -> None:
        """The tenant external recipient rate limit (None goes by the licences) and `MaxRecipientEnvelopeLimit`."""
        if external_recipients_per_day is not None and external_recipients_per_day < 1:
            raise OperationError("The limit of external recipients a day is at least 1.")
        if not 1 <= recipients_per_message <= MAX_RECIPIENTS_PER_MESSAGE:
            raise OperationError(f"A message may have 1 to {MAX_RECIPIENTS_PER_MESSAGE} recipients.")
        self.limits.external_recipients_per_day = external_recipients_per_day
        self.limits.recipients_per_message = recipients_per_message

    def set_trial(self, *, is_trial: bool) -> None:
        """A trial tenant may reach 5,000 external recipients a day and hears 5.7.232 (3.2)."""
        self.limits.is_trial = is_trial

    def set_retention(self, object_id: str, days: int | None) -> None:
        """A retention policy that empties Sent Items of what is older than `days`; None keeps everything."""
        self._mailbox_user(object_id)
        if days is not None and days < 1:
            raise OperationError("A retention policy keeps mail for at least one day.")
        self.limits_of(object_id).retention_days = days

    # The front end, and what nobody knows of it

    def set_available(self, *, is_available: bool) -> None:
        """Whether the front end serves at all; otherwise each connection hears 421 4.3.2."""
        self.front_end.is_available = is_available

    def set_timeouts(self, *, idle_seconds: float, connection_seconds: float | None = None) -> None:
        """When a silent client hears 451 4.7.0, and when any connection hears 421 4.4.1 (None: never)."""
        if idle_seconds <= 0 or (connection_seconds is not None and connection_seconds <= 0):
            raise OperationError("A timeout is longer than no time at all.")
        self.front_end.idle_seconds = idle_seconds
        self.front_end.connection_seconds = connection_seconds

    def set_sign_in_fault(self, object_id: str | None, name: str) -> None:
        """Answer every sign-in to a mailbox (None: to all) with a fault of the stage “sign-in”; "" ends it."""
        if object_id is not None:
            self._tenant.user(object_id)
        if name:
            self._refuse_unknown(name, sign_in_faults(), "fault of signing in")
        self.front_end.sign_in_faults[object_id or ""] = name

    def sign_in_fault_of(self, object_id: str) -> Fault | None:
        """The mailbox's own, else everybody's."""
        asked = self.front_end.sign_in_faults
        return sign_in_faults().get(asked.get(object_id) or asked.get("") or "")

    def set_reading(self, name: str, value: bool) -> None:
        """Choose between the readings of what is not confirmed (`READINGS`)."""
        self._refuse_unknown(name, READINGS, "unconfirmed behaviour")
        if name == "rate_mode":
            self.readings.rate_mode = "reject" if value else "delay"
        else:
            setattr(self.readings, name, value)

    def _refuse_unknown(self, name: str, known: Mapping[str, object], kind: str) -> None:
        if name not in known:
            raise OperationError(f"There is no {kind} “{name}”.")
