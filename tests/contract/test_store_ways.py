"""Several ways out: rules, failover and its circuit breaker, and what stops a way alone."""

import msgspec
import pytest

from postroom.clock import DAY_US, HOUR_US, MICROSECONDS, MINUTE_US
from postroom.errors import WrongStateError
from postroom.message import MailboxState
from postroom.outcome import Failure, FailureClass, Refused, StopCause
from postroom.store.records import Authentication, EmailType, Lease, MailServer
from postroom.store.rerouting import AHEAD
from postroom.store.routing import RuleKind
from postroom.store.ways import NewRule
from tests.contract.kept_store import MAILBOX_ID, REFUSED, SENT, UNKNOWN, KeptStore, later, stopped

pytestmark = pytest.mark.anyio

FIRST = 1


async def told(ready: KeptStore, message_id: int) -> list[str]:
    detail = await ready.store.messages.find(message_id)
    assert detail is not None
    return [entry.text for entry in detail.timeline if entry.kind in ("routed", "rerouted")]


@pytest.fixture
async def other(ready: KeptStore) -> MailServer:
    """Another mail server with a mailbox of its own, the first one's alternative."""
    other = await ready.add_mail_server("other", host="mail.example.net")
    await ready.store.ways.set_alternatives(FIRST, [other.mail_server_id], "anna")
    return other


async def stop_first(ready: KeptStore, cause: StopCause = StopCause.MAIL_SERVER_AWAY, seconds: int = 60) -> Lease:
    """The first mail server's mailbox stops, by a message of its own."""
    await ready.keep(subject="the one that found out")
    lease = await ready.lease_one()
    assert lease.mail_server.mail_server_id == FIRST
    await ready.settle(lease, stopped(cause, ready.clock.now_us() + seconds * MICROSECONDS))
    return lease


# ---- rules


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (RuleKind.SENDER, "Scanner@contoso.com", True),
        (RuleKind.SENDER, "other@contoso.com", False),
        (RuleKind.SENDER_DOMAIN, "contoso.com", True),
        (RuleKind.SENDER_DOMAIN, "oso.com", False),
        (RuleKind.SIZE, "10", True),
        (RuleKind.SIZE, "1000", False),
    ],
)
async def test_a_rule_chooses_the_way(ready: KeptStore, kind: RuleKind, value: str, fits: bool) -> None:
    other = await ready.add_mail_server("other")
    await ready.store.ways.replace_rules([NewRule(kind, value, other.mail_server_id)], "anna")
    message = await ready.keep()
    lease = await ready.lease_one()
    assert lease.mail_server.mail_server_id == (other.mail_server_id if fits else FIRST)
    assert bool(await told(ready, message)) == fits


