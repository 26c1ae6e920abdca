"""Recipients outside the organisation: a tenant may send to so many of them in 24 hours (microsoft365.md 3.2).

When the day is full, or Microsoft says so, external recipients are put off until a time; those inside go on. Waiting
for it makes no message older.
"""

from collections.abc import Sequence

import msgspec

from postroom.clock import DAY_US, MINUTE_US
from postroom.outcome import Failure, Outcome, Stopped
from postroom.store.database import Connection, Row, to_json
from postroom.store.records import Mailbox
from postroom.store.rows import texts_of, to_json_or_none

MINUTES_A_DAY = DAY_US // MINUTE_US
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
        self.put_off: list[int] = []
        """Deliveries of which some recipient was put off."""

    def admit(self, delivery: Row, due: list[Row]) -> list[Row]:
        """Those that may go now; the others are put off."""
        if self._row is None:
            return due
        external = [recipient for recipient in due if self._is_external(recipient)]
        if not external or self._has_room_for(len(external)):
            return due
        self._put_off_recipients += [recipient["recipient_id"] for recipient in external]
        self.put_off.append(delivery["delivery_id"])
        return [recipient for recipient in due if not self._is_external(recipient)]

    def count(self, due: Sequence[Row]) -> None:
        """These are sent."""
        if self._row is not None:
            self._counted += sum(map(self._is_external, due))

    def close(self) -> None:
        """Write it down."""
        if self._counted:
            minute = self._connection.now_us // MINUTE_US
            self._connection.change("count_external", tenant=self._tenant, minute=minute, recipients=self._counted)
        if self._put_off_recipients:
            until_us = self._opens_at_us()
            self._connection.change("put_off", recipients=to_json(self._put_off_recipients), until_us=until_us)
            wait_us = max(0, until_us - self._connection.now_us)
            self._connection.change("count_no_age", deliveries=to_json(self.put_off), wait_us=wait_us)

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
            self._used = sum(row["recipients"] for row in self._minutes())
        return self._used

    def _minutes(self) -> list[Row]:
        first = self._connection.now_us // MINUTE_US - MINUTES_A_DAY
        return self._connection.rows("external_minutes_since", tenant=self._tenant, minute=first)

    def _opens_at_us(self) -> int:
        """When Microsoft may have forgotten, or when our own count of the day has room again."""
        assert self._row is not None
        assert self._tenant is not None
        until_us: int = self._row["external_until_us"] or 0
        if until_us > self._connection.now_us:
            return until_us
        minutes = self._minutes()
        # Room for one more; a longer list of recipients asks again then.
        opens_at_us = (minutes[0]["minute"] + MINUTES_A_DAY + 1) * MINUTE_US if minutes else 0
        opens_at_us = max(opens_at_us, self._connection.now_us + MINUTE_US)
        close_external(self._connection, self._tenant, opens_at_us, None)
        return opens_at_us


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
    first = connection.now_us // MINUTE_US - MINUTES_A_DAY
    used = sum(each["recipients"] for each in connection.rows("external_minutes_since", tenant=tenant, minute=first))
    until_us = row["external_until_us"]
    is_closed = until_us is not None and until_us > connection.now_us
    return ExternalDay(
        tenant, row["external_limit_a_day"], used, texts_of(row["own_domains"]), until_us if is_closed else None
    )
