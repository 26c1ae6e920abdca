"""The crash column of the table of states: the server is killed while a recipient is in that state, started again,
and the recipient is where `message.CRASH_COLUMN` says. One test a row, named by the state."""

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.ids import public_id
from postroom.message import CRASH_COLUMN, RecipientState
from postroom.outcome import Refused, Sent, TryLater, Unknown
from postroom.store.records import MessageDetail
from scripts.browsing import Browser
from tests.faults.oracle import read_all
from tests.faults.serving import SENDER, Postroom, Serving, WitnessProcess, postroom_in, wait_for, witness_in

pytestmark = pytest.mark.anyio

PERSON, PASSPHRASE = "anna@witness.test", "a long enough passphrase"
FIRST, LATER = "first", "later"
_S = RecipientState


def test_every_row_has_its_test() -> None:
    assert {name for name in globals() if name.startswith("test_killed_while_")} == {
        f"test_killed_while_{state}" for state in CRASH_COLUMN
    }


class Machine:
    """A Postroom and its witness; messages are known by their subject."""

    def __init__(self, postroom: Postroom, witness: WitnessProcess) -> None:
        self.postroom = postroom
        self.witness = witness
        self.serving: Serving
        self.where: dict[str, str] = {}

    async def set_up(self, *, is_paused: bool = False) -> None:
        self.postroom.init()
        await self.postroom.set_up(self.witness.port)
        if is_paused:
            await self.pause()

    async def pause(self) -> None:
        store = await self.postroom.open_store()
        [mailbox] = await store.mailboxes.all()
        await store.mailboxes.pause(mailbox.mailbox_id, "test")
        await store.close()

    async def resume(self) -> None:
        store = await self.postroom.open_store()
        [mailbox] = await store.mailboxes.all()
        await store.mailboxes.resume(mailbox.mailbox_id, "test")
        await store.close()

    def start(self, ahead_seconds: int = 0) -> None:
        environment = {"POSTROOM_TEST_AHEAD_SECONDS": str(ahead_seconds)} if ahead_seconds else {}
        self.serving = self.postroom.start(**environment)
        self.where = self.serving.wait_until_ready()

    def kill(self) -> None:
        self.serving.kill()

    def hand_in(self, subject: str, recipient: str) -> None:
        host, _, port = self.where["smtp"].rpartition(":")
        with smtplib.SMTP(host, int(port), timeout=30) as client:
            client.starttls(context=ssl._create_unverified_context())
            client.login(self.postroom.login, self.postroom.password)
            text = f"From: {SENDER}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@witness.test>\r\n\r\nHello\r\n"
            client.sendmail(SENDER, [recipient], text)

    def wait_until(self, state: RecipientState, number: int = 1) -> None:
        wait_for(lambda: self.postroom.counts()[state] == number, f"{number} recipients are {state}")

    def arrived(self, subject: str) -> int:
        return sum(arrival.message_id == f"<{subject}@witness.test>" for arrival in self.witness.arrivals())

    def send_another(self) -> None:
        """After this has been sent, what could have been sent before it has had its turn."""
        sent = self.postroom.counts()[_S.SENT]
        self.hand_in(LATER, "ops@witness.test")
        # A failure notice may be sent beside it.
        wait_for(lambda: self.arrived(LATER) > 0 and self.postroom.counts()[_S.SENT] > sent, "another one was sent")

    async def look(self, subject: str = FIRST) -> MessageDetail:
        """Everything about a message, after the server was killed once more."""
        self.kill()
        store = await self.postroom.open_store()
        [found] = [detail for detail in await read_all(store) if detail.row.subject == subject]
        await store.close()
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        yield Machine(postroom, witness)


async def test_killed_while_queued(machine: Machine) -> None:
    """Found again at start."""
    await machine.set_up(is_paused=True)
    machine.start()
    machine.hand_in(FIRST, "ops@witness.test")
    assert machine.postroom.counts()[_S.QUEUED] == 1
    machine.kill()
    await machine.resume()
    machine.start()
    machine.wait_until(_S.SENT)
    found = await machine.look()
    assert [type(outcome) for attempt in found.attempts for _, outcome in attempt.outcomes] == [Sent]
    assert machine.arrived(FIRST) == 1


async def test_killed_while_sending(machine: Machine) -> None:
    """This node's lease ends at start; the open attempt becomes unknown, is shown so, and goes again."""
    await machine.set_up()
    await make_person(machine.postroom)
    machine.start()
    machine.hand_in(FIRST, "hold@witness.test")
    wait_for(lambda: machine.arrived(FIRST) == 1, "the witness has the message and does not answer")
    assert machine.postroom.counts()[_S.SENDING] == 1
    machine.kill()
    machine.start()
    assert (machine.postroom.counts()[_S.SENDING], machine.postroom.counts()[_S.QUEUED]) == (0, 1)
    found = await machine.look()
    [[(address, outcome)]] = [attempt.outcomes for attempt in found.attempts]
    assert (address, found.recipients[0].state) == ("hold@witness.test", _S.QUEUED)
    assert isinstance(outcome, Unknown)
    assert outcome.failure.code == "interrupted"
    machine.start(ahead_seconds=120)
    machine.wait_until(_S.SENT)
    page = read_page(machine.where["console"], f"/deliveries/{public_id(found.row.message_id)}")
    assert "Postroom stopped while this was being sent. Whether the mail server took it is not known." in page
    assert "Accepted: 250 2.0.0 OK" in page
    assert machine.arrived(FIRST) == 2, "the one duplicate that can be, and the timeline tells of it"


