"""The replies we know, as a table: what Exchange Online and others say, and what each of them means for us.

Facts: microsoft365.md 2 (Microsoft Learn, NDR codes, transcripts), 8.4 (HVE), 9 (Google). The first rule that fits
decides, so a narrow rule stands before a wide one. Codes are shared by unrelated causes: 535 5.7.139, 554 5.2.0 and
550 5.7.1 are told apart by their words, always compared in lower case. What other providers say in words of their own
is in `provider_rules`.
"""

from postroom.deliver.provider_rules import PROVIDER_RULES
from postroom.deliver.reply_rule import Rule, Verdict
from postroom.outcome import FailureClass as Class
from postroom.outcome import StopCause as Cause

TOKEN_CODES = frozenset({"token_not_accepted", "token_expires_soon"})
"""Another token may do."""


def _codes(prefix: str, first: int, last: int) -> tuple[str, ...]:
    return tuple(f"{prefix}.{number}" for number in range(first, last + 1))


_LATER, _STOP, _REFUSE = Verdict.TRY_LATER, Verdict.STOPPED, Verdict.REFUSED

_SIGN_IN_RULES = (
    Rule(
        "smtp_auth_off_tenant", _STOP, Class.CONFIG, "smtp_auth_off_tenant", Cause.SMTP_AUTH_OFF,
        fragments=("smtpclientauthentication is disabled for the tenant",),
    ),
    Rule(
        "smtp_auth_off_mailbox", _STOP, Class.CONFIG, "smtp_auth_off_mailbox", Cause.SMTP_AUTH_OFF,
        fragments=("smtpclientauthentication is disabled for the mailbox",),
    ),
    Rule(
        "security_defaults", _STOP, Class.CONFIG, "security_defaults", Cause.SIGN_IN,
        fragments=("security defaults policy",),
    ),
    Rule(
        "sign_in_policy", _STOP, Class.POLICY, "sign_in_policy", Cause.SIGN_IN,
        fragments=(
            "did not meet the criteria to be authenticated",
            "organization configuration does not allow this authentication",
        ),
    ),
    Rule(
        "basic_retired", _STOP, Class.CONFIG, "basic_retired", Cause.SIGN_IN,
        fragments=("basic authentication is disabled", "basic authentication is not supported"),
    ),
    Rule(
        "wrong_password", _STOP, Class.IDENTITY, "wrong_password", Cause.SIGN_IN,
        fragments=("user credentials were incorrect", "username and password not accepted"),
    ),
    Rule(
        "app_password_needed", _STOP, Class.IDENTITY, "wrong_password", Cause.SIGN_IN,
        smtp_codes=(534,), enhanced=("5.7.9",),
    ),
    Rule(
        "browser_sign_in_needed", _STOP, Class.IDENTITY, "browser_sign_in_needed", Cause.SIGN_IN,
        smtp_codes=(534,), enhanced=("5.7.14",),
    ),
    Rule(
        "token_expires_soon", _STOP, Class.IDENTITY, "token_not_accepted", Cause.SIGN_IN,
        enhanced=("5.7.142", "5.7.143", "5.5.127"), commands=("AUTH",),
    ),
    Rule(
        "app_not_allowed", _STOP, Class.PERMISSION, "token_not_accepted", Cause.SIGN_IN,
        enhanced=("5.7.144", "5.7.240"),
    ),
    Rule(
        "mailbox_logon_failed", _STOP, Class.IDENTITY, "token_not_accepted", Cause.SIGN_IN,
        fragments=("mailbox logon failure",),
    ),
    Rule(
        "token_not_accepted", _STOP, Class.IDENTITY, "token_not_accepted", Cause.SIGN_IN,
        smtp_codes=(535,), enhanced=("5.7.3",),
    ),
    Rule(
        "tls_too_old", _STOP, Class.TLS, "tls_too_old", Cause.CONFIGURATION,
        fragments=("tls 1.0 and 1.1 are not supported",),
    ),
    Rule(
        "tls_required", _STOP, Class.TLS, "settings_do_not_fit", Cause.CONFIGURATION,
        smtp_codes=(530, 538), fragments=("starttls", "encryption required"),
    ),
    Rule(
        "not_signed_in", _STOP, Class.IDENTITY, "not_signed_in", Cause.SIGN_IN,
        smtp_codes=(530,),
    ),
    Rule(
        "sign_in_not_understood", _STOP, Class.CONFIG, "sign_in_not_understood", Cause.CONFIGURATION,
        enhanced=_codes("5.5", 121, 126), commands=("AUTH",),
    ),
    Rule(
        # The conversation lost its thread, the credentials were not even looked at. No message ages while we wait.
        "out_of_step", _STOP, Class.LOCAL, "unexpected_reply", Cause.MAIL_SERVER_AWAY,
        smtp_codes=(500, 501, 502, 503), commands=("AUTH",),
    ),
    Rule(
        "out_of_step", _STOP, Class.LOCAL, "unexpected_reply", Cause.MAIL_SERVER_AWAY,
        smtp_codes=(503,), commands=("EHLO", "STARTTLS"),
    ),
    Rule(
        "sign_in_not_offered", _STOP, Class.CONFIG, "sign_in_not_offered", Cause.CONFIGURATION,
        smtp_codes=(504,), enhanced=("5.7.4", "5.5.4", ""), commands=("AUTH",),
    ),
    Rule(
        # A text of Exchange's that is new to us.
        "sign_in_refused", _STOP, Class.IDENTITY, "token_not_accepted", Cause.SIGN_IN,
        enhanced=("5.7.139",),
    ),
    Rule(
        "sign_in_refused", _STOP, Class.IDENTITY, "sign_in_not_accepted", Cause.SIGN_IN,
        smtp_codes=(534, 535),
    ),
)  # fmt: skip

