"""Who may sign in, with what, and when again: the directory's answer to a person or an application.

Each rule raises AadstsError with the number that Microsoft gives it, or says nothing.
"""

import json
import uuid

from postroom.simulator.aadsts import AadstsError, precise_time
from postroom.simulator.clouds import CONSUMERS_TENANT_ID, LOGIN_HOSTS
from postroom.simulator.directory_rules import ConditionalAccessPolicy, PolicyControl
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.tenant import AppRegistration, Tenant, User

SHARED_NAMES = frozenset({"common", "organizations", "consumers"})
# Where people have personal accounts; to this directory they come from the identity provider "live.com".
PERSONAL_DOMAINS = frozenset({"outlook.com", "hotmail.com", "live.com", "msn.com"})
# Smart lockout: ten wrong passwords, then a minute (Microsoft Learn, "Protect user accounts with smart lockout").
LOCKOUT_AFTER = 10
LOCKOUT_SECONDS = 60.0
# What a session that ended leaves behind in the claims challenge is unconfirmed; the policy's id stands there.
_POLICY_CODES: dict[PolicyControl, int] = {
    "block": 53003,
    "require compliant device": 53000,
    "require joined device": 53001,
    "require approved app": 53002,
}


# Where a request arrives


def refuse_unknown_tenant(tenant: Tenant, name: str) -> None:
    """900023 for what cannot be a tenant's name, 90002 for a tenant that is not here."""
    if tenant.answers_to(name):
        return
    if "." not in name and not _is_guid(name):
        raise AadstsError(900023, tenant=name)
    raise AadstsError(90002, tenant=name)


def refuse_other_cloud(tenant: Tenant, host: str, *, is_confidential: bool = False) -> None:
    """A request at another national cloud's host: 90038, from a confidential client 900432 (unconfirmed which)."""
    if host not in LOGIN_HOSTS or host == tenant.cloud.login_host:
        return
    if is_confidential:
        raise AadstsError(900432)
    raise AadstsError(90038, tenant=tenant.domain, cloud=tenant.cloud.instance)


def refuse_shared_endpoint(tenant_name: str, app: AppRegistration) -> None:
    """50194 for a single-tenant app at `/common` or `/organizations`, 9002332 for any app at `/consumers`."""
    name = tenant_name.lower()
    if name in ("consumers", CONSUMERS_TENANT_ID):
        raise AadstsError(9002332, client_id=app.client_id, name=app.name)
    if name in SHARED_NAMES and not app.is_multitenant:
        raise AadstsError(50194, client_id=app.client_id, name=app.name)


def find_app(tenant: Tenant, client_id: str) -> AppRegistration:
    """700016 for an unknown app, 7000112 for one that an administrator has disabled."""
    if client_id not in tenant.apps:
        raise AadstsError(700016, client_id=client_id, tenant=tenant.name)
    app = tenant.app(client_id)
    if not app.enterprise.is_enabled:
        raise AadstsError(7000112, client_id=client_id, name=app.name)
    return app


# A person


def authenticate_user(tenant: Tenant, app: AppRegistration, tenant_name: str, user_name: str, password: str) -> User:
    """The person with this user principal name and password, or what the sign-in page says instead."""
    user = _find_person(tenant, app, tenant_name, user_name)
    state, now = user.sign_in, tenant.clock.now()
    if user.is_shared:
        raise AadstsError(50057)
    if state.is_locked or now < state.locked_until:
        raise AadstsError(50053)
    if password != user.password:
        _count_failure(user, now)
        raise AadstsError(50126)
    state.failed_sign_ins = 0
    if not state.is_enabled:
        raise AadstsError(50057)
    if state.password_is_expired:
        raise AadstsError(50055)
    return user


def _find_person(tenant: Tenant, app: AppRegistration, tenant_name: str, user_name: str) -> User:
    user = tenant.user_by_upn(user_name) or _guest_named(tenant, user_name)
    is_lost_guest = user is not None and user.sign_in.is_guest and tenant_name.lower() in SHARED_NAMES
    if user is not None and not is_lost_guest:
        return user
    domain = user_name.rpartition("@")[2].lower()
    if domain == tenant.domain or not domain:
        raise AadstsError(50034, user=user_name, tenant=tenant.name)
    # A guest whom `/common` leads home, or somebody of another organisation.
    values = {"user": user_name, "provider": _provider_of(domain), "tenant": tenant.name}
    raise AadstsError(50020, **values, client_id=app.client_id, name=app.name)


def _guest_named(tenant: Tenant, address: str) -> User | None:
    user = tenant.user_by_address(address)
    return user if user is not None and user.sign_in.is_guest else None


