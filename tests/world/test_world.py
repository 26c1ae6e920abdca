"""Many worlds: in none of them is an acknowledged message lost, or called sent without having arrived.

`POSTROOM_WORLD_SEED=<n>` replays one; `POSTROOM_WORLD_SEEDS=<n>` runs another number of them.
"""

import os

import pytest

from postroom.outcome import Failure, FailureClass, Sent, TryLater
from postroom.store import claims, rerouting
from postroom.store.outbox import Outbox
from postroom.store.records import Lease, NewMessage, Settlement
from tests.world.mail_server import Witness
from tests.world.world import CLIENTS, MESSAGES_A_CLIENT, describe, live

FIRST_SEEDS = int(os.environ.get("POSTROOM_WORLD_SEEDS", "100"))
SEEDS_A_TEST = 25
ONE_SEED = os.environ.get("POSTROOM_WORLD_SEED")


def batches() -> list[range]:
    if ONE_SEED is not None:
        return [range(int(ONE_SEED), int(ONE_SEED) + 1)]
    return [range(first, min(first + SEEDS_A_TEST, FIRST_SEEDS)) for first in range(0, FIRST_SEEDS, SEEDS_A_TEST)]


@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_nothing_acknowledged_is_lost(seeds: range) -> None:
    for seed in seeds:
        verdict = live(seed)
        assert not verdict.trouble, f"replay with POSTROOM_WORLD_SEED={seed}: {describe(verdict)}"
        assert verdict.acknowledged == CLIENTS * MESSAGES_A_CLIENT, (
            f"seed {seed}: the world ended before its clients had done their work"
        )


async def keep_nothing(self: Outbox, new: NewMessage) -> None:
    """A store that says yes and forgets."""


async def call_all_sent(self: Outbox, lease: Lease, settlement: Settlement) -> None:
    """A store that writes down what was hoped for."""
    hoped = {recipient.recipient_id: Sent("250 hoped") for recipient in lease.recipients}
    await settle_truly(self, lease, Settlement(dict(hoped)))


settle_truly = Outbox.settle


async def send_all_again(self: Outbox, lease: Lease, settlement: Settlement) -> None:
    """A store that writes down that nothing was sent, and so sends it twice."""
    later = TryLater(Failure(FailureClass.THROTTLE, "lie", "451 lie", "wait"), lease.expires_at_us)
    told = {
        recipient: later if isinstance(outcome, Sent) and lease.attempt_number == 1 else outcome
        for recipient, outcome in settlement.outcomes.items()
    }
    await settle_truly(self, lease, Settlement(told, settlement.dialogue, settlement.server))


def drop(self: Witness, content: bytes, recipients: list[str], name: str, now: float) -> None:
    """A mail server that acknowledges and drops."""


@pytest.mark.parametrize(
    ("liar", "method", "lie", "reason"),
    [
        (Outbox, "keep", keep_nothing, "was acknowledged and is gone"),
        (Outbox, "settle", call_all_sent, "never arrived"),
        (Outbox, "settle", send_all_again, "attempts tell of it"),
        (Witness, "take", drop, "never arrived"),
        (claims, "find_free_slots", lambda c, m, n, wanted: [1] * wanted, "within a minute"),
        (rerouting, "add_entries", lambda *given: None, "changed its way"),
    ],
)
def test_the_oracle_sees_a_liar(
    monkeypatch: pytest.MonkeyPatch, liar: object, method: str, lie: object, reason: str
) -> None:
    monkeypatch.setattr(liar, method, lie)
    assert any(reason in trouble for seed in range(5) for trouble in live(seed).trouble)
