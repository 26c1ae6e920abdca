"""Each form of the pages calls operations, and changes nothing itself: a set-up plan can do what a person clicks."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from postroom.simulator import admin_center
from postroom.simulator.controls import Controls
from postroom.simulator.directory import Directory
from postroom.simulator.graph_switches import GraphSwitches
from postroom.simulator.organisation import Organisation
from postroom.simulator.organisation_settings import READINGS
from postroom.simulator.scenarios import Scenarios
from postroom.simulator.tenant import AppRegistration, Tenant, User

HOMES = (Tenant, Directory, Organisation, GraphSwitches, Controls, Scenarios)
# What only looks.
READS = {
    "Tenant.app",
    "Tenant.user",
    "Tenant.user_by_address",
    "Tenant.trustees",
    "Directory.enterprise_application",
    "Organisation.limits_of",
}
PASSWORD = {"password": "New-one-9"}
EVERY_READING = ["Organisation.set_reading"] * len(READINGS)

# The form's address, what it sends, and the operations that it calls, in their order.
ACTIONS: list[tuple[str, dict[str, str], list[str]]] = [
    ("/reset", {"empty": "1"}, ["Controls.reset", "Scenarios.forget"]),
    ("/scenarios/choose", {}, ["Scenarios.choose"]),
    ("/scenarios/set-up", {}, ["Scenarios.set_up_everything"]),
    ("/scenarios/back-to-normal", {}, ["Scenarios.back_to_normal"]),
    ("/scenarios/{name}", {}, ["Scenarios.apply"]),
    ("/users", {"user_principal_name": "mfp", "licence": "exchange"}, ["Tenant.add_user"]),
    ("/users/{object_id}/aliases", {"alias": "scan@contoso.com"}, ["Tenant.add_alias"]),
    ("/users/{object_id}/aliases", {"remove": "copier@contoso.com"}, ["Tenant.remove_alias"]),
    ("/users/{object_id}/password", PASSWORD, ["Directory.reset_password"]),
    ("/users/{object_id}/revoke-sessions", {}, ["Tenant.revoke_sessions"]),
    ("/users/{object_id}/sign-in", {"block": "1"}, ["Directory.disable_user"]),
    ("/users/{object_id}/sign-in", {}, ["Directory.enable_user"]),
    ("/users/{object_id}/roles", {"role": "Global Reader"}, ["Directory.assign_role"]),
    ("/users/{object_id}/roles", {"remove": "Global Reader"}, ["Directory.remove_role"]),
    ("/users/{object_id}/delete", {}, ["Directory.delete_user"]),
    ("/users/{object_id}/licenses", {"licensed": "on"}, ["Tenant.set_licensed"]),
    ("/users/{object_id}/rights", {"right": "send_as"}, ["Organisation.add_recipient_permission"]),
    ("/users/{object_id}/rights", {"right": "full_access"}, ["Organisation.add_mailbox_permission"]),
    ("/users/{object_id}/rights", {"right": "send_on_behalf"}, ["Organisation.grant_send_on_behalf"]),
    ("/users/{object_id}/email-apps", {"smtp_auth": "on"}, ["Organisation.set_smtp_auth"]),
    ("/users/{object_id}/mailbox-type", {"shared": "1"}, ["Organisation.convert_to_shared"]),
    ("/users/{object_id}/mailbox-type", {}, ["Organisation.convert_to_regular"]),
    ("/shared-mailboxes", {"address": "support"}, ["Tenant.add_user"]),
    (
        "/shared-mailboxes/{object_id}/members",
        {"member": "anna@contoso.com"},
        ["Organisation.add_mailbox_permission", "Organisation.add_recipient_permission"],
    ),
    ("/roles/{role}", {"user": "?"}, ["Directory.assign_role"]),
    ("/apps", {"name": "P"}, ["Tenant.register_app"]),
    (
        "/apps",
        {"name": "P", "redirect_uri": "http://localhost/cb", "platform": "public"},
        ["Tenant.register_app", "Directory.add_redirect_uri"],
    ),
    ("/apps/{client_id}/redirect-uris", {"redirect_uri": "http://localhost/x"}, ["Directory.add_redirect_uri"]),
    ("/apps/{client_id}/redirect-uris", {"remove": "http://localhost/x"}, ["Directory.remove_redirect_uri"]),
    (
        "/apps/{client_id}/flows",
        {"public_client_flows": "on"},
        ["Directory.allow_public_client_flows", "Directory.enable_id_tokens"],
    ),
    ("/apps/{client_id}/secrets", {"days": "730"}, ["Tenant.add_secret"]),
    ("/apps/{client_id}/secrets/{secret_id}", {"expire": "1"}, ["Tenant.expire_secret"]),
    ("/apps/{client_id}/secrets/{secret_id}", {"remove": "1"}, ["Tenant.remove_secret"]),
    ("/apps/{client_id}/certificates", {"description": "c"}, ["Directory.add_certificate"]),
    ("/apps/{client_id}/certificates/{key_id}", {}, ["Directory.remove_certificate"]),
    ("/apps/{client_id}/permissions", {"Mail.Send": "on"}, ["Tenant.add_permission"]),
    ("/apps/{client_id}/permissions", {"remove": "SMTP.Send"}, ["Tenant.remove_permission"]),
    (
        "/apps/{client_id}/application-permissions",
        {"Office 365 Exchange Online/SMTP.SendAsApp": "on"},
        ["Directory.add_application_permission"],
    ),
    (
        "/apps/{client_id}/application-permissions",
        {"remove": "Microsoft Graph/Mail.Send"},
        ["Directory.remove_application_permission"],
    ),
    ("/apps/{client_id}/consent", {"grant": "1"}, ["Tenant.grant_admin_consent"]),
    ("/apps/{client_id}/consent", {"revoke": "1"}, ["Tenant.revoke_consent"]),
    ("/apps/{client_id}/manifest", {"group_membership_claims": "All"}, ["Directory.set_group_membership_claims"]),
    ("/apps/{client_id}/delete", {}, ["Directory.delete_app"]),
    (
        "/enterprise-apps/{client_id}/properties",
        {"enabled": "on"},
        ["Directory.enable_sign_in_to_app", "Directory.require_assignment"],
    ),
    ("/enterprise-apps/{client_id}/users", {"user": "?"}, ["Directory.assign_user"]),
    ("/enterprise-apps/{client_id}/users", {"user": "?", "remove": "1"}, ["Directory.unassign_user"]),
    ("/entra/users/invite", {"mail": "guest@fabrikam.example"}, ["Directory.invite_guest"]),
    ("/entra/users/{object_id}/revoke-sessions", {}, ["Tenant.revoke_sessions"]),
    ("/entra/users/{object_id}/password", {**PASSWORD, "by": "user"}, ["Directory.reset_password"]),
    ("/entra/users/{object_id}/expire-password", {}, ["Directory.expire_password"]),
    ("/entra/users/{object_id}/lock", {"lock": "1"}, ["Directory.lock_user"]),
    ("/entra/users/{object_id}/lock", {}, ["Directory.unlock_user"]),
    ("/entra/users/{object_id}/mfa", {"required": "on"}, ["Directory.require_mfa", "Directory.register_mfa"]),
    ("/conditional-access", {"name": "P", "control": "block"}, ["Directory.add_policy"]),
    ("/conditional-access/legacy-authentication", {}, ["Organisation.block_legacy_authentication"]),
    ("/conditional-access/state", {"name": "P"}, ["Directory.switch_policy"]),
    ("/conditional-access/exclude", {"name": "P", "user": "?"}, ["Directory.exclude_user"]),
    ("/conditional-access/delete", {"name": "P"}, ["Directory.remove_policy"]),
    ("/entra/properties", {"security_defaults": "on"}, ["Directory.set_security_defaults"]),
    ("/entra/consent", {"user_consent": "admin only"}, ["Directory.set_user_consent"]),
    ("/exchange/mailboxes/{object_id}/smtp-auth", {"smtp_auth": "inherit"}, ["Organisation.set_smtp_auth"]),
    ("/exchange/mailboxes/{object_id}/policy", {"policy": "P"}, ["Organisation.set_authentication_policy"]),
    (
        "/exchange/mailboxes/{object_id}/rights",
        {"right": "full_access", "withdraw": "1"},
        ["Organisation.remove_mailbox_permission"],
    ),
    ("/exchange/mailboxes/{object_id}/addresses", {"address": "a@contoso.com"}, ["Organisation.set_alias"]),
    ("/exchange/mailboxes/{object_id}/addresses", {"remove": "a@contoso.com"}, ["Organisation.remove_alias"]),
    ("/exchange/mailboxes/{object_id}/limits", {"connections": "3"}, ["Organisation.set_limits"]),
    ("/exchange/mailboxes/{object_id}/unlimited", {}, ["Organisation.set_recipients_unlimited"]),
    ("/exchange/mailboxes/{object_id}/retention", {"days": "30"}, ["Organisation.set_retention"]),
    ("/exchange/mail-flow/smtp-auth", {"smtp_auth_disabled": "on"}, ["Organisation.set_tenant_smtp_auth"]),
    ("/exchange/mail-flow/basic", {"basic_auth": "removed"}, ["Organisation.set_basic_auth"]),
    ("/exchange/mail-flow/tls", {"legacy_tls": "allowed"}, ["Organisation.set_legacy_tls"]),
    ("/exchange/mail-flow/alias", {"send_from_alias": "on"}, ["Organisation.set_send_from_alias"]),
    ("/exchange/mail-flow/propagation", {"minutes": "7.5"}, ["Organisation.set_propagation"]),
    ("/exchange/mail-flow/settle", {}, ["Organisation.settle_changes"]),
    ("/exchange/policies", {"name": "P"}, ["Organisation.new_authentication_policy"]),
    ("/exchange/policies/default", {"policy": ""}, ["Organisation.set_authentication_policy"]),
    ("/exchange/policies/remove", {"name": "P"}, ["Organisation.remove_authentication_policy"]),
    ("/exchange/service-principals", {"app_id": "a", "object_id": "b"}, ["Organisation.new_service_principal"]),
    ("/exchange/service-principals/remove", {"object_id": "b"}, ["Organisation.remove_service_principal"]),
    ("/exchange/rbac/scopes", {"name": "S"}, ["Organisation.new_management_scope"]),
    ("/exchange/rbac/assignments", {"app_id": "a"}, ["Organisation.new_role_assignment"]),
    ("/exchange/rbac/assignments/remove", {"name": "R"}, ["Organisation.remove_role_assignment"]),
    (
        "/exchange/rbac/access-policies",
        {"app_id": "{client_id}", "members": "scanner@contoso.com"},
        ["GraphSwitches.restrict_application"],
    ),
    ("/exchange/rbac/access-policies/remove", {"app_id": "a"}, ["GraphSwitches.remove_restriction"]),
    ("/exchange/limits", {"external_recipients_per_day": "5"}, ["Organisation.set_tenant_limits"]),
    ("/exchange/limits/trial", {"is_trial": "on"}, ["Organisation.set_trial"]),
    ("/switches/token-endpoint", {"token_endpoint_fault": "html"}, ["Controls.break_token_endpoint"]),
    ("/switches/answer-with", {"code": "50173"}, ["Controls.answer_with"]),
    (
        "/switches/tokens",
        {"refresh_rotation": "strict"},
        ["Controls.set_refresh_rotation", "Controls.detect_loops", "Controls.subscribe_to_exchange"],
    ),
    ("/switches/graph", {"graph_fault": "429"}, ["GraphSwitches.break_graph"]),
    ("/switches/graph", {"graph_fault": ""}, ["GraphSwitches.mend_graph"]),
    ("/switches/exchange", {"idle_seconds": "9"}, ["Organisation.set_timeouts", "Organisation.set_available"]),
    ("/switches/sign-in-fault", {"fault": "token-refused"}, ["Organisation.set_sign_in_fault"]),
    (
        "/unconfirmed",
        {"license_read": "full"},
        [*EVERY_READING, "Controls.require_send_as", "Controls.keep_x_headers", "Controls.set_license_read"],
    ),
    ("/clock", {"days": "1"}, ["Controls.advance_clock"]),
]


class Recorder:
    """Notes each operation that a page calls, and does nothing in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for home in HOMES:
            for name, method in inspect.getmembers(home, inspect.isfunction):
                full_name = f"{home.__name__}.{name}"
                if not name.startswith("_") and full_name not in READS:
                    monkeypatch.setattr(home, name, self._noting(full_name, method))

    def _noting(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def note(*_: object, **__: object) -> MagicMock:
            self.calls.append(name)
            return MagicMock()

        return note


@pytest.fixture
def browser(tenant: Tenant) -> Iterator[TestClient]:
    starlette = Starlette(routes=admin_center.routes(tenant))
    with TestClient(starlette, "http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture
def fill(scanner: User, app: AppRegistration) -> Callable[[str], str]:
    """What stands in the braces of a path: things that are there."""
    names = {
        "object_id": scanner.object_id,
        "client_id": app.client_id,
        "secret_id": app.secrets[0].secret_id,
        "key_id": "k",
        "role": "Global Reader",
        "name": "secret-expired",
    }
    return lambda text: text.format_map(names)


def state_of(tenant: Tenant) -> str:
    exchange = tenant.exchange
    parts = (tenant, exchange.settings, exchange.limits, exchange.front_end, exchange.readings, vars(exchange).keys())
    return "\n".join(map(repr, (*parts, exchange.propagation_minutes, tenant.clock.advanced_seconds)))


def test_the_table_has_every_form(tenant: Tenant) -> None:
    routes = [route for route in admin_center.routes(tenant) if isinstance(route, Route)]
    posts = {route.path for route in routes if "POST" in (route.methods or ())}
    assert posts == {path for path, _, _ in ACTIONS}


@pytest.mark.parametrize(("path", "form", "operations"), ACTIONS)
def test_a_form_calls_operations_and_changes_nothing_itself(
    browser: TestClient,
    tenant: Tenant,
    fill: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    form: dict[str, str],
    operations: list[str],
) -> None:
    before = state_of(tenant)
    with monkeypatch.context() as patched:
        recorder = Recorder(patched)
        answer = browser.post(fill(path), data={name: fill(value) for name, value in form.items()})
    assert answer.status_code == 303, answer.text
    assert recorder.calls == operations
    assert state_of(tenant) == before
