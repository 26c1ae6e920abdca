"""What other providers than Microsoft say in words of their own, and what each of them means for us.

Facts: the providers' pages on their SMTP replies (Amazon SES, Google Workspace, SMTP2GO, ZeptoMail), and replies that
people have met (SendGrid, Mailgun, Brevo, Zoho, Yahoo); tests/reference/providers.toml tells which is which. Most of
these come without an enhanced code, so that only the words tell them apart, always compared in lower case.
"""

from postroom.deliver.reply_rule import Rule, Verdict
from postroom.outcome import FailureClass as Class
from postroom.outcome import StopCause as Cause

_LATER, _STOP, _REFUSE = Verdict.TRY_LATER, Verdict.STOPPED, Verdict.REFUSED

PROVIDER_RULES = (
    Rule(
        "server_busy", _LATER, Class.THROTTLE, "server_busy",
        smtp_codes=(454,), fragments=("maximum sending rate exceeded",),
    ),
    Rule(
        "too_many_connections", _LATER, Class.THROTTLE, "too_many_connections",
        smtp_codes=(421, 450, 451, 452), fragments=("too many concurrent smtp connections", "too many connections"),
    ),
    Rule(
        "daily_limit", _STOP, Class.QUOTA, "provider_limit", Cause.DAILY_LIMIT,
        fragments=("daily message quota exceeded", "maximum credits exceeded"),
    ),
    Rule(
        "too_many_sign_ins", _STOP, Class.THROTTLE, "server_busy", Cause.MAIL_SERVER_AWAY,
        smtp_codes=(421, 454), fragments=("too many login attempts", "too many auth failures"),
    ),
    Rule(
        # Yahoo says so to a correct password, too, where it wants an app password.
        "app_password_needed", _STOP, Class.IDENTITY, "wrong_password", Cause.SIGN_IN,
        smtp_codes=(535,), fragments=("too many bad auth attempts",),
    ),
    Rule(
        "address_not_listed", _STOP, Class.CONFIG, "address_not_listed", Cause.CONFIGURATION,
        fragments=(
            "unauthorized ip address",
            "that ip address is not allowed to send",
            "invalid credentials for relay",
            "mail relay denied",
        ),
    ),
    Rule(
        "not_signed_in", _STOP, Class.IDENTITY, "not_signed_in", Cause.SIGN_IN,
        smtp_codes=(550, 554), fragments=("unauthenticated senders not allowed", "please authenticate"),
    ),
    Rule(
        "account_not_active", _STOP, Class.POLICY, "account_not_active", Cause.CONFIGURATION,
        fragments=(
            "account is not yet activated",
            "unusual sending activity",
            "email outgoing blocked",
            "sender address blocked",
            "is not allowed to send:",
            "for test purposes only",
            "sending paused for this account",
        ),
    ),
    Rule(
        "sender_refused", _REFUSE, Class.PERMISSION, "sender_not_verified",
        fragments=(
            "does not match a verified sender identity",
            "sender domain not verified",
            "email address is not verified",
            "domain is not verified",
            "relaying disallowed as",
            "not authorized to perform",
            "is not associated with your account",
            "sender name is not valid",
        ),
    ),
)  # fmt: skip
