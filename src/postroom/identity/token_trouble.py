"""What the refusal of a token means for the mailbox: wait, or stop until a person has done something. Pure.

What is done follows from OAuth's word and HTTP's class alone. Microsoft says that programs must not depend on the
AADSTS numbers: here they choose the remedy that is shown, nothing else.
"""

import re

from postroom.clock import HOUR_US
from postroom.identity.token_answers import TokenFailure
from postroom.outcome import Failure, FailureClass, StopCause, Stopped, TryLater

TEMPORARY_ERRORS = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
THROTTLED_STATUS = 429
CREDENTIAL_ERRORS = frozenset({"invalid_client", "unauthorized_client"})
SIGN_IN_ERRORS = frozenset(
    {"invalid_grant", "interaction_required", "consent_required", "login_required", "access_denied"}
)
REQUEST_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_scope",
        "invalid_resource",
        "unsupported_grant_type",
        "unsupported_response_type",
        "permission_denied",
    }
)

_REMEDIES: dict[str, tuple[int, ...]] = {
    "secret_wrong": (7000215,),
    "secret_expired": (7000222,),
    "secret_missing": (7000218, 700025, 700027, 50012, 700030, 700229),
    "app_not_found": (700016, 700011, 70001, 7000112, 50194),
    "tenant_not_found": (90002, 90019, 900023),
    "wrong_cloud": (90038, 900382, 900432),
    "redirect_not_registered": (50011, 500112, 500113, 900971),
    "permission_missing": (65005, 650056, 70011, 28000, 28002, 28003, 700022, 700023),
    "admin_approval_needed": (65001, 90094, 90095, 90008),
    "consent_declined": (65004,),
    "sign_in_restart": (54005, 50147, 50148, 501481, 700005, 50196),
    "sign_in_ended": (70000, 700082, 70008, 50173, 70043, 50132, 50133, 50058),
    "extra_sign_in_step": (50072, 50074, 50076, 50078, 50079, 50158),
    "conditional_access": (50097, 53000, 53001, 53002, 50131, 53003, 530032, 530035),
    "account_unknown": (16000, 50020, 50034, 51004, 50105),
    "account_locked": (50053, 50055, 50057, 50144),
    "wrong_password": (50126, 50056),
    "no_exchange": (500011, 650052, 650057, 50001),
    "clock_off": (700024,),
    "request_malformed": (90013, 90014, 90023, 900144, 90100),
}
_REMEDY_OF_CODE = {code: remedy_id for remedy_id, codes in _REMEDIES.items() for code in codes}
_REMEDY_OF_WORD = {
    "consent_required": "admin_approval_needed",
    "interaction_required": "extra_sign_in_step",
    "access_denied": "consent_declined",
    "invalid_client": "secret_wrong",
    "unauthorized_client": "app_not_found",
    "invalid_scope": "permission_missing",
    "invalid_resource": "no_exchange",
    "invalid_grant": "sign_in_ended",
    "login_required": "sign_in_ended",
}


def explain_token_failure(failure: TokenFailure, now_us: int, server: str = "") -> Stopped | TryLater:
    """Wait when it will pass by itself, stop when it will not.

    No answer, an answer that is not OAuth's, and any 5xx are waited for: they say nothing about the sign-in, which is
    kept.
    """
    if failure.status == THROTTLED_STATUS:
        return TryLater(_failure(failure, FailureClass.THROTTLE, "sign_in_throttled", server), failure.retry_at_us)
    if not failure.error or (failure.status or 0) >= 500 or failure.error in TEMPORARY_ERRORS:
        kind = FailureClass.NETWORK if failure.status is None else FailureClass.IDENTITY
        return TryLater(_failure(failure, kind, "sign_in_unavailable", server), failure.retry_at_us)
    if failure.error in CREDENTIAL_ERRORS:
        return Stopped(_failure(failure, FailureClass.CONFIG, "client_refused", server), StopCause.CREDENTIAL)
    if failure.error in SIGN_IN_ERRORS:
        return Stopped(_failure(failure, _class_of(failure), "sign_in_ended", server), StopCause.SIGN_IN)
    if failure.error in REQUEST_ERRORS:
        return Stopped(_failure(failure, FailureClass.CONFIG, "token_request_refused", server), StopCause.CONFIGURATION)
    # A word that nobody knows: ask a person, and try once more in an hour.
    unknown = _failure(failure, FailureClass.UNKNOWN, "token_request_refused", server)
    return Stopped(unknown, StopCause.CONFIGURATION, now_us + HOUR_US)


def choose_remedy(failure: TokenFailure) -> str:
    """The remedy for people: by the number, else by the word."""
    known = [_REMEDY_OF_CODE[code] for code in failure.codes if code in _REMEDY_OF_CODE]
    if known:
        return known[0]
    if failure.status == THROTTLED_STATUS or not failure.error or failure.error in TEMPORARY_ERRORS:
        return "microsoft_unavailable"
    return _REMEDY_OF_WORD.get(failure.suberror) or _REMEDY_OF_WORD.get(failure.error) or "unexpected_reply"


def remedy_of_number(number: int) -> str | None:
    """The remedy for AADSTS`number`; None for one that we do not tell apart."""
    return _REMEDY_OF_CODE.get(number)


def remedy_of_word(word: str) -> str | None:
    """The remedy for OAuth's word alone, such as `invalid_client`; None for a word that says nothing to people."""
    return "microsoft_unavailable" if word in TEMPORARY_ERRORS else _REMEDY_OF_WORD.get(word)


def read_redirect_error(params: dict[str, str]) -> TokenFailure:
    """The `error` with which Microsoft sends a person back, as the failure that it is (RFC 6749 4.1.2.1)."""
    description = params.get("error_description", "")
    return TokenFailure(
        status=400,
        error=params["error"][:100],
        description=(description.partition("\r\n")[0].strip() or params["error"])[:500],
        codes=tuple(int(number) for number in re.findall(r"AADSTS(\d{4,9})\b", description)[:3]),
        suberror=params.get("error_subcode", "")[:100],
    )


def _class_of(failure: TokenFailure) -> FailureClass:
    lacks_consent = "consent_required" in (failure.error, failure.suberror)
    return FailureClass.PERMISSION if lacks_consent else FailureClass.IDENTITY


def _failure(failure: TokenFailure, kind: FailureClass, code: str, server: str) -> Failure:
    return Failure(
        failure_class=kind,
        code=code,
        text=failure.description,
        remedy_id=choose_remedy(failure),
        command="POST /token",
        server=server or None,
        trace=failure.trace,
    )
