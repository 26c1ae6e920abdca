"""Promise 11: each recipient gets its own truth: 250, 451 and 550 in one transaction, then the resend; wrong states 0.

Postroom and the mail server are real processes, and every attempt takes the way of all mail.
"""

import smtplib
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroom.message import RecipientState
from postroom.outcome import Refused, Sent, TryLater
from postroom.store.records import MessageDetail, RecipientRow
from tests.faults.oracle import read_all
from tests.faults.serving import SENDER, Postroom, postroom_in, wait_for, witness_in

pytestmark = pytest.mark.anyio

MESSAGES = 12
AHEAD_SECONDS = 180
"""What was put off is due again after a minute or so."""
KINDS = ("ok", "later", "550", "also-ok")


def recipients_of(number: int) -> list[str]:
    """In another order for each message."""
    turned = KINDS[number % 4 :] + KINDS[: number % 4]
    return [f"{kind}-{number}@witness.test" for kind in turned]


@contextmanager
def served(postroom: Postroom, **environment: str) -> Iterator[str]:
    """A run of the server, ended well; where it takes mail."""
    serving = postroom.start(**environment)
    yield serving.wait_until_ready()["smtp"]
    assert serving.terminate() == 0, serving.said


def hand_in_all(postroom: Postroom, where: str) -> None:
    host, _, port = where.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(postroom.login, postroom.password)
        for number in range(MESSAGES):
            text = f"From: {SENDER}\r\nSubject: {number}\r\nMessage-ID: <{number}@witness.test>\r\n\r\nHello\r\n"
            client.sendmail(SENDER, recipients_of(number), text)


async def look(postroom: Postroom) -> list[MessageDetail]:
    store = await postroom.open_store()
    details = await read_all(store)
    await store.close()
    return details


def wrong(row: RecipientRow, later: RecipientState) -> str | None:
    """What is not true of a recipient, when those that were put off are in this state."""
    if row.address.startswith("550"):
        is_right = row.state is RecipientState.FAILED and row.failure is not None and row.failure.smtp_code == 550
    elif row.address.startswith("later") and later is RecipientState.DEFERRED:
        is_right = row.state is later and row.failure is not None and row.failure.smtp_code == 451
    else:
        is_right = row.state is RecipientState.SENT and row.failure is None and row.reply == "250 2.0.0 OK"
    return None if is_right else f"{row.address} is {row.state}: {row.failure or row.reply}"


def wrong_states(details: list[MessageDetail], later: RecipientState) -> list[str]:
    judged = [wrong(row, later) for detail in details for row in detail.recipients]
    assert len(judged) == len(KINDS) * MESSAGES
    return [told for told in judged if told is not None]


async def test_each_recipient_gets_its_own_truth_and_only_what_is_open_is_sent_again(tmp_path: Path) -> None:
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port, connections=3)
        postroom.change_row("UPDATE apps SET notices_to = 'nobody'")  # reports would be messages of their own
        with served(postroom) as where:
            hand_in_all(postroom, where)
            wait_for(lambda: postroom.counts()[RecipientState.DEFERRED] == MESSAGES, "all were tried once")
        assert wrong_states(await look(postroom), RecipientState.DEFERRED) == []

        with served(postroom, POSTROOM_TEST_AHEAD_SECONDS=str(AHEAD_SECONDS)):
            postroom.wait_until_ended()
        details = await look(postroom)
        assert wrong_states(details, RecipientState.SENT) == []
        assert {(detail.row.state, detail.row.is_partly_failed) for detail in details} == {
            (RecipientState.FAILED, True)
        }

        arrived = Counter((arrival.message_id, frozenset(arrival.recipients)) for arrival in witness.arrivals())
        wanted: Counter[tuple[str, frozenset[str]]] = Counter()
        for number in range(MESSAGES):
            accepted = frozenset(f"{kind}-{number}@witness.test" for kind in ("ok", "also-ok"))
            wanted[f"<{number}@witness.test>", accepted] += 1
            wanted[f"<{number}@witness.test>", frozenset({f"later-{number}@witness.test"})] += 1
        assert arrived == wanted, "no recipient got it twice, or was left out"

        for detail in details:
            first, second = ([(address, type(it)) for address, it in attempt.outcomes] for attempt in detail.attempts)
            number = int(detail.row.subject)
            kinds = {"ok": Sent, "also-ok": Sent, "later": TryLater, "550": Refused}
            assert first == [(address, kinds[address.rpartition("-")[0]]) for address in recipients_of(number)]
            assert second == [(f"later-{number}@witness.test", Sent)]
