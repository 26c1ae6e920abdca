"""What requests to send look like, and their answers: these structures validate, and OpenAPI is made from them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from postroom.api.problems import Problem
from postroom.message import Lane, RecipientState

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


LifetimeHours = Annotated[
    int,
    Meta(ge=1, le=720, description="Give up after so many hours in which it could be sent; else as set for all."),
]


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
    expires_at: Annotated[Time | None, Meta(description="Give up at this time, whatever was possible.")] = None
    lifetime_hours: LifetimeHours | None = None
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
