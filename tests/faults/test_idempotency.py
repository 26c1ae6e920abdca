"""Promise 25: one key is one message, with twenty clients at once, over every kill between asking and answering."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.serving import SENDER, Postroom, postroom_in
from tests.faults.ways import Answer, Ways

pytestmark = pytest.mark.anyio

CLIENTS = 20
KEY = "<backup.2026-11-27@witness.test>"
COMMITS_LIMIT = 40
NOWHERE = 1  # a port on which nobody takes mail: it stays in the outbox


@pytest.fixture
def postroom(tmp_path: Path) -> Iterator[Postroom]:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        yield postroom


@pytest.mark.parametrize("way", ["json", "raw"])
async def test_one_key_is_one_message_over_every_kill(postroom: Postroom, way: str) -> None:
    await postroom.set_up(NOWHERE)
    kills = 0
    for commit in range(1, COMMITS_LIMIT):
        serving = postroom.start(POSTROOM_TEST_KILL_AT=f"after_commit:{commit}")
        where = await asyncio.to_thread(serving.wait_until_ready_or_gone)
        if where is None:
            continue  # killed before anybody could ask
        answers = await ask_all(Ways(postroom, where), way)
        if {answer.code for answer in answers} - {0, 202, 409, 421}:
            pytest.fail(str(answers))
        if all(answer.code for answer in answers):
            serving.kill()
            break
        kills += 1
    else:
        pytest.fail("no run came to its end")
    serving = postroom.start()
    again = await ask_all(Ways(postroom, await asyncio.to_thread(serving.wait_until_ready)), way)
    taken = [answer for answer in again if answer.code == 202]
    assert taken
    assert len({json.loads(answer.text)["id"] for answer in taken}) == 1
    assert await asyncio.to_thread(serving.terminate) == 0
    store = await postroom.open_store()
    rows, _ = await store.messages.search("")
    await store.close()
    print(f"{kills} kills while {CLIENTS} clients asked")
    assert len(rows) == 1
    assert kills >= 2


async def ask_all(ways: Ways, way: str) -> list[Answer]:
    """The same request from all clients at once; code 0 from a server that went away."""

    async def ask() -> Answer:
        try:
            answer: Answer = await getattr(ways, way)(
                KEY, (f"ops@{SENDER.partition('@')[2]}",), b"All 42 machines.\r\n"
            )
        except OSError:
            return Answer(0, "it is gone")
        return answer

    return await asyncio.gather(*(ask() for _ in range(CLIENTS)))
