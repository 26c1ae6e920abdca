"""Promise 17: only CR LF . CR LF ends a message, and only CR LF leaves. Every false end, by DATA, BDAT and HTTP,
through the whole server, judged by a mail server that shares no line of code with ours."""

import asyncio
import itertools
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.serving import ALL_LISTENERS, SENDER, Postroom, postroom_in, wait_for, witness_in
from tests.faults.ways import Ways

pytestmark = pytest.mark.anyio

TO, VICTIM = "ops@witness.test", "victim@far.example"
LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n", b"\r\0\n", b"")
TRUE_END = b"\r\n.\r\n"
_ALL_ENDS = (before + b"." + after for before, after in itertools.product(LINE_ENDS, repeat=2))
FALSE_ENDS = tuple(end for end in _ALL_ENDS if TRUE_END not in end)
SECOND = (
    f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nFrom: {SENDER}\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
).encode()


def first(number: int, end: bytes) -> bytes:
    """A message with what a careless server would take for its end, and another message behind that."""
    head = f"From: {SENDER}\r\nTo: {TO}\r\nMessage-ID: <f{number}@witness.test>\r\nSubject: first\r\n\r\nfirst"
    return head.encode() + end + SECOND


class Machine:
    def __init__(self, postroom: Postroom, where: dict[str, str]) -> None:
        self.postroom = postroom
        self.where = where

    @contextmanager
    def connected(self, listener: str) -> Iterator[smtplib.SMTP]:
        """To `smtp`, whose app is strict, or to `local`, whose app has its lines put right."""
        host, _, port = self.where[listener].rpartition(":")
        with smtplib.SMTP(host, int(port), timeout=20) as client:
            if listener == "smtp":
                client.starttls(context=ssl._create_unverified_context())
                client.login(self.postroom.login, self.postroom.password)
            client.ehlo("client.test")
            client.mail(SENDER)
            client.rcpt(TO)
            yield client

    def by_data(self, listener: str, number: int, end: bytes) -> int:
        """The one reply to it: everything up to the true end is one message."""
        with self.connected(listener) as client:
            assert client.docmd("DATA")[0] == 354
            client.send(first(number, end) + b".\r\n")
            code, _ = client.getreply()
            assert client.noop()[0] == 250, "the next reply is the next command's"
        return code

    def by_bdat(self, listener: str, number: int, end: bytes) -> int:
        with self.connected(listener) as client:
            content = first(number, end)
            half = len(content) - len(SECOND) - 1  # between a false end's dot and what follows it
            client.send(f"BDAT {half}\r\n".encode() + content[:half])
            first_code, _ = client.getreply()
            client.send(f"BDAT {len(content) - half} LAST\r\n".encode() + content[half:])
            code, _ = client.getreply()
            assert client.noop()[0] == 250
        return code if first_code == 250 else first_code


@pytest.mark.parametrize("way", ["DATA", "BDAT"])
@pytest.mark.parametrize("listener", ["smtp", "local"])
async def test_no_false_end_ends_a_message(tmp_path: Path, listener: str, way: str) -> None:
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        machine = Machine(postroom, await asyncio.to_thread(postroom.start(**ALL_LISTENERS).wait_until_ready))
        hand_in = machine.by_data if way == "DATA" else machine.by_bdat
        ends = (*FALSE_ENDS, TRUE_END) if way == "BDAT" else FALSE_ENDS
        codes = {end: await asyncio.to_thread(hand_in, listener, number, end) for number, end in enumerate(ends)}
        accepted = [end for end, code in codes.items() if code == 250]
        assert set(codes.values()) <= {250, 550}
        if listener == "smtp":
            # Only what has no other line end than CR LF, and no NUL, is taken as it stands.
            clean = [end for end in ends if not (set(end.replace(b"\r\n", b"")) & set(b"\r\n\0"))]
            assert accepted == clean
        else:
            assert accepted == list(ends), "bare ends are put right for it"
        wait_for(lambda: not any(postroom.open_counts().values()), "all of it is sent")
        arrivals = witness.arrivals()
    print(f"{len(accepted)} of {len(ends)} taken, {len(arrivals)} arrived")
    assert {arrival.recipients for arrival in arrivals} == {(TO,)}
    assert len(arrivals) == len(accepted)
    assert {arrival.message_id for arrival in arrivals} == {f"<f{ends.index(end)}@witness.test>" for end in accepted}


async def test_no_end_at_all_ends_a_message_over_http(tmp_path: Path) -> None:
    """There a dot on a line of its own is text."""
    with witness_in(tmp_path) as witness, postroom_in(tmp_path) as postroom:
        postroom.init()
        await postroom.set_up(witness.port)
        ways = Ways(postroom, await asyncio.to_thread(postroom.start(**ALL_LISTENERS).wait_until_ready))
        ends = (TRUE_END, *FALSE_ENDS)
        answers = [
            await ways.raw(f"<f{number}@witness.test>", (TO,), b"first" + end + SECOND)
            for number, end in enumerate(ends)
        ]
        wait_for(lambda: not any(postroom.open_counts().values()), "all of it is sent")
        arrivals = witness.arrivals()
    assert answers[0].is_acknowledged
    assert {answer.code for answer in answers} == {202, 422}
    assert {arrival.recipients for arrival in arrivals} == {(TO,)}
    assert len(arrivals) == sum(answer.is_acknowledged for answer in answers)
