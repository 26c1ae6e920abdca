"""The administrator's operations on the directory: people, app registrations, enterprise applications, policies.

`Directory(tenant)` keeps nothing itself; pages, set-up plans and tests make one where they need it. Each operation
refuses with OperationError, whose message is the sentence for the person who asked.
"""

from typing import get_args

from postroom.simulator.aadsts import read_problems
from postroom.simulator.certificate_file import read_certificate
from postroom.simulator.clouds import CloudName, cloud_named
from postroom.simulator.directory_rules import (
    CONSENTING_ROLES,
    ROLES,
    ConditionalAccessPolicy,
    PasswordReset,
    PolicyControl,
    RefreshRotation,
    UserConsent,
)
from postroom.simulator.registration import (
    ApplicationPermission,
    AppRegistration,
    ClientCertificate,
    EnterpriseApplication,
    GroupMembershipClaims,
    Platform,
)
from postroom.simulator.scopes import GRAPH, GRAPH_APPLICATION_PERMISSIONS
from postroom.simulator.tenant import OperationError, Right, Tenant, User, checked_redirect_uri

EXCHANGE = "https://outlook.office365.com"
EXCHANGE_APPLICATION_PERMISSIONS: dict[str, str] = {
    "SMTP.SendAsApp": "Application access for sending emails via SMTP AUTH",
    "IMAP.AccessAsApp": "Application access to all mailboxes via IMAP",
    "POP.AccessAsApp": "Application access to all mailboxes via POP",
}
# The services under *API permissions* by the name that the page shows: canonical resource, application permissions.
SERVICES: dict[str, tuple[str, dict[str, str]]] = {
    "Microsoft Graph": (GRAPH, GRAPH_APPLICATION_PERMISSIONS),
    "Office 365 Exchange Online": (EXCHANGE, EXCHANGE_APPLICATION_PERMISSIONS),
}


