"""A refusal of Microsoft Graph, by its name in `graph_error_table`, and the body that carries it."""

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from postroom.simulator.graph_error_table import KNOWN_ERRORS


class GraphError(Exception):
    """An answer with an error: HTTP status, Graph's code, and its sentence."""

    def __init__(self, status: int, code: str, message: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.challenge = ""
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds


_BY_NAME = {error.name: error for error in KNOWN_ERRORS}


def refusal(name: str, /, *, retry_after_seconds: int | None = None, **words: object) -> GraphError:
    """The error called `name` in the table, with `words` in its sentence."""
    known = _BY_NAME[name]
    return GraphError(known.status, known.code, known.message.format(**words), retry_after_seconds)


def answer_error(error: GraphError, trace: Mapping[str, str], now: float) -> Response:
    """The body and headers of a refusal; `trace` has `request-id` and `client-request-id`."""
    inner = {"date": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S"), **trace}
    headers = dict(trace)
    if error.status == 401:
        headers["www-authenticate"] = (
            'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
            'client_id="00000003-0000-0000-c000-000000000000"'
        ) + error.challenge
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    body = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
    return JSONResponse(body, error.status, headers)


def challenge_claims(message: str, now: float) -> str:
    """What is added to WWW-Authenticate when a newer sign-in is wanted: `claims` to send along with it [B]."""
    wanted = {"access_token": {"nbf": {"essential": True, "value": str(int(now))}}}
    claims = base64.b64encode(json.dumps(wanted).encode()).decode()
    return f', error_description="{message}", error="insufficient_claims", claims="{claims}"'


def make_trace(client_request_id: str | None) -> dict[str, str]:
    """The ids that each answer carries; Graph's own stands in for the client's where that gave none."""
    request_id = str(uuid.uuid4())
    return {"request-id": request_id, "client-request-id": client_request_id or request_id}