async def test_the_first_rule_that_fits_decides_and_the_timeline_tells(ready: KeptStore) -> None:
    other, third = await ready.add_mail_server("other"), await ready.add_mail_server("third")
    rules = [
        NewRule(RuleKind.APP, str(ready.app_id), third.mail_server_id),
        NewRule(RuleKind.SENDER_DOMAIN, "contoso.com", other.mail_server_id),
    ]
    await ready.store.ways.replace_rules(rules, "anna")
    message = await ready.keep()
    assert (await ready.lease_one()).mail_server.name == "third"
    assert await told(ready, message) == ["Goes through third, because it comes from this app."]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (NewRule(RuleKind.SIZE, "ten", FIRST), "number of bytes"),
        (NewRule(RuleKind.SENDER, "contoso.com", FIRST), "is an address"),
        (NewRule(RuleKind.SENDER_DOMAIN, " ", FIRST), "needs a value"),
    ],
)
async def test_a_rule_that_could_never_fit_is_refused(ready: KeptStore, rule: NewRule, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        await ready.store.ways.replace_rules([rule], "anna")
    assert await ready.store.ways.rules() == []


# ---- failover


async def test_mail_goes_another_way_while_its_own_is_stopped(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready)
    message = await ready.keep()
    leases = await ready.store.outbox.lease_due(10)
    assert {lease.mail_server.mail_server_id for lease in leases} == {other.mail_server_id}
    assert await told(ready, message) == [
        "Goes through other, because smtp.office365.com cannot send: mail server away."
    ]


async def test_one_message_probes_the_way_and_then_all_go_it_again(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready, seconds=60)
    for _ in range(3):
        await ready.keep()
    ready.clock.advance(60)
    leases = await ready.store.outbox.lease_due(10)
    by_way = [lease.mail_server.mail_server_id for lease in leases]
    assert by_way.count(FIRST) == 1, "one probes"
    assert by_way.count(other.mail_server_id) == 2, "the others do not wait for it"
    for lease in leases:
        await ready.settle(lease, SENT)
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY
    while leases := await ready.store.outbox.lease_due(10):
        for lease in leases:
            await ready.settle(lease, SENT)
    await ready.keep()
    assert (await ready.lease_one()).mail_server.mail_server_id == FIRST


async def test_a_backlog_does_not_move_as_a_whole(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready)
    for _ in range(40):
        await ready.keep()
    await ready.store.outbox.lease_due(10)
    moved = await ready.store._reader.read(
        lambda c: c.raw.execute(
            "SELECT count(*) FROM deliveries WHERE mail_server_id = ?", (other.mail_server_id,)
        ).fetchone()[0]
    )
    assert moved == AHEAD


async def test_all_of_a_backlog_gets_out_by_the_other_way(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready, seconds=7 * 86_400)
    messages = [await ready.keep() for _ in range(60)]
    for _ in range(200):
        leases = await ready.store.outbox.lease_due(10)
        for lease in leases:
            await ready.settle(lease, SENT)
        due_at_us = await ready.store.outbox.next_due_at_us()
        if not leases and due_at_us is not None:
            ready.clock.advance(max(0.0, (due_at_us - ready.clock.now_us()) / MICROSECONDS))
    assert {state for message in messages for state in await ready.states(message)} == {"sent"}


@pytest.mark.parametrize("how", ["paused", "disconnected"])
async def test_what_a_person_decided_is_no_trouble(ready: KeptStore, other: MailServer, how: str) -> None:
    await ready.keep()
    if how == "paused":
        await ready.store.mailboxes.pause(MAILBOX_ID, "anna")
    else:
        await ready.store.mailboxes.disconnect(MAILBOX_ID, "anna")
    assert await ready.store.outbox.lease_due(10) == []


async def test_an_alternative_that_cannot_send_is_none(ready: KeptStore, other: MailServer) -> None:
    await ready.store.mailboxes.pause(other.mailbox_id, "anna")
    await stop_first(ready)
    await ready.keep()
    assert await ready.store.outbox.lease_due(10) == []


async def test_when_the_other_way_stops_too_mail_goes_home_again(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready, seconds=60)
    [lease] = await ready.store.outbox.lease_due(1)
    assert lease.mail_server.mail_server_id == other.mail_server_id
    await ready.settle(lease, stopped(StopCause.SIGN_IN))
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    [lease] = await ready.store.outbox.lease_due(1)
    assert lease.mail_server.mail_server_id == FIRST


async def test_a_message_that_moves_keeps_its_age(ready: KeptStore) -> None:
    await ready.keep()
    ready.clock.advance(3_600)
    other = await ready.add_mail_server("other")
    await ready.store.ways.set_alternatives(FIRST, [other.mail_server_id], "anna")
    lease = await ready.lease_one()
    await ready.settle(lease, stopped(until_us=ready.clock.now_us() + DAY_US))
    [moved] = await ready.store.outbox.lease_due(1)
    assert (moved.mail_server.name, moved.age_us) == ("other", HOUR_US)


@pytest.mark.parametrize(
    ("names_only_recipients", "recipients", "first_outcome", "fits"),
    [
        (True, ("a@x.example",), None, True),
        (False, ("a@x.example",), None, False),
        (True, ("a@x.example", "b@x.example"), (SENT, None), False),
        (True, ("a@x.example",), (UNKNOWN,), False),
    ],
)
async def test_graph_takes_only_what_it_can_send_without_an_envelope(
    ready: KeptStore,
    names_only_recipients: bool,
    recipients: tuple[str, ...],
    first_outcome: tuple[object, ...] | None,
    fits: bool,
) -> None:
    graph = await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    await ready.store.ways.set_alternatives(FIRST, [graph.mail_server_id], "anna")
    new = msgspec.structs.replace(ready.message(*recipients), names_only_recipients=names_only_recipients)
    await ready.store.outbox.keep(new)
    soon_us = ready.clock.now_us() + MINUTE_US
    if first_outcome is not None:
        outcomes = [later(soon_us) if outcome is None else outcome for outcome in first_outcome]
        await ready.settle(await ready.lease_one(), *outcomes)  # type: ignore[arg-type]
        await ready.write("UPDATE mailboxes SET state = 'ready'")
        ready.clock.advance(60)
    await ready.keep("c@x.example", subject="the one that finds out")
    for lease in await ready.store.outbox.lease_due(10):
        await ready.settle(lease, *[stopped(StopCause.SMTP_AUTH_OFF, soon_us + HOUR_US)] * len(lease.recipients))
    leases = await ready.store.outbox.lease_due(10)
    assert [lease.mail_server.name for lease in leases if lease.message_id == new.message_id] == ["Graph"] * fits


@pytest.mark.parametrize(("takes_large_mail", "way"), [(False, "Server 1"), (True, "Graph")])
async def test_large_mail_goes_by_graph_where_that_was_switched_on(
    ready: KeptStore, takes_large_mail: bool, way: str
) -> None:
    graph = await ready.add_mail_server(
        "Graph", shares_mailbox=True, email_type=EmailType.GRAPH, takes_large_mail=takes_large_mail
    )
    assert (await ready.store.mail_servers.find(graph.mail_server_id)).takes_large_mail is takes_large_mail
    await ready.store.ways.set_alternatives(graph.mail_server_id, [FIRST], "anna")
    await ready.store.ways.make_default(graph.mail_server_id, "anna")
    new = msgspec.structs.replace(ready.message("a@x.example"), names_only_recipients=True)
    await ready.store.outbox.keep(new)
    await ready.write("UPDATE messages SET size_bytes = 100000000")
    [lease] = await ready.store.outbox.lease_due(10)
    assert lease.mail_server.mail_server_id == (graph.mail_server_id if way == "Graph" else FIRST)


UNFIT = Refused(Failure(FailureClass.SIZE, "graph_too_large", "It is signed as a whole.", "graph_too_large"))


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_what_only_graph_cannot_send_goes_another_way_and_never_comes_back(
    ready: KeptStore, is_stopped: bool
) -> None:
    graph = await ready.add_mail_server("Graph", email_type=EmailType.GRAPH, takes_large_mail=True)
    await ready.store.ways.set_alternatives(graph.mail_server_id, [FIRST], "anna")
    await ready.store.ways.make_default(graph.mail_server_id, "anna")
    new = msgspec.structs.replace(ready.message("a@x.example"), names_only_recipients=True)
    await ready.store.outbox.keep(new)
    lease = await ready.lease_one()
    assert lease.mail_server.name == "Graph"
    if is_stopped:
        stop = "state = 'stopped', cause = 'sign-in', ready_since_us = NULL"
        await ready.write(f"UPDATE mailboxes SET {stop} WHERE mailbox_id = {MAILBOX_ID}")
    await ready.settle(lease, UNFIT)
    if is_stopped:
        assert await ready.store.outbox.lease_due(10) == [], "Graph could, if it were asked again"
        assert await ready.states(new.message_id) == ["deferred"]
        return
    moved = await ready.lease_one()
    assert moved.mail_server.mail_server_id == FIRST
    name = moved.mail_server.name or moved.mail_server.host
    sentence = f"Goes through {name}, because Microsoft Graph cannot send it as it is."
    assert await told(ready, new.message_id) == [sentence]


async def test_what_only_graph_cannot_send_fails_where_there_is_no_other_way(ready: KeptStore) -> None:
    graph = await ready.add_mail_server("Graph", email_type=EmailType.GRAPH)
    await ready.store.ways.make_default(graph.mail_server_id, "anna")
    new = msgspec.structs.replace(ready.message("a@x.example"), names_only_recipients=True)
    await ready.store.outbox.keep(new)
    await ready.settle(await ready.lease_one(), UNFIT)
    assert await ready.states(new.message_id) == ["failed"]


# ---- a way that is stopped alone


async def test_smtp_auth_off_stops_the_way_and_not_its_mailbox(ready: KeptStore) -> None:
    graph = await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    message = await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SMTP_AUTH_OFF))
    server = await ready.store.mail_servers.find(FIRST)
    assert (server.cause, server.failure is not None) == (StopCause.SMTP_AUTH_OFF, True)
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).state is MailboxState.READY
    assert await ready.store.outbox.lease_due(10) == []
    assert await ready.store.outbox.next_due_at_us() is None
    [row] = (await ready.store.messages.search("", limit=1))[0]
    assert (row.message_id, row.waits_for) == (message, "SMTP AUTH off")
    await ready.store.ways.make_default(graph.mail_server_id, "anna")
    await ready.keep()
    assert (await ready.lease_one()).mail_server.name == "Graph"


