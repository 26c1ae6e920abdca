"""What Exchange Online says over SMTP, word for word (microsoft365.md 1.2, 2.1 to 2.3)."""

from datetime import UTC, datetime
from email.utils import format_datetime

# Invented machines in the shape of real ones: what a client connects to, and where messages end up.
FRONT_END = "SIM0PR01CA0001"
FRONT_END_HOST = f"{FRONT_END}.simprd01.prod.outlook.com"
BANNER_HOST = f"{FRONT_END}.outlook.office365.com"
MAILBOX_SERVER = "SIM0PR01MB0001.simprd01.prod.outlook.com"

ADVERTISED_SIZE_BYTES = 157_286_400

START_TLS = "220 2.0.0 SMTP server ready"
AUTHENTICATED = "235 2.7.0 Authentication successful"
ASK_USERNAME = "334 VXNlcm5hbWU6"
ASK_PASSWORD = "334 UGFzc3dvcmQ6"  # noqa: S105 - the prompt "Password:", not a password
ASK_TOKEN = "334 "  # noqa: S105 - the empty challenge
SENDER_OK = "250 2.1.0 Sender OK"
RECIPIENT_OK = "250 2.1.5 Recipient OK"
START_INPUT = "354 Start mail input; end with <CRLF>.<CRLF>"
OK = "250 2.0.0 OK"
RESETTING = "250 2.0.0 Resetting"
CANNOT_VERIFY = "252 2.1.5 Cannot VRFY user"
CLOSING = "221 2.0.0 Service closing transmission channel"

UNRECOGNIZED = "500 5.3.3 Unrecognized command"
INVALID_ARGUMENTS = "501 5.5.4 Invalid arguments"
INVALID_DOMAIN = "501 5.5.4 Invalid domain name"
AUTH_CANCELLED = "501 5.5.4 Authentication cancelled"
INVALID_SENDER = "501 5.1.7 Invalid address"
INVALID_RECIPIENT = "501 5.1.3 Invalid address"
BAD_SEQUENCE = "503 5.5.1 Bad sequence of commands"
HELLO_FIRST = "503 5.5.2 Send hello first"
AUTH_TWICE = "503 5.5.2 Auth command already specified"
UNRECOGNIZED_AUTH = "504 5.7.4 Unrecognized authentication type"
NOT_AUTHENTICATED = "530 5.7.57 Client not authenticated to send mail."
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients"
PLAIN_TEXT_BEFORE_TLS = "554 5.5.1 Commands sent ahead of the TLS handshake"

TLS_TOO_OLD = (
    "421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client to support TLS 1.2. "
    "Visit https://aka.ms/smtp_auth_tls."
)
TLS_TOO_OLD_FOR_ORGANISATION = (
    "550 5.7.67 TLS 1.0 and 1.1 are not supported by your organization. Please contact your administrator."
)
NOT_AVAILABLE = "421 4.3.2 Service not available"
IDLE_TOO_LONG = "451 4.7.0 Timeout waiting for client input"
CONNECTED_TOO_LONG = "421 4.4.1 Connection timed out"
# The exact reply is not confirmed [C] (microsoft365.md 12); this is Exchange Server's.
TOO_FAST = "421 4.4.2 Message submission rate for this client has exceeded the configured limit"

UNSUCCESSFUL = "535 5.7.3 Authentication unsuccessful"
WRONG_CREDENTIALS = "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect."
BASIC_DISABLED = "535 5.7.139 Authentication unsuccessful, basic authentication is disabled."
# Announced for the day when Basic is gone (microsoft365.md 8.1).
BASIC_REMOVED = "550 5.7.30 Basic authentication is not supported for Client Submission."
AUTHENTICATION_POLICY = (
    "535 5.7.139 Authentication unsuccessful, the organization configuration does not allow this authentication "
    "request."
)
SIGN_IN_CRITERIA = (
    "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated "
    "successfully. Contact your administrator."
)
SECURITY_DEFAULTS = (
    "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy. "
    "Contact your administrator."
)
DISABLED_FOR_TENANT = (
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
    "Visit https://aka.ms/smtp_auth_disabled for more information."
)
DISABLED_FOR_MAILBOX = (
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. "
    "Visit https://aka.ms/smtp_auth_disabled for more information."
)

TOO_LARGE = "552 5.3.4 Message size exceeds fixed maximum message size"
HEAD_TOO_LARGE = "552 5.3.4 Header size exceeds fixed maximum size"
BARE_LINEFEEDS = "554 5.6.0 Invalid message content, contains bare linefeeds"
ORIGINATOR_NEEDED = (
    "550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant and include a valid From address"
)
# Seen as the answer to the message itself, not to AUTH (fastapi-mail issue 75).
TOO_MANY_CONNECTIONS = (
    "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information."
)

# What a full limit sounds like at the end of a message (2.3).
LOGON_FAILURE = "430 4.2.0 STOREDRV; mailbox logon failure"
MAILBOX_FULL = (
    "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:"
    "QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to process message"
)
SUBMISSION_QUOTA = "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message"
TENANT_EXTERNAL_LIMIT = (
    "550 5.7.233 - Your message can't be sent because your tenant has exceeded its daily limit for sending email to "
    "external recipients (tenant external recipient rate limit). For more information see https://aka.ms/EXONdrs."
)
TRIAL_EXTERNAL_LIMIT = "550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit"


def banner(session_id: str, now: float) -> str:
    ready_at = format_datetime(datetime.fromtimestamp(now, UTC))
    return f"220 {BANNER_HOST} Microsoft ESMTP MAIL Service ready at {ready_at} [{session_id}]"


def hello_lines(client_address: str, *, over_tls: bool) -> tuple[str, ...]:
    """The reply to EHLO; AUTH is offered only over TLS, and STARTTLS only before it."""
    return (
        f"{BANNER_HOST} Hello [{client_address}]",
        f"SIZE {ADVERTISED_SIZE_BYTES}",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "AUTH LOGIN XOAUTH2" if over_tls else "STARTTLS",
        "8BITMIME",
        "BINARYMIME",
        "CHUNKING",
        "SMTPUTF8",
    )


def front_end_tag(session_id: str, now: float) -> str:
    """What closes each refusal: the front end, the time in UTC and the session of the banner."""
    when = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"[{FRONT_END_HOST} {when} {session_id}]"


def mailbox_tag() -> str:
    """What closes the answers of the mailbox server, where a message is judged."""
    return f"[Hostname={MAILBOX_SERVER}]"


def make_message_id(number: int) -> str:
    """The Message-ID of a message that came without one."""
    return f"<SIM0PR01MB0001{number:012X}@{MAILBOX_SERVER}>"


def accepted(message_id: str) -> str:
    return f"{OK} {message_id} {mailbox_tag()}"


def chunk_received(octets: int) -> str:
    return f"250 2.6.0 CHUNK received OK, {octets} octets"


def send_as_denied(mailbox: str, sender: str) -> str:
    return (
        f"554 5.2.252 SendAsDenied; {mailbox} not allowed to send as {sender}; "
        "STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; "
        "Failed to process message due to a permanent exception with message "
        "[BeginDiagnosticData]Cannot submit message. [EndDiagnosticData]"
    )
