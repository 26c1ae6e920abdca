"""What each scenario changes in the tenant, with the operations of its administrators, and what undoes it.

Each function changes at once and returns the steps back; a step whose object is gone by then is left out.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec

from postroom.simulator.controls import Consent, Controls
from postroom.simulator.directory import Directory
from postroom.simulator.directory_rules import PolicyControl
from postroom.simulator.organisation import Organisation
from postroom.simulator.organisation_settings import BasicAuth, ServicePrincipal
from postroom.simulator.tenant import AppRegistration, OperationError, Right, Tenant, User

Undo = list[Callable[[], object]]

EXCHANGE_SERVICE, GRAPH_SERVICE = "Office 365 Exchange Online", "Microsoft Graph"
SEND_AS_APP = "SMTP.SendAsApp"
POLICY_NAME = "Scenario"


class Stage(msgspec.Struct, frozen=True):
    """The tenant, and whom a scenario speaks of: an application, the mailbox it signs in to, another sender."""

    tenant: Tenant
    app: AppRegistration
    mailbox: User
    sender: User

    @property
    def exchange(self) -> Organisation:
        return self.tenant.exchange

    @property
    def directory(self) -> Directory:
        return Directory(self.tenant)

    @property
    def controls(self) -> Controls:
        return Controls(self.tenant)

    @property
    def principal(self) -> ServicePrincipal | None:
        """The application as Exchange knows it."""
        known = self.exchange.settings.service_principals.values()
        return next((principal for principal in known if principal.app_id == self.app.client_id), None)


# SMTP AUTH and Basic


def smtp_auth_off_tenant(stage: Stage) -> Undo:
    exchange, mailbox = stage.exchange, stage.mailbox
    undo: Undo = [
        partial(exchange.set_tenant_smtp_auth, enabled=not exchange.settings.smtp_auth_disabled),
        partial(exchange.set_smtp_auth, mailbox.object_id, mailbox.smtp_auth),
    ]
    exchange.set_tenant_smtp_auth(enabled=False)
    exchange.set_smtp_auth(mailbox.object_id, None)
    return undo


def smtp_auth_off_mailbox(stage: Stage) -> Undo:
    undo: Undo = [partial(stage.exchange.set_smtp_auth, stage.mailbox.object_id, stage.mailbox.smtp_auth)]
    stage.exchange.set_smtp_auth(stage.mailbox.object_id, False)
    return undo


def basic_is(state: BasicAuth) -> Callable[[Stage], Undo]:
    def change(stage: Stage) -> Undo:
        undo: Undo = [partial(stage.exchange.set_basic_auth, stage.exchange.settings.basic_auth)]
        stage.exchange.set_basic_auth(state)
        return undo

    return change


def authentication_policy(stage: Stage) -> Undo:
    exchange, object_id = stage.exchange, stage.mailbox.object_id
    undo: Undo = [
        partial(exchange.set_authentication_policy, object_id, stage.mailbox.settings.authentication_policy),
        partial(exchange.remove_authentication_policy, POLICY_NAME),
    ]
    exchange.new_authentication_policy(POLICY_NAME, allow_basic_auth_smtp=False)
    exchange.set_authentication_policy(object_id, POLICY_NAME)
    return undo


def legacy_authentication_blocked(stage: Stage) -> Undo:
    was_blocked = stage.exchange.settings.legacy_authentication_blocked
    stage.exchange.block_legacy_authentication(blocked=True)
    return [partial(stage.exchange.block_legacy_authentication, blocked=was_blocked)]


def security_defaults(stage: Stage) -> Undo:
    was_on = stage.tenant.security_defaults
    stage.directory.set_security_defaults(enabled=True)
    return [partial(stage.directory.set_security_defaults, enabled=was_on)]


def wrong_password(stage: Stage) -> Undo:
    undo: Undo = [partial(stage.tenant.set_password, stage.mailbox.object_id, stage.mailbox.password)]
    stage.tenant.set_password(stage.mailbox.object_id, f"{stage.mailbox.password}-changed")
    return undo


def password_expired(stage: Stage) -> Undo:
    undo: Undo = [partial(stage.tenant.set_password, stage.mailbox.object_id, stage.mailbox.password)]
    stage.directory.expire_password(stage.mailbox.object_id)
    return undo


def password_with_mfa(stage: Stage) -> Undo:
    object_id, was_required = stage.mailbox.object_id, stage.mailbox.sign_in.mfa_is_required
    stage.directory.require_mfa(object_id)
    return [partial(stage.directory.require_mfa, object_id, required=was_required)]


def account_locked(stage: Stage) -> Undo:
    stage.directory.lock_user(stage.mailbox.object_id)
    return [partial(stage.directory.unlock_user, stage.mailbox.object_id)]


# The application's credential and its permissions


def secret_expired(stage: Stage) -> Undo:
    undo: Undo = [partial(stage.controls.restore_secret, stage.app.client_id, replace(it)) for it in stage.app.secrets]
    for secret in list(stage.app.secrets):
        stage.tenant.expire_secret(stage.app.client_id, secret.secret_id)
    return undo


def secret_deleted(stage: Stage) -> Undo:
    undo: Undo = [partial(stage.controls.restore_secret, stage.app.client_id, it) for it in stage.app.secrets]
    for secret in list(stage.app.secrets):
        stage.tenant.remove_secret(stage.app.client_id, secret.secret_id)
    return undo


def consent_missing(stage: Stage) -> Undo:
    client_id = stage.app.client_id
    undo: Undo = [partial(stage.controls.restore_consent, client_id, Consent.of(stage.app))]
    stage.tenant.revoke_consent(client_id)
    return undo


def graph_permission_only(stage: Stage) -> Undo:
    """The registration lists and has `Mail.Send` where `SMTP.Send` is asked for."""
    client_id, undo = stage.app.client_id, consent_missing(stage)
    if "SMTP.Send" in stage.app.delegated_permissions:
        undo.append(partial(stage.tenant.add_permission, client_id, "SMTP.Send"))
    if "Mail.Send" not in stage.app.delegated_permissions:
        undo.append(partial(stage.tenant.remove_permission, client_id, "Mail.Send"))
    stage.tenant.remove_permission(client_id, "SMTP.Send")
    stage.tenant.add_permission(client_id, "Mail.Send")
    stage.tenant.grant_admin_consent(client_id)
    return undo


def application_consent_missing(stage: Stage) -> Undo:
    directory, client_id, before = stage.directory, stage.app.client_id, Consent.of(stage.app)
    directory.remove_application_permission(client_id, EXCHANGE_SERVICE, SEND_AS_APP)
    directory.add_application_permission(client_id, EXCHANGE_SERVICE, SEND_AS_APP)
    return [partial(stage.controls.restore_consent, client_id, before)]


def graph_application_permission(stage: Stage) -> Undo:
    directory, client_id, before = stage.directory, stage.app.client_id, Consent.of(stage.app)
    directory.remove_application_permission(client_id, EXCHANGE_SERVICE, SEND_AS_APP)
    directory.add_application_permission(client_id, GRAPH_SERVICE, "Mail.Send")
    stage.tenant.grant_admin_consent(client_id)
    return [
        partial(directory.remove_application_permission, client_id, GRAPH_SERVICE, "Mail.Send"),
        partial(directory.add_application_permission, client_id, EXCHANGE_SERVICE, SEND_AS_APP),
        partial(stage.controls.restore_consent, client_id, before),
    ]


# The application in Exchange


def service_principal_missing(stage: Stage) -> Undo:
    principal = _required_principal(stage)
    undo = [partial(_add_principal, stage, principal, _mailboxes_of(stage, principal))]
    stage.exchange.remove_service_principal(principal.object_id)
    return [*undo]


def service_principal_wrong_id(stage: Stage) -> Undo:
    """The registration's object id, where the enterprise application's was asked for."""
    principal = _required_principal(stage)
    mailboxes = _mailboxes_of(stage, principal)
    wrong = ServicePrincipal(principal.app_id, stage.app.object_id, principal.display_name)
    stage.exchange.remove_service_principal(principal.object_id)
    _add_principal(stage, wrong, mailboxes)
    return [
        partial(stage.exchange.remove_service_principal, wrong.object_id),
        partial(_add_principal, stage, principal, mailboxes),
    ]


def mailbox_permission_missing(stage: Stage) -> Undo:
    principal = _required_principal(stage)
    stage.exchange.remove_mailbox_permission(stage.mailbox.object_id, principal.object_id)
    return [partial(stage.exchange.add_mailbox_permission, stage.mailbox.object_id, principal.object_id)]


def change_under_way(stage: Stage) -> Undo:
    """The permission was given a moment ago: Exchange goes by what was before, for an hour at most."""
    exchange, before = stage.exchange, stage.exchange.propagation_minutes
    undo = mailbox_permission_missing(stage)
    exchange.settle_changes()
    exchange.set_propagation(60)
    for step in undo:
        step()
    return [partial(exchange.set_propagation, before), exchange.settle_changes]


def _required_principal(stage: Stage) -> ServicePrincipal:
    principal = stage.principal
    if principal is None:
        raise OperationError(f"{stage.app.name} has no service principal in Exchange that could go wrong.")
    return principal


def _mailboxes_of(stage: Stage, principal: ServicePrincipal) -> list[tuple[Right, str]]:
    rights: tuple[Right, ...] = ("full_access", "send_as", "send_on_behalf")
    return [
        (right, object_id)
        for object_id, mailbox in stage.exchange.settings.mailboxes.items()
        for right in rights
        if principal.object_id in mailbox.trustees(right)
    ]


def _add_principal(stage: Stage, principal: ServicePrincipal, mailboxes: list[tuple[Right, str]]) -> None:
    stage.exchange.new_service_principal(principal.app_id, principal.object_id, principal.display_name)
    for right, object_id in mailboxes:
        stage.exchange.grant(right, object_id, principal.object_id)


# Signing in


def wrong_account(stage: Stage) -> Undo:
    """Somebody who may not open the mailbox, for the person to sign in as by mistake."""
    stranger = stage.tenant.add_user(f"somebody.else@{stage.tenant.domain}", "Somebody Else", "Somebody-else-9")
    return [partial(stage.directory.delete_user, stranger.object_id)]


def policy_demands(control: PolicyControl) -> Callable[[Stage], Undo]:
    def change(stage: Stage) -> Undo:
        object_id, was_registered = stage.mailbox.object_id, stage.mailbox.sign_in.mfa_is_registered
        stage.directory.add_policy(POLICY_NAME, control)
        stage.directory.register_mfa(object_id)
        return [
            partial(stage.directory.remove_policy, POLICY_NAME),
            partial(stage.directory.register_mfa, object_id, registered=was_registered),
        ]

    return change


def sign_in_revoked(stage: Stage) -> Undo:
    object_id, before = stage.mailbox.object_id, stage.mailbox.sessions_valid_from
    stage.tenant.revoke_sessions(object_id)
    return [partial(stage.controls.restore_sign_ins, object_id, before)]


def password_reset(stage: Stage) -> Undo:
    object_id, before = stage.mailbox.object_id, stage.mailbox.sessions_valid_from
    password = stage.mailbox.password
    stage.directory.reset_password(object_id, f"{password}-reset", by="Entra admin center")
    return [
        partial(stage.tenant.set_password, object_id, password),
        partial(stage.controls.restore_sign_ins, object_id, before),
    ]


def user_blocked(stage: Stage) -> Undo:
    stage.directory.disable_user(stage.mailbox.object_id)
    return [partial(stage.directory.enable_user, stage.mailbox.object_id)]


def app_disabled(stage: Stage) -> Undo:
    stage.directory.enable_sign_in_to_app(stage.app.client_id, enabled=False)
    return [partial(stage.directory.enable_sign_in_to_app, stage.app.client_id, enabled=True)]


def assignment_required(stage: Stage) -> Undo:
    client_id, object_id = stage.app.client_id, stage.mailbox.object_id
    enterprise = stage.directory.enterprise_application(client_id)
    undo: Undo = [partial(stage.directory.require_assignment, client_id, required=enterprise.assignment_is_required)]
    if object_id in enterprise.assigned_users:
        undo.append(partial(stage.directory.assign_user, client_id, object_id))
    stage.directory.require_assignment(client_id, required=True)
    stage.directory.unassign_user(client_id, object_id)
    return undo


# Microsoft's own


def token_endpoint_away(stage: Stage) -> Undo:
    stage.controls.break_token_endpoint("503_retry_after")
    return [partial(stage.controls.break_token_endpoint, None)]


def proxy_in_between(stage: Stage) -> Undo:
    stage.controls.break_token_endpoint("html")
    return [partial(stage.controls.break_token_endpoint, None)]


def exchange_away(stage: Stage) -> Undo:
    stage.exchange.set_available(is_available=False)
    return [partial(stage.exchange.set_available, is_available=True)]


def graph_throttled(stage: Stage) -> Undo:
    stage.tenant.graph.break_graph("429")
    return [stage.tenant.graph.mend_graph]


# The mailbox


def no_licence(stage: Stage) -> Undo:
    object_id, was_licensed = stage.mailbox.object_id, stage.mailbox.licensed
    stage.tenant.set_licensed(object_id, licensed=False)
    return [partial(stage.tenant.set_licensed, object_id, licensed=was_licensed)]


def day_used(share: float) -> Callable[[Stage], Undo]:
    def change(stage: Stage) -> Undo:
        object_id, submissions = stage.mailbox.object_id, stage.exchange.submissions
        limit = stage.exchange.limits_of(object_id).recipients_per_day
        recipients = max(0, round(limit * share) - submissions.recipients_in_last_day(object_id))
        submissions.use_up(object_id, recipients)
        return [partial(submissions.give_back, object_id, recipients)]

    return change


def mailbox_full(stage: Stage) -> Undo:
    object_id, submissions = stage.mailbox.object_id, stage.exchange.submissions
    submissions.fill_sent_items(object_id, stage.exchange.limits_of(object_id).quota_bytes)
    return [partial(submissions.remove_filling, object_id)]


def send_on_behalf_missing(stage: Stage) -> Undo:
    undo: Undo = []
    trustee = stage.mailbox.object_id
    rights: tuple[Right, ...] = ("send_on_behalf", "send_as")
    for right in rights:
        if trustee in stage.tenant.trustees(right, stage.sender.object_id):
            undo.append(partial(stage.exchange.grant, right, stage.sender.object_id, trustee))
            stage.exchange.withdraw(right, stage.sender.object_id, trustee)
    return undo


def send_as_needed(stage: Stage) -> Undo:
    was_strict = stage.tenant.strict_send_on_behalf
    stage.controls.require_send_as(required=True)
    return [partial(stage.controls.require_send_as, required=was_strict)]


CHANGES: dict[str, Callable[[Stage], Undo]] = {
    "smtp-auth-off-tenant": smtp_auth_off_tenant,
    "smtp-auth-off-mailbox": smtp_auth_off_mailbox,
    "secret-expired": secret_expired,
    "secret-deleted": secret_deleted,
    "consent-missing": consent_missing,
    "graph-permission-only": graph_permission_only,
    "wrong-account": wrong_account,
    "sign-in-revoked": sign_in_revoked,
    "password-reset": password_reset,
    "user-blocked": user_blocked,
    "app-disabled": app_disabled,
    "assignment-required": assignment_required,
    "conditional-access": policy_demands("block"),
    "mfa-demanded": policy_demands("require MFA"),
    "token-endpoint-away": token_endpoint_away,
    "proxy-in-between": proxy_in_between,
    "exchange-away": exchange_away,
    "no-licence": no_licence,
    "half-day-used": day_used(0.5),
    "day-used-up": day_used(1.0),
    "mailbox-full": mailbox_full,
    "send-on-behalf-missing": send_on_behalf_missing,
    "send-as-needed": send_as_needed,
    "application-consent-missing": application_consent_missing,
    "graph-application-permission": graph_application_permission,
    "service-principal-missing": service_principal_missing,
    "service-principal-wrong-id": service_principal_wrong_id,
    "mailbox-permission-missing": mailbox_permission_missing,
    "change-under-way": change_under_way,
    "security-defaults": security_defaults,
    "basic-disabled": basic_is("disabled"),
    "basic-removed": basic_is("removed"),
    "authentication-policy": authentication_policy,
    "legacy-blocked": legacy_authentication_blocked,
    "wrong-password": wrong_password,
    "password-expired": password_expired,
    "password-with-mfa": password_with_mfa,
    "account-locked": account_locked,
    "graph-throttled": graph_throttled,
}