async def test_waiting_for_a_stopped_way_makes_no_message_older(ready: KeptStore) -> None:
    await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SMTP_AUTH_OFF))
    ready.clock.advance(6 * 86_400)
    await ready.store.mailboxes.resume(MAILBOX_ID, "anna")
    await ready.send_what_was_set_aside()
    assert (await ready.lease_one()).age_us == 0
    assert (await ready.store.mail_servers.find(FIRST)).cause is None


async def test_a_stopped_way_is_probed_and_opened(ready: KeptStore) -> None:
    await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    for _ in range(3):
        await ready.keep()
    until_us = ready.clock.now_us() + MINUTE_US
    await ready.settle(await ready.lease_one(), stopped(StopCause.MAIL_SERVER_AWAY, until_us))
    assert await ready.store.outbox.next_due_at_us() == until_us
    ready.clock.advance(60)
    [probe] = await ready.store.outbox.lease_due(10)
    assert await ready.store.outbox.lease_due(10) == [], "one at a time"
    await ready.settle(probe, REFUSED)
    assert (await ready.store.mail_servers.find(FIRST)).cause is None
    assert len(await ready.store.outbox.lease_due(10)) == 2


async def test_a_sign_in_that_ended_stops_every_way_of_its_mailbox(ready: KeptStore) -> None:
    await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    await ready.keep()
    await ready.settle(await ready.lease_one(), stopped(StopCause.SIGN_IN))
    assert (await ready.store.mailboxes.find(MAILBOX_ID)).cause is StopCause.SIGN_IN
    assert (await ready.store.mail_servers.find(FIRST)).cause is None


