"""The ways out over the API: what each is, which mail goes which way, how fast, and when the backlog will be out."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response

from postroom.api.problems import invalid, not_found
from postroom.api.room import Call, app_id_text, say
from postroom.api.shapes import time_or_none
from postroom.ids import parse_public_id, public_id
from postroom.store.external import ExternalDay
from postroom.store.pace import limits_of, pace_of, recovered_at_us
from postroom.store.records import Mailbox, MailboxLimits, MailServer
from postroom.store.routing import RoutingRule, RuleKind
from postroom.store.ways import NewRule

Positive = Annotated[int, Meta(ge=1, le=100_000_000)]


class LimitsShape(Struct, frozen=True, forbid_unknown_fields=True):
    """What a mailbox may send; its mail servers share it."""

    messages_a_minute: Positive = 25
    connections: Positive = 2
    recipients_a_day: Positive = 10_000
    recipients_a_message: Positive = 500


class UsedShape(Struct, frozen=True):
    """How much of its limits a mailbox uses now."""

    messages_last_minute: int
    recipients_last_day: int
    connections: int


class ExternalShape(Struct, frozen=True, forbid_unknown_fields=True):
    """Recipients outside the organisation, whose limit is that of the whole organisation at Microsoft."""

    recipients_a_day: Positive = 10_000
    own_domains: Annotated[
        list[Annotated[str, Meta(max_length=253)]], Meta(max_length=1_000, description="Who is there does not count.")
    ] = []


class ExternalLine(Struct, frozen=True):
    """The same, and how much of it is used."""

    recipients_a_day: int
    own_domains: tuple[str, ...]
    recipients_last_day: int
    until: Annotated[datetime | None, Meta(description="Mail to them waits until then.")]


class MailServerLine(Struct, frozen=True):
    """A way out, without secrets."""

    id: str
    name: str
    host: str
    port: int
    email_type: Annotated[str, Meta(description="smtp, smtps or graph")]
    use_tls: bool
    sender: str
    username: str
    mailbox_id: str
    is_default: bool
    alternatives: Annotated[list[str], Meta(description="Ids of those that take its mail while it cannot send.")]
    takes_null_sender: bool
    takes_large_mail: Annotated[bool, Meta(description="By Microsoft Graph, with the permission Mail.ReadWrite")]
    state: Annotated[str, Meta(description="ready, slowed, stopped or disconnected")]
    stopped_for: str | None
    until: datetime | None
    limits: LimitsShape
    messages_a_minute_now: Annotated[int, Meta(description="After what the mail server let us find out.")]
    connections_now: int
    recovered_at: Annotated[datetime | None, Meta(description="When the limits are again what was set.")]
    used: UsedShape
    external: Annotated[ExternalLine | None, Meta(description="For a mailbox at Microsoft.")]
    verified_at: datetime | None
    proved_at: datetime | None


class MailServerList(Struct, frozen=True):
    data: list[MailServerLine]


class ChangedMailServer(Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed without signing in anew; what is left out stays."""

    is_default: bool | UnsetType = UNSET
    alternatives: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=10)] | UnsetType = UNSET
    limits: LimitsShape | UnsetType = UNSET
    external: ExternalShape | UnsetType = UNSET
    paused: bool | UnsetType = UNSET


