"""Pages about users and mailboxes: add one, its password and licence, SMTP AUTH, and who may use it."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.tenant import OperationError, Right, Tenant

# Right, the title that Exchange's page gives it, and what it lets a person do.
RIGHTS: tuple[tuple[Right, str, str], ...] = (
    ("send_as", "Send as", "Mail looks as if this mailbox had sent it."),
    ("send_on_behalf", "Send on behalf", "Mail shows “somebody on behalf of this mailbox”."),
    ("full_access", "Read and manage (Full Access)", "Sign in to this mailbox with one's own token."),
)
SMTP_AUTH_STATES: dict[str, bool | None] = {"inherit": None, "on": True, "off": False}


def people_routes(tenant: Tenant) -> list[BaseRoute]:
    people = _People(tenant)
    one = "/users/{object_id}"
    return [
        Route("/users", people.list_users),
        Route("/users", people.add_user, methods=["POST"]),
        Route(one, people.show_user),
        Route(f"{one}/settings", people.change_settings, methods=["POST"]),
        Route(f"{one}/password", people.change_password, methods=["POST"]),
        Route(f"{one}/rights", people.change_right, methods=["POST"]),
        Route(f"{one}/revoke-sessions", people.revoke_sessions, methods=["POST"]),
    ]


class _People:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    async def list_users(self, request: Request) -> Response:
        return pages.render(request, "users.html", tenant=self.tenant)

    async def add_user(self, request: Request) -> Response:
        return await pages.take_form(request, self._add_user, "/users")

    def _add_user(self, form: Mapping[str, str]) -> None:
        kind = form.get("kind", "mailbox")
        self.tenant.add_user(
            form.get("user_principal_name", ""),
            form.get("display_name", ""),
            form.get("password", ""),
            mail=form.get("mail", "").strip() or None,
            proxy_addresses=form.get("proxy_addresses", "").replace(",", " ").split(),
            licensed=kind == "mailbox",
            is_mailbox=kind != "person",
            is_shared=kind == "shared",
        )

    async def show_user(self, request: Request) -> Response:
        user = self.tenant.users.get(request.path_params["object_id"])
        if user is None:
            return self._no_such_user(request)
        trustees = {
            right: [self.tenant.users[trustee] for trustee in sorted(self.tenant.trustees(right, user.object_id))]
            for right, _, _ in RIGHTS
        }
        others = [other for other in self.tenant.users.values() if other is not user]
        return pages.render(
            request,
            "user.html",
            tenant=self.tenant,
            user=user,
            rights=RIGHTS,
            trustees=trustees,
            others=others,
            smtp_auth=next(name for name, state in SMTP_AUTH_STATES.items() if state is user.smtp_auth),
        )

    def _no_such_user(self, request: Request) -> Response:
        reason = "There is no user with this object id."
        return pages.render(request, "refused.html", status_code=404, reason=reason, next_path="/users")

    async def change_settings(self, request: Request) -> Response:
        object_id = request.path_params["object_id"]

        def change(form: Mapping[str, str]) -> None:
            state = form.get("smtp_auth", "")
            if state not in SMTP_AUTH_STATES:
                raise OperationError(f"There is no such setting of SMTP AUTH: “{state}”.")
            self.tenant.set_smtp_auth(object_id, SMTP_AUTH_STATES[state])
            self.tenant.set_licensed(object_id, licensed="licensed" in form)

        return await pages.take_form(request, change, f"/users/{object_id}")

    async def change_password(self, request: Request) -> Response:
        object_id = request.path_params["object_id"]

        def change(form: Mapping[str, str]) -> None:
            self.tenant.set_password(object_id, form.get("password", ""))

        return await pages.take_form(request, change, f"/users/{object_id}")

    async def change_right(self, request: Request) -> Response:
        object_id = request.path_params["object_id"]

        def change(form: Mapping[str, str]) -> None:
            right = _read_right(form.get("right", ""))
            operation = self.tenant.withdraw_right if "withdraw" in form else self.tenant.grant_right
            operation(right, object_id, form.get("trustee", ""))

        return await pages.take_form(request, change, f"/users/{object_id}")

    async def revoke_sessions(self, request: Request) -> Response:
        object_id = request.path_params["object_id"]
        return await pages.take_form(request, lambda _: self.tenant.revoke_sessions(object_id), f"/users/{object_id}")


def _read_right(text: str) -> Right:
    for right, _, _ in RIGHTS:
        if text == right:
            return right
    raise OperationError(f"There is no right named “{text}”.")