async def test_smtp_and_graph_of_a_mailbox_share_its_pace_and_have_their_own_conversations(ready: KeptStore) -> None:
    graph = await ready.add_mail_server("Graph", shares_mailbox=True, email_type=EmailType.GRAPH)
    for mail_server_id in (FIRST, graph.mail_server_id):
        await ready.store.ways.make_default(mail_server_id, "anna")
        for _ in range(20):
            await ready.keep()
    leases = await ready.store.outbox.lease_due(50)
    names = [lease.mail_server.email_type for lease in leases]
    assert (names.count(EmailType.SMTP), names.count(EmailType.GRAPH)) == (2, 4)
    sent = 0
    while leases:
        for lease in leases:
            await ready.settle(lease, SENT)
        sent += len(leases)
        leases = await ready.store.outbox.lease_due(50)
    assert sent == 25, "messages a minute are the mailbox's"


# ---- what a sender was refused


async def test_a_sender_that_was_refused_lately_goes_another_way(ready: KeptStore, other: MailServer) -> None:
    await ready.write(
        "INSERT INTO refused_senders (mail_server_id, sender, failure, refused_at_us) "
        f"VALUES (1, 'scanner@contoso.com', '{{}}', {ready.clock.now_us()})"
    )
    message = await ready.keep()
    assert (await ready.lease_one()).mail_server.name == "other"
    assert await told(ready, message) == ["Goes through other, because smtp.office365.com refused its sender lately."]


