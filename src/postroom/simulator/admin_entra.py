"""Entra beside the registrations: Enterprise applications, Users, Conditional Access, security defaults, consent."""

from collections.abc import Mapping
from typing import get_args

from starlette.routing import BaseRoute

from postroom.simulator import pages
from postroom.simulator.directory import Directory
from postroom.simulator.directory_rules import PasswordReset, PolicyControl, UserConsent
from postroom.simulator.pages import Form, action, page
from postroom.simulator.tenant import Tenant

CONTROLS: dict[str, PolicyControl] = {control: control for control in get_args(PolicyControl)}
CONTROL_TITLES: dict[PolicyControl, str] = {
    "block": "Block access (53003)",
    "block device code": "Block the device code flow (53003)",
    "require MFA": "Require multifactor authentication (50076, 50079)",
    "require compliant device": "Require device to be marked as compliant (53000)",
    "require joined device": "Require Microsoft Entra hybrid joined device (53001)",
    "require approved app": "Require approved client app (53002)",
    "sign-in frequency": "Session: Sign-in frequency (70043)",
}
RESETS: dict[str, PasswordReset] = {way: way for way in get_args(PasswordReset)}
USER_CONSENTS: dict[str, UserConsent] = {setting: setting for setting in get_args(UserConsent)}
USER_CONSENT_TITLES: dict[UserConsent, str] = {
    "allowed": "Allow user consent for apps",
    "admin only": "Do not allow user consent (90094)",
    "admin request workflow": "Users can request admin consent (90095)",
}


def entra_routes(tenant: Tenant) -> list[BaseRoute]:
    entra = _Entra(tenant)
    app, user, policies = "/enterprise-apps/{client_id}", "/entra/users/{object_id}", "/conditional-access"
    return [
        page("/enterprise-apps", "enterprise_apps.html", entra.show_tenant),
        page(app, "enterprise_app.html", entra.show_enterprise_app),
        action(f"{app}/properties", entra.change_properties, app),
        action(f"{app}/users", entra.change_assignment, app),
        page("/entra/users", "entra_users.html", entra.show_tenant),
        action("/entra/users/invite", entra.invite_guest, "/entra/users"),
        page(user, "entra_user.html", entra.show_user),
        action(f"{user}/revoke-sessions", entra.revoke_sessions, user),
        action(f"{user}/password", entra.reset_password, user),
        action(f"{user}/expire-password", entra.expire_password, user),
        action(f"{user}/lock", entra.lock_user, user),
        action(f"{user}/mfa", entra.change_mfa, user),
        page(policies, "conditional_access.html", entra.show_policies),
        action(policies, entra.add_policy, policies),
        action(f"{policies}/legacy-authentication", entra.block_legacy, policies),
        action(f"{policies}/state", entra.switch_policy, policies),
        action(f"{policies}/exclude", entra.exclude_user, policies),
        action(f"{policies}/delete", entra.remove_policy, policies),
        page("/entra/properties", "entra_properties.html", entra.show_tenant),
        action("/entra/properties", entra.set_security_defaults, "/entra/properties"),
        page("/entra/consent", "entra_consent.html", entra.show_consent),
        action("/entra/consent", entra.set_user_consent, "/entra/consent"),
    ]


class _Entra:
    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.directory = Directory(tenant)

    def show_tenant(self) -> dict[str, object]:
        return {"tenant": self.tenant}

    # Enterprise applications

    def show_enterprise_app(self, client_id: str) -> Mapping[str, object]:
        enterprise = self.directory.enterprise_application(client_id)
        people = [user for user in self.tenant.users.values() if not user.is_shared]
        return {
            "tenant": self.tenant,
            "app": self.tenant.app(client_id),
            "enterprise": enterprise,
            "assigned": [user for user in people if user.object_id in enterprise.assigned_users],
            "others": [user for user in people if user.object_id not in enterprise.assigned_users],
        }

    def change_properties(self, form: Form, client_id: str) -> None:
        self.directory.enable_sign_in_to_app(client_id, enabled="enabled" in form)
        self.directory.require_assignment(client_id, required="assignment_required" in form)

    def change_assignment(self, form: Form, client_id: str) -> None:
        operation = self.directory.unassign_user if "remove" in form else self.directory.assign_user
        operation(client_id, form.get("user", ""))

    # Users

    def show_user(self, object_id: str) -> Mapping[str, object]:
        return {"tenant": self.tenant, "user": self.tenant.user(object_id), "resets": RESETS}

    def invite_guest(self, form: Form) -> None:
        self.directory.invite_guest(form.get("mail", ""), form.get("password", ""))

    def revoke_sessions(self, form: Form, object_id: str) -> None:
        self.tenant.revoke_sessions(object_id)

    def reset_password(self, form: Form, object_id: str) -> None:
        way = pages.read_choice(form, "by", RESETS)
        self.directory.reset_password(object_id, form.get("password", ""), by=way)

    def expire_password(self, form: Form, object_id: str) -> None:
        self.directory.expire_password(object_id)

    def lock_user(self, form: Form, object_id: str) -> None:
        operation = self.directory.lock_user if "lock" in form else self.directory.unlock_user
        operation(object_id)

    def change_mfa(self, form: Form, object_id: str) -> None:
        self.directory.require_mfa(object_id, required="required" in form)
        self.directory.register_mfa(object_id, registered="registered" in form)

    # Conditional Access

    def show_policies(self) -> Mapping[str, object]:
        return {
            "tenant": self.tenant,
            "controls": [(control, CONTROL_TITLES[control]) for control in CONTROLS.values()],
            "titles": CONTROL_TITLES,
            "is_legacy_blocked": self.tenant.exchange.settings.legacy_authentication_blocked,
        }

    def add_policy(self, form: Form) -> None:
        self.directory.add_policy(
            form.get("name", ""),
            pages.read_choice(form, "control", CONTROLS),
            frequency_hours=pages.read_number(form, "hours"),
            for_apps="for_apps" in form,
        )

    def block_legacy(self, form: Form) -> None:
        """The policy template *Block legacy authentication*, which meets Basic only."""
        self.tenant.exchange.block_legacy_authentication(blocked="blocked" in form)

    def switch_policy(self, form: Form) -> None:
        self.directory.switch_policy(form.get("name", ""), enabled="enabled" in form)

    def exclude_user(self, form: Form) -> None:
        name, user = form.get("name", ""), form.get("user", "")
        self.directory.exclude_user(name, user, excluded="remove" not in form)

    def remove_policy(self, form: Form) -> None:
        self.directory.remove_policy(form.get("name", ""))

    # Properties, Consent and permissions

    def set_security_defaults(self, form: Form) -> None:
        self.directory.set_security_defaults(enabled="security_defaults" in form)

    def show_consent(self) -> Mapping[str, object]:
        titles = [(setting, USER_CONSENT_TITLES[setting]) for setting in USER_CONSENTS.values()]
        return {"tenant": self.tenant, "choices": titles}

    def set_user_consent(self, form: Form) -> None:
        self.directory.set_user_consent(pages.read_choice(form, "user_consent", USER_CONSENTS))