class Directory:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    # People

    def assign_role(self, object_id: str, role: str) -> None:
        """`role` by its name in the portal, "Application Administrator"."""
        self.tenant.user(object_id).sign_in.roles.add(_known_role(role))

    def remove_role(self, object_id: str, role: str) -> None:
        self.tenant.user(object_id).sign_in.roles.discard(_known_role(role))

    def may_grant_consent(self, object_id: str) -> bool:
        """Whether the person may grant admin consent: by one of CONSENTING_ROLES."""
        return not CONSENTING_ROLES.isdisjoint(self.tenant.user(object_id).sign_in.roles)

    def disable_user(self, object_id: str) -> None:
        """*Block sign-in*: 50057 at sign-in and at the next refresh."""
        self.tenant.user(object_id).sign_in.is_enabled = False

    def enable_user(self, object_id: str) -> None:
        self.tenant.user(object_id).sign_in.is_enabled = True

    def lock_user(self, object_id: str) -> None:
        """Smart lockout after wrong passwords: 50053 at sign-in, refresh tokens go on."""
        self.tenant.user(object_id).sign_in.is_locked = True

    def unlock_user(self, object_id: str) -> None:
        self.tenant.user(object_id).sign_in.is_locked = False

    def expire_password(self, object_id: str) -> None:
        """50055 at sign-in; refresh tokens survive (REFRESH table)."""
        self.tenant.user(object_id).sign_in.password_is_expired = True

    def reset_password(self, object_id: str, password: str, *, by: PasswordReset = "Azure portal") -> None:
        """A new password. Microsoft Learn, "Refresh tokens": a reset in the Entra admin center revokes every refresh
        token; changes by the user, by self-service and in the Azure portal end those of public clients only."""
        if by not in get_args(PasswordReset):
            raise OperationError(f"There is no such way to reset a password: “{by}”.")
        self.tenant.set_password(object_id, password)
        if by == "Entra admin center":
            self.tenant.revoke_sessions(object_id)

    def require_mfa(self, object_id: str, *, required: bool = True) -> None:
        """Per-user MFA: asked for at sign-in; older refresh tokens answer 50074, or 50079 if none is set up."""
        self.tenant.user(object_id).sign_in.mfa_is_required = required

    def register_mfa(self, object_id: str, *, registered: bool = True) -> None:
        """Whether the person has set up a second factor."""
        self.tenant.user(object_id).sign_in.mfa_is_registered = registered

    def invite_guest(self, mail: str, password: str = "") -> User:
        """A person of another organisation, who signs in with the address there but at this tenant's id only."""
        local, at, domain = mail.strip().partition("@")
        if not (local and at and domain) or domain.lower() == self.tenant.domain:
            raise OperationError(f"“{mail}” is not an address of another organisation.")
        upn = f"{local}_{domain}#EXT#@{self.tenant.domain.partition('.')[0]}.onmicrosoft.com"
        guest = self.tenant.add_user(upn, local, password, licensed=False, is_mailbox=False, proxy_addresses=[mail])
        guest.sign_in.is_guest = True
        return guest

    def delete_user(self, object_id: str) -> None:
        """The person or mailbox, and every right, consent, assignment and exclusion that names them."""
        gone = self.tenant.user(object_id).object_id
        for mailbox_id in self.tenant.users:
            for right in get_args(Right):
                self.tenant.trustees(right, mailbox_id).discard(gone)
        for app in self.tenant.apps.values():
            app.user_consented.pop(gone, None)
            app.enterprise.assigned_users.discard(gone)
        for policy in self.tenant.entra.policies:
            policy.excluded_users.discard(gone)
        del self.tenant.users[gone]

    # App registrations

    def delete_app(self, client_id: str) -> None:
        del self.tenant.apps[self.tenant.app(client_id).client_id]

    def add_redirect_uri(self, client_id: str, redirect_uri: str, platform: Platform = "web") -> None:
        """*Authentication → Add a platform*: Web, Single-page application (spa), Mobile and desktop (public)."""
        uris = self._redirect_uris(client_id, platform)
        checked = checked_redirect_uri(redirect_uri)
        if checked not in uris:
            uris.append(checked)

    def remove_redirect_uri(self, client_id: str, redirect_uri: str, platform: Platform = "web") -> None:
        uris = self._redirect_uris(client_id, platform)
        uris[:] = [uri for uri in uris if uri != redirect_uri]

    def _redirect_uris(self, client_id: str, platform: Platform) -> list[str]:
        app = self.tenant.app(client_id)
        by_platform = {"web": app.redirect_uris, "spa": app.spa_redirect_uris, "public": app.public_redirect_uris}
        if platform not in by_platform:
            raise OperationError(f"There is no platform named “{platform}”.")
        return by_platform[platform]

    def allow_public_client_flows(self, client_id: str, *, allowed: bool) -> None:
        """*Authentication → Allow public client flows*; off, device code ends in 7000218."""
        self.tenant.app(client_id).allows_public_client_flows = allowed

    def enable_id_tokens(self, client_id: str, *, enabled: bool) -> None:
        """*Authentication → ID tokens (used for implicit and hybrid flows)*."""
        self.tenant.app(client_id).id_tokens_are_enabled = enabled

    def set_group_membership_claims(self, client_id: str, claims: GroupMembershipClaims) -> None:
        """`groupMembershipClaims` of the manifest; "DirectoryRole" and "All" bring the claim `wids`."""
        if claims not in get_args(GroupMembershipClaims):
            raise OperationError(f"groupMembershipClaims cannot be “{claims}”.")
        self.tenant.app(client_id).group_membership_claims = claims

    def add_certificate(self, client_id: str, content: bytes, name: str = "") -> ClientCertificate:
        """*Certificates & secrets → Upload certificate*: the bytes of a .cer, .pem or .crt file."""
        app = self.tenant.app(client_id)
        try:
            certificate = read_certificate(content, name)
        except ValueError as error:
            raise OperationError(str(error)) from None
        app.certificates.append(certificate)
        return certificate

    def remove_certificate(self, client_id: str, key_id: str) -> None:
        app = self.tenant.app(client_id)
        app.certificates = [one for one in app.certificates if one.key_id != key_id]

    def add_application_permission(self, client_id: str, service: str, value: str) -> None:
        """`service` and `value` as listed in SERVICES: "Office 365 Exchange Online", "SMTP.SendAsApp"."""
        self.tenant.app(client_id).application_permissions.add(_known_permission(service, value))

    def remove_application_permission(self, client_id: str, service: str, value: str) -> None:
        app, permission = self.tenant.app(client_id), _known_permission(service, value)
        app.application_permissions.discard(permission)
        app.granted_permissions.discard(permission)

    def grant_admin_consent(self, client_id: str, by: str) -> None:
        """The button of *API permissions*, pressed by the person with the object id `by`, whose role must allow it."""
        if not self.may_grant_consent(by):
            name = self.tenant.user(by).display_name
            raise OperationError(
                f"{name} may not grant consent: it takes the role {' or '.join(sorted(CONSENTING_ROLES))}."
            )
        self.tenant.grant_admin_consent(client_id)

    # Enterprise applications

    def enterprise_application(self, client_id: str) -> EnterpriseApplication:
        """The service principal: its `object_id` is what Exchange's `New-ServicePrincipal` asks for."""
        return self.tenant.app(client_id).enterprise

    def app_by_enterprise_object_id(self, object_id: str) -> AppRegistration | None:
        return next((app for app in self.tenant.apps.values() if app.enterprise.object_id == object_id), None)

    def enable_sign_in_to_app(self, client_id: str, *, enabled: bool) -> None:
        """*Properties → Enabled for users to sign-in?*; off, everything answers 7000112."""
        self.tenant.app(client_id).enterprise.is_enabled = enabled

    def require_assignment(self, client_id: str, *, required: bool) -> None:
        """*Properties → Assignment required?*; on, those who are not assigned get 50105."""
        self.tenant.app(client_id).enterprise.assignment_is_required = required

    def assign_user(self, client_id: str, object_id: str) -> None:
        self.tenant.app(client_id).enterprise.assigned_users.add(self.tenant.user(object_id).object_id)

    def unassign_user(self, client_id: str, object_id: str) -> None:
        self.tenant.app(client_id).enterprise.assigned_users.discard(object_id)

    # Policies

    def set_user_consent(self, consent: UserConsent) -> None:
        """*Consent and permissions → User consent settings*; "admin only" ends in 90094."""
        if consent not in get_args(UserConsent):
            raise OperationError(f"There is no such setting of user consent: “{consent}”.")
        self.tenant.entra.user_consent = consent

    def add_policy(
        self, name: str, control: PolicyControl, *, frequency_hours: float = 0.0, for_apps: bool = False
    ) -> ConditionalAccessPolicy:
        """A Conditional Access policy for all users (or, `for_apps`, all workload identities)."""
        if control not in get_args(PolicyControl):
            raise OperationError(f"Conditional Access has no control named “{control}”.")
        if self.tenant.security_defaults:
            raise OperationError("Security defaults must be turned off before a Conditional Access policy is made.")
        if not name.strip() or self._policy_named(name):
            raise OperationError("Give the policy a name that no other policy has.")
        if control == "sign-in frequency" and frequency_hours <= 0:
            raise OperationError("Say after how many hours people must sign in again.")
        policy = ConditionalAccessPolicy(
            name.strip(), control, frequency_seconds=frequency_hours * 3600, applies_to_apps=for_apps
        )
        self.tenant.entra.policies.append(policy)
        return policy

    def remove_policy(self, name: str) -> None:
        self.tenant.entra.policies.remove(self.policy(name))

    def switch_policy(self, name: str, *, enabled: bool) -> None:
        self.policy(name).is_enabled = enabled

    def exclude_user(self, policy_name: str, object_id: str, *, excluded: bool = True) -> None:
        """*Users → Exclude*: the remedy for a service account."""
        excluded_users = self.policy(policy_name).excluded_users
        user = self.tenant.user(object_id)
        if excluded:
            excluded_users.add(user.object_id)
        else:
            excluded_users.discard(user.object_id)

    def policy(self, name: str) -> ConditionalAccessPolicy:
        policy = self._policy_named(name)
        if policy is None:
            raise OperationError(f"There is no Conditional Access policy named “{name}”.")
        return policy

    def _policy_named(self, name: str) -> ConditionalAccessPolicy | None:
        return next((policy for policy in self.tenant.entra.policies if policy.name == name.strip()), None)

    def set_security_defaults(self, *, enabled: bool) -> None:
        """Everybody registers for MFA at the next sign-in, administrators pass it each time; policies must be gone."""
        if enabled and any(policy.is_enabled for policy in self.tenant.entra.policies):
            raise OperationError("Security defaults cannot be on together with Conditional Access policies.")
        self.tenant.security_defaults = enabled

    # What only a simulator can do

    def answer_with(self, code: int | None) -> None:
        """Every sign-in and token request gets this AADSTS code, by its number; None ends it."""
        if code is not None and code not in read_problems():
            raise OperationError(f"AADSTS{code} is not among the errors that the simulator knows.")
        self.tenant.entra.answer_with = code

    def set_refresh_rotation(self, rotation: RefreshRotation) -> None:
        """Microsoft is "lenient": a used refresh token stays good. "strict": its reuse revokes the family."""
        if rotation not in get_args(RefreshRotation):
            raise OperationError(f"There is no rotation of refresh tokens named “{rotation}”.")
        self.tenant.entra.refresh_rotation = rotation

    def detect_loops(self, *, enabled: bool) -> None:
        """50196 for the same token request fifteen times within five minutes."""
        self.tenant.entra.detects_loops = enabled

    def subscribe_to_exchange(self, *, subscribed: bool) -> None:
        """Without it, every scope of Exchange Online ends in 650052."""
        self.tenant.entra.exchange_is_subscribed = subscribed

    def move_to_cloud(self, name: CloudName) -> None:
        """The tenant lives in another national cloud, whose hosts and resources alone are its own from now on."""
        if name not in get_args(CloudName):
            raise OperationError(f"There is no cloud named “{name}”.")
        self.tenant.cloud = cloud_named(name)


def _known_role(role: str) -> str:
    if role not in ROLES:
        raise OperationError(f"There is no directory role named “{role}”.")
    return role


def _known_permission(service: str, value: str) -> ApplicationPermission:
    if service not in SERVICES:
        raise OperationError(f"There is no API named “{service}”.")
    resource, permissions = SERVICES[service]
    if value not in permissions:
        raise OperationError(f"{service} has no application permission named “{value}”.")
    return ApplicationPermission(resource, value)
