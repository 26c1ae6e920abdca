"""The lines of the table of faults: addresses, what they do, and what the server says (microsoft365.md 2)."""

from typing import Literal

import msgspec

Stage = Literal["sign-in", "sender", "recipient", "message"]
Effect = Literal["refuse", "delay", "say nothing", "drop after storing", "drop before storing"]
Confidence = Literal["A", "B", "C"]


class Fault(msgspec.Struct, frozen=True):
    """One line of the table.

    `stage` is where it strikes: at AUTH, at MAIL FROM, at RCPT TO, or at the end of the message. `reply`
    is the server's line without its closing tag, empty where no line is said. `hangs_up` closes the
    connection after the reply. `confidence`: A read in a vendor's document, B seen on the wire or
    restated, C not confirmed; it speaks of the words, or of the behaviour where there are none.
    """

    local_part: str
    meaning: str
    stage: Stage
    effect: Effect = "refuse"
    reply: str = ""
    confidence: Confidence = "B"
    hangs_up: bool = False
    is_once: bool = False

    @property
    def address(self) -> str:
        """How the fault is asked for, at any domain."""
        return f"{self.local_part}@"


_UNSUCCESSFUL = "535 5.7.139 Authentication unsuccessful"
_MORE = "Visit https://aka.ms/smtp_auth_disabled for more information."
_STOREDRV = "STOREDRV.Submission.Exception"

# Signing in (2.1). The replies that belong to a switch of the tenant are here too, for one mailbox alone.
SIGN_IN_FAULTS = (
    Fault(
        "token-refused",
        "The token is not accepted, and nothing says why.",
        "sign-in",
        reply="535 5.7.3 Authentication unsuccessful",
        confidence="A",
    ),
    Fault(
        "smtp-auth-off-tenant",
        "SMTP AUTH is off for the organisation.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, SmtpClientAuthentication is disabled for the Tenant. {_MORE}",
    ),
    Fault(
        "smtp-auth-off-mailbox",
        "SMTP AUTH is off for the mailbox.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, SmtpClientAuthentication is disabled for the Mailbox. {_MORE}",
    ),
    Fault(
        "wrong-password",
        "The password is wrong, or the person needs MFA.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, the user credentials were incorrect.",
    ),
    Fault(
        "security-defaults",
        "Security defaults refuse the password.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, user is locked by your organization's security defaults policy. "
        "Contact your administrator.",
    ),
    Fault(
        "conditional-access",
        "Conditional Access refuses the sign-in.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, the request did not meet the criteria to be authenticated successfully. "
        "Contact your administrator.",
    ),
    Fault(
        "basic-disabled",
        "Basic authentication is disabled.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, basic authentication is disabled.",
    ),
    Fault(
        "authentication-policy",
        "An authentication policy does not allow this way to sign in.",
        "sign-in",
        reply=f"{_UNSUCCESSFUL}, the organization configuration does not allow this authentication request.",
    ),
    Fault(
        "basic-removed",
        "Microsoft has removed Basic authentication for good.",
        "sign-in",
        reply="550 5.7.30 Basic authentication is not supported for Client Submission.",
        confidence="A",
    ),
    Fault(
        "sign-in-later",
        "Microsoft cannot check anybody at the moment.",
        "sign-in",
        reply="454 4.7.0 Temporary authentication failure",
    ),
)

SENDER_FAULTS = (
    Fault(
        "not-signed-in",
        "The server takes the client for one that has not signed in (the older words).",
        "sender",
        reply="530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM",
        confidence="A",
    ),
    Fault(
        "basic-removed-at-mail",
        "Basic authentication is gone, and it is said only now.",
        "sender",
        reply="550 5.7.30 Basic authentication is not supported for Client Submission.",
        confidence="C",
    ),
    Fault(
        "rate-limited",
        "The client submits faster than it may.",
        "sender",
        reply="421 4.4.2 Message submission rate for this client has exceeded the configured limit",
        hangs_up=True,
    ),
    Fault(
        "direct-send",
        "The organisation rejects Direct Send (port 25 only).",
        "sender",
        reply="550 5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization "
        "from unauthorized sources",
    ),
)

