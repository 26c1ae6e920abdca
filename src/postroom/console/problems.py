"""What is wrong now: the list behind the pill in the header, each problem with its cause, effect and way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from postroom.checks.prerequisites import is_microsoft
from postroom.clock import MICROSECONDS
from postroom.console.announcements import announcement
from postroom.console.canary import canary_words, overdue_span
from postroom.console.language import _, ngettext
from postroom.console.rooms import ConsoleRooms
from postroom.console.times import days_until, span
from postroom.ids import public_id
from postroom.message import MailboxState
from postroom.outcome import Failure, StopCause
from postroom.remedies import Remedy, fill, remedy
from postroom.store.canaries import CanaryState
from postroom.store.choices import Choice
from postroom.store.expiries import WARNING_DAYS, Expiry, ExpiryKind
from postroom.store.records import Authentication, Mailbox, MailServer

WAYS_URL = "/admin/mail-servers"
_WAYS_LABEL = "Open all mail servers, to try again"


@dataclass(frozen=True)
class Problem:
    """One open problem, as its card shows it."""

    title: str
    effect: str
    """What it does to mail, in one sentence."""
    is_stopping: bool
    """Nothing leaves until it is solved."""
    since_us: int | None = None
    until_us: int | None = None
    failure: Failure | None = None
    remedy: Remedy | None = None
    fix_url: str = "/admin/mail-server"
    fix_label: str = ""


def real_values(mail_server: MailServer, mailbox: Mailbox, tenant: str = "", client_id: str = "") -> dict[str, str]:
    """What stands in a remedy in place of `{username}` and the like."""
    return {
        "username": mailbox.username,
        "mailbox": mailbox.address or mailbox.username,
        "sender": mail_server.sender,
        "host": mail_server.host,
        "port": str(mail_server.port),
        "email_type": mail_server.email_type.value.upper(),
        "ehlo_name": mail_server.ehlo_name,
        "recipient": mail_server.test_address,
        "tenant": tenant,
        "client_id": client_id,
        "way": way_of(mailbox.authentication),
    }


def way_of(authentication: Authentication) -> str:
    """How we sign in, as the causes of a remedy name it."""
    return {Authentication.OAUTH: "delegated", Authentication.BASIC: "password"}.get(authentication, "")


def secret_url(mail_server: MailServer) -> str:
    """Where its client secret is renewed."""
    return f"/admin/mail-servers/{public_id(mail_server.mail_server_id)}/secret"


async def find_problems(rooms: ConsoleRooms) -> list[Problem]:
    """Every open problem, the worst first."""
    servers = await rooms.store.mail_servers.all()
    servers.sort(key=lambda server: not server.is_default)
    mailboxes = {mailbox.mailbox_id: mailbox for mailbox in await rooms.store.mailboxes.all()}
    default = servers[0]
    if not default.is_set_up or mailboxes[default.mailbox_id].state is MailboxState.DISCONNECTED:
        return [_not_set_up(default)]
    problems: list[Problem] = []
    for mailbox_id in dict.fromkeys(server.mailbox_id for server in servers):
        problems += await _problems_of(rooms, mailboxes[mailbox_id], servers, mailboxes)
    problems += choice_problems(await rooms.store.choices.open())
    problems += canary_problems(await rooms.store.canaries.state(), rooms.clock.now_us())
    return sorted(problems, key=lambda problem: not problem.is_stopping)


async def _problems_of(
    rooms: ConsoleRooms, mailbox: Mailbox, servers: Sequence[MailServer], mailboxes: Mapping[int, Mailbox]
) -> list[Problem]:
    """Of a mailbox and the mail servers that sign in to it; none of one that a person disconnected."""
    if mailbox.state is MailboxState.DISCONNECTED:
        return []
    tenant = client_id = ""
    problems = []
    own = [server for server in servers if server.mailbox_id == mailbox.mailbox_id]
    if mailbox.authentication is Authentication.OAUTH:
        grant = await rooms.store.mailboxes.show_grant(mailbox.mailbox_id)
        tenant, client_id = grant.tenant, grant.client_id
        problems += expiry_problems(
            [it for it in await rooms.store.mailboxes.expiries() if it.mailbox_id == mailbox.mailbox_id],
            secret_url(own[0]),
        )
    elif mailbox.authentication is Authentication.BASIC:
        problems += basic_problems(own, rooms.clock.now_us())
    values = [real_values(server, mailbox, tenant, client_id) | {"redirect_url": rooms.redirect_url} for server in own]
    found = mailbox_problems(mailbox, values[0], secret_url(own[0]))
    if not any(server.is_default for server in own):
        found = [_of_another_way(problem) for problem in found]
    if mailbox.state is not MailboxState.STOPPED:
        for server, its_values in zip(own, values, strict=True):
            found += way_problems(server, alternatives_that_send(server, servers, mailboxes), its_values)
    return problems + found


def _of_another_way(problem: Problem) -> Problem:
    """Of a mailbox that the default does not use; where its secret is renewed is known already."""
    if problem.fix_url.endswith("/secret"):
        return replace(problem, is_stopping=False)
    return replace(problem, is_stopping=False, fix_url=WAYS_URL, fix_label=_(_WAYS_LABEL))


def alternatives_that_send(
    server: MailServer, servers: Sequence[MailServer], mailboxes: Mapping[int, Mailbox]
) -> list[str]:
    """Names of those that take its mail now. Pure."""
    by_id = {each.mail_server_id: each for each in servers}
    others = [by_id[other] for other in server.alternatives if other in by_id]
    return [
        other.name or other.host
        for other in others
        if other.cause is None and mailboxes[other.mailbox_id].state in (MailboxState.READY, MailboxState.SLOWED)
    ]


def way_problems(server: MailServer, alternatives: Sequence[str], values: dict[str, str]) -> list[Problem]:
    """A mail server that is stopped alone, while its mailbox may send by another. Pure."""
    if server.cause is None:
        return []
    failure = server.failure
    name = server.name or server.host
    if alternatives:
        effect = _(
            "Nothing leaves through %(name)s. What can go another way goes through %(others)s, the rest waits.",
            name=name,
            others=", ".join(alternatives),
        )
    else:
        effect = _(
            "No mail leaves through %(name)s, and it has no alternative that can send: its mail waits.", name=name
        )
    return [
        Problem(
            title=_("The way through %(name)s is stopped: %(cause)s", name=name, cause=server.cause),
            effect=effect,
            is_stopping=server.is_default and not alternatives,
            since_us=server.since_us,
            until_us=server.until_us,
            failure=failure,
            remedy=fill(remedy(failure.remedy_id), values) if failure else None,
            fix_url=WAYS_URL,
            fix_label=_(_WAYS_LABEL),
        )
    ]


def mailbox_problems(mailbox: Mailbox, values: dict[str, str], renew_url: str = "") -> list[Problem]:
    """What the mailbox's own state says. Pure."""
    if mailbox.state is MailboxState.STOPPED:
        stopped = _stopped(mailbox, values)
        if mailbox.cause is StopCause.CREDENTIAL and renew_url:
            return [replace(stopped, fix_url=renew_url, fix_label=_("Renew secret"))]
        return [stopped]
    if mailbox.state is MailboxState.SLOWED:
        return [_slowed(mailbox)]
    return []


