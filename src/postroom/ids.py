"""Ids: time-ordered 63-bit integers, and their base32 form that people and programs see.

From the top: 41 bits of milliseconds since 2024 (until 2093), 10 bits of node, 12 bits of sequence.
"""

from postroom.clock import Clock

EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
NODE_BITS = 10
SEQUENCE_BITS = 12
PUBLIC_LENGTH = 13
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"I": 1, "L": 1, "O": 0}


class IdMaker:
    """Makes ids that only ever grow, even when the clock is set back.

    `after` is the greatest id that was made before, so that this holds over a restart too.
    """

    def __init__(self, clock: Clock, node: int = 0, after: int = 0) -> None:
        if not 0 <= node < 1 << NODE_BITS:
            raise ValueError(f"node {node} does not fit in {NODE_BITS} bits")
        self._clock = clock
        self._node = node
        milliseconds, sequence = after >> NODE_BITS + SEQUENCE_BITS, after & (1 << SEQUENCE_BITS) - 1
        self._last = milliseconds << SEQUENCE_BITS | sequence  # milliseconds and sequence, as one number

    def make_id(self) -> int:
        milliseconds = self._clock.now_us() // 1000 - EPOCH_MS
        # A sequence that runs over borrows the next millisecond.
        self._last = max(self._last + 1, milliseconds << SEQUENCE_BITS)
        milliseconds, sequence = divmod(self._last, 1 << SEQUENCE_BITS)
        return (milliseconds << NODE_BITS | self._node) << SEQUENCE_BITS | sequence


def first_id_at(at_us: int) -> int:
    """No id made at this time or later, by any node, is smaller."""
    return max(0, at_us // 1000 - EPOCH_MS) << NODE_BITS + SEQUENCE_BITS


def made_at_us(number: int) -> int:
    """When an id was made, to the millisecond."""
    return ((number >> NODE_BITS + SEQUENCE_BITS) + EPOCH_MS) * 1000


def public_id(number: int) -> str:
    """The 13 letters that stand for an id outside the database."""
    letters = []
    for _ in range(PUBLIC_LENGTH):
        number, value = divmod(number, 32)
        letters.append(_ALPHABET[value])
    return "".join(reversed(letters))


def parse_public_id(text: str) -> int:
    """The id behind its public form, read leniently as to case; ValueError when it is none."""
    try:
        values = [_VALUES[letter] for letter in text.strip().upper()]
    except KeyError:
        raise ValueError(f"{text!r} is not an id") from None
    number = 0
    for value in values:
        number = number * 32 + value
    if len(values) != PUBLIC_LENGTH or number >= 1 << 63:
        raise ValueError(f"{text!r} is not an id")
    return number
