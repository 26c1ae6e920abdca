"""One message: what became of it, told by its timeline, and what a person may do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import Response

from postroom.console import words
from postroom.console.language import _
from postroom.console.problems import real_values
from postroom.console.visit import Visit
from postroom.errors import PostroomError
from postroom.ids import parse_public_id, public_id
from postroom.outcome import Failure
from postroom.remedies import Remedy, fill, remedy
from postroom.store.records import AttemptRow, Mailbox, MailServer, MessageDetail, RefusedSender


@dataclass(frozen=True)
class TimelineLine:
    """One thing that happened; an attempt carries its conversation."""

    at_us: int
    mark: str
    """pass, warn, fail, now, or note."""
    title: str
    text: str = ""
    who: str = ""
    attempt: AttemptRow | None = None


@dataclass(frozen=True)
class FailureCard:
    """Why recipients failed or wait, and what to do."""

    failure: Failure
    remedy: Remedy
    addresses: tuple[str, ...]
    is_final: bool


async def show(visit: Visit) -> Response:
    detail = await _find(visit)
    store = visit.rooms.store
    servers = await store.mail_servers.all()
    mail_server = last_way(detail, servers)
    mailbox = await store.mailboxes.find(mail_server.mailbox_id)
    return await visit.page(
        "delivery.html",
        detail=detail,
        status_text=words.status_sentence(detail, mail_server, mailbox.username, visit.now_us),
        status_remark=words.status_remark(detail.row.state),
        lines=timeline_of(detail, way_names(servers)),
        cards=failure_cards(detail, mail_server, mailbox),
        refused_senders=await _refused_senders(visit, detail),
        trouble=visit.asked("trouble"),
    )


async def act(visit: Visit) -> Response:
    """Retry, cancel, hold or release; what the state does not allow any more is said, not done."""
    action, number = visit.part("action"), _number(visit)
    outbox = visit.rooms.store.outbox
    actions = {"retry": outbox.retry, "cancel": outbox.cancel, "hold": outbox.hold, "release": outbox.release}
    if action not in actions:
        raise HTTPException(404)
    path = f"/deliveries/{public_id(number)}"
    try:
        await actions[action](number, visit.who)
    except PostroomError as trouble:
        return visit.go(path, trouble=str(trouble))
    return visit.go(path, said=action)


def way_names(servers: Sequence[MailServer]) -> dict[int, str]:
    """What people call each way; empty while there is only one, which needs no name."""
    return {server.mail_server_id: server.name or server.host for server in servers} if len(servers) > 1 else {}


def last_way(detail: MessageDetail, servers: Sequence[MailServer]) -> MailServer:
    """The mail server of the last attempt, whose words the page shows; the default before there is any."""
    by_id = {server.mail_server_id: server for server in servers}
    default = next(server for server in servers if server.is_default)
    return by_id.get(detail.attempts[-1].mail_server_id, default) if detail.attempts else default


def timeline_of(detail: MessageDetail, ways: Mapping[int, str]) -> list[TimelineLine]:
    """Everything that happened, attempts among it, in the order of time."""
    lines = [
        TimelineLine(entry.at_us, "note", words.entry_title(entry.kind), entry.text, entry.who)
        for entry in detail.timeline
    ]
    lines += [_attempt_line(attempt, ways) for attempt in detail.attempts]
    return sorted(lines, key=lambda line: line.at_us)


def _attempt_line(attempt: AttemptRow, ways: Mapping[int, str]) -> TimelineLine:
    title = _("Attempt %(number)s", number=attempt.number)
    if ways:
        way = ways.get(attempt.mail_server_id) or _("a mail server that was removed")
        title = _("Attempt %(number)s, through %(way)s", number=attempt.number, way=way)
    return TimelineLine(attempt.started_at_us, words.attempt_mark(attempt), title, attempt.server, "", attempt)


def failure_cards(detail: MessageDetail, mail_server: MailServer, mailbox: Mailbox) -> list[FailureCard]:
    """One card for each different failure, with the recipients it holds for."""
    grouped: dict[tuple[str, str, bool], list[str]] = {}
    failures: dict[tuple[str, str, bool], Failure] = {}
    for recipient in detail.recipients:
        if recipient.failure is None or recipient.state.value not in ("failed", "deferred", "queued", "held"):
            continue
        key = (recipient.failure.code, recipient.failure.text, recipient.state.value == "failed")
        failures[key] = recipient.failure
        grouped.setdefault(key, []).append(recipient.address)
    values = real_values(mail_server, mailbox)
    return [
        FailureCard(
            failure := failures[key],
            fill(remedy(failure.remedy_id), values | {"recipient": addresses[0], "sender": detail.row.header_from}),
            tuple(addresses),
            key[2],
        )
        for key, addresses in grouped.items()
    ]


async def _refused_senders(visit: Visit, detail: MessageDetail) -> Sequence[RefusedSender]:
    """What its sender met lately, as long as it matters to this message; a refusal of its own has its card."""
    if detail.row.state.is_final:
        return ()
    return await visit.rooms.store.refused_senders.of_sender(detail.row.header_from)


async def _find(visit: Visit) -> MessageDetail:
    detail = await visit.rooms.store.messages.find(_number(visit))
    if detail is None:
        raise HTTPException(404)
    return detail


def _number(visit: Visit) -> int:
    try:
        return parse_public_id(visit.part("message_id"))
    except ValueError:
        raise HTTPException(404) from None
