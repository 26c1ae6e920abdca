"""What an attempt came to: five outcomes, the one vocabulary for whatever any mail server answers."""

from enum import StrEnum
from typing import Self

import msgspec


class FailureClass(StrEnum):
    """What kind of trouble it is; the words of the API, the pages, the logs and the metrics."""

    NETWORK = "network"
    TLS = "tls"
    IDENTITY = "identity"
    CONFIG = "config"
    PERMISSION = "permission"
    THROTTLE = "throttle"
    QUOTA = "quota"
    SIZE = "size"
    RECIPIENT = "recipient"
    CONTENT = "content"
    POLICY = "policy"
    LOCAL = "local"
    UNKNOWN = "unknown"


class StopCause(StrEnum):
    """Why a mailbox is stopped. The value is what people read after "waiting for"."""

    NOT_SET_UP = "set-up"
    SIGN_IN = "sign-in"
    CREDENTIAL = "client secret"
    SMTP_AUTH_OFF = "SMTP AUTH off"
    DAILY_LIMIT = "daily limit"
    MAILBOX_FULL = "mailbox full"
    BANNED = "blocked by Microsoft"
    CONFIGURATION = "settings"
    MAIL_SERVER_AWAY = "mail server away"
    PAUSED = "paused"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failure, made once with everything its readers need: client, operator and remedy."""

    failure_class: FailureClass
    code: str
    """A stable word such as `send_as_denied`."""
    text: str
    """The server's words, or our own sentence."""
    remedy_id: str
    smtp_code: int | None = None
    enhanced: str | None = None
    command: str | None = None
    """The SMTP verb or HTTP request that was answered so; never its arguments, which may be secret."""
    server: str | None = None
    trace: str | None = None
    """What Microsoft's support asks for: the bracketed tag, or trace and correlation id."""

    def at(self, *, command: str | None = None, server: str | None = None) -> Self:
        """The same failure with where it happened."""
        return msgspec.structs.replace(self, command=command or self.command, server=server or self.server)


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """The mail server accepted responsibility; not "delivered", which nobody can know."""

    reply: str


class TryLater(msgspec.Struct, frozen=True, tag="try_later"):
    """A temporary answer. Without `until_us` the retry schedule decides."""

    failure: Failure
    until_us: int | None = None


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    """Nothing can leave through this mailbox until its cause is cured, or until `until_us`."""

    failure: Failure
    cause: StopCause
    until_us: int | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A permanent answer for this message or recipient."""

    failure: Failure


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """The connection broke after the last byte and before the reply: it may have been sent.

    What is to be sent again waits until `until_us`, so that duplicates stay rare.
    """

    failure: Failure
    until_us: int | None = None


Outcome = Sent | TryLater | Stopped | Refused | Unknown
