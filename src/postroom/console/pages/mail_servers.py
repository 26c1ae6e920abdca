"""Admin, Server Settings, All mail servers: the ways out, which mail goes which way, and how fast."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace
from starlette.responses import Response

from postroom.console.forms import Form, Troubles
from postroom.console.language import _
from postroom.console.pages.mail_server import changed_draft
from postroom.console.pages.step import named_server
from postroom.console.visit import Visit
from postroom.errors import WrongStateError
from postroom.ids import parse_public_id, public_id
from postroom.store.figures import MailboxFigures
from postroom.store.pace import Pace, limits_of, pace_of, recovered_at_us
from postroom.store.records import NEW, Mailbox, MailboxLimits, MailServer, MailServerDraft
from postroom.store.routing import RoutingRule, RuleKind
from postroom.store.ways import NewRule, Ways

HERE = "/admin/mail-servers"
KINDS = {
    RuleKind.SENDER: "The sender is",
    RuleKind.SENDER_DOMAIN: "The sender is at the domain",
    RuleKind.APP: "It comes from the app",
    RuleKind.SIZE: "It is larger than (bytes)",
}
LIMITS = {
    "messages_a_minute": "Messages in any 60 seconds",
    "connections": "Connections at a time",
    "recipients_a_day": "Recipients in any 24 hours",
    "recipients_a_message": "Recipients of a message",
}


@dataclass(frozen=True)
class Line:
    """One mail server as the page shows it."""

    key: str
    server: MailServer
    mailbox: Mailbox
    pace: Pace
    limits: MailboxLimits
    recovered_at_us: int | None
    """When what was learnt is forgotten."""
    used: MailboxFigures
    shares_with: tuple[str, ...]

    @property
    def cause(self) -> str | None:
        return self.mailbox.cause or self.server.cause


@dataclass(frozen=True)
class RuleLine:
    rule: RoutingRule
    words: str
    server: str


async def show(visit: Visit) -> Response:
    return await _page(visit, {})


async def add(visit: Visit) -> Response:
    """Begin the wizard for another mail server, with a mailbox of its own or that of another."""
    if await changed_draft(visit) is not None:
        return visit.go(HERE, said="draft-first")
    mail_servers = visit.rooms.store.mail_servers
    draft = MailServerDraft(mail_server_id=NEW)
    if visit.form.text("mailbox"):
        shared = await named_server(visit, visit.form.text("mailbox"))
        draft = replace(
            await mail_servers.draft_from_live(shared.mail_server_id),
            mail_server_id=NEW, mailbox_id=shared.mailbox_id, name="", verified_at_us=None,
        )  # fmt: skip
    await mail_servers.keep_draft(draft)
    return visit.go("/admin/mail-server/server")


async def edit(visit: Visit) -> Response:
    server = await _server(visit)
    draft = await changed_draft(visit)
    if draft is not None and draft.mail_server_id != server.mail_server_id:
        return visit.go(HERE, said="draft-first")
    mail_servers = visit.rooms.store.mail_servers
    await mail_servers.keep_draft(draft or await mail_servers.draft_from_live(server.mail_server_id))
    return visit.go("/admin/mail-server/server")


async def make_default(visit: Visit) -> Response:
    server = await _server(visit)
    return await _try(visit, lambda: _ways(visit).make_default(server.mail_server_id, *_who(visit)), "default-changed")


async def remove(visit: Visit) -> Response:
    server = await _server(visit)
    return await _try(visit, lambda: _ways(visit).remove(server.mail_server_id, *_who(visit)), "server-removed")


async def resume(visit: Visit) -> Response:
    server = await _server(visit)
    return await _try(visit, lambda: visit.rooms.store.mailboxes.resume(server.mailbox_id, visit.who), "resumed")


async def pause(visit: Visit) -> Response:
    server = await _server(visit)
    return await _try(visit, lambda: visit.rooms.store.mailboxes.pause(server.mailbox_id, visit.who), "paused")


async def set_alternatives(visit: Visit) -> Response:
    """The first and the second choice; the same one twice is one."""
    server = await _server(visit)
    chosen = [visit.form.text(name) for name in ("first", "second") if visit.form.text(name)]
    ids = list(dict.fromkeys(parse_public_id(each) for each in chosen))
    change = _ways(visit).set_alternatives
    return await _try(visit, lambda: change(server.mail_server_id, ids, *_who(visit)), "ways-changed")


async def set_limits(visit: Visit) -> Response:
    server = await _server(visit)
    texts = {name: visit.form.text(name).replace(",", "") for name in LIMITS}
    if not all(text.isdecimal() and len(text) < 10 for text in texts.values()):
        return await _page(visit, {"": _("Enter whole numbers for the limits.")})
    limits = MailboxLimits(**{name: int(text) for name, text in texts.items()})
    change = visit.rooms.store.mailboxes.set_limits
    return await _try(visit, lambda: change(server.mailbox_id, limits, *_who(visit)), "limits-changed")


async def set_external_day(visit: Visit) -> Response:
    server = await _server(visit)
    text = visit.form.text("external_a_day").replace(",", "")
    if not text.isdecimal() or len(text) > 9:
        return await _page(visit, {"": _("Enter whole numbers for the limits.")})
    domains = visit.form.text("own_domains").replace(",", " ").split()
    change = visit.rooms.store.mailboxes.set_external_day
    return await _try(visit, lambda: change(server.mailbox_id, int(text), domains, *_who(visit)), "limits-changed")


async def add_rule(visit: Visit) -> Response:
    kind = visit.form.text("kind")
    rules = await _rules(visit)
    server = await named_server(visit, visit.form.text("server"))
    rule = NewRule(
        RuleKind(kind) if kind in set(RuleKind) else RuleKind.SENDER, await _value(visit), server.mail_server_id
    )
    return await _try(visit, lambda: _ways(visit).replace_rules([*rules, rule], *_who(visit)), "ways-changed")


async def change_rule(visit: Visit) -> Response:
    """Up, down or away."""
    rules = await _rules(visit)
    place, action = int(visit.request.path_params["place"]), visit.form.text("action")
    if place < len(rules):
        rule = rules.pop(place)
        if action in ("up", "down"):
            rules.insert(max(0, place - 1) if action == "up" else place + 1, rule)
    return await _try(visit, lambda: _ways(visit).replace_rules(rules, *_who(visit)), "ways-changed")


async def _value(visit: Visit) -> str:
    """An app is typed by its name, and kept by its id."""
    text = visit.form.text("value")
    if visit.form.text("kind") != RuleKind.APP:
        return text
    app = await visit.rooms.store.apps.find_by_name(text)
    return str(app.app_id) if app is not None else text


async def _rules(visit: Visit) -> list[NewRule]:
    return [NewRule(rule.kind, rule.value, rule.mail_server_id) for rule in await _ways(visit).rules()]


async def _try(visit: Visit, act: Callable[[], Awaitable[None]], said: str) -> Response:
    """What the store refuses is said on the page."""
    try:
        await act()
    except (WrongStateError, ValueError, LookupError) as trouble:
        return await _page(visit, {"": str(trouble)})
    return visit.go(HERE, said=said)


def _ways(visit: Visit) -> Ways:
    return visit.rooms.store.ways


def _who(visit: Visit) -> tuple[str, str]:
    return visit.who, visit.address


async def _server(visit: Visit) -> MailServer:
    return await named_server(visit, visit.request.path_params["server"])


async def _page(visit: Visit, troubles: Troubles) -> Response:
    store = visit.rooms.store
    servers = await store.mail_servers.all()
    mailboxes = {mailbox.mailbox_id: mailbox for mailbox in await store.mailboxes.all()}
    names = {server.mail_server_id: server.name or server.host or _("not set up") for server in servers}
    used = await store.figures.of_mailboxes()
    lines = [
        _line(server, mailboxes[server.mailbox_id], used[server.mailbox_id], servers, names, visit.now_us)
        for server in servers
    ]
    return await visit.page(
        "mail_servers.html",
        status=422 if troubles else 200,
        troubles=troubles,
        lines=lines,
        names={public_id(key): name for key, name in names.items()},
        rules=await _rule_lines(visit, names),
        kinds=KINDS,
        limit_names=LIMITS,
        public_id=public_id,
        form=visit.form if troubles else Form(),
        draft=await store.mail_servers.load_draft(),
        apps=[app.name for app in await store.apps.list() if not app.is_internal],
    )


def _line(
    server: MailServer,
    mailbox: Mailbox,
    used: MailboxFigures,
    servers: list[MailServer],
    names: dict[int, str],
    now_us: int,
) -> Line:
    others = [
        names[other.mail_server_id]
        for other in servers
        if other.mailbox_id == server.mailbox_id and other.mail_server_id != server.mail_server_id
    ]
    return Line(
        key=public_id(server.mail_server_id),
        server=server,
        mailbox=mailbox,
        pace=pace_of(mailbox, now_us),
        limits=limits_of(mailbox),
        recovered_at_us=recovered_at_us(mailbox, now_us),
        used=used,
        shares_with=tuple(others),
    )


async def _rule_lines(visit: Visit, names: dict[int, str]) -> list[RuleLine]:
    apps = {str(app.app_id): app.name for app in await visit.rooms.store.apps.list()}
    lines = []
    for rule in await _ways(visit).rules():
        value = apps.get(rule.value, rule.value) if rule.kind is RuleKind.APP else rule.value
        lines.append(RuleLine(rule, f"{_(KINDS[rule.kind])} {value}", names.get(rule.mail_server_id, "?")))
    return lines
