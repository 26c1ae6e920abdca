"""What can be said of the Mail Server page without dialling: fields that are missing, or cannot work together. Pure.

Microsoft Learn, "How to set up a multifunction device or application to send email": smtp.office365.com listens with
STARTTLS on 587 and 25, and does not offer 465.
"""

from collections.abc import Iterator
from datetime import date

import msgspec

from postroom.checks.addresses import explain_address, explain_domain, explain_host
from postroom.identity.addresses import is_same_address
from postroom.identity.providers import explain_tenant, looks_like_guid
from postroom.network import explain_authorities
from postroom.store.records import Authentication, EmailType, MailServerDraft, SendRight

MICROSOFT_SUFFIXES = (".office365.com", ".office365.us", ".partner.outlook.cn", ".outlook.com", ".office.com")
MICROSOFT_PORTS = (587, 25)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TEXT_FIELDS = (
    "host",
    "ehlo_name",
    "sender",
    "sender_name",
    "username",
    "mailbox_address",
    "test_address",
    "tenant",
    "client_id",
    "client_secret",
)


class FieldTrouble(msgspec.Struct, frozen=True):
    """A field of the draft, and the sentence to show at it."""

    field: str
    sentence: str


def tidy_draft(draft: MailServerDraft) -> MailServerDraft:
    """The draft without the spaces that come along when people paste; the password is left as it was typed."""
    tidy = {name: _strip(getattr(draft, name)) for name in _TEXT_FIELDS}
    for prefix in ("smtp://", "smtps://"):
        tidy["host"] = tidy["host"].removeprefix(prefix)
    return msgspec.structs.replace(draft, **tidy)


def can_work_together(draft: MailServerDraft, today: date | None = None) -> list[FieldTrouble]:
    """Every trouble, in the order of the page; an empty list when it is worth dialling.

    With `today` a client secret that has expired is one.
    """
    return [
        *_judge_server(draft),
        *_judge_addresses(draft),
        *_judge_send_right(draft),
        *_judge_method(draft),
        *_judge_secrets(draft, today),
    ]


def is_microsoft(host: str) -> bool:
    return ("." + host.lower().rstrip(".")).endswith(MICROSOFT_SUFFIXES)


def explain_pair(draft: MailServerDraft) -> FieldTrouble | None:
    """The one table of what e-mail type, port and TLS go together: None when they do."""
    if draft.email_type is EmailType.GRAPH:
        return _explain_graph(draft)
    starts_with_tls = draft.email_type is EmailType.SMTPS
    if starts_with_tls and is_microsoft(draft.host):
        return FieldTrouble(
            "email_type",
            "Microsoft 365 does not offer SMTPS (TLS from the first byte, port 465). Choose SMTP and port 587.",
        )
    if is_microsoft(draft.host) and draft.port == 465:
        return FieldTrouble("port", "Microsoft 365 does not offer port 465. Choose port 587.")
    if is_microsoft(draft.host) and draft.port not in MICROSOFT_PORTS:
        return FieldTrouble("port", f"Microsoft 365 takes mail on port 587 or 25, not on {draft.port}. Choose 587.")
    if starts_with_tls and not draft.use_tls:
        return FieldTrouble("use_tls", "SMTPS is TLS from the first byte. Switch Enable TLS on, or choose SMTP.")
    if starts_with_tls and draft.port in MICROSOFT_PORTS:
        return FieldTrouble(
            "port",
            f"Port {draft.port} begins without TLS and switches it on (STARTTLS). "
            "Choose the e-mail type SMTP, or port 465.",
        )
    if not starts_with_tls and draft.port == 465:
        return FieldTrouble(
            "port", "Port 465 expects TLS from the first byte. Choose the e-mail type SMTPS, or port 587."
        )
    return _explain_plain(draft) if not draft.use_tls else None


def _explain_graph(draft: MailServerDraft) -> FieldTrouble | None:
    if draft.port != 443:
        return FieldTrouble("port", f"Microsoft Graph is on port 443, not on {draft.port}. Choose 443.")
    if not draft.use_tls:
        return FieldTrouble("use_tls", "Microsoft Graph is never spoken to without TLS. Switch Enable TLS on.")
    return None


def _explain_plain(draft: MailServerDraft) -> FieldTrouble | None:
    if is_microsoft(draft.host):
        return FieldTrouble("use_tls", "Microsoft 365 requires TLS 1.2 or newer. Switch Enable TLS on.")
    if draft.authentication is Authentication.OAUTH:
        return FieldTrouble("use_tls", "Without TLS the token could be read on its way. Switch Enable TLS on.")
    if draft.authentication is Authentication.BASIC and draft.host.lower() not in _LOOPBACK:
        return FieldTrouble("use_tls", "Without TLS the password could be read on its way. Switch Enable TLS on.")
    return None