RECIPIENT_FAULTS = (
    Fault(
        "451",
        "A temporary error for this recipient: try again later.",
        "recipient",
        reply="451 4.7.0 Temporary server error. Please try again later.",
    ),
    Fault(
        "450",
        "The organisation has too much waiting: try again later.",
        "recipient",
        reply="450 4.7.0 Organization queue quota exceeded.",
    ),
    Fault(
        "throttled",
        "Microsoft slows this sender down.",
        "recipient",
        reply="451 4.7.500 Server busy. Please try again later from [127.0.0.1]. (AS761)",
        confidence="A",
    ),
    Fault(
        "access-denied-later",
        "Microsoft does not trust this sender for now.",
        "recipient",
        reply="451 4.7.850 Access denied, please try again later",
        confidence="A",
    ),
    Fault(
        "too-many-recipients",
        "The message has recipients enough: send this one in another.",
        "recipient",
        reply="452 4.5.3 Too many recipients",
        confidence="A",
    ),
    Fault(
        "421",
        "The server says that it goes away, and does.",
        "recipient",
        reply="421 4.3.2 Service not available",
        hangs_up=True,
    ),
    Fault(
        "no-answer",
        "The server says nothing more, and keeps the connection.",
        "recipient",
        effect="say nothing",
    ),
    Fault(
        "550",
        "This recipient does not exist.",
        "recipient",
        reply="550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        confidence="A",
    ),
    Fault(
        "unknown-user",
        "The recipient's address is wrong.",
        "recipient",
        reply="550 5.1.1 Bad destination mailbox address",
        confidence="C",
    ),
    Fault(
        "recipient-not-found",
        "The recipient's organisation does not know the address.",
        "recipient",
        reply="550 5.1.10 Recipient not found",
        confidence="A",
    ),
    Fault(
        "recipient-full",
        "The recipient's mailbox is full.",
        "recipient",
        reply="552 5.2.2 Mailbox full",
    ),
    Fault(
        "relay-denied",
        "The server does not pass mail on to this recipient.",
        "recipient",
        reply="550 5.4.1 Relay Access Denied",
        confidence="A",
    ),
    Fault(
        "unable-to-relay",
        "The server does not pass mail on to this recipient (the other words).",
        "recipient",
        reply="550 5.7.1 Unable to relay",
        confidence="A",
    ),
    Fault(
        "not-authorized",
        "The recipient takes mail from chosen senders only.",
        "recipient",
        reply="550 5.7.1 Delivery not authorized, message refused",
        confidence="A",
    ),
    Fault(
        "allowed-senders",
        "The recipient has a list of allowed senders, and this is not one.",
        "recipient",
        reply="550 5.7.124 Sender not in allowed-senders list",
        confidence="C",
    ),
    Fault(
        "group-restricted",
        "The group takes mail from inside its organisation only.",
        "recipient",
        reply="550 5.7.133 Sender not authenticated for group",
        confidence="A",
    ),
    Fault(
        "internal-mailbox",
        "The mailbox takes mail from inside its organisation only.",
        "recipient",
        reply="550 5.7.134 Sender not authenticated for mailbox",
        confidence="C",
    ),
    Fault(
        "internal-mail-user",
        "The mail user takes mail from inside its organisation only.",
        "recipient",
        reply="550 5.7.136 Sender not authenticated",
        confidence="C",
    ),
    Fault(
        "trial-limit",
        "A trial tenant has reached its external recipients of the day.",
        "recipient",
        reply="550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit",
    ),
    Fault(
        "ip-not-accepted",
        "Microsoft takes nothing from this IP address.",
        "recipient",
        reply="550 5.7.708 Access denied, traffic not accepted from this IP",
        confidence="A",
    ),
    Fault(
        "not-our-tenant",
        "No connector matches this sender (port 25 only).",
        "recipient",
        reply="550 5.7.64 TenantAttribution; Relay Access Denied",
        confidence="A",
    ),
    Fault(
        "bad-connector",
        "The connector is blocked (port 25 only).",
        "recipient",
        reply="550 5.7.711 Access denied, bad inbound connector. AS(2204)",
    ),
    Fault(
        "banned-ip",
        "The IP address is on Microsoft's list (port 25 only).",
        "recipient",
        reply="550 5.7.606 Access denied, banned sending IP [127.0.0.1]",
        confidence="A",
    ),
)

