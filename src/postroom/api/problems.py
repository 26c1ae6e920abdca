"""What the API answers when it cannot do what was asked: one body for everything, readable by RFC 9457 readers too."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from postroom.accept import refusals
from postroom.accept.message_fields import FieldError
from postroom.errors import PostroomError, Refusal, RefusalReply, StoreFullError, WrongStateError
from postroom.remedies import remedy

DOCS_PATH = "/api/docs#errors"

STATUS_OF = {
    "invalid_json": 400,
    "invalid_idempotency_key": 400,
    "invalid_cursor": 400,
    "missing_api_key": 401,
    "invalid_api_key": 401,
    "expired_api_key": 401,
    "insufficient_scope": 403,
    "cross_site_request": 403,
    "ip_not_allowed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "idempotency_in_progress": 409,
    "wrong_state": 409,
    "content_deleted": 410,
    "message_too_large": 413,
    "unsupported_media_type": 415,
    "validation_error": 422,
    "invalid_attachment": 422,
    "client_secret_refused": 422,
    "sign_in_refused": 422,
    "idempotency_key_reused": 422,
    "rate_limit_exceeded": 429,
    "upload_limit_reached": 429,
    "internal_error": 500,
    "intake_paused": 503,
    "sign_in_service_unavailable": 503,
    "shutting_down": 503,
    "too_busy": 503,
}
"""The API's own codes; those of refusals bring their status with them."""


class FieldProblem(msgspec.Struct, frozen=True):
    """One field that cannot be used."""

    field: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool
    remedy: str
    errors: tuple[FieldProblem, ...]


class ApiError(Exception):
    """Answered as a `Problem`."""

    def __init__(
        self,
        code: str,
        detail: str,
        remedy: str,
        *,
        status: int | None = None,
        errors: tuple[FieldProblem, ...] = (),
        retry_after_seconds: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.remedy = remedy
        self.status = status or STATUS_OF[code]
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers or {}

    @property
    def is_retryable(self) -> bool:
        return self.status in (429, 503, 507) or self.code == "idempotency_in_progress"


def refused(reply: RefusalReply) -> ApiError:
    """A refusal of the intake, as HTTP says it."""
    errors = (FieldProblem(reply.field, reply.code, reply.text),) if reply.field else ()
    first_step = remedy(reply.remedy_id).steps[0].text
    return ApiError(
        reply.code,
        reply.text,
        first_step,
        status=reply.http_status,
        errors=errors,
        retry_after_seconds=reply.retry_after_seconds,
    )


def invalid(field: str, message: str, code: str = "validation_error") -> ApiError:
    """One field of the request."""
    where = f"The field {field} cannot be used: {message}" if field else message
    return ApiError(
        code,
        where,
        "Correct the request; /api/docs has every field.",
        errors=(FieldProblem(field, "invalid", message),),
    )


def together(troubles: Sequence[ApiError]) -> ApiError:
    """Everything that was found wrong with the fields of one request."""
    first, *others = troubles
    if not others:
        return first
    errors = tuple(each for trouble in troubles for each in trouble.errors)
    return ApiError(first.code, f"{first.detail} (and {len(others)} more)", first.remedy, errors=errors)


def invalid_field(trouble: FieldError) -> ApiError:
    code = "invalid_attachment" if trouble.field.startswith("attachments.") else "validation_error"
    return ApiError(
        code,
        trouble.text,
        "Correct the request; /api/docs has every field.",
        errors=(FieldProblem(trouble.field, trouble.code, trouble.text),),
    )


def as_api_error(trouble: ApiError | PostroomError) -> ApiError:
    """Whatever was told, as HTTP says it."""
    match trouble:
        case ApiError():
            return trouble
        case Refusal():
            return refused(trouble.reply)
        case StoreFullError():
            return refused(refusals.storage_full().reply)
        case WrongStateError():
            return ApiError("wrong_state", str(trouble), "Look at its present state first.")
    return ApiError(
        "intake_paused", str(trouble), "Send again in a minute; see Postroom's log.", retry_after_seconds=60
    )


def not_found(what: str = "thing") -> ApiError:
    return ApiError("not_found", f"There is no such {what}.", "Look up its id: it may have been removed by now.")


def problem_of(error: ApiError, request_id: str) -> Problem:
    return Problem(
        type=f"{DOCS_PATH}-{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        retryable=error.is_retryable,
        remedy=error.remedy,
        errors=error.errors,
    )


def answer_problem(request: Request, error: ApiError, request_id: str) -> Response:
    """`application/json` as most readers want it; `application/problem+json` for who asks for it."""
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, error.retry_after_seconds))
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="Postroom", Basic realm="Postroom"'
    return Response(msgspec.json.encode(problem_of(error, request_id)), error.status, headers, _media_type(request))


def _media_type(request: Request) -> str:
    accepted = request.headers.get("accept", "")
    prefers_problem = "application/problem+json" in accepted and "application/json" not in accepted.replace(
        "application/problem+json", ""
    )
    return "application/problem+json" if prefers_problem else "application/json"