def choice_problems(choices: Sequence[Choice]) -> list[Problem]:
    """Old mail that was set aside after a long stop. Pure."""
    return [
        Problem(
            title=ngettext(
                "After a long stop %(num)s message waits for your choice",
                "After a long stop %(num)s messages wait for your choice",
                choice.messages,
            ),
            effect=_("New mail goes on; what is old leaves only when you say so: all, what is newer, or by app."),
            is_stopping=False,
            since_us=choice.asked_at_us,
            fix_url="/choices",
            fix_label=_("Choose what is sent"),
        )
        for choice in choices
    ]


def canary_problems(state: CanaryState, now_us: int) -> list[Problem]:
    """Nothing of ours has arrived for longer than can be. Pure."""
    if not state.is_overdue(now_us):
        return []
    told = canary_words(state, "", "", now_us)
    return [
        Problem(
            title=_("The canary is overdue"),
            effect=_(
                "For %(span)s no message of our own has arrived, though one is sent every %(every)s: other mail may "
                "not leave either.",
                span=overdue_span(state, now_us),
                every=span(state.every_us / MICROSECONDS),
            ),
            is_stopping=False,
            fix_url=told.url,
            fix_label=told.link,
        )
    ]


def _not_set_up(mail_server: MailServer) -> Problem:
    if mail_server.is_set_up:
        title = _("The mailbox is disconnected")
        effect = _("Mail is taken in and kept, and leaves as soon as the mailbox is connected again.")
    else:
        title = _("No mail server is set up yet")
        effect = _(
            "Nothing can leave. Apps with senders of their own may hand in mail, which waits; others are refused."
        )
    return Problem(title, effect, is_stopping=True, fix_label=_("Set up the mail server"))


