"""Entra ID's errors: a number, the `error` of OAuth 2.0, and the sentence, as Microsoft writes them.

Numbers and meanings: Microsoft Learn, "Microsoft Entra authentication and authorization error codes".
"""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec


class Problem(msgspec.Struct, frozen=True):
    error: str
    text: str
    status: int = 400
    suberror: str = ""


PROBLEMS: dict[int, Problem] = {
    28000: Problem(
        "invalid_scope",
        "Provided value for the input parameter scope is not valid because it contains more than one "
        "resource. Scope {scope} is not valid.",
    ),
    28003: Problem(
        "invalid_request",
        "Provided value for the input parameter scope cannot be empty when requesting an access token "
        "using the provided authorization code. Please specify a valid scope.",
    ),
    50011: Problem(
        "invalid_request",
        "The redirect URI '{redirect_uri}' specified in the request does not match the redirect URIs "
        "configured for the application '{client_id}'. Make sure the redirect URI sent in the request "
        "matches one added to your application in the Azure portal. Navigate to "
        "https://aka.ms/redirectUriMismatchError to learn more about how to fix this.",
    ),
    500112: Problem(
        "invalid_grant",
        "The reply address '{redirect_uri}' does not match the reply address '{authorized}' provided when "
        "requesting Authorization code.",
    ),
    50034: Problem(
        "invalid_grant",
        "The user account {user} does not exist in the {tenant} directory. To sign into this application, "
        "the account must be added to the directory.",
    ),
    50057: Problem(
        "invalid_grant",
        "The user account is disabled. A shared mailbox has no sign-in: use a mailbox of its own, or sign "
        "in as a person who may use this one.",
    ),
    50058: Problem("login_required", "A silent sign-in request was sent but no user is signed in."),
    50126: Problem("invalid_grant", "Error validating credentials due to invalid username or password.", 400),
    50148: Problem(
        "invalid_grant",
        "The code_verifier does not match the code_challenge supplied in the authorization request for PKCE.",
    ),
    50149: Problem("invalid_request", "Invalid Code_Challenge_method parameter."),
    501481: Problem(
        "invalid_grant",
        "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
    ),
    501491: Problem("invalid_request", "Invalid size of Code_Challenge parameter."),
    50173: Problem(
        "invalid_grant",
        "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user "
        "might have changed or reset their password. The grant was issued on '{issued}' and the "
        "TokensValidFrom date (before which tokens are not valid) for this user is '{valid_from}'.",
        suberror="bad_token",
    ),
    50194: Problem(
        "invalid_request",
        "Application '{client_id}'({name}) is not configured as a multi-tenant application. Usage of the "
        "/common endpoint is not supported for such apps created after '10/15/2018'. Use a "
        "tenant-specific endpoint or configure the application to be multi-tenant.",
    ),
    500011: Problem(
        "invalid_resource",
        "The resource principal named {resource} was not found in the tenant named {tenant}. This can "
        "happen if the application has not been installed by the administrator of the tenant or "
        "consented to by any user in the tenant. You might have sent your authentication request to the "
        "wrong tenant.",
    ),
    54005: Problem(
        "invalid_grant",
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an "
        "existing refresh token.",
    ),
    65001: Problem(
        "invalid_grant",
        "The user or administrator has not consented to use the application with ID '{client_id}' named "
        "'{name}'. Send an interactive authorization request for this user and resource.",
        suberror="consent_required",
    ),
    65004: Problem("access_denied", "User declined to consent to access the app."),
    70000: Problem("invalid_grant", "The provided value for the input parameter '{name}' is not valid."),
    70003: Problem("unsupported_grant_type", "The app requested an unsupported grant type '{grant_type}'."),
    70008: Problem(
        "invalid_grant",
        "The provided authorization code or refresh token has expired due to inactivity. Send a new "
        "interactive authorization request for this user and resource.",
    ),
    70011: Problem(
        "invalid_scope",
        "The provided request must include a 'scope' input parameter. The provided value for the input "
        "parameter 'scope' is not valid. The scope '{scope}' does not exist.",
    ),
    700016: Problem(
        "unauthorized_client",
        "Application with identifier '{client_id}' was not found in the directory '{tenant}'. This can "
        "happen if the application has not been installed by the administrator of the tenant or "
        "consented to by any user in the tenant. You may have sent your authentication request to the "
        "wrong tenant.",
    ),
    700027: Problem("invalid_client", "Client assertion failed signature validation.", 401),
    700051: Problem(
        "unsupported_response_type",
        "response_type '{response_type}' is not enabled for the application.",
    ),
    700082: Problem(
        "invalid_grant",
        "The refresh token has expired due to inactivity. The token was issued on {issued} and was "
        "inactive for 90.00:00:00.",
        suberror="bad_token",
    ),
    7000215: Problem(
        "invalid_client",
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
        "value, not the client secret ID, for a secret added to app '{client_id}'.",
        401,
    ),
    7000218: Problem(
        "invalid_client",
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        401,
    ),
    7000222: Problem(
        "invalid_client",
        "The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to "
        "create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate "
        "credentials for added security: https://aka.ms/certCreds.",
        401,
    ),
    90002: Problem(
        "invalid_request",
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing "
        "into the correct cloud. Check with your subscription administrator, this may happen if there are "
        "no active subscriptions for the tenant.",
    ),
    90023: Problem("invalid_request", "{reason}"),
    90033: Problem("server_error", "A transient error has occurred. Please try again.", 500),
    90055: Problem(
        "temporarily_unavailable",
        "There are too many incoming requests. Please try again later.",
        503,
    ),
    900144: Problem("invalid_request", "The request body must contain the following parameter: '{name}'."),
    900971: Problem("invalid_request", "No reply address provided."),
}


