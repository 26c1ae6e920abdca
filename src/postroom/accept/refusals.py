"""Why we do not take a message, sender or recipient: each refusal made once, for SMTP, HTTP and people alike."""

from postroom.errors import Refusal, RefusalReply


def _refuse(
    smtp_code: int,
    enhanced: str,
    code: str,
    http_status: int,
    text: str,
    remedy_id: str = "",
    field: str | None = None,
    retry_after_seconds: int | None = None,
) -> Refusal:
    reply = RefusalReply(smtp_code, enhanced, text, code, http_status, remedy_id or code, field, retry_after_seconds)
    return Refusal(reply)


OF_STRANGERS = frozenset(
    {
        "unknown_device",
        "public_client",
        "tls_needed",
        "sign_in_needed",
        "sign_in_refused",
        "sign_in_locked",
        "client_banned",
    }
)
"""Refused before anybody knew who it was: what a person may want to make an app of."""


def unknown_device(address: str) -> Refusal:
    text = f"{address} is not a known device; add it under Apps & devices"
    return _refuse(550, "5.7.1", "unknown_device", 403, text)


def tls_needed() -> Refusal:
    """RFC 3207 4."""
    text = "Start TLS first (STARTTLS), then sign in (AUTH); an old device may be allowed plain text by its address"
    return _refuse(530, "5.7.0", "tls_needed", 403, text)


def tls_needed_to_sign_in() -> Refusal:
    """RFC 4954 4."""
    text = "Start TLS first (STARTTLS), then sign in: passwords are not taken in clear"
    return _refuse(538, "5.7.11", "tls_needed", 403, text)


def sign_in_needed() -> Refusal:
    text = "Sign in first (AUTH) with the user name and password of an app (Postroom: Apps & devices)"
    return _refuse(530, "5.7.0", "sign_in_needed", 401, text)


def public_client(address: str) -> Refusal:
    text = f"{address} is a public address; this listener serves devices of private networks only"
    return _refuse(554, "5.7.1", "public_client", 403, text)


def sign_in_refused(login: str) -> Refusal:
    """Never says whether name or password was wrong, or whether the right one came from the wrong address."""
    text = f'Wrong user name or password for "{login}" (Postroom: Apps & devices)'
    return _refuse(535, "5.7.8", "sign_in_refused", 401, text)


def sign_in_locked(login: str, until: str, seconds: int) -> Refusal:
    """`until` is a time of day, as people read it."""
    text = f'Too many sign-ins as "{login}" have failed; try again after {until}'
    return _refuse(454, "4.7.0", "sign_in_locked", 429, text, retry_after_seconds=seconds)


def client_banned(address: str, until: str, seconds: int) -> Refusal:
    text = f"Too many sign-ins from {address} have failed; come again after {until}"
    return _refuse(421, "4.7.0", "client_banned", 429, text, retry_after_seconds=seconds)


def sign_in_unavailable() -> Refusal:
    text = "Signing in is not possible now; try again later"
    return _refuse(454, "4.7.0", "storage_unavailable", 503, text, retry_after_seconds=60)


def sender_not_allowed(app_name: str, senders: tuple[str, ...], address: str, place: str) -> Refusal:
    """`place` is where the address stood: "the envelope", "From"."""
    shown = ", ".join(senders[:3]) + (" and others" if len(senders) > 3 else "")
    text = (
        f'"{app_name}" may send as {shown} only, not as {address[:254]} (in {place}). '
        f"Change it under Apps & devices > {app_name} > Senders"
    )
    return _refuse(550, "5.7.1", "sender_not_allowed", 403, text, field="from")


def sender_not_an_address(why: str, senders: tuple[str, ...]) -> Refusal:
    shown = f" This app may send as {senders[0]}" if senders else ""
    return _refuse(501, "5.1.7", "invalid_sender", 422, f"The sender cannot be used: {why}.{shown}", field="from")


def recipient_not_an_address(why: str) -> Refusal:
    return _refuse(501, "5.1.3", "invalid_recipient", 422, f"The recipient cannot be used: {why}", field="to")


def recipient_not_allowed(app_name: str, domains: tuple[str, ...], address: str) -> Refusal:
    shown = ", ".join(domains[:3]) + (" and others" if len(domains) > 3 else "")
    text = (
        f'"{app_name}" may send to {shown} only, not to {address[:254]}. '
        f"Change it under Apps & devices > {app_name} > Recipients"
    )
    return _refuse(550, "5.7.1", "recipient_not_allowed", 403, text, field="to")


def smtputf8_missing(address: str) -> Refusal:
    """RFC 6531 3.5."""
    text = f"{address[:254]} has letters beyond ASCII; send it with the SMTPUTF8 parameter of MAIL FROM"
    return _refuse(553, "5.6.7", "smtputf8_needed", 422, text)


def too_many_recipients(limit: int) -> Refusal:
    text = f"A message may have {limit} recipients; send the others in another message"
    return _refuse(452, "4.5.3", "too_many_recipients", 422, text, field="to")


_NO_RECIPIENT = "The message has no recipient that was accepted; name one, as the replies to the others say"


