"""The errors that Postroom itself makes; the docstring of each says when."""

import msgspec

from postroom.outcome import Failure, Stopped, TryLater


class PostroomError(Exception):
    """Anything that goes wrong on purpose; its text is a sentence for people."""


class SettingsError(PostroomError):
    """The settings cannot be used; the text names the key, the reason and what to write instead."""


class DataFolderError(PostroomError):
    """The data folder or database cannot be used: locked, damaged, read-only, or from a newer version."""


class VaultKeyError(PostroomError):
    """The vault's key is missing, unreadable by right, or not the one that sealed the secrets."""


class StoreFullError(PostroomError):
    """The disk is full or the writer's queue is at its bound: a temporary matter."""


class StoreUnavailableError(PostroomError):
    """A commit failed or the database went away; nothing was acknowledged."""


class LeaseLostError(PostroomError):
    """The lease ended before its work was settled; somebody else may own the delivery, or the renewal, now."""


class AlreadyDoneError(PostroomError):
    """Somebody else did it first, such as making the first administrator."""


class AlreadyKeptError(PostroomError):
    """A message with this idempotency key is kept already; nothing was written."""

    def __init__(self, message_id: int, is_same_request: bool) -> None:
        super().__init__("A message with this idempotency key was taken already.")
        self.message_id = message_id
        self.is_same_request = is_same_request


class WrongStateError(PostroomError):
    """What was asked cannot be done in the state that things are in; the text says which state and what can be done."""


class Refusal(PostroomError):
    """We do not take this message, sender or recipient.

    One refusal serves every surface: SMTP says `smtp_reply`, HTTP answers `http_status` with `code`.
    """

    def __init__(self, reply: "RefusalReply") -> None:
        super().__init__(reply.text)
        self.reply = reply


class RefusalReply(msgspec.Struct, frozen=True):
    """What a refusal says."""

    smtp_code: int
    enhanced: str
    text: str
    """One sentence with the reason and what to do; a printer may show just this line."""
    code: str
    """The stable word of the API, such as `sender_not_allowed`."""
    http_status: int
    remedy_id: str
    field: str | None = None
    retry_after_seconds: int | None = None
    """When to come again, where that is known."""

    @property
    def is_temporary(self) -> bool:
        return self.smtp_code < 500

    @property
    def smtp_reply(self) -> str:
        return f"{self.smtp_code} {self.enhanced} {self.text}"


class SignInRefused(PostroomError):
    """A person's sign-in is not taken; nothing of it was kept. Its text is the sentence for the person."""

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


class SignInTroubleError(PostroomError):
    """We cannot sign in now; the outcome says whether to wait or for what the mailbox stops."""

    def __init__(self, outcome: Stopped | TryLater) -> None:
        super().__init__(outcome.failure.text)
        self.outcome = outcome