_SENDER_RULES = (
    Rule(
        "send_as_denied", _REFUSE, Class.PERMISSION, "send_as_denied",
        fragments=("sendasdenied", "does not have permissions to send as this sender"),
    ),
    Rule(
        "send_on_behalf_denied", _REFUSE, Class.PERMISSION, "send_as_denied",
        fragments=("does not have permissions to send on behalf of",),
    ),
    Rule(
        "send_as_denied", _REFUSE, Class.PERMISSION, "send_as_denied",
        enhanced=("5.2.252", "5.7.60"),
    ),
)  # fmt: skip

_LIMIT_RULES = (
    Rule(
        "too_many_connections", _LATER, Class.THROTTLE, "too_many_connections",
        fragments=("concurrent connections limit exceeded", "sender thread limit exceeded"),
    ),
    Rule("too_many_connections", _LATER, Class.THROTTLE, "too_many_connections", smtp_codes=(432,)),
    Rule(
        "daily_limit", _STOP, Class.QUOTA, "daily_limit", Cause.DAILY_LIMIT,
        fragments=(
            "submissionquotaexceeded",
            "submission quota exceeded",
            "reached your daily limit for message recipients",
            "daily user sending limit exceeded",
            "daily sending quota exceeded",
            "daily smtp relay limit exceeded",
            "daily smtp relay sending limit exceeded",
        ),
    ),
    Rule("daily_limit", _STOP, Class.QUOTA, "daily_limit", Cause.DAILY_LIMIT, enhanced=("5.1.90",)),
    Rule(
        "tenant_external_limit", _STOP, Class.QUOTA, "tenant_external_limit", Cause.DAILY_LIMIT,
        enhanced=("5.7.232", "5.7.233"),
    ),
    Rule(
        # Only with the words of Exchange's store: a plain "mailbox full" is the recipient's.
        "mailbox_full", _STOP, Class.QUOTA, "mailbox_full", Cause.MAILBOX_FULL,
        fragments=("shutoffquotaexceeded", "quotaexceededexception", "mailbox full; storedrv"),
    ),
    Rule(
        "sender_blocked", _STOP, Class.POLICY, "tenant_blocked", Cause.BANNED,
        fragments=("bad outbound sender", "banned sending ip", "bad inbound connector", "outboundspamexception"),
    ),
    Rule(
        "tenant_blocked", _STOP, Class.POLICY, "tenant_blocked", Cause.BANNED,
        enhanced=("5.7.501", "5.7.502", "5.7.503", "5.7.705", "5.7.708", "5.7.750", *_codes("5.7", 606, 649)),
    ),
    Rule(
        "not_our_tenant", _STOP, Class.CONFIG, "address_not_listed", Cause.CONFIGURATION,
        fragments=("tenantattribution", "tenantinboundattribution"),
    ),
    Rule(
        "server_busy", _LATER, Class.THROTTLE, "server_busy",
        enhanced=(*_codes("4.7", 500, 699), *_codes("4.7", 850, 899), "4.7.28"),
    ),
    Rule(
        "server_busy", _LATER, Class.THROTTLE, "server_busy",
        smtp_codes=(421, 450, 451, 452),
        fragments=(
            "server busy",
            "message submission rate for this client",
            "queue quota exceeded",
            "peak smtp relay limit exceeded",
            "too many messages",
            "rate limit",
            "unusual rate of",
        ),
    ),
    Rule(
        "too_many_recipients", _LATER, Class.THROTTLE, "server_busy",
        enhanced=("4.5.3", "5.5.3"), commands=("RCPT",),
    ),
    Rule(
        # RFC 5321 4.5.3.1.10: a client takes this 552 for a 452.
        "too_many_recipients", _LATER, Class.THROTTLE, "server_busy",
        smtp_codes=(452, 552), enhanced=("",), fragments=("too many recipients",), commands=("RCPT",),
    ),
    Rule(
        "message_too_large", _REFUSE, Class.SIZE, "message_too_large",
        enhanced=("5.3.4", "5.2.3"),
    ),
    Rule(
        "message_too_large", _REFUSE, Class.SIZE, "message_too_large",
        smtp_codes=(552, 554, 550), fragments=("message size exceeds", "maximum message size"),
    ),
)  # fmt: skip

