"""Through which of its mail servers a mailbox may send now, and how much at a time."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from postroom.message import MailboxState
from postroom.store.database import Connection, Row
from postroom.store.pace import GRAPH_REQUESTS, Pace
from postroom.store.records import EmailType, Mailbox, MailServer


class Rooms:
    """How many more conversations a mailbox may begin: by SMTP all its mail servers together, by Graph likewise."""

    def __init__(self, smtp: int, graph: int, total: int) -> None:
        self._smtp = smtp
        self._graph = graph
        self.total = total

    def left(self, mail_server: MailServer) -> int:
        kind = self._graph if mail_server.email_type is EmailType.GRAPH else self._smtp
        return max(0, min(kind, self.total))

    def take(self, mail_server: MailServer) -> None:
        self.total -= 1
        if mail_server.email_type is EmailType.GRAPH:
            self._graph -= 1
        else:
            self._smtp -= 1


class OpenWay(msgspec.Struct, frozen=True):
    """A mail server that may be used; a probe is one message that tries whether what stopped it is gone."""

    mail_server: MailServer
    is_probe: bool


def find_open_ways(
    mailbox: Mailbox, mail_servers: Iterable[MailServer], in_flight: Mapping[int, int], now_us: int
) -> list[OpenWay]:
    """Those of the mailbox that are not stopped, or whose stop is over while no probe is under way."""
    is_probe = mailbox.state is MailboxState.STOPPED
    ways = []
    for server in mail_servers:
        if server.mailbox_id != mailbox.mailbox_id:
            continue
        if server.cause is None:
            ways.append(OpenWay(server, is_probe))
        elif server.until_us is not None and server.until_us <= now_us and not in_flight.get(server.mail_server_id):
            ways.append(OpenWay(server, True))
    return ways


def make_rooms(
    mailbox: Mailbox, pace: Pace, mail_servers: Mapping[int, MailServer], in_flight: Mapping[int, int], limit: int
) -> Rooms:
    by_graph = sum(
        number for server_id, number in in_flight.items() if mail_servers[server_id].email_type is EmailType.GRAPH
    )
    by_smtp = sum(in_flight.values()) - by_graph
    if mailbox.state is MailboxState.STOPPED:
        room = 0 if in_flight else 1  # one probe, by whatever way
        return Rooms(room, room, min(room, limit))
    return Rooms(pace.connection_limit - by_smtp, GRAPH_REQUESTS - by_graph, limit)


def count_in_flight(connection: Connection) -> dict[int, dict[int, int]]:
    """Conversations by mailbox and mail server."""
    found: dict[int, dict[int, int]] = {}
    rows: Sequence[Row] = connection.rows("leased_by_way")
    for row in rows:
        found.setdefault(row["mailbox_id"], {})[row["mail_server_id"]] = row["leased"]
    return found
