"""A sign-in that came to nothing, with what every reader of it needs."""

from postroom.errors import PostroomError
from postroom.outcome import Failure, FailureClass


class SignInRefused(PostroomError):
    """The sign-in is not taken; nothing of it was kept. Its text is the sentence for the person."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure

    @property
    def code(self) -> str:
        """The stable word, such as `account_mismatch`."""
        return self.failure.code

    @property
    def remedy_id(self) -> str:
        return self.failure.remedy_id


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
