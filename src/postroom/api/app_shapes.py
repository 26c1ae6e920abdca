"""Apps & devices, their passwords and keys, and who was turned away."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from postroom.api.shapes import Scope, ShortText, Time
from postroom.message import AfterUnknown
from postroom.store.records import SenderPolicy


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
    notices_to: Annotated[
        Literal["", "sender", "administrator", "nobody"],
        Meta(description="Who is told when its mail fails; empty: by its kind, the administrator for devices."),
    ] = ""


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


class RefusedSenderLine(Struct, frozen=True):
    """A sender of its mail that a mail server refused within the last hour; the next message is tried all the same."""

    sender: str
    mail_server: str
    code: str
    text: Annotated[str, Meta(description="The mail server's words.")]
    remedy: str
    refused_at: datetime


class ShownApp(AppLine, frozen=True, kw_only=True):
    """An app, and what was refused of it lately."""

    refused_senders: list[RefusedSenderLine]


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
