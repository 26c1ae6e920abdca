"""What requests and answers look like: these structures validate, and the OpenAPI document is made from them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from postroom.api.problems import Problem
from postroom.message import AfterUnknown, Lane, RecipientState
from postroom.store.records import SenderPolicy

Text = Annotated[str, Meta(max_length=2_000)]
ShortText = Annotated[str, Meta(max_length=255)]
Time = Annotated[datetime, Meta(tz=True)]
LaneName = Literal["high", "normal", "low"]
Scope = Literal[
    "send",
    "messages:read",
    "messages:write",
    "content:read",
    "settings:read",
    "settings:write",
    "credentials:write",
    "audit:read",
    "metrics:read",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)


def time_or_none(at_us: int | None) -> datetime | None:
    return time_of(at_us) if at_us is not None else None


def microseconds_of(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def lane_of(name: str) -> Lane:
    return Lane[name.upper()]


# ---- sending ----
# Defaults are left out when a request is hashed: a field that comes later must not make it another request.


class Address(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A mail address with a name."""

    email: Annotated[str, Meta(max_length=320, description="Such as ops@contoso.com.")]
    name: Annotated[str, Meta(max_length=255, description="Shown with it.")] = ""


AnyAddress = Annotated[str, Meta(max_length=600, description="An address, or Name <address>.")] | Address
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=10)]
AnyAddresses = AnyAddress | Annotated[list[AnyAddress], Meta(max_length=500)]


class AttachedFile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A file that goes with the message: its bytes, or the id of one that was uploaded before. Never an address."""

    filename: Annotated[str, Meta(max_length=255, description="A name alone, such as report.pdf.")] = ""
    content: Annotated[str, Meta(description="Its bytes in base64.")] = ""
    attachment_id: Annotated[str, Meta(max_length=40, description="Of POST /attachments, in place of content.")] = ""
    content_type: Annotated[str, Meta(max_length=255)] = ""
    content_id: Annotated[str, Meta(max_length=200, description='Shown in the page as <img src="cid:...">.')] | None = (
        None
    )
    inline: bool = False


class Envelope(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What mail servers see, where it differs from what people see."""

    sender: Annotated[str, Meta(max_length=254, description="Where failure notices go; empty for nowhere.")] | None = (
        None
    )
    notify: Annotated[
        list[Literal["never", "success", "failure", "delay"]],
        Meta(max_length=3, description="Delivery status notifications (RFC 3461), if the mail server offers them."),
    ] = field(default_factory=list)


