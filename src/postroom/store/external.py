"""Recipients outside the organisation: a tenant may send to so many of them in 24 hours (microsoft365.md 3.2).

When the day is full, or Microsoft says so, external recipients are put off until a time; those inside go on. Waiting
for it makes no message older.
"""

import re
from collections.abc import Sequence

import msgspec

from postroom.clock import DAY_US, MINUTE_US
from postroom.outcome import Failure, Outcome, Stopped
from postroom.store.database import Connection, Row, to_json
from postroom.store.records import Mailbox
from postroom.store.rows import texts_of, to_json_or_none

_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
MINUTES_A_DAY = DAY_US // MINUTE_US
CLOSED_AT_LEAST_US = 10 * MINUTE_US
"""So that a backlog is not looked through again for every few recipients that have room."""
CODE = "tenant_external_limit"
"""What Microsoft's refusal is called (`deliver/replies`)."""


def is_external_limit(outcome: Outcome) -> bool:
    return isinstance(outcome, Stopped) and outcome.failure.code == CODE


def close_external(connection: Connection, tenant: str, until_us: int, failure: Failure | None) -> None:
    """No external recipient of this tenant goes before the time."""
    connection.change("close_external", tenant=tenant, until_us=until_us, failure=to_json_or_none(failure))


class TenantDay:
    """What the tenant of a mailbox may still send outside, within one claim."""

    def __init__(self, connection: Connection, mailbox: Mailbox) -> None:
        self._connection = connection
        self._tenant = mailbox.tenant
        self._row = connection.row("tenant", tenant=mailbox.tenant) if mailbox.tenant is not None else None
        self._own_domains = frozenset(texts_of(self._row["own_domains"])) if self._row is not None else frozenset()
        self._used: int | None = None
        self._counted = 0
        self._put_off_recipients: list[int] = []
        self._put_off: list[int] = []

    def admit(self, delivery: Row, due: list[Row]) -> list[Row]:
        """Those that may go now; the others are put off."""
        if self._row is None:
            return due
        external = [recipient for recipient in due if self._is_external(recipient)]
        if not external or self._has_room_for(len(external)):
            return due
        self._put_off_recipients += [recipient["recipient_id"] for recipient in external]
        self._put_off.append(delivery["delivery_id"])
        return [recipient for recipient in due if not self._is_external(recipient)]

    def count(self, due: Sequence[Row]) -> None:
        """These are sent."""
        if self._row is not None:
            self._counted += sum(map(self._is_external, due))

    def close(self) -> list[int]:
        """Write it down; the deliveries of which some recipient was put off."""
        if self._counted:
            minute = self._connection.now_us // MINUTE_US
            self._connection.change("count_external", tenant=self._tenant, minute=minute, recipients=self._counted)
        if self._put_off_recipients:
            until_us = self._opens_at_us()
            self._connection.change("put_off", recipients=to_json(self._put_off_recipients), until_us=until_us)
            wait_us = max(0, until_us - self._connection.now_us)
            self._connection.change("count_no_age", deliveries=to_json(self._put_off), wait_us=wait_us)
        put_off = self._put_off
        self._used, self._counted, self._put_off, self._put_off_recipients = None, 0, [], []
        return put_off

    def _is_external(self, recipient: Row) -> bool:
        return recipient["address"].rpartition("@")[2].lower() not in self._own_domains

    def _has_room_for(self, wanted: int) -> bool:
        assert self._row is not None
        if (self._row["external_until_us"] or 0) > self._connection.now_us:
            return False
        used = self._used_today() + self._counted
        # More at once than a day allows can only go when nothing else went.
        return not used or used + wanted <= self._row["external_limit_a_day"]

    def _used_today(self) -> int:
        if self._used is None:
            assert self._tenant is not None
            self._used = _used_since_a_day(self._connection, self._tenant)["recipients"]
        return self._used or 0

    def _opens_at_us(self) -> int:
        """When Microsoft may have forgotten, or when our own count of the day has room again."""
        assert self._row is not None
        assert self._tenant is not None
        until_us: int = self._row["external_until_us"] or 0
        if until_us > self._connection.now_us:
            return until_us
        oldest = _used_since_a_day(self._connection, self._tenant)["oldest_minute"]
        # Room for one more; a longer list of recipients asks again then.
        opens_at_us = (oldest + MINUTES_A_DAY + 1) * MINUTE_US if oldest is not None else 0
        opens_at_us = max(opens_at_us, self._connection.now_us + CLOSED_AT_LEAST_US)
        close_external(self._connection, self._tenant, opens_at_us, None)
        return opens_at_us


def set_external_day(connection: Connection, tenant: str, limit: int, own_domains: Sequence[str]) -> None:
    """From now on. What waited because our own count was full is looked at again."""
    before = connection.only_row("tenant", tenant=tenant)
    connection.change("set_external_day", tenant=tenant, limit=limit, own_domains=to_json(own_domains))
    if connection.change("reopen_external", tenant=tenant, now_us=connection.now_us):
        woken = {"tenant": tenant, "until_us": before["external_until_us"]}
        connection.change("wake_external_recipients", **woken)
        connection.change("wake_external", now_us=connection.now_us, **woken)


def why_not_these_domains(domains: Sequence[str]) -> str | None:
    """A sentence, when one of them is no domain."""
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            return f"“{domain}” is no domain: write it as in contoso.com, without the part before the @."
    return None


def _used_since_a_day(connection: Connection, tenant: str) -> Row:
    """External recipients of the last 24 hours; a minute that has begun within them counts whole."""
    return connection.only_row("external_since", tenant=tenant, minute=connection.now_us // MINUTE_US - MINUTES_A_DAY)


class ExternalDay(msgspec.Struct, frozen=True):
    """How much of a tenant's day is used, for people."""

    tenant: str
    limit: int
    used: int
    own_domains: tuple[str, ...]
    until_us: int | None


def read_external_day(connection: Connection, tenant: str) -> ExternalDay | None:
    row = connection.row("tenant", tenant=tenant)
    if row is None:
        return None
    used = _used_since_a_day(connection, tenant)["recipients"]
    until_us = row["external_until_us"]
    is_closed = until_us is not None and until_us > connection.now_us
    return ExternalDay(
        tenant, row["external_limit_a_day"], used, texts_of(row["own_domains"]), until_us if is_closed else None
    )
