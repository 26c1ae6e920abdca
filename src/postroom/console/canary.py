"""The canary in words: did it arrive, is it late, and what does it wait for?"""

from dataclasses import dataclass

from postroom.clock import MICROSECONDS
from postroom.console import words
from postroom.console.language import _
from postroom.console.times import relative, span
from postroom.ids import public_id
from postroom.message import RecipientState
from postroom.store import Store
from postroom.store.canaries import Canary, CanaryState


@dataclass(frozen=True)
class CanaryWords:
    """What a page shows of it."""

    mark: str
    """The icon: `pass`, `warn`, `now` or `skip`."""
    sentences: tuple[str, ...]
    url: str
    link: str
    is_overdue: bool = False


async def tell_canary(store: Store, now_us: int) -> CanaryWords:
    state = await store.canaries.state()
    mail_server = await store.mail_servers.default()
    waits_for = ""
    if state.newest is not None and state.newest.is_open:
        mailbox = await store.mailboxes.find(mail_server.mailbox_id)
        waits_for = await _waits_for(store, state.newest.message_id, mailbox.username)
    return canary_words(state, words.server_name(mail_server.host), waits_for, now_us)


def canary_words(state: CanaryState, server: str, waits_for: str, now_us: int) -> CanaryWords:
    """`waits_for` is what the present one waits for, in words; empty when it is on its way. Pure."""
    if not state.is_on:
        return CanaryWords("skip", (_("Canary: off."),), "/admin/sending", _("Switch it on"))
    is_overdue = state.is_overdue(now_us)
    if not state.recipient:
        sentence = _("Canary: none flies before the mail server is set up and a recipient is known.")
        mark = "warn" if is_overdue else "skip"
        return CanaryWords(mark, (sentence,), "/admin/sending", _("Choose a recipient"), is_overdue)
    arrived = _arrived(state.arrived, server, now_us)
    newest = _newest(state, waits_for)
    first = _("Canary: overdue.") if is_overdue else _("Canary: %(arrived)s", arrived=arrived)
    sentences = (first, *((_capital(arrived),) if is_overdue else ()), *newest)
    url, link = _link(state)
    return CanaryWords(_mark(state, is_overdue), sentences, url, link, is_overdue)


def overdue_span(state: CanaryState, now_us: int) -> str:
    """For how long nothing has arrived."""
    return span((state.age_us(now_us) or 0) / MICROSECONDS)


async def _waits_for(store: Store, message_id: int, username: str) -> str:
    detail = await store.messages.find(message_id)
    if detail is None:
        return ""
    if detail.row.state is RecipientState.HELD:
        return words.waiting_words("release", "")
    if detail.row.state is RecipientState.DEFERRED and not detail.row.waits_for:
        return words.waiting_words("a later try", "")
    return words.waiting_words(detail.row.waits_for, username) if detail.row.waits_for else ""


def _mark(state: CanaryState, is_overdue: bool) -> str:
    if is_overdue or _has_failed(state.newest):
        return "warn"
    return "pass" if state.arrived is not None else "now"


def _arrived(arrived: Canary | None, server: str, now_us: int) -> str:
    if arrived is None or arrived.sent_at_us is None:
        return _("none has arrived yet.")
    return _("arrived at %(server)s %(when)s.", server=server, when=relative(arrived.sent_at_us, now_us))


def _newest(state: CanaryState, waits_for: str) -> tuple[str, ...]:
    if state.newest is None:
        return (_("The first one flies in a moment."),)
    if _has_failed(state.newest):
        return (_("The newest one failed."),)
    if not state.newest.is_open:
        return ()
    return (_("The present one is %(waiting)s.", waiting=waits_for or _("on its way")),)


def _has_failed(newest: Canary | None) -> bool:
    return newest is not None and newest.state is RecipientState.FAILED


def _link(state: CanaryState) -> tuple[str, str]:
    if state.newest is None or state.newest.state is None:
        return "/admin/sending", _("Its settings")
    return f"/deliveries/{public_id(state.newest.message_id)}", _("Show it")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
