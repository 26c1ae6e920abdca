"""A mail server away for three days, on virtual time: nothing fails, nothing ages by it, all goes afterwards."""

import asyncio
import random
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postroom.clock import DAY_US
from postroom.message import RecipientState
from postroom.store.choices import ChoiceAnswer, ChosenMail
from postroom.store.records import AppSettings
from tests.world.client import Client, Ledger
from tests.world.loop import VirtualClock, VirtualLoop
from tests.world.mail_server import ADDRESS, SECOND, MailServerProtocol, Weather, Witness
from tests.world.world import LISTENER, Machine, most_in_a_minute, set_up_ways

DAYS_AWAY = 3
MESSAGES = 60
MICROSOFTS_LIMIT = 30


@pytest.mark.parametrize("restarts", [True], ids=["restarted in between"])
@pytest.mark.parametrize("has_another_way", [False, True], ids=["one way", "another way"])
def test_three_days_away(tmp_path: Path, restarts: bool, has_another_way: bool) -> None:
    loop = VirtualLoop(random.Random(3))
    with capture_logs():
        loop.run_until_complete(live(loop, tmp_path, restarts, has_another_way))
    loop.close()


async def live(loop: VirtualLoop, folder: Path, restarts: bool, has_another_way: bool) -> None:
    witness, ledger = Witness(), Ledger()

    def put_up(address: tuple[str, int]) -> None:
        loop.listeners[address] = partial(MailServerProtocol, witness, Weather(), random.Random(4), address[0])

    machine = Machine(folder, VirtualClock(loop), random.Random(5))
    await machine.start()
    first, _ = await set_up_ways(machine.store)
    if has_another_way:
        put_up(SECOND)
    else:
        await machine.store.ways.set_alternatives(first, [], "world")
    # Less than a day of lifetime: three days would end it thrice over if they counted.
    await machine.store._writer.run(
        lambda connection: connection.raw.execute(f"UPDATE sending_settings SET lifetime_us = {DAY_US}").rowcount
    )
    app, password = await machine.store.apps.create(AppSettings(name="Scanner"), "world")
    client = Client("c", LISTENER, (app.login, password), ledger, random.Random(6))
    await client.send(MESSAGES)
    if restarts:
        await asyncio.sleep(DAYS_AWAY * 43_200)
        machine.stop_at_once()
        await machine.bury(loop)
        await asyncio.sleep(60)
        await machine.start()
        if has_another_way:
            put_up(SECOND)
    await asyncio.sleep(DAYS_AWAY * 86_400)

    before = len(witness.taken)
    assert {name for _, name, _ in witness.taken} == ({SECOND[0]} if has_another_way else set())
    put_up(ADDRESS)
    for _ in range(6):
        await asyncio.sleep(600)
        for choice in await machine.store.choices.open():  # a person is asked after so long a stop
            await machine.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "world")
    await Client("late", LISTENER, (app.login, password), ledger, random.Random(7)).send(2)
    await asyncio.sleep(3_600)

    assert witness.taken[-1][1] == ADDRESS[0], "back to its own way"
    counts = await machine.store.messages.counts()
    assert not [state for state, number in counts.items() if number and not state.is_final]
    never = sum(address.startswith("never") for told in ledger.acknowledged.values() for address in told)
    failed = 0
    order = []
    for message_id in await all_messages(machine):
        detail = await machine.store.messages.find(message_id)
        assert detail is not None
        order.append(detail.internet_message_id)
        for recipient in detail.recipients:
            wanted = RecipientState.FAILED if recipient.address.startswith("never") else RecipientState.SENT
            assert recipient.state is wanted, (recipient, detail.timeline)
            failed += wanted is RecipientState.FAILED
    assert failed == never, "only those whom nobody knows"
    arrived = [message_id for _, _, message_id in witness.taken]
    assert len(arrived) == len(set(arrived))
    if not has_another_way:
        assert before == 0
        places = [order.index(message_id) for message_id in arrived]
        # Two connections: neighbours may pass one another, and the one that probed comes first.
        late = sum(before > after for before, after in pairwise(places))
        assert late <= len(places) // 4, places
    assert most_in_a_minute([at for at, _, _ in witness.taken]) <= MICROSOFTS_LIMIT
    await machine.bury(loop)


async def all_messages(machine: Machine) -> list[int]:
    rows, cursor = await machine.store.messages.search("", limit=500)
    assert cursor is None
    return sorted(row.message_id for row in rows)