MESSAGE_FAULTS = (
    Fault(
        "432",
        "Too many connections send for this mailbox at once.",
        "message",
        reply="432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        confidence="A",
    ),
    Fault(
        "too-many-connections",
        "Too many connections send for this mailbox at once (the newer words).",
        "message",
        reply="432 4.3.2 Concurrent connections limit exceeded. "
        "Visit https://aka.ms/concurrent_sending for more information.",
        confidence="A",
    ),
    Fault(
        "logon-failure",
        "The mailbox server does not let the client in after all.",
        "message",
        reply="430 4.2.0 STOREDRV; mailbox logon failure",
    ),
    Fault(
        "busy-after-dot",
        "A temporary error, said only after the whole message.",
        "message",
        reply="451 4.7.0 Temporary server error. Please try again later. PRX2",
    ),
    Fault(
        "connection-dropped",
        "The server loses the connection behind it, says so, and closes.",
        "message",
        reply="421 4.4.2 Connection dropped due to SocketError",
        hangs_up=True,
    ),
    Fault(
        "sendas-denied",
        "The mailbox has no Send As right for the address in From.",
        "message",
        reply="554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as noreply@contoso.com; "
        f"{_STOREDRV}:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message due to a permanent "
        "exception with message [BeginDiagnosticData]Cannot submit message. [EndDiagnosticData]",
    ),
    Fault(
        "sendas-denied-older",
        "No Send As right, in the older words.",
        "message",
        reply=f"554 5.2.0 {_STOREDRV}:SendAsDeniedException.MapiExceptionSendAsDenied; Failed to process message",
    ),
    Fault(
        "sendas-denied-front-end",
        "No Send As right, in the front end's words.",
        "message",
        reply="550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    ),
    Fault(
        "sendas-denied-server",
        "No Send As right for Sender, in the words of Exchange Server.",
        "message",
        reply="550 5.7.1 Client does not have permissions to send as this sender",
    ),
    Fault(
        "on-behalf-denied",
        "No Send on Behalf right for From, in the words of Exchange Server.",
        "message",
        reply="550 5.7.1 Client does not have permissions to send on behalf of the from address",
    ),
    Fault(
        "mailbox-full",
        "Sent Items has filled the sending mailbox.",
        "message",
        reply=f"554 5.2.2 mailbox full; {_STOREDRV}:"
        "QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to process message",
        confidence="A",
    ),
    Fault(
        "daily-limit",
        "The mailbox has reached its 10,000 recipients in 24 hours.",
        "message",
        reply=f"554 5.2.0 {_STOREDRV}:SubmissionQuotaExceededException; Failed to process message",
        confidence="A",
    ),
    Fault(
        "submission-quota",
        "The same limit, in the words of its report.",
        "message",
        reply="554 5.2.2 Submission quota exceeded",
        confidence="A",
    ),
    Fault(
        "recipient-limit",
        "The same limit, or that of an outbound policy.",
        "message",
        reply="550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        confidence="A",
    ),
    Fault(
        "tenant-limit",
        "The tenant has reached its external recipients of the day.",
        "message",
        reply="550 5.7.233 - Your message can't be sent because your tenant has exceeded its daily limit for sending "
        "email to external recipients (tenant external recipient rate limit). "
        "For more information see https://aka.ms/EXONdrs.",
    ),
    Fault(
        "blocked",
        "The mailbox is blocked because spam was suspected.",
        "message",
        reply="550 5.1.8 Access denied, bad outbound sender AS(42004)",
        confidence="A",
    ),
    Fault(
        "tenant-blocked",
        "Microsoft has blocked the whole tenant.",
        "message",
        reply="550 5.7.705 Access denied, tenant has exceeded threshold",
        confidence="A",
    ),
    Fault(
        "unregistered-domain",
        "The tenant sends from a domain that it has not registered.",
        "message",
        reply="550 5.7.750 Client blocked from sending from unregistered domains",
        confidence="A",
    ),
    Fault(
        "spam-abuse",
        "The account is banned for spam.",
        "message",
        reply="550 5.7.501 Access denied, spam abuse detected",
        confidence="A",
    ),
    Fault(
        "banned-sender",
        "The account is banned.",
        "message",
        reply="550 5.7.502 Access denied, banned sender",
        confidence="A",
    ),
    Fault(
        "too-large",
        "The message is larger than the mailbox may send.",
        "message",
        reply="552 5.3.4 Message size exceeds fixed maximum message size",
    ),
    Fault(
        "invalid-characters",
        "The message holds characters that it may not.",
        "message",
        reply="554 5.6.11 Invalid characters",
        confidence="A",
    ),
    Fault(
        "slow",
        "The message is accepted, but the answer takes its time.",
        "message",
        effect="delay",
    ),
    Fault(
        "drop-after-dot",
        "The message is accepted and delivered, but the connection breaks before the answer.",
        "message",
        effect="drop after storing",
    ),
    Fault(
        "drop-before-store",
        "The connection breaks after the last byte and the message is lost there.",
        "message",
        effect="drop before storing",
    ),
)