_MESSAGE_RULES = (
    Rule(
        "message_refused", _REFUSE, Class.CONTENT, "message_refused",
        enhanced=("5.6.0", "5.6.11", "5.7.512"),
    ),
    Rule(
        "relay_denied", _REFUSE, Class.RECIPIENT, "recipient_refused",
        smtp_codes=(550, 551, 553, 554), fragments=("relay access denied", "unable to relay", "relaying denied"),
    ),
    Rule(
        "recipient_unknown", _REFUSE, Class.RECIPIENT, "recipient_unknown",
        enhanced=("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"), commands=("RCPT", "DATA"),
    ),
    Rule(
        "recipient_unknown", _REFUSE, Class.RECIPIENT, "recipient_unknown",
        enhanced=("5.4.1",),
    ),
    Rule(
        "recipient_refused", _REFUSE, Class.RECIPIENT, "recipient_refused",
        enhanced=("5.7.124", "5.7.133", "5.7.134", "5.7.136"),
    ),
    Rule(
        "recipient_refused", _REFUSE, Class.RECIPIENT, "recipient_refused",
        smtp_codes=(550, 554), fragments=("delivery not authorized",),
    ),
    Rule(
        "ehlo_name_refused", _STOP, Class.CONFIG, "ehlo_name_refused", Cause.CONFIGURATION,
        smtp_codes=(501,), fragments=("invalid domain name",),
    ),
)  # fmt: skip

_OUR_FAULT_RULES = (
    # Either we or the server lost the thread: a new conversation may go better, and no mail may fail for it.
    Rule(
        "out_of_step", _LATER, Class.LOCAL, "unexpected_reply",
        smtp_codes=(500, 502, 503), commands=("MAIL", "RCPT", "DATA", "RSET"),
    ),
    Rule(
        "conversation_timed_out", _LATER, Class.NETWORK, "server_busy",
        smtp_codes=(421, 451),
        fragments=("timeout waiting for client", "connection timed out", "connection dropped"),
    ),
)  # fmt: skip

RULES = (*PROVIDER_RULES, *_SIGN_IN_RULES, *_SENDER_RULES, *_LIMIT_RULES, *_MESSAGE_RULES, *_OUR_FAULT_RULES)
