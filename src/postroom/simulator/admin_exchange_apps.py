"""Exchange by PowerShell: authentication policies, service principals, RBAC for Applications, the tenant's limits."""

from collections.abc import Mapping

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import OperationError, Tenant


def exchange_app_routes(tenant: Tenant) -> list[BaseRoute]:
    exchange = _ExchangeApps(tenant)
    policies, principals, rbac = "/exchange/policies", "/exchange/service-principals", "/exchange/rbac"
    limits = "/exchange/limits"
    return [
        page(policies, "exchange_policies.html", exchange.show_tenant),
        action(policies, exchange.new_policy, policies),
        action(f"{policies}/default", exchange.set_default_policy, policies),
        action(f"{policies}/remove", exchange.remove_policy, policies),
        page(principals, "exchange_principals.html", exchange.show_tenant),
        action(principals, exchange.new_service_principal, principals),
        action(f"{principals}/remove", exchange.remove_service_principal, principals),
        page(rbac, "exchange_rbac.html", exchange.show_rbac),
        action(f"{rbac}/scopes", exchange.new_scope, rbac),
        action(f"{rbac}/assignments", exchange.new_assignment, rbac),
        action(f"{rbac}/assignments/remove", exchange.remove_assignment, rbac),
        action(f"{rbac}/access-policies", exchange.restrict_application, rbac),
        action(f"{rbac}/access-policies/remove", exchange.remove_restriction, rbac),
        page(limits, "exchange_limits.html", exchange.show_limits),
        action(limits, exchange.set_limits, limits),
        action(f"{limits}/trial", exchange.set_trial, limits),
    ]


class _ExchangeApps:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def show_tenant(self) -> dict[str, object]:
        return {"tenant": self.tenant, "exchange": self.tenant.exchange, "settings": self.tenant.exchange.settings}

    # Authentication policies

    def new_policy(self, form: Form) -> None:
        allowed = "allow_basic_auth_smtp" in form
        self.tenant.exchange.new_authentication_policy(form.get("name", ""), allow_basic_auth_smtp=allowed)

    def set_default_policy(self, form: Form) -> None:
        self.tenant.exchange.set_authentication_policy(None, form.get("policy", ""))

    def remove_policy(self, form: Form) -> None:
        self.tenant.exchange.remove_authentication_policy(form.get("name", ""))

    # Service principals

    def new_service_principal(self, form: Form) -> None:
        self.tenant.exchange.new_service_principal(
            form.get("app_id", ""), form.get("object_id", ""), form.get("display_name", "")
        )

    def remove_service_principal(self, form: Form) -> None:
        self.tenant.exchange.remove_service_principal(form.get("object_id", ""))

    # RBAC for Applications, and the access policies of Graph that it replaces

    def show_rbac(self) -> Mapping[str, object]:
        names = {user.object_id: user.user_principal_name for user in self.tenant.users.values()}
        return {**self.show_tenant(), "names": names, "access_policies": self.tenant.graph.access_policies}

    def new_scope(self, form: Form) -> None:
        self.tenant.exchange.new_management_scope(form.get("name", ""), _addresses(form))

    def new_assignment(self, form: Form) -> None:
        self.tenant.exchange.new_role_assignment(
            form.get("app_id", ""), form.get("name", ""), scope=form.get("scope", "")
        )

    def remove_assignment(self, form: Form) -> None:
        self.tenant.exchange.remove_role_assignment(form.get("name", ""))

    def restrict_application(self, form: Form) -> None:
        app = self.tenant.app(form.get("app_id", ""))
        mailboxes = [self._mailbox_id(address) for address in _addresses(form)]
        self.tenant.graph.restrict_application(app.client_id, mailboxes)

    def _mailbox_id(self, address: str) -> str:
        user = self.tenant.user_by_address(address)
        if user is None:
            raise OperationError(f"There is no mailbox {address}.")
        return user.object_id

    def remove_restriction(self, form: Form) -> None:
        self.tenant.graph.remove_restriction(form.get("app_id", ""))

    # Limits of the organisation

    def show_limits(self) -> Mapping[str, object]:
        return {
            **self.show_tenant(),
            "limits": self.tenant.exchange.limits,
            "submissions": self.tenant.exchange.submissions,
        }

    def set_limits(self, form: Form) -> None:
        self.tenant.exchange.set_tenant_limits(
            external_recipients_per_day=int(pages.read_number(form, "external_recipients_per_day")) or None,
            recipients_per_message=int(pages.read_number(form, "recipients_per_message")),
        )

    def set_trial(self, form: Form) -> None:
        self.tenant.exchange.set_trial(is_trial="is_trial" in form)


def _addresses(form: Form) -> list[str]:
    return form.get("members", "").replace(",", " ").split()
