"""How long each step of a conversation may take."""

from typing import Self

import msgspec

SLOWEST_BYTES_A_SECOND = 8 * 1024
"""Of a line out that is slow and still of use: 150 MB, the most that Microsoft takes, then have five hours."""


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
    message: float = 1800
    """For a whole message until it is handed over, so that nobody keeps us by answering each step at the last moment;
    its bytes have `SLOWEST_BYTES_A_SECOND` besides."""
    end: float = 600
    quit: float = 5

    def whole(self, size_bytes: int) -> float:
        """For the message of this size, from its first command until its last byte may leave."""
        return self.message + size_bytes / SLOWEST_BYTES_A_SECOND

    def capped(self, seconds: float) -> Self:
        """None longer than `seconds`: for a person who waits for it."""
        return type(self)(**{name: min(value, seconds) for name, value in msgspec.structs.asdict(self).items()})
