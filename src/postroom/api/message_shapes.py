"""How messages are shown, and what may be asked of them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from postroom.api.shapes import LaneName, Links, Time
from postroom.message import RecipientState


class MessageFailure(Struct, frozen=True, omit_defaults=True):
    """Why something failed or waits."""

    class_: str = field(name="class")
    code: str
    retryable: bool
    text: str
    remedy_id: str
    smtp_code: int | None = None
    enhanced: str | None = None
    command: str | None = None
    server: str | None = None
    trace: str | None = None
    attempt: int | None = None
    at: datetime | None = None
    next_attempt_at: datetime | None = None


class MessageLine(Struct, frozen=True):
    """A message in a list."""

    id: str
    status: RecipientState
    is_partly_failed: bool
    created_at: datetime
    finished_at: datetime | None
    app: str
    from_: str = field(name="from")
    to: Annotated[list[str], Meta(description="The first three.")]
    recipient_count: int
    subject: str
    size_bytes: int
    attempts: int
    waits_for: str | None


class MessagePage(Struct, frozen=True):
    data: list[MessageLine]
    next_cursor: str | None


class RecipientLine(Struct, frozen=True):
    email: str
    status: RecipientState
    changed_at: datetime
    next_attempt_at: datetime | None
    last_error: MessageFailure | None
    reply: str | None


class FullMessage(Struct, frozen=True):
    """Everything but the content."""

    id: str
    status: RecipientState
    is_partly_failed: bool
    message_id: str
    created_at: datetime
    finished_at: datetime | None
    app: str
    from_: str = field(name="from")
    envelope_sender: str
    subject: str
    size_bytes: int
    attempts: int
    waits_for: str | None
    lane: LaneName
    send_at: datetime | None
    expires_at: datetime | None
    tags: list[str]
    metadata: dict[str, str]
    changes: Annotated[list[str], Meta(description="What we changed in it, one sentence each.")]
    recipients: list[RecipientLine]
    last_error: MessageFailure | None
    has_content: bool
    links: Links


class Event(Struct, frozen=True, omit_defaults=True):
    """Something that happened to a message."""

    at: datetime
    type: str
    text: str
    who: str = ""
    server: str = ""
    attempt: int | None = None
    outcomes: list[Any] = field(default_factory=list)


class Events(Struct, frozen=True):
    data: list[Event]


class MessagePart(Struct, frozen=True):
    filename: str
    content_type: str
    size_bytes: int


class MessageContent(Struct, frozen=True):
    """The message as a reader shows it."""

    headers: list[tuple[str, str]]
    text: str
    html: str
    attachments: list[MessagePart]


class ChangedTimes(Struct, frozen=True, forbid_unknown_fields=True):
    """What may still be changed while the message waits."""

    send_at: Time | UnsetType | None = UNSET
    expires_at: Time | UnsetType | None = UNSET
    lane: LaneName | UnsetType = UNSET


class BulkAction(Struct, frozen=True, forbid_unknown_fields=True):
    """One action on all messages that a search finds."""

    action: Literal["cancel", "retry", "hold", "release"]
    filter: Annotated[str, Meta(min_length=1, max_length=1_000, description="The words of the console's search.")]
    dry_run: bool = False


class BulkAnswer(Struct, frozen=True):
    matched: int
    changed: int
    unchanged: Annotated[int, Meta(description="In a state in which the action makes no sense.")]
    is_complete: Annotated[bool, Meta(description="False when more than 1,000 matched: ask again.")]
