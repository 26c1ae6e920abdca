"""Entra ID's errors: a number, the `error` of OAuth 2.0, and the sentence, as Microsoft writes them.

Numbers and meanings: Microsoft Learn, "Microsoft Entra authentication and authorization error codes".
"""

import functools
import uuid
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal

import msgspec

Confidence = Literal["A", "B", "C"]

WORLDWIDE_LOGIN = "https://login.microsoftonline.com"


class Problem(msgspec.Struct, frozen=True):
    """One number of aadsts.toml, which explains the fields."""

    error: str
    text: str
    status: int = 400
    suberror: str = ""
    redirect_error: str = ""
    confidence: Confidence = "A"
    error_confidence: Confidence = "C"

    @property
    def unconfirmed(self) -> str:
        """What is not known about it, as a phrase for a page; empty if Microsoft's documents hold all of it."""
        if self.confidence == "C":
            return "number, meaning and answer are unconfirmed"
        return "the word in “error” and the HTTP status are unconfirmed" if self.error_confidence == "C" else ""


@functools.cache
def read_problems() -> dict[int, Problem]:
    """Every error that the simulator can say, by its number."""
    text = files("postroom.simulator").joinpath("aadsts.toml").read_text(encoding="utf-8")
    return {int(code): problem for code, problem in msgspec.toml.decode(text, type=dict[str, Problem]).items()}


class AadstsError(Exception):
    """An error of Entra ID: `code` is in aadsts.toml, the values fill its sentence.

    `challenge` is the JSON that a client shall send back as `claims` when it asks interactively (4.3, unconfirmed).
    """

    def __init__(self, code: int, *, challenge: str = "", **values: str) -> None:
        self.code = code
        self.challenge = challenge
        self.problem = read_problems()[code]
        self.sentence = f"AADSTS{code}: {self.problem.text.format_map(_Places(values))}"
        super().__init__(self.sentence)

    @property
    def error_at_redirect(self) -> str:
        """OAuth's word for it where a browser carries the answer."""
        return self.problem.redirect_error or self.problem.error

    def uri(self, login_url: str = WORLDWIDE_LOGIN) -> str:
        """Where Microsoft explains the number."""
        return f"{login_url}/error?code={self.code}"


class _Places(dict[str, str]):
    """The values of a sentence; what an error that was switched on does not know is an ellipsis."""

    def __missing__(self, name: str) -> str:
        return "…"


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


def error_body(error: AadstsError, trail: Trail, login_url: str = WORLDWIDE_LOGIN) -> dict[str, Any]:
    """The JSON that the token endpoint answers with."""
    body: dict[str, Any] = {
        "error": error.problem.error,
        "error_description": trail.describe(error.sentence),
        "error_codes": [error.code],
        "timestamp": trail.timestamp,
        "trace_id": trail.trace_id,
        "correlation_id": trail.correlation_id,
        "error_uri": error.uri(login_url),
    }
    if error.problem.suberror:
        body["suberror"] = error.problem.suberror
    if error.challenge:
        body["claims"] = error.challenge
    return body


def precise_time(moment: float) -> str:
    """As Entra prints it inside a sentence: seven digits of a second."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def _guid_or_new(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid4())
