"""Who may sign in to Exchange Online over SMTP: XOAUTH2 and LOGIN against the tenant's switches."""

import base64
import binascii

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.faults import sign_in_fault
from postroom.simulator.organisation_settings import RBAC_ROLE, SMTP_SEND_AS_APP, ExchangeSettings
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import AccessClaims, TokenProblem, Tokens

SMTP_SEND = "SMTP.Send"


class SignInRefused(msgspec.Struct, frozen=True):
    """`reply` is what the client reads; `reason` is what the operator of the simulator reads."""

    reply: str
    reason: str


class Admission(msgspec.Struct, frozen=True):
    """A mailbox that somebody has opened.

    `holder_id` is the object id of whoever did: the mailbox's own user, a member of a shared mailbox, or a
    service principal (`is_app`). `expires_at` is the end of the token; None with a password.
    """

    mailbox: User
    holder_id: str
    is_app: bool = False
    expires_at: float | None = None

    @property
    def is_by_member(self) -> bool:
        """Whether a person opened another's mailbox."""
        return not self.is_app and self.holder_id != self.mailbox.object_id


# XOAUTH2


def sign_in_with_token(tenant: Tenant, tokens: Tokens, blob: bytes) -> Admission | SignInRefused:
    """The mailbox that an XOAUTH2 response opens.

    `blob` is the base64 of `user=<address> ^A auth=Bearer <token> ^A ^A`. A person's token opens their own
    mailbox by any address, and those with Full Access for them; an application's those of its service
    principal (microsoft365.md 1.4, 1.5, 6.4). Exchange sends no JSON challenge before its refusal (1.3).
    """
    parsed = _parse_bearer(blob)
    if parsed is None:
        is_syntax = tenant.exchange.readings.malformed_token_is_a_syntax_error
        reply = replies.INVALID_ARGUMENTS if is_syntax else replies.UNSUCCESSFUL
        return SignInRefused(reply, "the XOAUTH2 response is malformed")
    address, token = parsed
    mailbox = tenant.user_by_address(address)
    if faulty := _meet_fault(tenant, address, mailbox):
        return faulty
    claims = tokens.read_access_token(token)
    if isinstance(claims, TokenProblem):
        return SignInRefused(replies.UNSUCCESSFUL, f"{claims.reason}: {claims.detail}")
    if claims.is_app_only:
        return _admit_app(tenant, claims, mailbox, address)
    return _admit_person(tenant, claims, mailbox, address)


def _admit_person(
    tenant: Tenant, claims: AccessClaims, mailbox: User | None, address: str
) -> Admission | SignInRefused:
    if SMTP_SEND not in claims.scopes:
        has = " ".join(sorted(claims.scopes)) or "nothing"
        return SignInRefused(replies.UNSUCCESSFUL, f"scope missing: the token allows {has}, not {SMTP_SEND}")
    user = tenant.users.get(claims.object_id)
    if user is None or mailbox is None or not tenant.may_open(user, mailbox):
        return SignInRefused(replies.UNSUCCESSFUL, f"{claims.user_principal_name} may not open the mailbox {address}")
    if tenant.security_defaults and tenant.exchange.readings.security_defaults_refuse_tokens:
        return SignInRefused(replies.SECURITY_DEFAULTS, "security defaults refuse tokens over SMTP too")
    return _admit(tenant, Admission(mailbox, user.object_id, expires_at=claims.expires_at))


def _admit_app(tenant: Tenant, claims: AccessClaims, mailbox: User | None, address: str) -> Admission | SignInRefused:
    """With the role in the token Full Access decides, without it RBAC does; never both (1.5)."""
    settings = tenant.exchange.in_effect()
    problem = _find_app_problem(settings, claims, mailbox)
    if problem or mailbox is None:
        return SignInRefused(replies.UNSUCCESSFUL, problem or f"there is no mailbox {address}")
    return _admit(tenant, Admission(mailbox, claims.object_id, is_app=True, expires_at=claims.expires_at))


def _find_app_problem(settings: ExchangeSettings, claims: AccessClaims, mailbox: User | None) -> str | None:
    app = f"the application {claims.client_id}"
    principal = next((p for p in settings.service_principals.values() if p.app_id == claims.client_id), None)
    if principal is None:
        return f"{app} has no service principal in Exchange"
    if principal.object_id != claims.object_id:
        return (
            f"the service principal of {app} was made with the object id {principal.object_id}, "
            f"but the enterprise application's is {claims.object_id}"
        )
    mailbox_id = mailbox.object_id if mailbox else ""
    if SMTP_SEND_AS_APP in claims.roles:
        is_granted = claims.object_id in settings.mailbox(mailbox_id).full_access
        return None if is_granted else f"{app} has no Full Access to the mailbox"
    if _rbac_covers(settings, claims.client_id, mailbox_id):
        return None
    return f"{app} has neither the role {SMTP_SEND_AS_APP} in its token nor an RBAC assignment for the mailbox"


