"""The one question of every fault test: is each message that was acknowledged accounted for?"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from postroom.message import RecipientState
from postroom.store import Store
from postroom.store.records import MessageDetail
from tests.faults.crowd import Note
from tests.faults.witness import Arrival


@dataclass
class Verdict:
    """What is wrong is a sentence in `trouble`; `lost` and `duplicates` are the promise's figures, in recipients."""

    acknowledged: int = 0
    arrived: int = 0
    queued: int = 0
    failed: int = 0
    lost: int = 0
    duplicates: int = 0
    trouble: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        figures = ("acknowledged", "arrived", "queued", "failed", "lost", "duplicates")
        return ", ".join(f"{name} {getattr(self, name)}" for name in figures)


async def judge(
    store: Store, note: Note, arrivals: list[Arrival], dropped: Collection[tuple[str, str]] = ()
) -> Verdict:
    """Lost is what was acknowledged, has not arrived, does not wait and did not fail: it must be 0.

    `dropped` has Message-ID and recipient of what waits in the drop folder.
    """
    states = states_by_copy(await read_all(store))
    for key in dropped:
        states[key].append(RecipientState.QUEUED)
    arrived = Counter((arrival.message_id, address) for arrival in arrivals for address in arrival.recipients)
    verdict = Verdict(
        acknowledged=sum(map(len, note.acknowledged.values())),
        arrived=arrived.total(),
        # One message may be stored twice, when its client did not hear our 250: those are two messages.
        duplicates=sum(max(0, number - len(states[key])) for key, number in arrived.items()),
    )
    for message_id, recipients in note.acknowledged.items():
        for address in recipients:
            _judge_recipient(verdict, states[message_id, address], arrived[message_id, address], message_id, address)
    for key, copies in states.items():
        sent = copies.count(RecipientState.SENT)
        if sent > arrived[key]:
            verdict.trouble.append(f"{key} is called sent {sent} times and arrived {arrived[key]} times")
    damaged = {
        arrival.message_id
        for arrival in arrivals
        if note.digests.get(arrival.message_id, arrival.digest) != arrival.digest
    }
    verdict.trouble += [f"{message_id} arrived damaged" for message_id in sorted(damaged)]
    return verdict


def _judge_recipient(
    verdict: Verdict, copies: list[RecipientState], arrivals: int, message_id: str, address: str
) -> None:
    is_failed = RecipientState.FAILED in copies
    is_waiting = any(not state.is_final for state in copies)
    verdict.failed += is_failed
    verdict.queued += is_waiting
    if not (arrivals or is_failed or is_waiting):
        verdict.lost += 1
        verdict.trouble.append(f"{message_id} for {address} was acknowledged and is lost: {copies or 'no trace of it'}")
    if is_failed and not address.startswith("550"):
        verdict.trouble.append(f"{message_id} for {address} failed, and nobody refused it")


def states_by_copy(details: list[MessageDetail]) -> dict[tuple[str, str], list[RecipientState]]:
    """The states of a recipient of a Message-ID, one for each time that the message was stored."""
    states: dict[tuple[str, str], list[RecipientState]] = defaultdict(list)
    for detail in details:
        for row in detail.recipients:
            states[detail.internet_message_id, row.address].append(row.state)
    return states


async def read_all(store: Store) -> list[MessageDetail]:
    details: list[MessageDetail] = []
    cursor: str | None = None
    while True:
        rows, cursor = await store.messages.search("", cursor=cursor, limit=200)
        for row in rows:
            detail = await store.messages.find(row.message_id)
            assert detail is not None
            details.append(detail)
        if cursor is None:
            return details