def no_recipients() -> Refusal:
    return _refuse(554, "5.5.1", "recipient_missing", 422, _NO_RECIPIENT, field="to")


def message_too_large(limit_bytes: int, size_bytes: int | None = None) -> Refusal:
    """`size_bytes` is what the client announced; unknown while a body streams."""
    size = f"{readable_size(size_bytes)} is" if size_bytes is not None else "The message is"
    text = (
        f"{size} over the limit of {readable_size(limit_bytes)} for one message; make it smaller, or send it in parts"
    )
    return _refuse(552, "5.3.4", "message_too_large", 413, text)


def readable_size(size_bytes: int) -> str:
    """As a person reads it: 25.4 MB, 800 KB."""
    unit, name = (1_048_576, "MB") if size_bytes >= 1_048_576 else (1024, "KB")
    return f"{size_bytes / unit:.1f}".removesuffix(".0") + f" {name}"


def storage_full() -> Refusal:
    text = "The store of waiting mail is full; tell the administrator, and send again later"
    return _refuse(452, "4.3.1", "storage_full", 507, text, retry_after_seconds=60)


def storage_unavailable() -> Refusal:
    text = "The message could not be stored now; send it again later"
    return _refuse(451, "4.3.0", "storage_unavailable", 503, text, retry_after_seconds=60)


def mail_server_not_set_up(app_name: str) -> Refusal:
    """Temporary: what is sent again after the set-up is taken."""
    text = (
        f'"{app_name}" has no sender yet: set up the mail server under Admin > Server Settings > Mail Server, '
        "then send again"
    )
    return _refuse(451, "4.3.5", "mail_server_not_set_up", 503, text, "not_set_up")


def app_switched_off(app_name: str) -> Refusal:
    text = f'"{app_name}" is switched off; switch it on under Apps & devices'
    return _refuse(550, "5.7.1", "app_switched_off", 403, text)


def too_many_messages_a_minute(app_name: str, limit: int, seconds: int) -> Refusal:
    text = (
        f'"{app_name}" may hand in {limit} messages a minute; send again in {seconds} seconds, '
        f"or raise the limit under Apps & devices > {app_name} > Limits"
    )
    return _refuse(451, "4.7.1", "rate_limit_exceeded", 429, text, retry_after_seconds=seconds)


def too_many_messages_a_day(app_name: str, limit: int, seconds: int) -> Refusal:
    text = (
        f'"{app_name}" may hand in {limit} messages in 24 hours; send again in {-(-seconds // 60)} minutes, '
        f"or raise the limit under Apps & devices > {app_name} > Limits"
    )
    return _refuse(451, "4.7.1", "daily_limit_exceeded", 429, text, retry_after_seconds=seconds)


def idempotency_key_reused() -> Refusal:
    text = "This idempotency key was used for another message; give each message a key of its own"
    return _refuse(554, "5.5.0", "idempotency_key_reused", 422, text)


def flush_not_allowed(user: str) -> Refusal:
    text = f"{user} may not have all mail tried again; ask root, or press Retry in the console"
    return _refuse(550, "5.7.1", "flush_not_allowed", 403, text)


def mail_loop(why: str) -> Refusal:
    """RFC 5321 6.3."""
    return _refuse(
        554, "5.4.6", "mail_loop", 422, f"The message goes round in circles: {why}; end what sends it back here"
    )


def line_not_allowed(kind: str, line: int, why_not_fixed: str = "") -> Refusal:
    """`kind` is LineError's; `why_not_fixed` is half a sentence, for an app whose lines are put right otherwise."""
    reasons = {
        "bare_cr": "ends or contains a CR without LF",
        "bare_lf": "ends with LF alone",
        "nul": "contains the character NUL",
        "long_line": "is longer than 998 bytes",
    }
    text = f"Line {line} of the message {reasons[kind]}; lines end with CR LF, hold no NUL and have at most 998 bytes"
    if why_not_fixed:
        text += f". Nothing in the message may be changed: {why_not_fixed}"
    return _refuse(550, "5.6.0", "invalid_line", 422, text)


def head_not_readable(why: str) -> Refusal:
    return _refuse(
        550, "5.6.0", "invalid_header", 422, f"The message's header cannot be read: {why}; update what made it"
    )


def several_senders(addresses: tuple[str, ...]) -> Refusal:
    """RFC 5322 3.6.2 allows it with a Sender; Exchange Online and most others do not take it."""
    named = f" ({', '.join(addresses[:3])[:254]})" if addresses else ""
    text = (
        f"The message names several senders in From{named}, and mail servers take one; "
        "put one address into From, and the others into Reply-To"
    )
    return _refuse(550, "5.6.0", "several_senders", 422, text, field="from")


def group_in_from() -> Refusal:
    """RFC 6854 allows it; hardly any mail server does."""
    text = "The message names a group in From, and mail servers take one address; put one address into From"
    return _refuse(550, "5.6.0", "several_senders", 422, text, field="from")


def from_missing() -> Refusal:
    """RFC 5322 3.6: From and Date are the two fields that each message has."""
    text = "The message has no From field with an address; add one, such as From: name@example.com"
    return _refuse(550, "5.6.0", "from_missing", 422, text, field="from")