class NewMessage(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A message to be sent."""

    sender: AnyAddress | None = field(name="from", default=None)
    to: AnyAddresses = field(default_factory=list)
    cc: AnyAddresses = field(default_factory=list)
    bcc: AnyAddresses = field(default_factory=list)
    reply_to: AnyAddresses = field(default_factory=list)
    subject: Text = ""
    text: str | None = None
    html: str | None = None
    attachments: Annotated[list[AttachedFile], Meta(max_length=100)] = field(default_factory=list)
    headers: Annotated[dict[str, str], Meta(max_length=100)] = field(default_factory=dict)
    tags: Tags = field(default_factory=list)
    metadata: Annotated[
        dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=20)
    ] = field(default_factory=dict)
    lane: LaneName = "normal"
    send_at: Annotated[Time | None, Meta(description="Not before; at most a year ahead.")] = None
    expires_at: Annotated[Time | None, Meta(description="Give up at this time; else after 5 days.")] = None
    envelope: Envelope = Envelope()


class Recipient(Struct, frozen=True):
    email: str
    status: RecipientState


class Links(Struct, frozen=True):
    self_: str = field(name="self")


class AcceptedMessage(Struct, frozen=True):
    """Answered after the message is on the disk."""

    id: str
    status: RecipientState
    message_id: Annotated[str, Meta(description="The Message-ID header.")]
    created_at: datetime
    recipients: list[Recipient]
    links: Links


class BatchItem(Struct, frozen=True, omit_defaults=True):
    """What became of one message of a batch: it was taken, or there is an `error`."""

    id: str | UnsetType = UNSET
    status: RecipientState | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    recipients: list[Recipient] | UnsetType = UNSET
    links: Links | UnsetType = UNSET
    error: Problem | UnsetType = UNSET

    @classmethod
    def of(cls, accepted: AcceptedMessage) -> "BatchItem":
        return cls(**{name: getattr(accepted, name) for name in accepted.__struct_fields__})


class BatchAnswer(Struct, frozen=True):
    data: list[BatchItem]


class UploadedFile(Struct, frozen=True):
    """To be named as `attachment_id` within a day."""

    attachment_id: str
    filename: str
    content_type: str
    size_bytes: int
    expires_at: datetime


# ---- reading ----


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


# ---- apps ----


class AppShape(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be decided about an app."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    kind: ShortText = ""
    owner: ShortText = ""
    senders: Annotated[list[ShortText], Meta(max_length=100)] = field(default_factory=list)
    sender_policy: SenderPolicy = SenderPolicy.REFUSE
    recipient_domains: Annotated[list[ShortText], Meta(max_length=100)] = field(default_factory=list)
    message_limit_a_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = 60
    message_limit_a_day: Annotated[int, Meta(ge=1, le=100_000_000)] | None = 2_000
    size_limit_bytes: Annotated[int, Meta(ge=1_024, le=1_000_000_000)] | None = None
    addresses: Annotated[list[ShortText], Meta(max_length=100)] = field(default_factory=list)
    needs_sign_in: bool = True
    local_users: Annotated[list[ShortText], Meta(max_length=100)] = field(default_factory=list)
    fixes_lines: bool = False
    allows_plain_text: bool = False
    allows_old_tls: bool = False
    allows_cram_md5: bool = False
    after_unknown: AfterUnknown = AfterUnknown.SEND_AGAIN


class NewApp(AppShape, frozen=True, forbid_unknown_fields=True):
    """An app to be made; user name and password only where a program has them built in."""

    login: Annotated[str, Meta(max_length=254)] = ""
    password: Annotated[str, Meta(max_length=255)] = ""
    short_password: Annotated[bool, Meta(description="16 letters in place of 24, for devices that take no more.")] = (
        False
    )


class AppLine(AppShape, frozen=True, kw_only=True):
    """An app, without its passwords."""

    id: str
    login: str
    enabled: bool
    created_at: datetime
    last_used_at: datetime | None
    last_used_from: str | None
    last_used_tls: str | None
    last_used_mechanism: str | None


class CreatedApp(Struct, frozen=True):
    """The password is shown this once; there is none where a kept one was given, or an address is enough."""

    app: AppLine
    password: str | None


class AppList(Struct, frozen=True):
    data: list[AppLine]


class ListenerLine(Struct, frozen=True):
    """Where an app may hand in its mail."""

    name: str
    host: str
    port: int
    encryption: Annotated[str, Meta(description="As devices name it: STARTTLS, SSL/TLS, or none.")]


class AppSheet(Struct, frozen=True):
    """What to enter into a device; never the password."""

    name: str
    login: str
    needs_sign_in: bool
    addresses: list[str]
    senders: list[str]
    listeners: list[ListenerLine]


class Credential(Struct, frozen=True):
    """One of the at most two passwords of an app, without the password."""

    id: str
    chosen_by_a_person: bool
    created_at: datetime
    last_used_at: datetime | None


class CredentialList(Struct, frozen=True):
    data: list[Credential]


class NewPassword(Struct, frozen=True):
    """Shown this once; the older password goes on working until it is removed or the next one comes."""

    login: str
    password: str


class NewKey(Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the API to be made."""

    name: ShortText = ""
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=9)] = field(default_factory=lambda: ["send"])
    expires_at: Time | None = None


class KeyLine(Struct, frozen=True):
    id: str
    name: str
    shown_start: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


class KeyList(Struct, frozen=True):
    data: list[KeyLine]


class CreatedKey(Struct, frozen=True):
    """The key is shown this once."""

    key: KeyLine
    secret: str


class RefusedClientLine(Struct, frozen=True):
    address: str
    listener: str
    helo: str
    login: str
    code: str
    text: str
    attempts: int
    first_at: datetime
    last_at: datetime


class RefusedClientList(Struct, frozen=True):
    data: list[RefusedClientLine]


class Nothing(Struct, frozen=True):
    """Done; there is nothing to tell."""