async def test_a_refused_sender_without_another_way_is_tried_all_the_same(ready: KeptStore, other: MailServer) -> None:
    for mail_server_id in (1, other.mail_server_id):
        await ready.write(
            "INSERT INTO refused_senders (mail_server_id, sender, failure, refused_at_us) "
            f"VALUES ({mail_server_id}, 'scanner@contoso.com', '{{}}', {ready.clock.now_us()})"
        )
    await ready.keep()
    assert (await ready.lease_one()).mail_server.mail_server_id == FIRST


# ---- taking one away


async def test_a_mail_server_that_is_needed_is_not_removed(ready: KeptStore, other: MailServer) -> None:
    ways, other_id = ready.store.ways, other.mail_server_id
    with pytest.raises(WrongStateError, match="is the default"):
        await ways.remove(FIRST, "anna")
    with pytest.raises(WrongStateError, match=r"is an alternative of smtp\.office365\.com"):
        await ways.remove(other_id, "anna")
    await ways.set_alternatives(FIRST, [], "anna")
    await ways.replace_rules([NewRule(RuleKind.SENDER_DOMAIN, "contoso.com", other_id)], "anna")
    message = await ready.keep()
    with pytest.raises(WrongStateError, match="A routing rule leads to other"):
        await ways.remove(other_id, "anna")
    await ways.replace_rules([], "anna")
    with pytest.raises(WrongStateError, match="Mail waits for other"):
        await ways.remove(other_id, "anna")
    await ready.settle(await ready.lease_one(), SENT)
    await ways.remove(other_id, "anna")
    assert [server.mail_server_id for server in await ready.store.mail_servers.all()] == [FIRST]
    assert [mailbox.mailbox_id for mailbox in await ready.store.mailboxes.all()] == [MAILBOX_ID]
    detail = await ready.store.messages.find(message)
    assert detail is not None
    assert len(detail.attempts) == 1, "what was sent through it stays told"


async def test_a_mail_server_with_a_mailbox_of_its_own_has_a_grant_of_its_own(ready: KeptStore) -> None:
    other = await ready.add_mail_server("other", authentication=Authentication.BASIC, password="hunter2 hunter2")
    assert (await ready.store.mailboxes.open_grant(other.mailbox_id)).password == "hunter2 hunter2"
    assert (await ready.store.mailboxes.open_grant(MAILBOX_ID)).refresh_token == "the refresh token"
    draft = await ready.store.mail_servers.draft_from_live(other.mail_server_id)
    assert (draft.mail_server_id, draft.username, draft.password) == (
        other.mail_server_id, "other@contoso.com", "hunter2 hunter2",
    )  # fmt: skip


async def test_a_mail_that_names_its_way_takes_no_other(ready: KeptStore, other: MailServer) -> None:
    await stop_first(ready)
    test_mail = msgspec.structs.replace(ready.message(), mail_server_id=FIRST)
    await ready.store.outbox.keep(test_mail)
    free = await ready.keep(subject="any mail")
    leased = await ready.store.outbox.lease_due(10)
    assert {lease.mail_server.mail_server_id for lease in leased} == {other.mail_server_id}
    assert free in [lease.message_id for lease in leased], "any other mail takes the alternative"
    assert test_mail.message_id not in [lease.message_id for lease in leased]
    assert await told(ready, test_mail.message_id) == []
    ready.clock.advance(61)
    lease = await ready.lease_one()
    assert lease.mail_server.mail_server_id == FIRST
    assert lease.message_id == test_mail.message_id, "it waited for its own way"
