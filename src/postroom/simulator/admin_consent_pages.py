"""The admin consent endpoints: an administrator grants an app's permissions for everybody, by an address.

Source: Microsoft Learn, "Admin consent on the Microsoft identity platform". `admin_consent=True` stands in the
success and in the failure alike.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from postroom.simulator.aadsts import AadstsError, make_trail
from postroom.simulator.authorize import ReturnAddress, find_asking_app, find_return_address
from postroom.simulator.consent import is_consenting_administrator, may_consent_to_roles
from postroom.simulator.issued_grants import SignInProof
from postroom.simulator.registration import ApplicationPermission, AppRegistration, Platform
from postroom.simulator.scopes import DEFAULT, OPENID_SCOPES, PERMISSIONS, Scopes, known_permissions, parse_scopes
from postroom.simulator.sign_in import Flow, SignIn, host_of
from postroom.simulator.tenant import Tenant, User

V1_CANCELLED = "The admin canceled the request"


class AdminConsentGoal(msgspec.Struct, frozen=True):
    """`delegated` and `roles` are what accepting grants; `is_first_version` is /adminconsent without v2.0."""

    tenant_name: str
    client_id: str
    scopes: Scopes
    address: ReturnAddress
    delegated: frozenset[str]
    roles: frozenset[ApplicationPermission]
    is_first_version: bool = False
    prompt: str = ""
    login_hint: str = ""
    domain_hint: str = ""
    platform: Platform = "web"
    is_device_code: bool = False

    @property
    def form_target(self) -> str:
        return self.address.redirect_uri

    def ask_first(self, walk: SignIn, request: Request, flow: Flow, user: User) -> Response | None:
        """The page of consent for the organisation, to those whose role allows it; 90094 to the rest."""
        if not is_consenting_administrator(user) or not may_consent_to_roles(user, set(self.roles)):
            name = walk.tenant.app(self.client_id).name
            return walk.refuse(request, flow, AadstsError(90094, name=name))
        listed = [(name, PERMISSIONS[name]) for name in sorted(self.delegated)]
        listed += [(f"{role.value} (application)", role.resource) for role in sorted(self.roles, key=str)]
        return walk.show_page(request, "admin_consent.html", flow, path="consent", user=user, permissions=listed)

    def learn_refusal(self, error: AadstsError) -> None:
        """Nobody waits for it."""

    def succeed(self, walk: SignIn, request: Request, user: User, proof: SignInProof) -> Response:
        app = walk.tenant.app(self.client_id)
        app.admin_consented |= self.delegated
        app.granted_permissions |= self.roles
        answer = {"admin_consent": "True", "tenant": walk.tenant.tenant_id}
        if not self.is_first_version:
            answer["scope"] = self.scopes.text
        return RedirectResponse(self.address.url(answer), 302)

    def fail(self, walk: SignIn, request: Request, error: AadstsError) -> Response:
        description = make_trail(walk.tenant.clock.now()).describe(error.sentence)
        answer = {"admin_consent": "True", "error": "consent_required", "error_description": description}
        if self.is_first_version:
            answer |= {"error": "permission_denied", "error_description": V1_CANCELLED}
        return RedirectResponse(self.address.url(answer), 302)


class AdminConsentPages:
    def __init__(self, walk: SignIn) -> None:
        self.walk = walk

    async def start(self, request: Request) -> Response:
        return self._begin(request, is_first_version=False)

    async def start_first_version(self, request: Request) -> Response:
        return self._begin(request, is_first_version=True)

    def _begin(self, request: Request, *, is_first_version: bool) -> Response:
        tenant, query = self.walk.tenant, request.query_params
        tenant_name = request.path_params["tenant"]
        try:
            app = find_asking_app(tenant, tenant_name, host_of(request), query)
            address = find_return_address(app, query)
            if tenant_name.lower() == "common" and not is_first_version:
                raise AadstsError(
                    90023, reason="Use the tenant's id or 'organizations' for admin consent, not 'common'."
                )
            scopes = _scopes_of(tenant, app, query.get("scope", ""), is_first_version=is_first_version)
        except AadstsError as error:
            return self.walk.error_page(request, error)
        delegated, roles = _what_is_granted(tenant, app, scopes, everything=is_first_version)
        goal = AdminConsentGoal(
            tenant_name, app.client_id, scopes, address, delegated, roles, is_first_version=is_first_version
        )
        return self.walk.begin(request, goal)


def _scopes_of(tenant: Tenant, app: AppRegistration, text: str, *, is_first_version: bool) -> Scopes:
    if is_first_version:
        return Scopes((), {}, "", tenant.cloud.graph)
    return parse_scopes(text, tenant.name, tenant.cloud)


def _what_is_granted(
    tenant: Tenant, app: AppRegistration, scopes: Scopes, *, everything: bool
) -> tuple[frozenset[str], frozenset[ApplicationPermission]]:
    """Delegated permissions by name, and app roles. App roles come by `.default`, or by the first version."""
    if everything:
        return frozenset(app.delegated_permissions), frozenset(app.application_permissions)
    delegated, roles = set(scopes.openid), set[ApplicationPermission]()
    for resource, names in scopes.resources.items():
        if names != (DEFAULT,):
            delegated |= set(names)
            continue
        known = known_permissions(resource, tenant.cloud) or frozenset()
        delegated |= app.delegated_permissions & (known | set(OPENID_SCOPES))
        canonical = tenant.cloud.canonical_resource(resource)
        roles |= {role for role in app.application_permissions if role.resource == canonical}
    return frozenset(delegated), frozenset(roles)
