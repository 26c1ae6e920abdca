"""Consent: what an app lacks, who may grant it, and what `.default` stands for."""

from typing import Literal

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.directory_rules import CONSENTING_ROLES
from postroom.simulator.registration import ApplicationPermission
from postroom.simulator.scopes import (
    ADMIN_ONLY_PERMISSIONS,
    DEFAULT,
    GRAPH,
    OPENID_SCOPES,
    Scopes,
    known_permissions,
)
from postroom.simulator.tenant import AppRegistration, Tenant, User

# Nothing to ask; the person may consent; the person may consent for everybody; somebody else must.
ConsentKind = Literal["none", "user", "administrator", "denied"]


class ConsentStep(msgspec.Struct, frozen=True):
    """What comes after a sign-in, and the permissions that the page lists."""

    kind: ConsentKind
    permissions: tuple[str, ...] = ()


def missing_permissions(app: AppRegistration, user: User, scopes: Scopes) -> tuple[str, ...]:
    """What nobody has consented to yet. Those of OpenID Connect come along with any other consent."""
    consented = app.consented_permissions(user.object_id)
    missing = tuple(name for name in scopes.permissions if name not in consented)
    if consented and all(name in OPENID_SCOPES for name in missing):
        return ()
    return missing


def decide_consent(tenant: Tenant, app: AppRegistration, user: User, scopes: Scopes, prompt: str) -> ConsentStep:
    """Which page a person sees; `prompt=consent` asks for everything anew."""
    missing = missing_permissions(app, user, scopes)
    asked = scopes.permissions if prompt == "consent" else missing
    if not asked:
        return ConsentStep("none")
    if is_consenting_administrator(user):
        return ConsentStep("administrator", asked)
    needs_administrator = tenant.entra.user_consent != "allowed" or not ADMIN_ONLY_PERMISSIONS.isdisjoint(missing)
    return ConsentStep("denied" if missing and needs_administrator else "user", asked)


def is_consenting_administrator(user: User) -> bool:
    return not CONSENTING_ROLES.isdisjoint(user.sign_in.roles)


def may_consent_to_roles(user: User, permissions: set[ApplicationPermission]) -> bool:
    """Whether the person may grant these application permissions; those of Graph need a Global Administrator
    (the last is unconfirmed)."""
    if any(permission.resource == GRAPH for permission in permissions):
        return "Global Administrator" in user.sign_in.roles
    return is_consenting_administrator(user)


def expand_default(tenant: Tenant, app: AppRegistration, scopes: Scopes) -> Scopes:
    """Put the registration's delegated permissions in the place of `.default`.

    650057 if the registration lists none of that resource.
    """
    if not scopes.asks_default:
        return scopes
    resources = {resource: _listed_for(tenant, app, resource) for resource in scopes.resources}
    return msgspec.structs.replace(scopes, resources=resources)


def _listed_for(tenant: Tenant, app: AppRegistration, resource: str) -> tuple[str, ...]:
    known = known_permissions(resource, tenant.cloud) or frozenset()
    listed = tuple(sorted(known & app.delegated_permissions))
    if not listed:
        values = {"client_id": app.client_id, "name": app.name, "resource": f"{resource}/{DEFAULT}"}
        raise AadstsError(650057, **values, listed=", ".join(sorted(app.delegated_permissions)) or "none")
    return listed


def refuse_missing_service(tenant: Tenant, scopes: Scopes) -> None:
    """650052 for Exchange Online's resource where the organisation has not subscribed to it."""
    if tenant.entra.exchange_is_subscribed:
        return
    for resource in scopes.resources:
        if resource in (tenant.cloud.outlook, tenant.cloud.exchange):
            raise AadstsError(650052, resource=resource, tenant=tenant.name)
