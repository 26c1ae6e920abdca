"""How long each step of a conversation may take."""

from typing import Self

import msgspec


class Deadlines(msgspec.Struct, frozen=True):
    """Seconds for each step, at least those of RFC 5321 4.5.3.2 where it names any."""

    connect: float = 30
    greeting: float = 300
    hello: float = 300
    tls: float = 60
    sign_in: float = 120
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    end: float = 600
    quit: float = 5

    def capped(self, seconds: float) -> Self:
        """None longer than `seconds`: for a person who waits for it."""
        return type(self)(**{name: min(value, seconds) for name, value in msgspec.structs.asdict(self).items()})
