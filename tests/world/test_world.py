"""A thousand worlds: in none of them is an acknowledged message lost, or called sent without having arrived.

`POSTROOM_WORLD_SEED=<n>` replays one; `POSTROOM_WORLD_SEEDS=<n>` runs another number of them.
"""

import os

import pytest

from postroom.outcome import Sent
from postroom.store.outbox import Outbox
from postroom.store.records import Lease, NewMessage, Settlement
from tests.world.world import CLIENTS, MESSAGES_A_CLIENT, describe, live

FIRST_SEEDS = int(os.environ.get("POSTROOM_WORLD_SEEDS", "1000"))
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


@pytest.mark.parametrize(
    ("method", "lie", "reason"),
    [("keep", keep_nothing, "was acknowledged and is gone"), ("settle", call_all_sent, "never arrived")],
)
def test_the_oracle_sees_a_liar(monkeypatch: pytest.MonkeyPatch, method: str, lie: object, reason: str) -> None:
    monkeypatch.setattr(Outbox, method, lie)
    verdicts = [live(seed) for seed in range(5)]
    assert any(reason in trouble for verdict in verdicts for trouble in verdict.trouble)
