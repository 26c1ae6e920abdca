"""What a token endpoint answers, kept whole and given a type. Pure.

RFC 6749 section 5; Microsoft adds error_codes, suberror, claims, trace_id and correlation_id.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from postroom.clock import HOUR_US, MICROSECONDS

TEXT_LIMIT = 2_000
"""Letters of a sentence that we keep; every waiting recipient may carry it."""
WORD_LIMIT = 200

# RFC 6749 A.12 and A.17, without the space: what travels in a header and in SASL.
_TOKEN = re.compile(r"[!-~]+")


class Tokens(msgspec.Struct, frozen=True):
    """A success."""

    access_token: str
    expires_at_us: int
    scopes: tuple[str, ...] = ()
    refresh_token: str = ""
    """Empty when none was given."""
    id_token: str = ""

    def __repr__(self) -> str:
        return f"Tokens(for {' '.join(self.scopes)})"


class TokenFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Anything else, with all that was said."""

    status: int | None = None
    """The HTTP status; None when there was no answer."""
    error: str = ""
    """OAuth's word; empty when the answer was not OAuth's."""
    description: str = ""
    """The sentence: the provider's, or ours when it said none."""
    codes: tuple[int, ...] = ()
    """Numbers of AADSTS: they choose what is shown, never what is done."""
    suberror: str = ""
    claims: str = ""
    trace_id: str = ""
    correlation_id: str = ""
    timestamp: str = ""
    retry_at_us: int | None = None
    """From Retry-After."""

    @property
    def trace(self) -> str | None:
        """What Microsoft's support asks for."""
        named = {"trace": self.trace_id, "correlation": self.correlation_id, "time": self.timestamp}
        return ", ".join(f"{name} {value}" for name, value in named.items() if value) or None


class _Success(msgspec.Struct):
    access_token: str
    # Microsoft's older endpoints write the seconds as text.
    expires_in: int | str = 3600
    scope: str = ""
    refresh_token: str = ""
    id_token: str = ""


class _Error(msgspec.Struct):
    error: str
    error_description: str = ""
    error_codes: tuple[int, ...] = ()
    suberror: str = ""
    claims: str = ""
    trace_id: str = ""
    correlation_id: str = ""
    timestamp: str = ""


def read_token_answer(status: int, headers: Mapping[str, str], body: bytes, now_us: int) -> Tokens | TokenFailure:
    """The answer as a value, whatever came: HTML, nothing at all and half an answer are failures too.

    `headers` must find names regardless of capitals, as those of httpx2 do.
    """
    try:
        if status == 200:
            return _read_tokens(body, now_us)
        failure = _read_error(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        failure = TokenFailure(description=_describe(status, headers, body))
    retry_at_us = _read_retry_after(headers.get("Retry-After", ""), now_us)
    return msgspec.structs.replace(failure, status=status, retry_at_us=retry_at_us)


def no_answer(trouble: Exception) -> TokenFailure:
    """The failure when the endpoint could not be reached, or went away before it answered."""
    return TokenFailure(description=f"No answer: {words_of(trouble)}")


def words_of(trouble: Exception) -> str:
    """What an error says; its kind when it says nothing, as timeouts do."""
    return str(trouble) or type(trouble).__name__


def _read_tokens(body: bytes, now_us: int) -> Tokens:
    said = msgspec.json.decode(body, type=_Success)
    if not _TOKEN.fullmatch(said.access_token) or not _TOKEN.fullmatch(said.refresh_token or "-"):
        raise ValueError("the answer has no token that can be used")
    return Tokens(
        access_token=said.access_token,
        expires_at_us=now_us + int(said.expires_in) * MICROSECONDS,
        scopes=tuple(said.scope.split()),
        refresh_token=said.refresh_token,
        id_token=said.id_token,
    )


def _read_error(body: bytes) -> TokenFailure:
    said = msgspec.json.decode(body, type=_Error)
    if not said.error:
        raise ValueError("the error has no name")
    return TokenFailure(
        error=said.error[:WORD_LIMIT],
        # The lines below the first repeat trace id, correlation id and time.
        description=(said.error_description.partition("\r\n")[0].strip() or said.error)[:TEXT_LIMIT],
        codes=said.error_codes,
        suberror=said.suberror[:WORD_LIMIT],
        claims=said.claims[:TEXT_LIMIT],
        trace_id=said.trace_id[:WORD_LIMIT],
        correlation_id=said.correlation_id[:WORD_LIMIT],
        timestamp=said.timestamp[:WORD_LIMIT],
    )


def _describe(status: int, headers: Mapping[str, str], body: bytes) -> str:
    # Never the body itself: what stands in between may echo our request, which holds secrets.
    kind = headers.get("Content-Type", "").partition(";")[0].strip()[:WORD_LIMIT] or "content of no type"
    what = f"{len(body)} bytes of {kind}" if body else "an empty page"
    return f"The sign-in service answered {status} with {what} instead of a token."


def _read_retry_after(text: str, now_us: int) -> int | None:
    """Seconds or a date (RFC 9110 10.2.3), never more than an hour ahead."""
    if text.strip().isascii() and text.strip().isdigit():
        return now_us + min(int(text.strip()[:9]) * MICROSECONDS, HOUR_US)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    until = moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return min(max(int(until.total_seconds() * MICROSECONDS), now_us), now_us + HOUR_US)
