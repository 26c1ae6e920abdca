"""A finding: the answer to a question about readiness, with its evidence."""

from enum import StrEnum

import msgspec

from postroom.outcome import Failure


class FindingState(StrEnum):
    PASS = "pass"  # noqa: S105 — a word on a page, not a password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_RUN = "not_run"


class Finding(msgspec.Struct, frozen=True):
    """What one check found out."""

    check_id: str
    title: str
    state: FindingState
    evidence: str = ""
    """One line of facts: addresses, versions, the server's words."""
    transcript: tuple[str, ...] = ()
    """The conversation, secrets taken out, a line each: `C: …`, `S: …`."""
    failure: Failure | None = None
    """With its remedy id, when there is something to do."""
    duration_ms: int = 0
