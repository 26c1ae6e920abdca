"""Pages about app registrations: a new one, its redirect URIs, secrets, permissions and consent.

The fields carry the names of Entra's own pages, so that what is learned here holds there.
"""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.scopes import PERMISSIONS
from postroom.simulator.tenant import ClientSecret, OperationError, Tenant

# How long a secret may live, as Entra's list offers it; the longest is 24 months.
SECRET_LIVES: tuple[tuple[int, str], ...] = (
    (180, "Recommended: 180 days (6 months)"),
    (90, "90 days (3 months)"),
    (365, "365 days (12 months)"),
    (545, "545 days (18 months)"),
    (730, "730 days (24 months)"),
)


def app_routes(tenant: Tenant) -> list[BaseRoute]:
    apps = _Apps(tenant)
    one = "/apps/{client_id}"
    return [
        Route("/apps", apps.list_apps),
        Route("/apps/new", apps.show_new),
        Route("/apps", apps.register, methods=["POST"]),
        Route(one, apps.show_app),
        Route(f"{one}/redirect-uris", apps.change_redirect_uris, methods=["POST"]),
        Route(f"{one}/secrets", apps.add_secret, methods=["POST"]),
        Route(f"{one}/secrets/{{secret_id}}", apps.change_secret, methods=["POST"]),
        Route(f"{one}/permissions", apps.change_permissions, methods=["POST"]),
        Route(f"{one}/consent", apps.change_consent, methods=["POST"]),
    ]


class _Apps:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        # A secret's value is shown on the next view of its page, and never again.
        self._unseen_secrets: dict[str, ClientSecret] = {}

    async def list_apps(self, request: Request) -> Response:
        return pages.render(request, "apps.html", tenant=self.tenant, now=self.tenant.clock.now())

    async def show_new(self, request: Request) -> Response:
        return pages.render(request, "app_new.html", tenant=self.tenant)

    async def register(self, request: Request) -> Response:
        if pages.came_from_elsewhere(request):
            return await pages.take_form(request, lambda _: None, "/apps")
        form = await pages.read_form(request)
        try:
            app = self.tenant.register_app(
                form.get("name", ""),
                form.get("redirect_uri", ""),
                is_multitenant=form.get("account_types") == "multitenant",
            )
        except OperationError as error:
            return pages.render(request, "refused.html", status_code=400, reason=str(error), next_path="/apps/new")
        return pages.go_to(f"/apps/{app.client_id}")

    async def show_app(self, request: Request) -> Response:
        app = self.tenant.apps.get(request.path_params["client_id"])
        if app is None:
            reason = "There is no app registration with this client id."
            return pages.render(request, "refused.html", status_code=404, reason=reason, next_path="/apps")
        consents = {
            self.tenant.user(object_id).user_principal_name: sorted(names)
            for object_id, names in app.user_consented.items()
        }
        return pages.render(
            request,
            "app.html",
            tenant=self.tenant,
            app=app,
            now=self.tenant.clock.now(),
            new_secret=self._unseen_secrets.pop(app.client_id, None),
            secret_lives=SECRET_LIVES,
            permissions=PERMISSIONS,
            consents=consents,
        )

    async def change_redirect_uris(self, request: Request) -> Response:
        def change(client_id: str, form: Mapping[str, str]) -> None:
            if "remove" in form:
                self.tenant.remove_redirect_uri(client_id, form["remove"])
            else:
                self.tenant.add_redirect_uri(client_id, form.get("redirect_uri", ""))

        return await self._take(request, change)

    async def add_secret(self, request: Request) -> Response:
        def add(client_id: str, form: Mapping[str, str]) -> None:
            text = form.get("days", "")
            if not text.isascii() or not text.isdigit():
                raise OperationError(f"“{text}” is not a number of days.")
            secret = self.tenant.add_secret(client_id, int(text[:6]), form.get("description", ""))
            self._unseen_secrets[client_id] = secret

        return await self._take(request, add)

    async def change_secret(self, request: Request) -> Response:
        secret_id = request.path_params["secret_id"]

        def change(client_id: str, form: Mapping[str, str]) -> None:
            operation = self.tenant.expire_secret if "expire" in form else self.tenant.remove_secret
            operation(client_id, secret_id)

        return await self._take(request, change)

    async def change_permissions(self, request: Request) -> Response:
        def change(client_id: str, form: Mapping[str, str]) -> None:
            if "remove" in form:
                self.tenant.remove_permission(client_id, form["remove"])
                return
            for name in PERMISSIONS:
                if name in form:
                    self.tenant.add_permission(client_id, name)

        return await self._take(request, change)

    async def change_consent(self, request: Request) -> Response:
        def change(client_id: str, form: Mapping[str, str]) -> None:
            operation = self.tenant.revoke_consent if "revoke" in form else self.tenant.grant_admin_consent
            operation(client_id)

        return await self._take(request, change)

    async def _take(self, request: Request, change: Callable[[str, Mapping[str, str]], None]) -> Response:
        client_id = request.path_params["client_id"]
        return await pages.take_form(request, lambda form: change(client_id, form), f"/apps/{client_id}")
