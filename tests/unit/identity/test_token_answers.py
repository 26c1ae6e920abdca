"""What the token endpoint answers, and what it means."""

import httpx2
import msgspec
import pytest

from postroom.clock import HOUR_US, MICROSECONDS
from postroom.identity.token_answers import TokenFailure, Tokens, no_answer, read_token_answer
from postroom.identity.token_trouble import (
    _REMEDIES,
    choose_remedy,
    explain_token_failure,
    read_redirect_error,
)
from postroom.outcome import FailureClass, StopCause, Stopped, TryLater
from postroom.remedies import all_remedies
from tests.unit.identity.pretend_entra import entra_error

NOW = 1_790_000_000 * MICROSECONDS


def read(response: httpx2.Response) -> Tokens | TokenFailure:
    return read_token_answer(response.status_code, response.headers, response.content, NOW)


def explain(response: httpx2.Response) -> Stopped | TryLater:
    failure = read(response)
    assert isinstance(failure, TokenFailure)
    return explain_token_failure(failure, NOW, "login.microsoftonline.com")


def test_a_success_is_read_whole() -> None:
    answer = {"access_token": "a", "expires_in": "3599", "scope": "SMTP.Send openid", "refresh_token": "r"}
    tokens = read(httpx2.Response(200, json={**answer, "id_token": "i", "ext_expires_in": 7200}))
    assert tokens == Tokens("a", NOW + 3599 * MICROSECONDS, ("SMTP.Send", "openid"), "r", "i")
    assert "'a'" not in repr(tokens)


def test_the_whole_error_is_kept() -> None:
    failure = read(entra_error("invalid_grant", 50173, suberror="bad_token", claims='{"access_token":{}}'))
    assert failure == TokenFailure(
        status=400,
        error="invalid_grant",
        description="AADSTS50173: The words of Microsoft.",
        codes=(50173,),
        suberror="bad_token",
        claims='{"access_token":{}}',
        trace_id="0d1c-trace",
        correlation_id="7f3a-correlation",
        timestamp="2026-11-23 02:02:12Z",
    )
    assert failure.trace == "trace 0d1c-trace, correlation 7f3a-correlation, time 2026-11-23 02:02:12Z"


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, content=b""),
        httpx2.Response(200, json={"token_type": "Bearer"}),
        httpx2.Response(200, json={"access_token": ""}),
        httpx2.Response(200, html="<html>Sign in to the hotel</html>"),
        httpx2.Response(400, content=b""),
        httpx2.Response(400, json={"error": ""}),
        httpx2.Response(400, json=["invalid_grant"]),
        httpx2.Response(407, html="<h1>Proxy</h1> client_secret=planted"),
        httpx2.Response(500, json={"error": "invalid_grant"}),
        httpx2.Response(502, html="<h1>Bad gateway</h1>"),
        httpx2.Response(503, content=b""),
        httpx2.Response(302, headers={"Location": "http://portal/"}),
        httpx2.Response(400, content=b'{"error": "invalid_gr'),
        httpx2.Response(400, content=b'\xff\xfe{"error"'),
    ],
)
def test_what_is_no_answer_of_oauth_is_waited_for(response: httpx2.Response) -> None:
    outcome = explain(response)
    assert isinstance(outcome, TryLater)
    assert outcome.failure.code == "sign_in_unavailable"
    assert "planted" not in outcome.failure.text


def test_a_page_instead_of_a_token_is_named() -> None:
    outcome = explain(httpx2.Response(502, html="<h1>Bad gateway</h1>"))
    assert outcome.failure.text == ("The sign-in service answered 502 with 20 bytes of text/html instead of a token.")
    assert outcome.failure.remedy_id == "microsoft_unavailable"


def test_no_network_is_waited_for() -> None:
    outcome = explain_token_failure(no_answer(httpx2.ConnectTimeout("")), NOW)
    assert isinstance(outcome, TryLater)
    assert outcome.failure.failure_class is FailureClass.NETWORK
    assert outcome.failure.text == "No answer: ConnectTimeout"


@pytest.mark.parametrize(("error", "status"), [("temporarily_unavailable", 400), ("server_error", 400)])
def test_temporary_words_are_waited_for(error: str, status: int) -> None:
    assert isinstance(explain(entra_error(error, 90033, status)), TryLater)


def test_throttling_waits_as_long_as_microsoft_says() -> None:
    response = httpx2.Response(429, headers={"retry-after": "17"}, json={"error": "invalid_request"})
    outcome = explain(response)
    assert isinstance(outcome, TryLater)
    assert outcome.until_us == NOW + 17 * MICROSECONDS
    assert outcome.failure.failure_class is FailureClass.THROTTLE


