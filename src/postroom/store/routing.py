"""Which mail goes which way: the first rule that fits, else the default. Pure."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class RuleKind(StrEnum):
    """What a rule looks at."""

    SENDER = "sender"
    SENDER_DOMAIN = "sender_domain"
    APP = "app"
    SIZE = "size"
    """The message has more bytes than the value says."""


class RoutingRule(msgspec.Struct, frozen=True):
    """One line of the list; the value is an address, a domain, an app's id or a number of bytes."""

    rule_id: int
    kind: RuleKind
    value: str
    mail_server_id: int


class RoutingFacts(msgspec.Struct, frozen=True):
    """What is known of a message at intake."""

    header_from: str
    app_id: int
    size_bytes: int
    mail_server_id: int | None = None
    """By which it goes, whatever the rules say."""


def choose_rule(rules: Sequence[RoutingRule], facts: RoutingFacts) -> RoutingRule | None:
    """The first in order that fits; None means the default mail server."""
    return next((rule for rule in rules if _fits(rule, facts)), None)


def describe_rule(rule: RoutingRule, app_name: str = "") -> str:
    """The rule as the words behind "because"."""
    match rule.kind:
        case RuleKind.SENDER:
            return f"its sender is {rule.value}"
        case RuleKind.SENDER_DOMAIN:
            return f"its sender is at {rule.value}"
        case RuleKind.APP:
            return f"it comes from {app_name or 'this app'}"
        case RuleKind.SIZE:
            return f"it has more than {int(rule.value):,} bytes"


def _fits(rule: RoutingRule, facts: RoutingFacts) -> bool:
    sender = facts.header_from.lower()
    match rule.kind:
        case RuleKind.SENDER:
            return sender == rule.value.lower()
        case RuleKind.SENDER_DOMAIN:
            return sender.rpartition("@")[2] == rule.value.lower().lstrip("@")
        case RuleKind.APP:
            return str(facts.app_id) == rule.value
        case RuleKind.SIZE:
            return facts.size_bytes > int(rule.value)
