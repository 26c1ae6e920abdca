"""What people decide about sending as a whole: how long mail is tried, who is told, and the canary."""

from typing import Any

import msgspec

from postroom.clock import DAY_US, HOUR_US, MINUTE_US
from postroom.store.audit import note
from postroom.store.database import Connection, to_json
from postroom.store.reader import Reader
from postroom.store.writer import Writer

SHORTEST_LIFETIME_US = HOUR_US
LONGEST_LIFETIME_US = 30 * DAY_US
SHORTEST_DELAY_US = MINUTE_US
SHORTEST_CANARY_US = 5 * MINUTE_US  # it counts against the mailbox's pace like any other message
LONGEST_CANARY_US = 7 * DAY_US

Troubles = dict[str, str]
"""A setting's name, and one sentence: what is wrong with it."""


class SendingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The one set of them; the defaults are those of a new installation."""

    lifetime_us: int = 5 * DAY_US
    """How long a message may wait while it could be sent, before it fails."""
    delay_notice_after_us: int | None = 4 * HOUR_US
    """When its sender is told that it still waits; None: never."""
    administrator: str = ""
    """Who is told what no sender can be told; empty: nobody."""
    canary_is_on: bool = False
    canary_every_us: int = HOUR_US
    canary_recipient: str = ""
    """Empty: the test address of the mail server."""

    def troubles(self) -> Troubles:
        """What cannot be, by the setting's name; addresses are judged where they are entered."""
        found = {}
        if not SHORTEST_LIFETIME_US <= self.lifetime_us <= LONGEST_LIFETIME_US:
            found["lifetime"] = "Mail can be tried for one hour at least and for 30 days at most."
        if self.delay_notice_after_us is not None:
            if self.delay_notice_after_us < SHORTEST_DELAY_US:
                found["delay_notice_after"] = "A delay notice can be sent after one minute at the earliest."
            elif self.delay_notice_after_us >= self.lifetime_us:
                found["delay_notice_after"] = "A delay notice must come before the mail is given up, or never."
        if not SHORTEST_CANARY_US <= self.canary_every_us <= LONGEST_CANARY_US:
            found["canary_every"] = "The canary can fly every 5 minutes at most and once in 7 days at least."
        return found


class SendingSettingsTable:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def load(self) -> SendingSettings:
        return await self._reader.read(read_sending_settings)

    async def save(self, settings: SendingSettings, who: str, from_address: str = "") -> None:
        """Audited when anything changes. Errors: ValueError with a sentence."""
        for sentence in settings.troubles().values():
            raise ValueError(sentence)

        def keep(connection: Connection) -> None:
            before = read_sending_settings(connection)
            if before == settings:
                return
            connection.change("save_sending_settings", **_values(settings), now_us=connection.now_us)
            note(
                connection,
                who,
                "changed sending settings",
                "sending",
                from_address=from_address,
                before=_describe(before, settings),
                after=_describe(settings, before),
            )

        await self._writer.run(keep)


def read_sending_settings(connection: Connection) -> SendingSettings:
    """Inside a transaction, for what is decided there."""
    row = connection.only_row("sending_settings")
    return SendingSettings(
        lifetime_us=row["lifetime_us"],
        delay_notice_after_us=row["delay_notice_after_us"],
        administrator=row["administrator"],
        canary_is_on=bool(row["canary_is_on"]),
        canary_every_us=row["canary_every_us"],
        canary_recipient=row["canary_recipient"],
    )


def _values(settings: SendingSettings) -> dict[str, Any]:
    return {**msgspec.structs.asdict(settings), "canary_is_on": int(settings.canary_is_on)}


def _describe(settings: SendingSettings, other: SendingSettings) -> str:
    """What the audit shows: that in which they differ."""
    shown = msgspec.structs.asdict(settings)
    return to_json({name: value for name, value in shown.items() if value != getattr(other, name)})