@pytest.mark.parametrize(
    ("header", "until_us"),
    [
        ("Mon, 21 Sep 2026 14:13:50 GMT", NOW + 30 * MICROSECONDS),
        ("Mon, 21 Sep 2020 14:13:50 GMT", NOW),
        ("99999999", NOW + HOUR_US),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_may_be_a_date_and_is_never_trusted_beyond_an_hour(header: str, until_us: int | None) -> None:
    failure = read(httpx2.Response(503, headers={"Retry-After": header}))
    assert isinstance(failure, TokenFailure)
    assert failure.retry_at_us == until_us


@pytest.mark.parametrize(
    ("error", "code", "status", "cause", "remedy_id"),
    [
        ("invalid_client", 7000215, 401, StopCause.CREDENTIAL, "secret_wrong"),
        ("invalid_client", 7000222, 401, StopCause.CREDENTIAL, "secret_expired"),
        ("invalid_client", 7999999, 401, StopCause.CREDENTIAL, "secret_wrong"),
        ("unauthorized_client", 700016, 400, StopCause.CREDENTIAL, "app_not_found"),
        ("invalid_grant", 700082, 400, StopCause.SIGN_IN, "sign_in_ended"),
        ("invalid_grant", 50173, 400, StopCause.SIGN_IN, "sign_in_ended"),
        ("invalid_grant", 7999999, 400, StopCause.SIGN_IN, "sign_in_ended"),
        ("invalid_grant", 53003, 400, StopCause.SIGN_IN, "conditional_access"),
        ("invalid_grant", 50057, 400, StopCause.SIGN_IN, "account_locked"),
        ("interaction_required", 50076, 400, StopCause.SIGN_IN, "extra_sign_in_step"),
        ("interaction_required", 0, 400, StopCause.SIGN_IN, "extra_sign_in_step"),
        ("consent_required", 0, 400, StopCause.SIGN_IN, "admin_approval_needed"),
        ("invalid_request", 90002, 400, StopCause.CONFIGURATION, "tenant_not_found"),
        ("invalid_scope", 70011, 400, StopCause.CONFIGURATION, "permission_missing"),
        ("invalid_resource", 500011, 400, StopCause.CONFIGURATION, "no_exchange"),
    ],
)
def test_the_word_decides_and_the_number_chooses_what_is_shown(
    error: str, code: int, status: int, cause: StopCause, remedy_id: str
) -> None:
    outcome = explain(entra_error(error, code, status))
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.remedy_id, outcome.until_us) == (cause, remedy_id, None)
    assert outcome.failure.text == f"AADSTS{code}: The words of Microsoft."
    assert outcome.failure.trace is not None
    assert outcome.failure.server == "login.microsoftonline.com"


def test_the_number_never_decides() -> None:
    """7000222 means an expired secret; beside another word it changes the words only."""
    outcome = explain(entra_error("temporarily_unavailable", 7000222, 400))
    assert isinstance(outcome, TryLater)
    outcome = explain(entra_error("invalid_grant", 90033, 400))
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.SIGN_IN


def test_lacking_consent_is_a_permission() -> None:
    outcome = explain(entra_error("invalid_grant", 65001, suberror="consent_required"))
    assert outcome.failure.failure_class is FailureClass.PERMISSION
    assert outcome.failure.remedy_id == "admin_approval_needed"


def test_a_word_that_nobody_knows_is_tried_again_in_an_hour() -> None:
    outcome = explain(entra_error("invalid_moon_phase", 1234567))
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.until_us) == (StopCause.CONFIGURATION, NOW + HOUR_US)
    assert outcome.failure.remedy_id == "unexpected_reply"


def test_each_number_has_one_remedy_and_each_remedy_exists() -> None:
    numbers = [code for codes in _REMEDIES.values() for code in codes]
    assert len(numbers) == len(set(numbers))
    assert set(_REMEDIES) <= set(all_remedies())


def test_an_error_in_the_redirect_is_read_like_one_of_the_endpoint() -> None:
    declined = "AADSTS65004: User declined to consent to access the app.\r\nTrace ID: x"
    failure = read_redirect_error({"error": "access_denied", "error_description": declined})
    assert (failure.error, failure.codes) == ("access_denied", (65004,))
    assert failure.description == "AADSTS65004: User declined to consent to access the app."
    assert choose_remedy(failure) == "consent_declined"
    asks_admin = {"error": "access_denied", "error_description": "AADSTS90094: Admin consent is required."}
    assert choose_remedy(read_redirect_error(asks_admin)) == "admin_approval_needed"
    assert choose_remedy(read_redirect_error({"error": "temporarily_unavailable"})) == "microsoft_unavailable"


def test_a_redirect_cannot_fill_the_page_with_text() -> None:
    failure = read_redirect_error({"error": "x" * 9999, "error_description": "y" * 9999})
    assert len(msgspec.json.encode(failure)) < 1000


@pytest.mark.parametrize("text", ["9" * 5_000, "000000000000120" * 400, "Mon, 01 Jan 2020 00:00:00 +" + "9" * 30])
def test_a_retry_after_that_is_no_sensible_time_does_no_harm(text: str) -> None:
    failure = read(httpx2.Response(429, headers={"Retry-After": text}, json={"error": "slow_down"}))
    assert isinstance(failure, TokenFailure)
    assert failure.retry_at_us is None or NOW <= failure.retry_at_us <= NOW + HOUR_US


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, content=b'{"a":' * 100_000),
        httpx2.Response(200, json={"access_token": "eyJ\r\nX-Other: header"}),
        httpx2.Response(200, json={"access_token": "токен"}),
        httpx2.Response(200, json={"access_token": "eyJ", "refresh_token": "two words"}),
    ],
)
def test_what_cannot_be_a_token_is_waited_for(response: httpx2.Response) -> None:
    outcome = explain(response)
    assert isinstance(outcome, TryLater)
    assert outcome.failure.code == "sign_in_unavailable"


def test_an_endless_error_is_kept_in_its_first_letters() -> None:
    letters = "x" * 1_000_000
    names = ("error", "error_description", "suberror", "claims", "trace_id", "correlation_id", "timestamp")
    failure = read(httpx2.Response(400, json=dict.fromkeys(names, letters)))
    assert isinstance(failure, TokenFailure)
    assert len(msgspec.json.encode(failure)) < 10_000