class AadstsError(Exception):
    """An error of Entra ID: `code` is in PROBLEMS, the values fill its sentence."""

    def __init__(self, code: int, **values: str) -> None:
        self.code = code
        self.problem = PROBLEMS[code]
        self.sentence = f"AADSTS{code}: {self.problem.text.format(**values)}"
        super().__init__(self.sentence)

    @property
    def uri(self) -> str:
        return f"https://login.microsoftonline.com/error?code={self.code}"


class Trail(msgspec.Struct, frozen=True):
    """What Microsoft's support asks for: the ids and the time at the end of each description."""

    trace_id: str
    correlation_id: str
    timestamp: str

    def describe(self, sentence: str) -> str:
        """The `error_description`: the sentence and its trailer."""
        return (
            f"{sentence}\r\nTrace ID: {self.trace_id}\r\nCorrelation ID: {self.correlation_id}"
            f"\r\nTimestamp: {self.timestamp}"
        )


def make_trail(now: float, correlation_id: str = "") -> Trail:
    """A trail for `now`; the caller's `client-request-id` becomes the correlation id, if it is a GUID."""
    moment = datetime.fromtimestamp(now, UTC)
    return Trail(str(uuid.uuid4()), _guid_or_new(correlation_id), moment.strftime("%Y-%m-%d %H:%M:%SZ"))


def error_body(error: AadstsError, trail: Trail) -> dict[str, Any]:
    """The JSON that the token endpoint answers with."""
    body: dict[str, Any] = {
        "error": error.problem.error,
        "error_description": trail.describe(error.sentence),
        "error_codes": [error.code],
        "timestamp": trail.timestamp,
        "trace_id": trail.trace_id,
        "correlation_id": trail.correlation_id,
        "error_uri": error.uri,
    }
    if error.problem.suberror:
        body["suberror"] = error.problem.suberror
    return body


def precise_time(moment: float) -> str:
    """As Entra prints it inside a sentence: seven digits of a second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def _guid_or_new(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid4())
