"""Every code that the API answers with: its status, and what it means. The documentation is made from it."""

from collections.abc import Callable
from functools import partial

import msgspec

from postroom.accept import refusals
from postroom.api.problems import STATUS_OF
from postroom.errors import Refusal
from postroom.remedies import remedy

MEANINGS = {
    "invalid_json": "The body is not JSON.",
    "invalid_idempotency_key": "An Idempotency-Key has 1 to 256 printable ASCII characters.",
    "invalid_cursor": "The cursor of a list is none, or no longer one.",
    "missing_api_key": "The request has no key.",
    "invalid_api_key": "The key is not known, was revoked, or its app is switched off.",
    "expired_api_key": "The key has expired.",
    "insufficient_scope": "The key does not have the scope that the route needs.",
    "cross_site_request": "A page from elsewhere tried to use a password that a browser remembers.",
    "ip_not_allowed": "The app may send from other addresses only.",
    "not_found": "There is no such thing, or it is another app's.",
    "method_not_allowed": "The path does not take this method; Allow names those that it takes.",
    "idempotency_in_progress": "The first request with this key has not been answered yet.",
    "wrong_state": "It cannot be done in the state that the message is in.",
    "content_deleted": "The content was removed by the retention rule.",
    "message_too_large": "The request or the message is too large.",
    "unsupported_media_type": "This kind of body is not taken.",
    "validation_error": "A field or parameter cannot be used; errors names each of them.",
    "invalid_attachment": "A file cannot be used; errors names it.",
    "client_secret_refused": "Microsoft does not accept the new client secret; the one that is used stays.",
    "sign_in_refused": "The sign-in was not taken; errors has the reason as a word, and nothing was saved.",
    "idempotency_key_reused": "The key was used for another message.",
    "rate_limit_exceeded": "The app's messages a minute are used up, or too many wrong keys came from this address.",
    "upload_limit_reached": "The app's uploaded files wait to be sent, and may not become more.",
    "internal_error": "Something went wrong here; the request's id is in Postroom's log.",
    "sign_in_service_unavailable": "Microsoft's sign-in service gave no answer that tells; nothing was changed.",
    "intake_paused": "The database cannot be used now.",
    "too_busy": "Too many large JSON bodies are being read at this moment.",
    "shutting_down": "Postroom is stopping; what was begun is finished.",
}

_REFUSALS: tuple[Callable[[], Refusal], ...] = (
    partial(refusals.sender_not_allowed, "", (), "", ""),
    partial(refusals.sender_not_an_address, "", ()),
    partial(refusals.recipient_not_allowed, "", (), ""),
    partial(refusals.recipient_not_an_address, ""),
    partial(refusals.too_many_recipients, 0),
    refusals.no_recipients,
    partial(refusals.app_switched_off, ""),
    partial(refusals.too_many_messages_a_day, "", 0, 0),
    partial(refusals.head_not_readable, ""),
    partial(refusals.line_not_allowed, "bare_lf", 0),
    refusals.from_missing,
    partial(refusals.mail_loop, ""),
    partial(refusals.mail_server_not_set_up, ""),
    refusals.storage_unavailable,
    refusals.storage_full,
)
"""Those of the intake that have codes of their own."""


class ErrorCode(msgspec.Struct, frozen=True, order=True):
    """One line of the documentation."""

    status: int
    code: str
    meaning: str


def error_codes() -> list[ErrorCode]:
    """By status."""
    own = [ErrorCode(STATUS_OF[code], code, meaning) for code, meaning in MEANINGS.items()]
    replies = [make().reply for make in _REFUSALS]
    taken = [ErrorCode(it.http_status, it.code, remedy(it.remedy_id).title + ".") for it in replies]
    return sorted([*own, *taken])