async def test_killed_while_deferred(machine: Machine) -> None:
    """Found again at start, due when it was due before."""
    await machine.set_up()
    machine.start()
    machine.hand_in(FIRST, "451@witness.test")
    machine.wait_until(_S.DEFERRED)
    before = await machine.look()
    machine.start()
    machine.send_another()
    after = await machine.look()
    assert after.recipients[0].state is _S.DEFERRED
    assert after.recipients[0].next_attempt_at_us == before.recipients[0].next_attempt_at_us is not None
    assert len(after.attempts) == 1
    machine.start(ahead_seconds=120)
    wait_for(lambda: "attempt=2" in plain(machine.serving.said), "the second attempt")
    machine.wait_until(_S.DEFERRED)
    again = await machine.look()
    assert [type(outcome) for attempt in again.attempts for _, outcome in attempt.outcomes] == [TryLater, TryLater]


async def test_killed_while_scheduled(machine: Machine) -> None:
    """Found again at start. Nothing schedules mail yet, so the row is put there by hand."""
    await machine.set_up(is_paused=True)
    machine.start()
    machine.hand_in(FIRST, "ops@witness.test")
    machine.kill()
    for statement in SCHEDULE:
        machine.postroom.change_row(statement)
    await machine.resume()
    machine.start()
    machine.kill()
    machine.start()
    machine.send_another()
    found = await machine.look()
    assert (found.recipients[0].state, found.attempts, machine.arrived(FIRST)) == (_S.SCHEDULED, (), 0)


SCHEDULE = (
    "UPDATE deliveries SET stage = 'held'",
    "INSERT INTO recipients (message_id, delivery_id, address, state, changed_at_us) "
    "SELECT message_id, delivery_id, address, 'scheduled', changed_at_us FROM recipients",
    "DELETE FROM recipients WHERE state = 'queued'",
    "UPDATE messages SET state = 'scheduled'",
)


async def test_killed_while_held(machine: Machine) -> None:
    """Stays until a person releases it."""
    message_id = await keep_and_intervene(machine, "hold")
    found = await machine.look()
    assert (found.recipients[0].state, machine.arrived(FIRST)) == (_S.HELD, 0)
    store = await machine.postroom.open_store()
    await store.outbox.release(message_id, "test")
    await store.close()
    machine.start()
    wait_for(lambda: machine.arrived(FIRST) == 1, "what was released is sent")


async def test_killed_while_cancelled(machine: Machine) -> None:
    """Stays: nothing of it is ever sent."""
    await keep_and_intervene(machine, "cancel")
    found = await machine.look()
    assert (found.recipients[0].state, found.attempts, machine.arrived(FIRST)) == (_S.CANCELLED, (), 0)


async def test_killed_while_sent(machine: Machine) -> None:
    """Stays: it is not sent again."""
    await machine.set_up()
    machine.start()
    machine.hand_in(FIRST, "ops@witness.test")
    machine.wait_until(_S.SENT)
    machine.kill()
    machine.start(ahead_seconds=120)
    machine.send_another()
    found = await machine.look()
    assert (found.recipients[0].state, len(found.attempts), machine.arrived(FIRST)) == (_S.SENT, 1, 1)


async def test_killed_while_failed(machine: Machine) -> None:
    """Stays: a permanent answer is not asked for twice."""
    await machine.set_up()
    machine.start()
    machine.hand_in(FIRST, "550@witness.test")
    machine.wait_until(_S.FAILED)
    machine.kill()
    machine.start(ahead_seconds=120)
    machine.send_another()
    found = await machine.look()
    assert found.recipients[0].state is _S.FAILED
    assert [type(outcome) for attempt in found.attempts for _, outcome in attempt.outcomes] == [Refused]


async def keep_and_intervene(machine: Machine, intervention: str) -> int:
    """A message that a person has held or cancelled; the server is killed, and has sent another one since."""
    await machine.set_up(is_paused=True)
    machine.start()
    machine.hand_in(FIRST, "ops@witness.test")
    message_id = (await machine.look()).row.message_id
    store = await machine.postroom.open_store()
    await getattr(store.outbox, intervention)(message_id, "test")
    await store.close()
    await machine.resume()
    machine.start()
    machine.kill()
    machine.start(ahead_seconds=120)
    machine.send_another()
    return message_id


async def make_person(postroom: Postroom) -> None:
    store = await postroom.open_store()
    await store.people.create_first(await store.people.make_setup_link_token(), "Anna", PERSON, PASSPHRASE)
    await store.close()


def read_page(console: str, path: str) -> str:
    browser = Browser()
    try:
        browser.open(f"{console}/sign-in")
        browser.submit("/sign-in", email=PERSON, passphrase=PASSPHRASE)
        browser.open(f"{console}{path}")
        return browser.text
    finally:
        browser.close()


def plain(said: str) -> str:
    """A log without its colours."""
    for colour in ("\x1b[0m", "\x1b[35m", "\x1b[36m"):
        said = said.replace(colour, "")
    return said
