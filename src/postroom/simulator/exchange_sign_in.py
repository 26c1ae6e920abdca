"""Who may sign in to Exchange Online over SMTP: XOAUTH2 and LOGIN against the tenant's switches."""

import base64
import binascii

import msgspec

from postroom.simulator import exchange_replies as replies
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import TokenProblem, Tokens


class SignInRefused(msgspec.Struct, frozen=True):
    """`reply` is what the client reads; `reason` is what the operator of the simulator reads."""

    reply: str
    reason: str


def sign_in_with_token(tenant: Tenant, tokens: Tokens, blob: bytes) -> User | SignInRefused:
    """The mailbox that an XOAUTH2 response opens.

    `blob` is the base64 of `user=<address> ^A auth=Bearer <token> ^A ^A`. The address is the token's
    own user by any address, or a mailbox that this user has full access to (microsoft365.md 1.4, 6.4).
    Exchange sends no JSON challenge before its refusal (1.3).
    """
    parsed = _parse_bearer(blob)
    if parsed is None:
        # The real answer to a malformed blob is not known (microsoft365.md 12).
        return SignInRefused(replies.UNSUCCESSFUL, "the XOAUTH2 response is malformed")
    address, token = parsed
    claims = tokens.check_access_token(token)
    if isinstance(claims, TokenProblem):
        return SignInRefused(replies.UNSUCCESSFUL, f"{claims.reason}: {claims.detail}")
    user = tenant.users.get(claims.object_id)
    mailbox = tenant.user_by_address(address)
    if user is None or mailbox is None or not tenant.may_open(user, mailbox):
        return SignInRefused(replies.UNSUCCESSFUL, f"{claims.user_principal_name} may not open the mailbox {address}")
    return _admit(tenant, mailbox)


def sign_in_with_password(tenant: Tenant, username: bytes, password: bytes) -> User | SignInRefused:
    """The mailbox that a user name and password open; both as base64, as AUTH LOGIN carries them."""
    address, secret = decode_answer(username), decode_answer(password)
    if address is None or secret is None:
        return SignInRefused(replies.UNSUCCESSFUL, "the answers are not base64")
    if tenant.basic_auth_disabled:
        return SignInRefused(replies.BASIC_DISABLED, "basic authentication is switched off")
    mailbox = tenant.user_by_address(address)
    if mailbox is None or mailbox.is_shared or mailbox.password != secret:
        return SignInRefused(replies.WRONG_CREDENTIALS, f"wrong password for {address}, or no such user")
    if tenant.security_defaults:
        return SignInRefused(replies.SECURITY_DEFAULTS, "security defaults block basic authentication")
    return _admit(tenant, mailbox)


def _admit(tenant: Tenant, mailbox: User) -> User | SignInRefused:
    """SMTP AUTH has three states: the mailbox's own switch, or the tenant's where it has none (1.6)."""
    if not mailbox.is_mailbox:
        return SignInRefused(replies.UNSUCCESSFUL, f"{mailbox.user_principal_name} has no mailbox")
    if tenant.smtp_auth_is_enabled(mailbox):
        return mailbox
    if mailbox.smtp_auth is None:
        return SignInRefused(replies.DISABLED_FOR_TENANT, "SMTP AUTH is off for the tenant")
    return SignInRefused(replies.DISABLED_FOR_MAILBOX, "SMTP AUTH is off for the mailbox")


def _parse_bearer(blob: bytes) -> tuple[str, str] | None:
    text = decode_answer(blob)
    if text is None or not text.endswith("\x01\x01"):
        return None
    fields = dict(part.partition("=")[::2] for part in text[:-2].split("\x01"))
    scheme, _, token = fields.get("auth", "").partition(" ")
    if scheme.lower() != "bearer" or not token or not fields.get("user"):
        return None
    return fields["user"], token


def decode_answer(answer: bytes) -> str | None:
    """The text of a base64 answer; None if it is not one."""
    try:
        return base64.b64decode(answer, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