def _provider_of(domain: str) -> str:
    if domain in PERSONAL_DOMAINS:
        return "live.com"
    return f"https://sts.windows.net/{uuid.uuid5(uuid.NAMESPACE_DNS, domain)}/"


def _count_failure(user: User, now: float) -> None:
    state = user.sign_in
    state.failed_sign_ins += 1
    if state.failed_sign_ins >= LOCKOUT_AFTER:
        state.failed_sign_ins, state.locked_until = 0, now + LOCKOUT_SECONDS


def refuse_ended_user(tenant: Tenant, object_id: str) -> User:
    """The person behind a code or a refresh token: 50034 once deleted, 50057 once disabled."""
    user = tenant.users.get(object_id)
    if user is None:
        raise AadstsError(50034, user=object_id, tenant=tenant.name)
    if user.is_shared or not user.sign_in.is_enabled:
        raise AadstsError(50057)
    return user


def refuse_revoked(user: User, issued_at: float, *, is_public: bool = False) -> None:
    """50173 for what was issued before the sessions were revoked; for a public client also before the password
    changed (Microsoft Learn, "Refresh tokens in the Microsoft identity platform")."""
    valid_from = user.sessions_valid_from
    if is_public:
        valid_from = max(valid_from, user.sign_in.password_changed_at)
    if issued_at < valid_from:
        raise AadstsError(50173, issued=precise_time(issued_at), valid_from=precise_time(valid_from))


def refuse_by_policy(tenant: Tenant, app: AppRegistration, user: User, *, is_device_code: bool = False) -> None:
    """What needs no second factor to be refused: assignment, and Conditional Access that blocks."""
    enterprise = app.enterprise
    if enterprise.assignment_is_required and user.object_id not in enterprise.assigned_users:
        values = {"user": user.user_principal_name, "client_id": app.client_id, "name": app.name}
        raise AadstsError(50105, **values)
    for policy in _policies_for(tenant, user):
        if policy.control in _POLICY_CODES:
            raise AadstsError(_POLICY_CODES[policy.control], state="unregistered", challenge=_challenge(policy))
        if policy.control == "block device code" and is_device_code:
            raise AadstsError(53003, challenge=_challenge(policy))


def demand_mfa(tenant: Tenant, user: User, resource: str, *, is_interactive: bool) -> AadstsError | None:
    """The error that a second factor would avert; None if none is asked for.

    50079 where no method is set up; otherwise 50076 by policy and 50074 by the user's own setting (which of the two
    a refresh gets for the latter is unconfirmed). Security defaults ask administrators for it each time, and
    everybody else to set it up when they next sign in.
    """
    policies = [policy for policy in _policies_for(tenant, user) if policy.control == "require MFA"]
    by_defaults = tenant.security_defaults and bool(user.sign_in.roles)
    must_register = tenant.security_defaults and is_interactive and not user.sign_in.mfa_is_registered
    if not (policies or by_defaults or must_register or user.sign_in.mfa_is_required):
        return None
    challenge = _challenge(policies[0]) if policies else ""
    if not user.sign_in.mfa_is_registered:
        return AadstsError(50079, resource=resource, challenge=challenge)
    if policies or by_defaults:
        return AadstsError(50076, resource=resource, challenge=challenge)
    return AadstsError(50074)


def refuse_old_sign_in(tenant: Tenant, user: User, proof: SignInProof) -> None:
    """70043 once the sign-in is older than the shortest sign-in frequency allows."""
    frequencies = [one.frequency_seconds for one in _policies_for(tenant, user) if one.control == "sign-in frequency"]
    if frequencies and tenant.clock.now() - proof.signed_in_at > min(frequencies):
        raise AadstsError(70043, issued=precise_time(proof.signed_in_at), seconds=f"{min(frequencies):.0f}")


def _policies_for(tenant: Tenant, user: User) -> list[ConditionalAccessPolicy]:
    return [
        policy
        for policy in tenant.entra.policies
        if policy.is_enabled and not policy.applies_to_apps and user.object_id not in policy.excluded_users
    ]


# An application


def refuse_app_by_policy(tenant: Tenant) -> None:
    """53003 by a policy for workload identities."""
    for policy in tenant.entra.policies:
        if policy.is_enabled and policy.applies_to_apps and policy.control == "block":
            raise AadstsError(53003, challenge=_challenge(policy))


def _challenge(policy: ConditionalAccessPolicy) -> str:
    """The `claims` that a client shall ask for interactively; its form is unconfirmed."""
    policy_id = str(uuid.uuid5(uuid.NAMESPACE_OID, policy.name))
    return json.dumps({"access_token": {"capolids": {"essential": True, "values": [policy_id]}}})


def _is_guid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
