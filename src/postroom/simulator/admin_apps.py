"""Entra: *App registrations*: New registration, and a registration's Overview, Authentication, Certificates & secrets,
API permissions and Manifest."""

from collections.abc import Mapping
from typing import get_args

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.directory import SERVICES, Directory
from postroom.simulator.pages import Form, action, page
from postroom.simulator.registration import ApplicationPermission, GroupMembershipClaims, Platform
from postroom.simulator.scopes import PERMISSIONS
from postroom.simulator.tenant import AppRegistration, ClientSecret, OperationError, Tenant, checked_redirect_uri

# How long a secret may live, as Entra's list offers it; the longest is 24 months.
SECRET_LIVES: tuple[tuple[int, str], ...] = (
    (180, "Recommended: 180 days (6 months)"),
    (90, "90 days (3 months)"),
    (365, "365 days (12 months)"),
    (545, "545 days (18 months)"),
    (730, "730 days (24 months)"),
)
PLATFORMS: dict[str, Platform] = {"web": "web", "spa": "spa", "public": "public"}
PLATFORM_TITLES: dict[Platform, str] = {
    "web": "Web",
    "spa": "Single-page application (SPA)",
    "public": "Public client/native (mobile & desktop)",
}
GROUP_CLAIMS: dict[str, GroupMembershipClaims] = {claims: claims for claims in get_args(GroupMembershipClaims)}
LARGEST_CERTIFICATE_BYTES = 65_536


def app_routes(tenant: Tenant) -> list[BaseRoute]:
    apps = _Apps(tenant)
    one = "/apps/{client_id}"
    authentication, credentials, permissions = f"{one}/authentication", f"{one}/credentials", f"{one}/permissions"
    return [
        page("/apps", "apps.html", apps.show_apps),
        page("/apps/new", "app_new.html", apps.show_new),
        action("/apps", apps.register, "/apps/new"),
        page(one, "app.html", apps.show_app),
        page(authentication, "app_authentication.html", apps.show_authentication),
        page(credentials, "app_credentials.html", apps.show_credentials),
        page(permissions, "app_permissions.html", apps.show_permissions),
        page(f"{one}/manifest", "app_manifest.html", apps.show_manifest),
        action(f"{one}/redirect-uris", apps.change_redirect_uris, authentication),
        action(f"{one}/flows", apps.change_flows, authentication),
        action(f"{one}/secrets", apps.add_secret, credentials),
        action(f"{one}/secrets/{{secret_id}}", apps.change_secret, credentials),
        Route(f"{one}/certificates", apps.upload_certificate, methods=["POST"]),
        action(f"{one}/certificates/{{key_id}}", apps.remove_certificate, credentials),
        action(permissions, apps.change_delegated, permissions),
        action(f"{one}/application-permissions", apps.change_application, permissions),
        action(f"{one}/consent", apps.change_consent, permissions),
        action(f"{one}/manifest", apps.change_manifest, f"{one}/manifest"),
        action(f"{one}/delete", apps.delete_app, "/apps"),
    ]