class RuleShape(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: the first that fits decides."""

    kind: RuleKind
    value: Annotated[
        str, Meta(min_length=1, max_length=254, description="An address, a domain, an app's id or a number of bytes.")
    ]
    mail_server: Annotated[str, Meta(max_length=40)]


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, in order."""

    data: Annotated[list[RuleShape], Meta(max_length=500)]


class ForecastShape(Struct, frozen=True):
    """Of all that is due and may leave without a person; retries and new mail are not foreseen."""

    messages: int
    out_at: datetime | None
    without_time: Annotated[
        dict[str, int], Meta(description="Messages of which nobody can say when they leave, by what they wait for.")
    ]


async def list_all(call: Call) -> Response:
    servers = await call.room.store.mail_servers.all()
    return say(MailServerList([await _line(call, server) for server in servers]))


async def show(call: Call) -> Response:
    return say(await _line(call, await find_named(call)))


async def change(call: Call) -> Response:
    """Default, alternatives, limits, pause: each as far as it is given."""
    asked = call.body
    assert isinstance(asked, ChangedMailServer)
    server, store, who = await find_named(call), call.room.store, (call.caller.who, call.caller.address)
    if asked.is_default is False and server.is_default:
        raise invalid("is_default", "make another mail server the default instead")
    try:
        if asked.alternatives is not UNSET:
            ids = [_id(each, "alternatives") for each in asked.alternatives]
            await store.ways.set_alternatives(server.mail_server_id, ids, *who)
        if asked.limits is not UNSET:
            await store.mailboxes.set_limits(server.mailbox_id, _limits(asked.limits), *who)
        if asked.external is not UNSET:
            await store.mailboxes.set_external_day(
                server.mailbox_id, asked.external.recipients_a_day, asked.external.own_domains, *who
            )
        if asked.is_default is True:
            await store.ways.make_default(server.mail_server_id, *who)
        if asked.paused is not UNSET:
            act = store.mailboxes.pause if asked.paused else store.mailboxes.resume
            await act(server.mailbox_id, call.caller.who)
    except (ValueError, LookupError) as trouble:
        raise invalid("alternatives" if isinstance(trouble, LookupError) else "", str(trouble)) from None
    return say(await _line(call, await store.mail_servers.find(server.mail_server_id)))


async def remove(call: Call) -> Response:
    """Refused with the reason while anything needs it."""
    server = await find_named(call)
    await call.room.store.ways.remove(server.mail_server_id, call.caller.who, call.caller.address)
    return Response(status_code=204)


async def list_rules(call: Call) -> Response:
    return say(Rules([_rule_of(rule) for rule in await call.room.store.ways.rules()]))


async def replace_rules(call: Call) -> Response:
    """The whole list at once."""
    asked = call.body
    assert isinstance(asked, Rules)
    rules = [_new_rule(rule, place) for place, rule in enumerate(asked.data)]
    try:
        await call.room.store.ways.replace_rules(rules, call.caller.who, call.caller.address)
    except (ValueError, LookupError) as trouble:
        text = "one of the mail servers does not exist" if isinstance(trouble, LookupError) else str(trouble)
        raise invalid("data", text) from None
    return await list_rules(call)


async def forecast(call: Call) -> Response:
    found = (await call.room.store.messages.overview(0)).forecast
    return say(ForecastShape(found.messages, time_or_none(found.out_at_us), found.without_time))


async def find_named(call: Call) -> MailServer:
    """`default` is an id, too."""
    name = call.request.path_params["mail_server_id"]
    mail_servers = call.room.store.mail_servers
    if name == "default":
        return await mail_servers.default()
    try:
        return await mail_servers.find(parse_public_id(name.removeprefix("ms_")))
    except (ValueError, LookupError):
        raise not_found("mail server") from None


async def _line(call: Call, server: MailServer) -> MailServerLine:
    mailbox = await call.room.store.mailboxes.find(server.mailbox_id)
    used = (await call.room.store.figures.of_mailboxes())[server.mailbox_id]
    pace = pace_of(mailbox, call.room.clock.now_us())
    limits = limits_of(mailbox)
    return MailServerLine(
        id=_text(server.mail_server_id),
        name=server.name,
        host=server.host,
        port=server.port,
        email_type=server.email_type.value,
        use_tls=server.use_tls,
        sender=server.sender,
        username=mailbox.username,
        mailbox_id=public_id(mailbox.mailbox_id),
        is_default=server.is_default,
        alternatives=[_text(each) for each in server.alternatives],
        takes_null_sender=server.takes_null_sender,
        takes_large_mail=server.takes_large_mail,
        state="stopped" if server.cause else mailbox.state.value,
        stopped_for=mailbox.cause or server.cause,
        until=time_or_none(_until_us(server, mailbox)),
        limits=LimitsShape(
            limits.messages_a_minute, limits.connections, limits.recipients_a_day, limits.recipients_a_message
        ),
        messages_a_minute_now=pace.message_limit,
        connections_now=pace.connection_limit,
        recovered_at=time_or_none(recovered_at_us(mailbox, call.room.clock.now_us())),
        used=UsedShape(used.messages_last_minute, used.recipients_last_day, used.conversations),
        external=_external_of(used.external),
        verified_at=time_or_none(server.verified_at_us),
        proved_at=time_or_none(server.proved_at_us),
    )


def _external_of(day: ExternalDay | None) -> ExternalLine | None:
    return ExternalLine(day.limit, day.own_domains, day.used, time_or_none(day.until_us)) if day is not None else None


def _until_us(server: MailServer, mailbox: Mailbox) -> int | None:
    return mailbox.until_us if mailbox.cause else server.until_us


def _limits(shape: LimitsShape) -> MailboxLimits:
    return MailboxLimits(shape.messages_a_minute, shape.connections, shape.recipients_a_day, shape.recipients_a_message)


def _text(mail_server_id: int) -> str:
    return f"ms_{public_id(mail_server_id)}"


def _id(text: str, field: str) -> int:
    try:
        return parse_public_id(text.removeprefix("ms_"))
    except ValueError:
        raise invalid(field, f"{text} is no id of a mail server") from None


def _rule_of(rule: RoutingRule) -> RuleShape:
    value = app_id_text(int(rule.value)) if rule.kind is RuleKind.APP else rule.value
    return RuleShape(rule.kind, value, _text(rule.mail_server_id))


def _new_rule(shape: RuleShape, place: int) -> NewRule:
    field = f"data[{place}]"
    value = str(_app_id(shape.value, field)) if shape.kind is RuleKind.APP else shape.value
    return NewRule(shape.kind, value, _id(shape.mail_server, f"{field}.mail_server"))


def _app_id(text: str, field: str) -> int:
    try:
        return parse_public_id(text.removeprefix("app_"))
    except ValueError:
        raise invalid(f"{field}.value", f"{text} is no id of an app") from None
