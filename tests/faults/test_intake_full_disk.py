"""Promise 3: a full disk is a temporary matter. 452 4.3.1 or 507, never a permanent refusal, never a false 250, and
mail is taken again by itself once there is room."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.crowd import ALL_WAYS, Crowd, Note
from tests.faults.oracle import judge
from tests.faults.serving import ALL_LISTENERS, Postroom, WitnessProcess, postroom_in, wait_for, witness_in
from tests.faults.small_disk import SmallDisk, small_disk_at

pytestmark = pytest.mark.anyio

CLIENTS = 8
DISK_BYTES = 48 * 1024 * 1024
RESERVED_BYTES = 4 * 1024 * 1024
SMALL = (300,)
RECOVERY_SECONDS = 10


class Machine:
    """A Postroom on a small disk, its witness, and clients by all ways."""

    def __init__(self, postroom: Postroom, witness: WitnessProcess, disk: SmallDisk) -> None:
        self.postroom = postroom
        self.witness = witness
        self.disk = disk

    async def start(self, crowd: Crowd, reserved_bytes: int) -> None:
        self.postroom.init()
        await self.postroom.set_up(self.witness.port)
        serving = self.postroom.start(**ALL_LISTENERS, POSTROOM_OUTBOX_RESERVED_BYTES=str(reserved_bytes))
        crowd.go_to(await asyncio.to_thread(serving.wait_until_ready))
        await crowd.wait_until_acknowledged(CLIENTS)

    async def recover(self, crowd: Crowd) -> float:
        """Seconds until each way has taken mail again after the disk got its room back."""
        acknowledged = dict(crowd.note.by_way)
        crowd.sizes = SMALL  # what is taken stays on the disk: large mail would soon fill it again
        began = time.monotonic()
        self.disk.empty()
        while any(crowd.note.by_way[way] == acknowledged[way] for way in acknowledged):
            await crowd.wait_until_acknowledged(1)
        return time.monotonic() - began

    async def ask_ready(self, status: int) -> dict[str, Any]:
        """What /readyz says, once it answers with this status: it looks again every two seconds."""
        found = self.postroom.runs[-1].addresses()
        assert found is not None
        url = f"{found['console']}/readyz".replace("localhost", "127.0.0.1")

        def look() -> httpx2.Response | None:
            answer = httpx2.get(url, timeout=20)
            return answer if answer.status_code == status else None

        answer = await asyncio.to_thread(wait_for, look, f"/readyz answers {status}")
        told: dict[str, Any] = answer.json()
        return told

    async def end(self, note: Note) -> None:
        """All that was acknowledged is accounted for."""
        assert await asyncio.to_thread(self.postroom.runs[-1].terminate) == 0, self.postroom.runs[-1].said
        store = await self.postroom.open_store()
        verdict = await judge(store, note, self.witness.arrivals(), self.postroom.dropped())
        unknown = (await store.messages.overview(0)).unknown
        await store.close()
        print(verdict)
        assert (verdict.trouble, verdict.lost) == ([], 0)
        assert verdict.duplicates <= unknown


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk_at(tmp_path / "data", DISK_BYTES))
        witness = stack.enter_context(witness_in(tmp_path))
        yield Machine(stack.enter_context(postroom_in(tmp_path)), witness, disk)


def check_refusals(note: Note) -> None:
    print(dict(note.refused), "acknowledged", dict(note.by_way))
    # sendmail tells its caller to try again (EX_TEMPFAIL), and leaves the drop folder alone: that would hide it only.
    assert {code for way, code in note.refused if way != "sendmail"} <= {452, 507}, note.refusals
    assert {code for way, code in note.refused if way == "sendmail"} <= {451}, note.refusals
    assert {way for way, _ in note.refused} >= {"smtp", "local", "raw", "json"}
    for (_, code), text in note.refusals.items():
        assert ('"code":"storage_full"' if code == 507 else "4.3.1 The store of waiting mail is full") in text


@pytest.mark.parametrize(
    ("reserved_bytes", "free_bytes", "sizes"),
    [(RESERVED_BYTES, RESERVED_BYTES // 2, (300, 150_000)), (0, 0, (300, 20_000, 150_000))],
    ids=["what is reserved is reached", "not one byte is left"],
)
async def test_a_full_disk_is_a_temporary_matter(
    machine: Machine, reserved_bytes: int, free_bytes: int, sizes: tuple[int, ...]
) -> None:
    async with Crowd(machine.postroom, random.Random(7), CLIENTS, ALL_WAYS, sizes) as crowd:
        await machine.start(crowd, reserved_bytes)
        machine.disk.fill(free_bytes)
        await wait_for_refusals(crowd)
        full = await machine.ask_ready(503)
        seconds = await machine.recover(crowd)
        await machine.ask_ready(200)
    assert any("is full" in condition["reason"] for condition in full["conditions"]), full
    check_refusals(crowd.note)
    await machine.end(crowd.note)
    print(f"mail was taken again after {seconds:.2f} s")
    assert seconds < RECOVERY_SECONDS
    assert "Traceback" not in machine.postroom.runs[-1].said


async def wait_for_refusals(crowd: Crowd) -> None:
    """Until each way but sendmail, which is rarer, has been refused."""
    while not {way for way, _ in crowd.note.refused} >= {"smtp", "local", "raw", "json"}:
        await crowd.wait_until_answered()
