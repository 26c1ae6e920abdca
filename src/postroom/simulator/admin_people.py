"""Microsoft 365 admin center: *Users > Active users*, and a user's tabs Account, Licenses and apps, and Mail."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.directory import Directory
from postroom.simulator.directory_rules import ROLES
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import OperationError, Right, Tenant, User

# Right, the title that the page gives it, and what it lets a person do.
RIGHTS: tuple[tuple[Right, str, str], ...] = (
    ("full_access", "Read and manage", "Full Access: sign in to this mailbox with one's own token."),
    ("send_as", "Send as", "Mail looks as if this mailbox had sent it."),
    ("send_on_behalf", "Send on behalf", "Mail shows “somebody on behalf of this mailbox”."),
)
LICENCE = "Exchange Online (Plan 1)"


def people_routes(tenant: Tenant) -> list[BaseRoute]:
    people = _People(tenant)
    one = "/users/{object_id}"
    return [
        page("/users", "users.html", people.show_users),
        action("/users", people.add_user, "/users"),
        page(one, "user.html", people.show_user),
        page(f"{one}/licenses", "user_licenses.html", people.show_user),
        page(f"{one}/mail", "user_mail.html", people.show_mail),
        page(f"{one}/email-apps", "user_email_apps.html", people.show_email_apps),
        action(f"{one}/aliases", people.change_aliases, one),
        action(f"{one}/password", people.reset_password, one),
        action(f"{one}/revoke-sessions", people.revoke_sessions, one),
        action(f"{one}/sign-in", people.block_sign_in, one),
        action(f"{one}/roles", people.change_roles, one),
        action(f"{one}/delete", people.delete_user, "/users"),
        action(f"{one}/licenses", people.change_licence, f"{one}/licenses"),
        action(f"{one}/rights", people.change_right, f"{one}/mail"),
        action(f"{one}/email-apps", people.change_email_apps, f"{one}/email-apps"),
        action(f"{one}/mailbox-type", people.convert_mailbox, f"{one}/mail"),
    ]


class _People:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.directory = Directory(tenant)

    def show_users(self) -> Mapping[str, object]:
        return {"tenant": self.tenant, "licence": LICENCE}

    def add_user(self, form: Form) -> None:
        """*Add a user*; the domain of the tenant is added to a username without one."""
        name = form.get("user_principal_name", "").strip()
        is_licensed = form.get("licence", "none") != "none"
        self.tenant.add_user(
            f"{name}@{self.tenant.domain}" if name and "@" not in name else name,
            form.get("display_name", ""),
            form.get("password", ""),
            proxy_addresses=form.get("proxy_addresses", "").replace(",", " ").split(),
            licensed=is_licensed,
            is_mailbox=is_licensed,
        )

    def show_user(self, object_id: str) -> dict[str, object]:
        user = self.tenant.user(object_id)
        return {"tenant": self.tenant, "user": user, "roles": ROLES, "licence": LICENCE}

    def show_mail(self, object_id: str) -> dict[str, object]:
        return {**self.show_user(object_id), **describe_rights(self.tenant, object_id)}

    def show_email_apps(self, object_id: str) -> dict[str, object]:
        user = self.tenant.user(object_id)
        return {**self.show_user(object_id), "is_on": self._is_meant_to_be_on(user)}

    def _is_meant_to_be_on(self, user: User) -> bool:
        """As set, though it may not have arrived at the front end yet."""
        own = user.smtp_auth
        return not self.tenant.exchange.settings.smtp_auth_disabled if own is None else own

    # Account

    def change_aliases(self, form: Form, object_id: str) -> None:
        """*Manage username and email*."""
        if "remove" in form:
            self.tenant.remove_alias(object_id, form["remove"])
        else:
            self.tenant.add_alias(object_id, form.get("alias", ""))

    def reset_password(self, form: Form, object_id: str) -> None:
        self.directory.reset_password(object_id, form.get("password", ""))

    def revoke_sessions(self, form: Form, object_id: str) -> None:
        """*Sign out of all sessions*."""
        self.tenant.revoke_sessions(object_id)

    def block_sign_in(self, form: Form, object_id: str) -> None:
        operation = self.directory.disable_user if "block" in form else self.directory.enable_user
        operation(object_id)

    def change_roles(self, form: Form, object_id: str) -> None:
        """*Manage roles*."""
        operation = self.directory.remove_role if "remove" in form else self.directory.assign_role
        operation(object_id, form.get("remove") or form.get("role", ""))

    def delete_user(self, form: Form, object_id: str) -> None:
        self.directory.delete_user(object_id)

    # Licenses and apps

    def change_licence(self, form: Form, object_id: str) -> None:
        self.tenant.set_licensed(object_id, licensed="licensed" in form)

    # Mail

    def change_right(self, form: Form, object_id: str) -> None:
        change_right(self.tenant, form, object_id)

    def change_email_apps(self, form: Form, object_id: str) -> None:
        """*Manage email apps*: the page knows on and off; only PowerShell gives the decision back to the tenant."""
        if not self.tenant.user(object_id).is_mailbox:
            raise OperationError("This user has no mailbox: assign a licence first.")
        self.tenant.exchange.set_smtp_auth(object_id, "smtp_auth" in form)

    def convert_mailbox(self, form: Form, object_id: str) -> None:
        exchange = self.tenant.exchange
        operation = exchange.convert_to_shared if "shared" in form else exchange.convert_to_regular
        operation(object_id)


def describe_rights(tenant: Tenant, object_id: str) -> dict[str, object]:
    """Who may use the mailbox: by right, the trustees with their ids and names; and who else could."""
    user = tenant.user(object_id)
    principals = tenant.exchange.settings.service_principals
    names = {other.object_id: other.user_principal_name for other in tenant.users.values() if other is not user}
    names |= {principal.object_id: principal.display_name or principal.app_id for principal in principals.values()}
    trustees = {
        right: sorted((names.get(trustee, trustee), trustee) for trustee in tenant.trustees(right, object_id))
        for right, _, _ in RIGHTS
    }
    return {"rights": RIGHTS, "trustees": trustees, "candidates": names}


def change_right(tenant: Tenant, form: Form, object_id: str) -> None:
    """Add or remove what the form names, with Exchange's own operations."""
    exchange, trustee = tenant.exchange, form.get("trustee", "")
    operations = {
        "full_access": (exchange.add_mailbox_permission, exchange.remove_mailbox_permission),
        "send_as": (exchange.add_recipient_permission, exchange.remove_recipient_permission),
        "send_on_behalf": (exchange.grant_send_on_behalf, exchange.withdraw_send_on_behalf),
    }
    add, remove = pages.read_choice(form, "right", operations)
    operation = remove if "withdraw" in form else add
    operation(object_id, trustee)