def _rbac_covers(settings: ExchangeSettings, app_id: str, mailbox_id: str) -> bool:
    return any(
        not assignment.scope or mailbox_id in settings.management_scopes.get(assignment.scope, ())
        for assignment in settings.role_assignments.values()
        if assignment.app_id == app_id and assignment.role == RBAC_ROLE
    )


def _parse_bearer(blob: bytes) -> tuple[str, str] | None:
    text = decode_answer(blob)
    if text is None or not text.endswith("\x01\x01"):
        return None
    fields = dict(part.partition("=")[::2] for part in text[:-2].split("\x01"))
    scheme, _, token = fields.get("auth", "").partition(" ")
    if scheme.lower() != "bearer" or not token or not fields.get("user"):
        return None
    return fields["user"], token


# LOGIN


def sign_in_with_password(tenant: Tenant, username: bytes, password: bytes) -> Admission | SignInRefused:
    """The mailbox that a user name and password open; both as base64, as AUTH LOGIN carries them."""
    address, secret = decode_answer(username), decode_answer(password)
    if address is None or secret is None:
        return SignInRefused(replies.UNSUCCESSFUL, "the answers are not base64")
    mailbox = tenant.user_by_address(address)
    refusal = _meet_fault(tenant, address, mailbox) or _refuse_basic(tenant, mailbox)
    if refusal:
        return refusal
    if mailbox is None or mailbox.is_shared or mailbox.password != secret or not _is_usable(mailbox):
        return SignInRefused(replies.WRONG_CREDENTIALS, f"wrong password for {address}, or no such user")
    if tenant.security_defaults:
        return SignInRefused(replies.SECURITY_DEFAULTS, "security defaults block basic authentication")
    if _conditional_access_blocks(tenant, mailbox):
        return SignInRefused(replies.SIGN_IN_CRITERIA, "Conditional Access blocks basic authentication")
    return _admit(tenant, Admission(mailbox, mailbox.object_id))


def _refuse_basic(tenant: Tenant, mailbox: User | None) -> SignInRefused | None:
    """What is decided before anybody looks at the password."""
    settings = tenant.exchange.in_effect()
    if settings.basic_auth == "removed":
        return SignInRefused(replies.BASIC_REMOVED, "basic authentication has been removed")
    if settings.basic_auth == "disabled":
        return SignInRefused(replies.BASIC_DISABLED, "basic authentication is switched off")
    policy = settings.policy_of(mailbox.object_id) if mailbox else None
    if policy and not policy.allow_basic_auth_smtp:
        reason = f"the authentication policy “{policy.name}” does not allow Basic over SMTP"
        return SignInRefused(replies.AUTHENTICATION_POLICY, reason)
    return None


def _is_usable(user: User) -> bool:
    """A locked or disabled user, an old password and MFA all sound like a wrong password [C] (2.1)."""
    state = user.sign_in
    return state.is_enabled and not (state.is_locked or state.password_is_expired or state.mfa_is_required)


def _conditional_access_blocks(tenant: Tenant, user: User) -> bool:
    """A policy for all client apps meets Basic too, which can answer no further question."""
    if tenant.exchange.in_effect().legacy_authentication_blocked:
        return True
    return any(
        policy.is_enabled
        and not policy.applies_to_apps
        and user.object_id not in policy.excluded_users
        and policy.control not in {"block device code", "sign-in frequency"}
        for policy in tenant.entra.policies
    )


# Both


def _meet_fault(tenant: Tenant, address: str, mailbox: User | None) -> SignInRefused | None:
    """What the user name asks for, or a switch that is set for the mailbox or for all."""
    fault = sign_in_fault(address) or tenant.exchange.sign_in_fault_of(mailbox.object_id if mailbox else "")
    return SignInRefused(fault.reply, f"the fault “{fault.local_part}” was asked for") if fault else None


def _admit(tenant: Tenant, admission: Admission) -> Admission | SignInRefused:
    """SMTP AUTH has three states: the mailbox's own switch, or the tenant's where it has none (1.6)."""
    mailbox = admission.mailbox
    if not mailbox.is_mailbox:
        return SignInRefused(replies.UNSUCCESSFUL, f"{mailbox.user_principal_name} has no mailbox")
    if not (mailbox.licensed or mailbox.is_shared):
        # The words are not confirmed [C]; the mailbox is gone without its licence.
        return SignInRefused(replies.UNSUCCESSFUL, f"{mailbox.user_principal_name} has no licence, so no mailbox")
    if tenant.smtp_auth_is_enabled(mailbox):
        return admission
    if tenant.exchange.in_effect().mailbox(mailbox.object_id).smtp_auth is None:
        return SignInRefused(replies.DISABLED_FOR_TENANT, "SMTP AUTH is off for the tenant")
    return SignInRefused(replies.DISABLED_FOR_MAILBOX, "SMTP AUTH is off for the mailbox")


def decode_answer(answer: bytes) -> str | None:
    """The text of a base64 answer; None if it is not one."""
    try:
        return base64.b64decode(answer, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