class _Apps:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.directory = Directory(tenant)
        # A secret's value is shown on the next view of its page, and never again.
        self._unseen_secrets: dict[str, ClientSecret] = {}

    def show_apps(self) -> Mapping[str, object]:
        return {"tenant": self.tenant, "now": self.tenant.clock.now()}

    # New registration

    def show_new(self) -> Mapping[str, object]:
        return {"tenant": self.tenant, "platforms": PLATFORM_TITLES}

    def register(self, form: Form) -> str:
        """*Register*; a redirect URI that Entra would not take leaves nothing behind."""
        redirect_uri = form.get("redirect_uri", "").strip()
        platform = PLATFORMS.get(form.get("platform", "web"), "web")
        if redirect_uri:
            checked_redirect_uri(redirect_uri)
        is_multitenant = form.get("account_types") == "multitenant"
        app = self.tenant.register_app(form.get("name", ""), is_multitenant=is_multitenant)
        if redirect_uri:
            self.directory.add_redirect_uri(app.client_id, redirect_uri, platform)
        return f"/apps/{app.client_id}"

    # Overview, Authentication, Manifest

    def show_app(self, client_id: str) -> dict[str, object]:
        return {"tenant": self.tenant, "app": self.tenant.app(client_id), "now": self.tenant.clock.now()}

    def show_authentication(self, client_id: str) -> dict[str, object]:
        app = self.tenant.app(client_id)
        uris = {"web": app.redirect_uris, "spa": app.spa_redirect_uris, "public": app.public_redirect_uris}
        return {**self.show_app(client_id), "platforms": PLATFORM_TITLES, "uris": uris}

    def change_redirect_uris(self, form: Form, client_id: str) -> None:
        platform = pages.read_choice({"platform": form.get("platform", "web")}, "platform", PLATFORMS)
        if "remove" in form:
            self.directory.remove_redirect_uri(client_id, form["remove"], platform)
        else:
            self.directory.add_redirect_uri(client_id, form.get("redirect_uri", ""), platform)

    def change_flows(self, form: Form, client_id: str) -> None:
        self.directory.allow_public_client_flows(client_id, allowed="public_client_flows" in form)
        self.directory.enable_id_tokens(client_id, enabled="id_tokens" in form)

    def show_manifest(self, client_id: str) -> dict[str, object]:
        return {**self.show_app(client_id), "choices": [(claims, claims) for claims in GROUP_CLAIMS]}

    def change_manifest(self, form: Form, client_id: str) -> None:
        claims = pages.read_choice(form, "group_membership_claims", GROUP_CLAIMS)
        self.directory.set_group_membership_claims(client_id, claims)

    def delete_app(self, form: Form, client_id: str) -> None:
        self.directory.delete_app(client_id)

    # Certificates & secrets

    def show_credentials(self, client_id: str) -> dict[str, object]:
        shown = self.show_app(client_id)
        return {**shown, "new_secret": self._unseen_secrets.pop(client_id, None), "secret_lives": SECRET_LIVES}

    def add_secret(self, form: Form, client_id: str) -> None:
        text = form.get("days", "")
        if not text.isascii() or not text.isdigit():
            raise OperationError(f"“{text}” is not a number of days.")
        secret = self.tenant.add_secret(client_id, int(text[:6]), form.get("description", ""))
        self._unseen_secrets[client_id] = secret

    def change_secret(self, form: Form, client_id: str, secret_id: str) -> None:
        operation = self.tenant.expire_secret if "expire" in form else self.tenant.remove_secret
        operation(client_id, secret_id)

    async def upload_certificate(self, request: Request) -> Response:
        """*Upload certificate*: a file, so that the form is read here and not as text."""
        client_id = request.path_params["client_id"]
        async with request.form(max_files=1, max_part_size=LARGEST_CERTIFICATE_BYTES) as form:
            upload = form.get("certificate")
            content = await upload.read(LARGEST_CERTIFICATE_BYTES) if isinstance(upload, UploadFile) else b""
            description = str(form.get("description") or "")

            def add(_: Form) -> None:
                self.directory.add_certificate(client_id, content, description)

            return await pages.take_form(request, add, f"/apps/{client_id}/credentials")

    def remove_certificate(self, form: Form, client_id: str, key_id: str) -> None:
        self.directory.remove_certificate(client_id, key_id)

    # API permissions

    def show_permissions(self, client_id: str) -> dict[str, object]:
        app = self.tenant.app(client_id)
        consents = {
            self.tenant.user(object_id).user_principal_name: sorted(names)
            for object_id, names in app.user_consented.items()
        }
        application = _describe_application_permissions(app)
        return {
            **self.show_app(client_id),
            "permissions": PERMISSIONS,
            "services": SERVICES,
            "application": application,
            "listed": [(service, value) for service, value, _, _ in application],
            "consents": consents,
        }

    def change_delegated(self, form: Form, client_id: str) -> None:
        if "remove" in form:
            self.tenant.remove_permission(client_id, form["remove"])
        for name in PERMISSIONS:
            if name in form:
                self.tenant.add_permission(client_id, name)

    def change_application(self, form: Form, client_id: str) -> None:
        """Fields are named `<service>/<value>`; `remove` holds such a name."""
        if "remove" in form:
            service, _, value = form["remove"].partition("/")
            self.directory.remove_application_permission(client_id, service, value)
        for service, (_, permissions) in SERVICES.items():
            for value in permissions:
                if f"{service}/{value}" in form:
                    self.directory.add_application_permission(client_id, service, value)

    def change_consent(self, form: Form, client_id: str) -> None:
        operation = self.tenant.revoke_consent if "revoke" in form else self.tenant.grant_admin_consent
        operation(client_id)


def _describe_application_permissions(app: AppRegistration) -> list[tuple[str, str, str, bool]]:
    """Service, value, meaning, and whether it is granted, of each that the registration lists."""
    return [
        (service, value, meaning, ApplicationPermission(resource, value) in app.granted_permissions)
        for service, (resource, permissions) in SERVICES.items()
        for value, meaning in permissions.items()
        if ApplicationPermission(resource, value) in app.application_permissions
    ]