def _stopped(mailbox: Mailbox, values: dict[str, str]) -> Problem:
    failure = mailbox.failure
    filled = fill(remedy(failure.remedy_id), values) if failure else None
    needs_sign_in = mailbox.cause is StopCause.SIGN_IN
    return Problem(
        title=filled.title if filled else _("Sending is stopped: %(cause)s", cause=mailbox.cause or ""),
        effect=_(
            "No mail leaves through %(username)s. It waits here, and leaves by itself afterwards.",
            username=mailbox.username,
        ),
        is_stopping=True,
        since_us=mailbox.since_us or None,
        until_us=mailbox.until_us,
        failure=failure,
        remedy=filled,
        fix_label=_("Sign in again") if needs_sign_in else _("Open the mail server's settings"),
    )


def _slowed(mailbox: Mailbox) -> Problem:
    return Problem(
        title=_("The mail server asked us to slow down"),
        effect=_("Mail through %(username)s leaves more slowly for a while.", username=mailbox.username),
        is_stopping=False,
        since_us=mailbox.since_us or None,
        until_us=mailbox.until_us,
        failure=mailbox.failure,
    )


def expiry_problems(expiries: Sequence[Expiry], renew_url: str) -> list[Problem]:
    """What ends soon, told while there is time. Pure."""
    return [_credential_ends(expiry, renew_url) for expiry in expiries if expiry.is_near]


def _credential_ends(expiry: Expiry, renew_url: str) -> Problem:
    if expiry.kind is ExpiryKind.CLIENT_SECRET:
        return _secret_ends(expiry, renew_url)
    return _certificate_ends(expiry) if expiry.kind is ExpiryKind.CERTIFICATE else _sign_in_ends(expiry)


def _certificate_ends(expiry: Expiry) -> Problem:
    if expiry.days < 0:
        title = _("The certificate of the app in Entra has expired")
    else:
        title = ngettext(
            "The certificate of the app in Entra expires in %(num)s day",
            "The certificate of the app in Entra expires in %(num)s days",
            expiry.days,
        )
    return Problem(
        title=title,
        effect=_("When it has expired, no mail leaves until a new certificate is registered."),
        is_stopping=False,
        fix_label=_("Open the mail server's settings"),
    )


def _secret_ends(expiry: Expiry, renew_url: str) -> Problem:
    if expiry.days < 0:
        title = _("The date on which the client secret expires has passed")
    else:
        title = ngettext(
            "The client secret expires in %(num)s day", "The client secret expires in %(num)s days", expiry.days
        )
    return Problem(
        title=title,
        effect=_("When it has expired, no mail leaves until a new secret is entered."),
        is_stopping=False,
        fix_url=renew_url,
        fix_label=_("Renew secret"),
    )


def _sign_in_ends(expiry: Expiry) -> Problem:
    return Problem(
        title=_("The sign-in of %(username)s could not be renewed for a month", username=expiry.username),
        effect=_(
            "It is renewed every week by itself. If that does not work until %(date)s, Microsoft ends it, and somebody "
            "has to sign in again.",
            date=f"{expiry.ends_on:%d %b %Y}",
        ),
        is_stopping=False,
        fix_label=_("Open the mail server's settings"),
    )


def basic_problems(servers: Sequence[MailServer], now_us: int) -> list[Problem]:
    """A password at Microsoft, once the day on which they switch it off is near. Pure."""
    plan = announcement("basic_authentication")
    if plan.on is None or days_until(plan.on, now_us) > WARNING_DAYS[0]:
        return []
    if not any(is_microsoft(server.host) for server in servers):
        return []
    return [
        Problem(
            title=_("Microsoft is retiring Basic authentication"),
            effect=f"{_(plan.text)} {_('As of %(date)s.', date=plan.as_of.strftime('%d %b %Y'))}",
            is_stopping=False,
            fix_label=_("Sign in with OAuth instead"),
        )
    ]
