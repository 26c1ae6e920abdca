"""One bad message stops no other: neither one that ends the process whenever it is sent, nor one that is unreadable."""

import smtplib
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroom.message import RecipientState
from postroom.store.records import MessageDetail
from tests.faults.oracle import read_all
from tests.faults.serving import SENDER, Postroom, Serving, postroom_in, wait_for, witness_in
from tests.faults.troubled_serve import POISONED

pytestmark = pytest.mark.anyio

DOWN_SECONDS = 120
"""So long the machine seems to be down after each crash: what is unknown waits a minute before it goes again."""
RESTARTS = 5
OTHERS = 30
POISON = "this one brings us down"


@contextmanager
def client_of(postroom: Postroom, serving: Serving) -> Iterator[smtplib.SMTP]:
    host, _, port = serving.wait_until_ready()["smtp"].rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(postroom.login, postroom.password)
        yield client


def mail(name: str, text: str = "Hello") -> bytes:
    head = f"From: {SENDER}\r\nTo: ops@witness.test\r\nSubject: {name}\r\nMessage-ID: <{name}@witness.test>\r\n"
    return f"{head}\r\n{text}\r\n".encode()


async def pause(postroom: Postroom) -> None:
    store = await postroom.open_store()
    await store.mailboxes.pause(1, "test")
    await store.close()


async def resume(postroom: Postroom) -> None:
    store = await postroom.open_store()
    await store.mailboxes.resume(1, "test")
    await store.close()


async def look(postroom: Postroom) -> dict[str, MessageDetail]:
    store = await postroom.open_store()
    details = await read_all(store)
    await store.close()
    return {detail.row.subject: detail for detail in details}


async def test_the_message_that_kills_the_process_is_held_after_a_few_restarts_and_all_others_are_sent(
    tmp_path: Path,
) -> None:
    with witness_in(tmp_path, pause_seconds=0.05) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        await pause(postroom)
        serving = postroom.start()
        with client_of(postroom, serving) as client:
            client.sendmail(SENDER, ["ops@witness.test"], mail("poison", POISON))
            for number in range(OTHERS):
                client.sendmail(SENDER, ["ops@witness.test"], mail(f"other-{number}"))
        serving.terminate()
        await resume(postroom)

        def start(down_times: int) -> Serving:
            ahead = str(down_times * DOWN_SECONDS)
            return postroom.start(POSTROOM_TEST_AHEAD_SECONDS=ahead, POSTROOM_TEST_POISON=POISON)

        exit_codes: list[int] = []
        while not postroom.counts()[RecipientState.HELD]:
            assert len(exit_codes) < RESTARTS, exit_codes
            exit_codes.append(start(len(exit_codes)).wait_until_gone())
            await look(postroom)  # a start ends the leases, and what they leave unknown is due at the next one
        serving = start(len(exit_codes))
        serving.wait_until_ready()
        wait_for(lambda: postroom.counts()[RecipientState.SENT] == OTHERS, "all others are sent")
        assert serving.terminate() == 0
        assert exit_codes == [POISONED] * 3

        details = await look(postroom)
        poison = details.pop("poison")
        assert {detail.row.state for detail in details.values()} == {RecipientState.SENT}
        [recipient] = poison.recipients
        assert recipient.state is RecipientState.HELD
        assert recipient.failure is not None
        assert recipient.failure.code == "brought_us_down"
        arrived = Counter(arrival.message_id for arrival in witness.arrivals())
        assert arrived.keys() == {f"<{name}@witness.test>" for name in details}


def deep_mime(levels: int) -> str:
    """Multiparts in one another, each opened and none closed."""
    parts = [f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n' for level in range(levels)]
    return "".join(parts) + "Content-Type: text/plain\r\n\r\nHello"


HEAD = f"From: {SENDER}\r\nTo: ops@witness.test\r\nMIME-Version: 1.0\r\n".encode()
BAD = {
    "deep": HEAD + b"Subject: deep\r\n" + deep_mime(3000).encode() + b"\r\n",
    "charset": HEAD
    + b"Subject: =?no-such-charset?B?/////w==?= =?utf-8?Q?=FF=FE=?=\r\n"
    + b"Content-Type: text/plain; charset=\"x-\xff-unknown\"; name*=klingon''%FF%\r\n\r\n\xff\xfe\x80\r\n",
    "bytes": HEAD + b"Subject: \xff\xff\xff\r\nComments: " + b"\xff" * 900 + b"\r\n\r\nHello\r\n",
    "names": HEAD + b"Subject: names\r\nX-\xff-Odd: \xff\r\n\r\nHello\r\n",
    "folded": HEAD + b"Subject: folded\r\nReferences: " + b"\r\n ".join([b"<a@b>"] * 20_000) + b"\r\n\r\nHello\r\n",
    "parameters": HEAD + b"Content-Type: text/plain" + b";\r\n a=b" * 20_000 + b"\r\n\r\nHello\r\n",
}
PASS_SECONDS = 5.0


async def test_unreadable_messages_first_in_the_queue_stop_no_other(tmp_path: Path) -> None:
    """Promise 15: seconds until others pass."""
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port, connections=2)
        await pause(postroom)
        serving = postroom.start()
        taken = 0
        with client_of(postroom, serving) as client:
            for octets in BAD.values():
                try:
                    client.sendmail(SENDER, ["ops@witness.test"], octets, mail_options=["BODY=8BITMIME"])
                    taken += 1
                except smtplib.SMTPDataError as refused:  # an answer is an answer: the program knows
                    print(refused)
            client.sendmail(SENDER, ["ops@witness.test"], mail("good"))
        serving.terminate()
        await resume(postroom)

        serving = postroom.start()
        serving.wait_until_ready()
        began_at = time.monotonic()
        wait_for(
            lambda: "<good@witness.test>" in {arrival.message_id for arrival in witness.arrivals()},
            "the good one has passed",
            PASS_SECONDS,
        )
        passed_seconds = time.monotonic() - began_at
        postroom.wait_until_ended()
        assert serving.terminate() == 0
        print(f"{taken} bad messages taken; the good one passed after {passed_seconds:.2f} s")
        assert taken >= 4
        assert "Traceback" not in serving.said
        assert {detail.row.state for detail in (await look(postroom)).values()} == {RecipientState.SENT}
