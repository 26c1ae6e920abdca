"""Another way for mail that cannot go its own: failover, decided in the transaction that claims.

What stops a way, with its time, is the circuit breaker: while it is stopped, mail goes by the alternatives that its
mail server names; when the time is over one message probes it; when that comes through, mail goes its own way again.
Only a few messages are moved at a time, as many as the other way is about to send, so that a backlog stays at home.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from postroom.clock import HOUR_US, MINUTE_US
from postroom.message import MailboxState
from postroom.outcome import StopCause
from postroom.store.database import Connection, Row, to_json
from postroom.store.pace import GRAPH_LARGE_LIMIT_BYTES, GRAPH_MESSAGE_LIMIT_BYTES, pace_of
from postroom.store.records import EmailType, Mailbox, MailServer
from postroom.store.refused_senders import BELIEVED_US
from postroom.store.rows import mail_server_of, mailbox_of, ready_us
from postroom.store.slots import count_used_slots
from postroom.store.timeline import add_entries
from postroom.store.turns import Place, give_turns

OF_GRAPH = "movable_that_graph_cannot_send"
AHEAD = 5
"""Messages that may wait at an alternative: enough that it is never idle."""


def reroute(connection: Connection, mail_servers: Mapping[int, MailServer]) -> None:
    """Move what should go another way. Nothing is read while no mail server has an alternative."""
    with_alternatives = [server for server in mail_servers.values() if server.alternatives]
    if not with_alternatives:
        return
    rows = {row["mailbox_id"]: row for row in connection.rows("mailboxes")}
    mover = _Mover(connection, mail_servers, rows)
    # Mail of theirs may wait anywhere: at home, or at an alternative that is in trouble now.
    places = {server.mail_server_id for server in with_alternatives}
    places |= {other for server in with_alternatives for other in server.alternatives}
    for mail_server_id in sorted(places):
        mover.move_from(mail_servers[mail_server_id])


def find_way_for_unfit(connection: Connection, delivery_id: int, mail_server_id: int) -> int | None:
    """The mail server by which a message may go that Graph cannot send as it is; one that can send now is preferred."""
    mover = _read_mover(connection)
    home = mover.home_of(delivery_id)
    return mover.choose_for_unfit(home, mail_server_id) if home is not None else None


def move_unfit(connection: Connection, delivery_id: int, mail_server_id: int, target_id: int) -> None:
    """Move it there, for good: whether that way can send now makes no difference, as Graph never can."""
    connection.change("note_unfit_for_graph", delivery_id=delivery_id)
    row = connection.row("unfit_delivery", delivery_id=delivery_id)
    if row is not None:
        _read_mover(connection).move_one(row, mail_server_id, target_id)


def _read_mover(connection: Connection) -> "_Mover":
    servers = {row["mail_server_id"]: mail_server_of(row) for row in connection.rows("mail_servers_by_id")}
    return _Mover(connection, servers, {row["mailbox_id"]: row for row in connection.rows("mailboxes")})


class _Way(msgspec.Struct, frozen=True):
    """A mail server with its mailbox, as they are now."""

    server: MailServer
    mailbox: Mailbox
    row: Row


class _Trouble(NamedTuple):
    reason: str
    kept: int = 0
    """Messages that stay all the same."""


class _Mover:
    def __init__(self, connection: Connection, mail_servers: Mapping[int, MailServer], rows: Mapping[int, Row]) -> None:
        self._connection = connection
        self._ways = {
            mail_server_id: _Way(server, mailbox_of(rows[server.mailbox_id]), rows[server.mailbox_id])
            for mail_server_id, server in mail_servers.items()
        }

    def move_from(self, server: MailServer) -> None:
        way = self._ways[server.mail_server_id]
        trouble = self._trouble_of(way)
        if trouble is not None:
            self._move(way, "movable_deliveries", f"{_name(server)} cannot send: {trouble.reason}", kept=trouble.kept)
        elif self._has_refused_senders(server):
            self._move(way, "movable_of_refused_senders", f"{_name(server)} refused its sender lately")
        elif server.email_type is EmailType.GRAPH:
            self._move(way, OF_GRAPH, "Microsoft Graph has no envelope or cannot take its size")

    def home_of(self, delivery_id: int) -> "_Way | None":
        row = self._connection.row("home_of_delivery", delivery_id=delivery_id)
        return self._ways.get(row["home"]) if row is not None else None

    def choose_for_unfit(self, home: "_Way", mail_server_id: int) -> int | None:
        candidates = (home.server.mail_server_id, *home.server.alternatives)
        ways = [self._ways[each] for each in candidates if each in self._ways]
        fitting = [
            way
            for way in ways
            if way.server.email_type is not EmailType.GRAPH
            and way.server.is_set_up
            and way.server.mail_server_id != mail_server_id
        ]
        chosen = next((way for way in fitting if self._can_send(way)), fitting[0] if fitting else None)
        return chosen.server.mail_server_id if chosen is not None else None

    def move_one(self, row: Row, origin_id: int, target_id: int) -> None:
        reason = "Microsoft Graph cannot send it as it is"
        self._put([row], self._ways[origin_id], self._ways[target_id], reason)

    def _has_refused_senders(self, server: MailServer) -> bool:
        found = self._connection.row(
            "any_refused_sender", mail_server_id=server.mail_server_id, since_us=self._refused_since
        )
        return found is not None

    def _trouble_of(self, way: _Way) -> "_Trouble | None":
        """Why mail should go another way. A person's pause is no trouble, nor is our own pace."""
        mailbox = way.mailbox
        if mailbox.state is MailboxState.DISCONNECTED or mailbox.cause is StopCause.PAUSED:
            return None
        if mailbox.cause is not None:
            return self._stopped(mailbox.cause, mailbox.until_us)
        if way.server.cause is not None:
            return self._stopped(way.server.cause, way.server.until_us)
        if mailbox.state is MailboxState.SLOWED and not self._has_slots(way):
            return _Trouble("slowed")
        return _Trouble(StopCause.DAILY_LIMIT.value) if self._is_day_over(way) else None

    def _stopped(self, cause: StopCause, until_us: int | None) -> "_Trouble":
        """When the stop is over, one message stays to probe it."""
        is_over = until_us is not None and until_us <= self._connection.now_us
        return _Trouble(cause.value, kept=int(is_over))

    def _can_send(self, way: _Way) -> bool:
        return (
            way.server.is_set_up
            and way.server.cause is None
            and way.mailbox.state in (MailboxState.READY, MailboxState.SLOWED)
            and not self._is_day_over(way)
        )

    def _has_slots(self, way: _Way) -> bool:
        used = count_used_slots(self._connection, way.mailbox.mailbox_id)
        return used < pace_of(way.mailbox, self._connection.now_us).message_limit

    def _is_day_over(self, way: _Way) -> bool:
        first_minute = (self._connection.now_us - 24 * HOUR_US) // MINUTE_US
        used = self._connection.only_row("recipients_since", mailbox_id=way.mailbox.mailbox_id, minute=first_minute)[
            "recipients"
        ]
        return bool(used >= way.mailbox.recipient_limit_a_day)

    def _move(self, origin: _Way, statement: str, reason: str, *, kept: int = 0) -> None:
        """To each alternative that can send, as many as it will send soon."""
        origin_id = origin.server.mail_server_id
        for target in self._ways.values():
            target_id = target.server.mail_server_id
            if target_id == origin_id or not self._can_send(target):
                continue
            room = AHEAD - self._connection.only_row("count_due", mail_server_id=target_id)["due"]
            homes = self._homes_that_may_use(origin_id, target_id)
            if room <= 0 or not homes:
                continue
            rows = self._connection.rows(
                statement,
                mail_server_id=origin_id,
                target_id=target_id,
                homes=to_json(homes),
                needs_to_fit_graph=int(target.server.email_type is EmailType.GRAPH),
                refused_since_us=self._refused_since,
                graph_limit_bytes=_graph_limit_bytes(origin.server if statement == OF_GRAPH else target.server),
                limit=room + kept,
            )
            self._put(rows[kept:], origin, target, reason)

    def _homes_that_may_use(self, origin_id: int, target_id: int) -> list[int]:
        """Mail servers whose mail, waiting at the origin, may go by the target: first choices before later ones."""
        return [
            home_id
            for home_id, home in self._ways.items()
            if target_id in (home_id, *home.server.alternatives)
            and origin_id in (home_id, *home.server.alternatives)
            and self._is_first_choice(home, origin_id, target_id)
        ]

    def _is_first_choice(self, home: _Way, origin_id: int, target_id: int) -> bool:
        for candidate_id in (home.server.mail_server_id, *home.server.alternatives):
            if candidate_id == target_id:
                return True
            candidate = self._ways.get(candidate_id)
            if candidate_id != origin_id and candidate is not None and self._can_send(candidate):
                return False
        return False

    def _put(self, rows: Sequence[Row], origin: _Way, target: _Way, reason: str) -> None:
        if not rows:
            return
        now_us = self._connection.now_us
        target_id, mailbox_id = target.server.mail_server_id, target.mailbox.mailbox_id
        turns = give_turns(self._connection, [Place(mailbox_id, row["lane"], row["app_id"]) for row in rows])
        moved = [
            {
                "delivery_id": row["delivery_id"],
                "turn": turn,
                "home": None if row["home"] == target_id else row["home"],
            }
            for row, turn in zip(rows, turns, strict=True)
        ]
        self._connection.change(
            "move_deliveries",
            moved=to_json(moved),
            mail_server_id=target_id,
            mailbox_id=mailbox_id,
            # The same age, by the other mailbox's clock.
            shift_us=ready_us(target.row, now_us) - ready_us(origin.row, now_us),
        )
        text = f"Goes through {_name(target.server)}, because {reason}."
        add_entries(self._connection, [(row["message_id"], "rerouted", text, "Postroom") for row in rows])

    @property
    def _refused_since(self) -> int:
        return self._connection.now_us - BELIEVED_US


def _graph_limit_bytes(server: MailServer) -> int:
    return GRAPH_LARGE_LIMIT_BYTES if server.takes_large_mail else GRAPH_MESSAGE_LIMIT_BYTES


def _name(server: MailServer) -> str:
    return server.name or server.host
