"""`postroom serve` is killed at any moment while clients hand mail in and mail goes out: nothing that was acknowledged
is lost, nothing is called sent that did not arrive, and each duplicate is one of the attempts shown as unknown.

POSTROOM_KILLS says how often (10; the long run is 200), POSTROOM_SEED repeats a run's choices.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from postroom.message import RecipientState
from tests.faults.crowd import ALL_WAYS, Crowd
from tests.faults.oracle import judge, read_all
from tests.faults.serving import ALL_LISTENERS, Postroom, Serving, postroom_in, wait_for, witness_in

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("POSTROOM_KILLS", "10"))
CLIENTS = 20
DOWN_SECONDS = 120
"""So long the machine seems to be down after each kill: what is unknown waits a minute before it goes again."""
POINTS = (
    "before_insert",
    "before_claim",
    "before_settle",
    "before_commit",
    "after_commit",
    "before_body_write",
    "before_body_sync",
    "after_body_sync",
)


@pytest.mark.timeout(120 + 10 * KILLS)
async def test_sigkill_while_mail_flows(tmp_path: Path) -> None:
    seed = int(os.environ.get("POSTROOM_SEED", random.randrange(2**32)))
    print(f"POSTROOM_SEED={seed} POSTROOM_KILLS={KILLS}")
    chance = random.Random(seed)
    with witness_in(tmp_path, pause_seconds=0.02) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        async with Crowd(postroom, random.Random(seed + 1), CLIENTS, ALL_WAYS) as crowd:
            for number in range(KILLS):
                await live_and_be_killed(postroom, crowd, chance, ahead_seconds=number * DOWN_SECONDS)
        released = await drain(postroom)
        store = await postroom.open_store()
        verdict = await judge(store, crowd.note, witness.arrivals())
        unknown = (await store.messages.overview(0)).unknown
        await store.close()
    print(f"{verdict}, unknown {unknown}; {KILLS} kills, {released} held for them")
    print(f"{crowd.note.attempted} tries of {CLIENTS} clients")
    print(f"acknowledged by way: {dict(crowd.note.by_way)}; refused: {dict(crowd.note.refused)}")
    assert verdict.trouble == []
    assert verdict.lost == 0
    assert verdict.queued == 0
    assert verdict.acknowledged > CLIENTS
    assert set(crowd.note.by_way) == set(ALL_WAYS)
    assert verdict.duplicates <= unknown


async def drain(postroom: Postroom) -> int:
    """A start ends the last kill's leases, and what they leave unknown is due at the next one.

    A message that was in flight at three kills in succession is held: a person looks, and releases it.
    """
    released = 0
    for more in (0, 1):
        serving = postroom.start(POSTROOM_TEST_AHEAD_SECONDS=str((KILLS + more) * DOWN_SECONDS))
        await asyncio.to_thread(serving.wait_until_ready)
        if more:
            await asyncio.to_thread(wait_until_drained, postroom)
        assert serving.terminate() == 0, serving.said
        released += 0 if more else await release_held(postroom)
    return released


def wait_until_drained(postroom: Postroom) -> None:
    wait_for(lambda: not any(postroom.drop_folder.iterdir()), "the drop folder is empty")
    postroom.wait_until_ended()


async def release_held(postroom: Postroom) -> int:
    store = await postroom.open_store()
    held = [detail for detail in await read_all(store) if detail.row.state is RecipientState.HELD]
    for detail in held:
        assert {recipient.failure and recipient.failure.code for recipient in detail.recipients} == {"brought_us_down"}
        await store.outbox.release(detail.row.message_id, "test")
    await store.close()
    return len(held)


async def live_and_be_killed(postroom: Postroom, crowd: Crowd, chance: random.Random, ahead_seconds: int) -> None:
    """One run of the server, from its start to the moment that chance has chosen for its end."""
    way = chance.choices(("flowing", "at a point", "starting"), (6, 3, 1))[0]
    environment = {**ALL_LISTENERS, "POSTROOM_TEST_AHEAD_SECONDS": str(ahead_seconds)}
    if way == "at a point":
        environment["POSTROOM_TEST_KILL_AT"] = f"{chance.choice(POINTS)}:{chance.randint(1, 30)}"
    serving = postroom.start(**environment)
    if way == "starting":
        await asyncio.sleep(chance.uniform(0, 1.5))
    else:
        await kill_in_the_middle(serving, crowd, chance, is_doomed=way == "at a point")
    serving.kill()
    crowd.go_to(None)


async def kill_in_the_middle(serving: Serving, crowd: Crowd, chance: random.Random, *, is_doomed: bool) -> None:
    ready = await asyncio.to_thread(serving.wait_until_ready_or_gone)
    if ready is None:
        assert is_doomed, serving.said
        return
    crowd.go_to(ready)
    if is_doomed:
        await asyncio.to_thread(serving.wait_until_gone)
        return
    await crowd.wait_until_acknowledged(chance.randint(1, 60))
    await asyncio.sleep(chance.uniform(0, 0.03))  # the moment of the kill itself, in between two acknowledgements


@pytest.mark.parametrize("number", range(3))
async def test_sigterm_under_load(tmp_path: Path, number: int) -> None:
    """It takes no new mail, finishes what runs, and is gone with exit code 0; nothing is half done."""
    with witness_in(tmp_path, pause_seconds=0.1) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port, connections=2)
        async with Crowd(postroom, random.Random(number), CLIENTS, ALL_WAYS) as crowd:
            serving = postroom.start(**ALL_LISTENERS)
            crowd.go_to(await asyncio.to_thread(serving.wait_until_ready))
            await crowd.wait_until_acknowledged(20 + 15 * number)
            exit_code = await asyncio.to_thread(serving.terminate, 30)
        store = await postroom.open_store()
        verdict = await judge(store, crowd.note, witness.arrivals(), postroom.dropped())
        details = await read_all(store)
        interrupted = store.interrupted_attempts
        await store.close()
    print(verdict, dict(crowd.note.by_way), dict(crowd.note.refused))
    assert exit_code == 0, serving.said
    assert "Traceback" not in serving.said
    assert (verdict.trouble, verdict.lost, verdict.duplicates) == ([], 0, 0)
    assert verdict.queued > 0, "there was load left to stop under"
    assert interrupted == 0, "no attempt was left open"
    assert all(attempt.ended_at_us is not None for detail in details for attempt in detail.attempts)
