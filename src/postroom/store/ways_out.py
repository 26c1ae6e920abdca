"""By which mail server a message leaves, as rules and default say at the moment."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from postroom.store.database import Connection, Row
from postroom.store.routing import RoutingFacts, RoutingRule, RuleKind, choose_rule, describe_rule


class WayOut(NamedTuple):
    """A mail server with its mailbox."""

    mail_server_id: int
    mailbox_id: int
    name: str
    ready_us: int
    """How long the mailbox could send until now: from there a message grows old."""


class WaysOut(msgspec.Struct, frozen=True):
    """All of them, read once for many messages."""

    by_id: Mapping[int, WayOut]
    default_id: int
    rules: Sequence[RoutingRule]

    def choose(self, facts: RoutingFacts) -> tuple[WayOut, str | None]:
        """The way, and the sentence that explains it where a rule chose it."""
        named = self.by_id.get(facts.mail_server_id or 0)
        if named is not None:
            return named, None
        rule = choose_rule(self.rules, facts)
        if rule is None:
            return self.by_id[self.default_id], None
        way = self.by_id[rule.mail_server_id]
        return way, f"Goes through {way.name}, because {describe_rule(rule)}."


def read_ways_out(connection: Connection) -> WaysOut:
    rows = connection.rows("ways_out", now_us=connection.now_us)
    by_id = {row["mail_server_id"]: _way_of(row) for row in rows}
    default_id = next(row["mail_server_id"] for row in rows if row["is_default"])
    rules = [rule_of(row) for row in connection.rows("routing_rules")]
    return WaysOut(by_id, default_id, rules)


def rule_of(row: Row) -> RoutingRule:
    return RoutingRule(row["rule_id"], RuleKind(row["kind"]), row["value"], row["mail_server_id"])


def _way_of(row: Row) -> WayOut:
    return WayOut(row["mail_server_id"], row["mailbox_id"], row["name"] or row["host"], row["ready_us"])
