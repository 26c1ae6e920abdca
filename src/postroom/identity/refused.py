"""A sign-in that came to nothing, with what every reader of it needs."""

from postroom.errors import SignInRefused
from postroom.outcome import Failure, FailureClass

__all__ = ["SignInRefused", "refuse"]


def refuse(
    code: str,
    text: str,
    remedy_id: str,
    *,
    failure_class: FailureClass = FailureClass.IDENTITY,
    server: str | None = None,
    command: str | None = None,
    trace: str | None = None,
) -> SignInRefused:
    """The refusal to raise."""
    return SignInRefused(
        Failure(
            failure_class=failure_class,
            code=code,
            text=text,
            remedy_id=remedy_id,
            server=server,
            command=command,
            trace=trace,
        )
    )
