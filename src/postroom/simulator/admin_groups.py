"""Microsoft 365 admin center: *Teams & groups > Shared mailboxes* and *Roles > Role assignments*."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from postroom.simulator.directory import Directory
from postroom.simulator.directory_rules import CONSENTING_ROLES, ROLES
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import OperationError, Tenant


def group_routes(tenant: Tenant) -> list[BaseRoute]:
    groups = _Groups(tenant)
    return [
        page("/shared-mailboxes", "shared_mailboxes.html", groups.show_shared_mailboxes),
        action("/shared-mailboxes", groups.add_shared_mailbox, "/shared-mailboxes"),
        action("/shared-mailboxes/{object_id}/members", groups.change_members, "/shared-mailboxes"),
        page("/roles", "roles.html", groups.show_roles),
        page("/roles/{role}", "role.html", groups.show_role),
        action("/roles/{role}", groups.change_role, "/roles/{role}"),
    ]


class _Groups:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.directory = Directory(tenant)

    def show_shared_mailboxes(self) -> Mapping[str, object]:
        people = [user for user in self.tenant.users.values() if not user.is_shared]
        return {"tenant": self.tenant, "people": people}

    def add_shared_mailbox(self, form: Form) -> None:
        """*Add a shared mailbox*: a name and an address; no licence, nobody signs in to it."""
        address = form.get("address", "").strip()
        if address and "@" not in address:
            address = f"{address}@{self.tenant.domain}"
        self.tenant.add_user(address, form.get("display_name", ""), licensed=False, is_shared=True)

    def change_members(self, form: Form, object_id: str) -> None:
        """*Add members*: like the real page it gives both Read and manage and Send as."""
        exchange, member = self.tenant.exchange, form.get("member", "")
        if "remove" in form:
            exchange.remove_mailbox_permission(object_id, member)
            exchange.remove_recipient_permission(object_id, member)
        else:
            exchange.add_mailbox_permission(object_id, member)
            exchange.add_recipient_permission(object_id, member)

    def show_roles(self) -> Mapping[str, object]:
        counts = {role: len(self._holders(role)) for role in ROLES}
        return {"tenant": self.tenant, "counts": counts, "consenting": CONSENTING_ROLES}

    def show_role(self, role: str) -> Mapping[str, object]:
        if role not in ROLES:
            raise OperationError(f"There is no directory role named “{role}”.")
        holders = self._holders(role)
        others = [user for user in self.tenant.users.values() if user not in holders and not user.is_shared]
        return {
            "role": role,
            "template_id": ROLES[role],
            "may_consent": role in CONSENTING_ROLES,
            "holders": holders,
            "others": others,
        }

    def _holders(self, role: str) -> list[object]:
        return [user for user in self.tenant.users.values() if role in user.sign_in.roles]

    def change_role(self, form: Form, role: str) -> None:
        """*Assigned > Add users*, and *Remove*."""
        operation = self.directory.remove_role if "remove" in form else self.directory.assign_role
        operation(form.get("user", ""), role)
