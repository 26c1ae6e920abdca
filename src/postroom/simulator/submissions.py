"""What each mailbox has sent, by the simulator's clock: its pace, its day and its Sent Items.

SMTP and Graph count here alike (microsoft365.md 3.1 to 3.3); what a full limit sounds like is theirs to say.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from postroom.simulator.tenant import ReceivedMessage, Tenant, User

Exhausted = Literal["mailbox full", "recipients a day", "external recipients a day", "external recipients of a trial"]

MINUTE_SECONDS = 60
DAY_SECONDS = 86_400
TRIAL_EXTERNAL_RECIPIENTS = 5_000


class _RollingDay:
    """How many recipients within 24 hours; the sum is kept, so that asking stays cheap."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, now: float, count: int) -> None:
        self._events.append((now, count))
        self._total += count

    def count(self, now: float) -> int:
        while self._events and self._events[0][0] <= now - DAY_SECONDS:
            self._total -= self._events.popleft()[1]
        return self._total


@dataclass
class _Use:
    """One mailbox. `delivered` are times of its latest messages, in the future for those held back."""

    delivered: deque[float] = field(default_factory=deque)
    day: _RollingDay = field(default_factory=_RollingDay)
    sent_items: deque[tuple[float, int, int]] = field(default_factory=deque)
    sent_bytes: int = 0


class Submissions:
    """Counts, and keeps what was accepted. Recipients count in a rolling day, messages in a rolling minute."""

    def __init__(self, tenant: "Tenant") -> None:
        self._tenant = tenant
        self._uses: dict[str, _Use] = {}
        self._external = _RollingDay()

    # How much is used

    def recipients_in_last_day(self, object_id: str) -> int:
        return self._use(object_id).day.count(self._now())

    def external_recipients_in_last_day(self) -> int:
        """Of the whole organisation."""
        return self._external.count(self._now())

    def external_recipients_limit(self) -> int:
        """500 × licences^0.7 + 9500, unless it is set or the tenant is a trial (3.2)."""
        limits = self._tenant.exchange.limits
        if limits.external_recipients_per_day is not None:
            return limits.external_recipients_per_day
        if limits.is_trial:
            return TRIAL_EXTERNAL_RECIPIENTS
        licences = sum(user.licensed and user.is_mailbox for user in self._tenant.users.values())
        quota: float = 500 * float(licences) ** 0.7 + 9_500
        return round(quota)

    def messages_in_last_minute(self, object_id: str) -> int:
        """Those held back for later count as well."""
        return len(self._recent(object_id))

    def sent_items_bytes(self, object_id: str) -> int:
        return self._kept(object_id).sent_bytes

    def sent_item_numbers(self, object_id: str) -> list[int]:
        """The numbers of the messages in Sent Items, oldest first."""
        return [number for _, number, _ in self._kept(object_id).sent_items]

    def is_external(self, address: str) -> bool:
        return address.rpartition("@")[2].lower() != self._tenant.domain.lower()

    # May this message go, and when

    def find_exhausted(self, mailbox: "User", recipients: Iterable[str], size_bytes: int) -> Exhausted | None:
        """The first limit that a message would pass, or None."""
        limits = self._tenant.exchange.limits_of(mailbox.object_id)
        addressed = list(recipients)
        if self.sent_items_bytes(mailbox.object_id) + size_bytes > limits.quota_bytes:
            return "mailbox full"
        if self.recipients_in_last_day(mailbox.object_id) + len(addressed) > limits.recipients_per_day:
            return "recipients a day"
        external = sum(self.is_external(address) for address in addressed)
        if external and self.external_recipients_in_last_day() + external > self.external_recipients_limit():
            is_trial = self._tenant.exchange.limits.is_trial
            return "external recipients of a trial" if is_trial else "external recipients a day"
        return None

    def is_within_rate(self, object_id: str) -> bool:
        """Whether the mailbox may send another message this minute."""
        limit = self._tenant.exchange.limits_of(object_id).messages_per_minute
        return self.messages_in_last_minute(object_id) < limit

    # What was accepted

    def keep(self, mailbox: "User", message: "ReceivedMessage", *, is_in_sent_items: bool = True) -> None:
        """Count an accepted message, put it where recipients find it, and a copy into Sent Items."""
        use, now = self._use(mailbox.object_id), self._now()
        self._tenant.messages.append(message)
        use.delivered.append(message.delivered_at or now)
        use.day.add(now, len(message.recipients))
        if external := sum(self.is_external(address) for address in message.recipients):
            self._external.add(now, external)
        if is_in_sent_items:
            self.keep_copy(mailbox.object_id, message)

    def keep_copy(self, object_id: str, message: "ReceivedMessage") -> None:
        """A copy into Sent Items of this mailbox: where a person sends from another's, it is that one's (6.3)."""
        use = self._use(object_id)
        use.sent_items.append((self._now(), message.number, len(message.content)))
        use.sent_bytes += len(message.content)

    def delivery_time(self, object_id: str) -> float:
        """When a message that is accepted now is delivered: later, if the mailbox has used up its minute."""
        recent, now = self._recent(object_id), self._now()
        limit = self._tenant.exchange.limits_of(object_id).messages_per_minute
        return max(now, recent[-limit] + MINUTE_SECONDS) if len(recent) >= limit else now

    def use_up(self, object_id: str, recipients: int) -> None:
        """As if the mailbox had written to `recipients` people just now; for rehearsals of a day's limit."""
        self._use(object_id).day.add(self._now(), recipients)

    def give_back(self, object_id: str, recipients: int) -> None:
        """Undo `use_up`."""
        self._use(object_id).day.add(self._now(), -recipients)

    def fill_sent_items(self, object_id: str, size_bytes: int) -> None:
        """As if Sent Items held that much more, in one message that nobody can open."""
        use = self._use(object_id)
        use.sent_items.append((self._now(), 0, size_bytes))
        use.sent_bytes += size_bytes

    def remove_filling(self, object_id: str) -> None:
        """Undo `fill_sent_items`; what was really sent stays."""
        use = self._use(object_id)
        use.sent_bytes -= sum(size for _, number, size in use.sent_items if not number)
        use.sent_items = deque(item for item in use.sent_items if item[1])

    def empty_sent_items(self, object_id: str) -> None:
        use = self._use(object_id)
        use.sent_items.clear()
        use.sent_bytes = 0

    def _now(self) -> float:
        return self._tenant.clock.now()

    def _use(self, object_id: str) -> _Use:
        return self._uses.setdefault(object_id, _Use())

    def _recent(self, object_id: str) -> deque[float]:
        delivered, since = self._use(object_id).delivered, self._now() - MINUTE_SECONDS
        while delivered and delivered[0] <= since:
            delivered.popleft()
        return delivered

    def _kept(self, object_id: str) -> _Use:
        """Sent Items without what the retention policy has removed by now."""
        use, days = self._use(object_id), self._tenant.exchange.limits_of(object_id).retention_days
        while days is not None and use.sent_items and use.sent_items[0][0] <= self._now() - days * DAY_SECONDS:
            use.sent_bytes -= use.sent_items.popleft()[2]
        return use