def _judge_server(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    if why := explain_host(draft.host):
        yield FieldTrouble("host", f"Server Name {why}.")
    if not 1 <= draft.port <= 65535:
        yield FieldTrouble("port", "Port must be a number from 1 to 65535; 587 is usual.")
    elif pair := explain_pair(draft):
        yield pair
    if why := explain_authorities(draft.authorities):
        yield FieldTrouble("authorities", why)
    if draft.ehlo_name and (why := explain_domain(draft.ehlo_name)):
        yield FieldTrouble("ehlo_name", f"EHLO name {why}; write a host name such as mail.example.com.")


def _judge_addresses(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    if why := explain_address(draft.sender):
        yield FieldTrouble("sender", f"Sender Email Address {why}.")
    if "@" in draft.sender_name:
        yield FieldTrouble("sender_name", "Sender name must not hold an @ sign: some mail systems take it for fraud.")
    if any(not letter.isprintable() for letter in draft.sender_name):
        yield FieldTrouble("sender_name", "Sender name holds an invisible character.")
    if draft.mailbox_address and (why := explain_address(draft.mailbox_address)):
        yield FieldTrouble("mailbox_address", f"Mailbox {why}.")
    if why := explain_address(draft.test_address):
        yield FieldTrouble("test_address", f"Test Email Address {why}.")
    yield from _judge_username(draft)


def _judge_username(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    if _signs_in_at_microsoft(draft):
        if why := explain_address(draft.username):
            yield FieldTrouble("username", f"Username {why}.")
        elif not draft.sender_is_own_mailbox and is_same_address(draft.username, draft.sender):
            yield FieldTrouble(
                "username",
                "A shared mailbox cannot sign in itself. Enter as Username a person's mailbox that may send for it.",
            )
    elif not draft.username:
        yield FieldTrouble("username", "Username is missing.")
    elif any(not letter.isprintable() for letter in draft.username):
        yield FieldTrouble("username", "Username holds an invisible character.")


def _judge_send_right(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    """Who signs in and who sends are two: then a right is needed, and somebody must have granted it."""
    if not draft.sender or not draft.username or not _signs_in_at_microsoft(draft):
        return
    if is_same_address(draft.sender, draft.username):
        return
    need = f"{draft.username} must be allowed to send for {draft.sender}."
    if draft.send_right is SendRight.OWN:
        yield FieldTrouble(
            "send_right", f"Send on Behalf is needed: {need} Choose Send on Behalf, or Send As, and have it granted."
        )
    elif not draft.send_right_is_granted:
        word = "Send on Behalf" if draft.send_right is SendRight.SEND_ON_BEHALF else "Send As"
        yield FieldTrouble(
            "send_right_is_granted", f"{need} Grant {word} in Microsoft 365, then tick “I have done this”."
        )


def _judge_app(draft: MailServerDraft, today: date | None) -> Iterator[FieldTrouble]:
    if why := explain_tenant(draft.tenant):
        yield FieldTrouble("tenant", why)
    if not draft.client_id:
        yield FieldTrouble("client_id", "Enter the Client ID: in Entra it is called Application (client) ID.")
    elif not looks_like_guid(draft.client_id):
        yield FieldTrouble(
            "client_id", "A Client ID is a GUID such as 11111111-2222-3333-4444-555555555555: copy it from Entra."
        )
    if why := _explain_secret(draft.client_secret):
        yield FieldTrouble("client_secret", why)
    if today is not None and draft.secret_ends_on is not None and draft.secret_ends_on < today:
        yield FieldTrouble(
            "secret_ends_on",
            f"This client secret expired on {draft.secret_ends_on.isoformat()}. Create a new one in Entra.",
        )


def _explain_secret(client_secret: str) -> str | None:
    if not client_secret:
        return "Enter the Client Secret: its Value, from Certificates & secrets in Entra."
    if looks_like_guid(client_secret):
        return (
            "This looks like the Secret ID. Copy the Value column. "
            "If it is hidden now, create a new secret: Entra shows the Value only once."
        )
    if any(letter.isspace() or not letter.isprintable() for letter in client_secret):
        return "The Client Secret holds a space or an invisible character: copy it again."
    return None


def _judge_secrets(draft: MailServerDraft, today: date | None) -> Iterator[FieldTrouble]:
    if draft.authentication is Authentication.OAUTH:
        yield from _judge_app(draft, today)
    elif draft.authentication is Authentication.BASIC:
        yield from _judge_password(draft)


def _judge_method(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    if draft.email_type is EmailType.GRAPH and draft.authentication is not Authentication.OAUTH:
        yield FieldTrouble(
            "authentication", "Microsoft Graph takes no password: choose OAuth, or the e-mail type SMTP."
        )


def _judge_password(draft: MailServerDraft) -> Iterator[FieldTrouble]:
    if not draft.password:
        yield FieldTrouble("password", "Enter the Password.")
    elif "\0" in draft.password:
        yield FieldTrouble("password", "The Password holds a NUL, which cannot be sent.")


def _signs_in_at_microsoft(draft: MailServerDraft) -> bool:
    return draft.authentication is Authentication.OAUTH or is_microsoft(draft.host)


def _strip(text: str) -> str:
    # What comes along from web pages: zero-width space, joiners and the byte-order mark.
    return text.strip().strip("\u200b\u200c\u200d\u2060\ufeff").strip()
