"""By which words our own refusals are recognised, where a person has nothing but the line that a printer showed."""

_WORDS: tuple[tuple[str, str], ...] = (
    ("is not a known device", "unknown_device"),
    ("start tls first (starttls)", "tls_needed"),
    ("sign in first (auth)", "sign_in_needed"),
    ("this listener serves devices of private networks only", "public_client"),
    ("wrong user name or password for", "sign_in_refused"),
    ("too many sign-ins as", "sign_in_locked"),
    ("too many sign-ins from", "client_banned"),
    ("signing in is not possible now", "storage_unavailable"),
    ("the message could not be stored now", "storage_unavailable"),
    ("the store of waiting mail is full", "storage_full"),
    ("> senders", "sender_not_allowed"),
    ("the sender cannot be used:", "invalid_sender"),
    ("> recipients", "recipient_not_allowed"),
    ("the recipient cannot be used:", "invalid_recipient"),
    ("with the smtputf8 parameter", "smtputf8_needed"),
    ("send the others in another message", "too_many_recipients"),
    ("has no recipient that was accepted", "recipient_missing"),
    ("for one message", "message_too_large"),
    ("has no sender yet: set up the mail server", "not_set_up"),
    ("is switched off; switch it on under", "app_switched_off"),
    ("messages a minute; send again in", "rate_limit_exceeded"),
    ("messages in 24 hours; send again in", "daily_limit_exceeded"),
    ("this idempotency key was used for another message", "idempotency_key_reused"),
    ("may not have all mail tried again", "flush_not_allowed"),
    ("the message goes round in circles", "mail_loop"),
    ("lines end with cr lf, hold no nul", "invalid_line"),
    ("the message's header cannot be read:", "invalid_header"),
    ("the message names several senders", "several_senders"),
    ("the message names a group in from", "several_senders"),
    ("the message has no from field", "from_missing"),
)


def find_own_remedy(text: str) -> str | None:
    """The remedy of the refusal of ours that these are the words of; None for somebody else's."""
    said = " ".join(text.lower().split())
    return next((remedy_id for words, remedy_id in _WORDS if words in said), None)
