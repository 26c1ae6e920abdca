"""What ends by itself, and when: the expiry calendar of the mailboxes that sign in with OAuth."""

from datetime import date
from enum import StrEnum

import msgspec

from postroom.clock import DAY_US, date_at
from postroom.store.database import Row
from postroom.store.records import Authentication, GrantType
from postroom.store.rows import date_of

WARNING_DAYS = (60, 30, 14, 7, 1)
"""So many days before the end it is told, each time anew."""
IDLE_US = 90 * DAY_US
"""A refresh token that nobody used for so long ends (Microsoft Learn, "Refresh tokens in the identity platform")."""


class ExpiryKind(StrEnum):
    CLIENT_SECRET = "client_secret"  # noqa: S105 - a name
    CERTIFICATE = "certificate"
    """With which the app proves itself."""
    SIGN_IN = "sign_in"
    """Its refresh token, unless it is renewed before, which happens weekly by itself."""


class Expiry(msgspec.Struct, frozen=True):
    """One thing that ends."""

    kind: ExpiryKind
    mailbox_id: int
    username: str
    ends_on: date
    days: int
    """From today; negative when the day has passed."""

    @property
    def is_near(self) -> bool:
        return self.days <= WARNING_DAYS[0]


def expiries_in(row: Row, now_us: int) -> list[Expiry]:
    """Of a mailbox with its grant: a row of `expiries` or `mailbox_figures`."""
    if row["authentication"] != Authentication.OAUTH:
        return []
    ends: dict[ExpiryKind, date] = {}
    if (secret_ends_on := date_of(row["secret_ends_on"])) is not None:
        ends[ExpiryKind.CLIENT_SECRET] = secret_ends_on
    if (certificate_ends_on := date_of(row["certificate_ends_on"])) is not None:
        ends[ExpiryKind.CERTIFICATE] = certificate_ends_on
    # An app by itself has no refresh token that could end.
    if row["granted_at_us"] is not None and not GrantType(row["grant_type"]).is_app_only:
        used_at_us = max(row["granted_at_us"], row["renewed_at_us"] or 0)
        ends[ExpiryKind.SIGN_IN] = date_at(used_at_us + IDLE_US)
    today = date_at(now_us)
    return [
        Expiry(kind, row["mailbox_id"], row["username"], ends_on, (ends_on - today).days)
        for kind, ends_on in ends.items()
    ]


def warning_step(days: int) -> int | None:
    """Which of the warnings is due when so many days are left: 30 from 30 days on, 0 when it is over."""
    if days < 0:
        return 0
    return min((step for step in WARNING_DAYS if days <= step), default=None)
