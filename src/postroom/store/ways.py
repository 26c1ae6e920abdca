"""What people decide about the ways out as a whole: the default, alternatives, rules, and which one goes."""

from collections.abc import Sequence

import msgspec

from postroom.errors import WrongStateError
from postroom.store.audit import note
from postroom.store.database import Connection, Row, to_json
from postroom.store.reader import Reader
from postroom.store.routing import RoutingRule, RuleKind
from postroom.store.ways_out import rule_of
from postroom.store.writer import Writer


class NewRule(msgspec.Struct, frozen=True):
    """A rule without its id; its place in the list is its position."""

    kind: RuleKind
    value: str
    mail_server_id: int


class Ways:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def rules(self) -> list[RoutingRule]:
        """In the order in which they are asked."""
        rows = await self._reader.read(lambda connection: connection.rows("routing_rules"))
        return [rule_of(row) for row in rows]

    async def replace_rules(self, rules: Sequence[NewRule], who: str, from_address: str = "") -> None:
        """The whole list. Errors: LookupError for a mail server that does not exist, ValueError for a value."""

        def replace(connection: Connection) -> None:
            before = [_describe_rule(row) for row in connection.rows("routing_rules")]
            connection.change("delete_routing_rules")
            for position, rule in enumerate(rules):
                _check_rule(rule)
                _server(connection, rule.mail_server_id)
                connection.change(
                    "insert_routing_rule",
                    rule_id=connection.ids.make_id(),
                    position=position,
                    kind=rule.kind,
                    value=rule.value,
                    mail_server_id=rule.mail_server_id,
                )
            after = [_describe_rule(row) for row in connection.rows("routing_rules")]
            changed = {"before": to_json(before), "after": to_json(after)}
            note(connection, who, "changed routing rules", "", from_address=from_address, **changed)

        await self._writer.run(replace)

    async def set_alternatives(
        self, mail_server_id: int, alternatives: Sequence[int], who: str, from_address: str = ""
    ) -> None:
        """Mail servers that take its mail while it cannot send, in order. Errors: LookupError, ValueError."""

        def set_them(connection: Connection) -> None:
            server = _server(connection, mail_server_id)
            if mail_server_id in alternatives or len(set(alternatives)) != len(alternatives):
                raise ValueError("Each other mail server can stand once among the alternatives, itself never.")
            names = [_name(_server(connection, other)) for other in alternatives]
            connection.change("set_alternatives", mail_server_id=mail_server_id, alternatives=to_json(alternatives))
            changed = {"before": server["alternatives"], "after": to_json(names)}
            note(connection, who, "changed alternatives", _name(server), from_address=from_address, **changed)

        await self._writer.run(set_them, wakes=True)

    async def make_default(self, mail_server_id: int, who: str, from_address: str = "") -> None:
        """New mail leaves through it unless a rule says otherwise. Errors: LookupError, WrongStateError."""

        def make(connection: Connection) -> None:
            server = _server(connection, mail_server_id)
            if not server["host"]:
                raise WrongStateError("This mail server is not set up yet: save it first.")
            before = _name(connection.only_row("default_mail_server"))
            connection.change("end_default")
            connection.change("make_default", mail_server_id=mail_server_id)
            changed = {"before": before, "after": _name(server)}
            note(connection, who, "changed default mail server", _name(server), from_address=from_address, **changed)

        await self._writer.run(make)

    async def remove(self, mail_server_id: int, who: str, from_address: str = "") -> None:
        """What was sent through it stays told. Errors: LookupError; WrongStateError while anything needs it."""

        def remove_it(connection: Connection) -> None:
            server = _server(connection, mail_server_id)
            _require_unneeded(connection, server)
            connection.change("forget_refused_senders", mail_server_id=mail_server_id)
            connection.change("delete_mail_server", mail_server_id=mail_server_id)
            if not connection.row("mail_server_of_mailbox", mailbox_id=server["mailbox_id"]):
                _remove_mailbox(connection, server["mailbox_id"])
            note(connection, who, "removed mail server", _name(server), from_address=from_address, before=_name(server))

        await self._writer.run(remove_it)


def _server(connection: Connection, mail_server_id: int) -> Row:
    return connection.only_row("mail_server", mail_server_id=mail_server_id)


def _name(server: Row) -> str:
    name: str = server["name"] or server["host"]
    return name


def _describe_rule(row: Row) -> str:
    return f"{row['kind']} {row['value']}: mail server {row['mail_server_id']}"


def _check_rule(rule: NewRule) -> None:
    if not rule.value.strip():
        raise ValueError("A rule needs a value: an address, a domain, an app or a number of bytes.")
    if rule.kind in (RuleKind.SIZE, RuleKind.APP) and not rule.value.isdecimal():
        raise ValueError("The size is a number of bytes, the app an id.")
    if rule.kind is RuleKind.SENDER and "@" not in rule.value:
        raise ValueError("The sender is an address, such as billing@contoso.com; for a whole domain choose that kind.")


def _require_unneeded(connection: Connection, server: Row) -> None:
    name, mail_server_id = _name(server), server["mail_server_id"]
    if server["is_default"]:
        raise WrongStateError(f"{name} is the default: make another mail server the default first.")
    if connection.row("rule_of_mail_server", mail_server_id=mail_server_id):
        raise WrongStateError(f"A routing rule leads to {name}: change the rule first.")
    if others := connection.rows("mail_servers_with_alternative", mail_server_id=mail_server_id):
        raise WrongStateError(f"{name} is an alternative of {_name(others[0])}: take it out there first.")
    if connection.row("delivery_of_mail_server", mail_server_id=mail_server_id):
        raise WrongStateError(f"Mail waits for {name}: let it be sent, or cancel it, first.")


def _remove_mailbox(connection: Connection, mailbox_id: int) -> None:
    connection.change("erase_grant", mailbox_id=mailbox_id)
    for table in ("pace_slots", "recipient_minutes", "lane_turns", "app_turns", "choices"):
        connection.change(f"delete_{table}_of_mailbox", mailbox_id=mailbox_id)
    connection.change("delete_mailbox", mailbox_id=mailbox_id)
