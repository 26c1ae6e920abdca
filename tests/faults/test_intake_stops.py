"""Promise 14 at the ways in: told to stop, it finishes the messages that are on their way, and takes no other."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crowd import Note
from tests.faults.oracle import judge
from tests.faults.serving import ALL_LISTENERS, SENDER, Postroom, Serving, postroom_in, wait_for, witness_in
from tests.faults.ways import Answer, Ways, compose, connect, read_reply, say

pytestmark = pytest.mark.anyio

ENVELOPE = (f"MAIL FROM:<{SENDER}>", "RCPT TO:<ops@witness.test>")
BODY = b"One line of many.\r\n" * 500


@pytest.fixture
def postroom(tmp_path: Path) -> Iterator[Postroom]:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        yield postroom


class Client:
    """One that has said half of its message."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = rest

    async def finish(self) -> Answer:
        try:
            self._writer.write(self._rest)
            return await read_reply(self._reader)
        finally:
            self._writer.close()


async def begin_data(where: dict[str, str], message_id: str) -> Client:
    reader, writer = await converse(where, (*ENVELOPE, "DATA"))
    content = compose(message_id, ("ops@witness.test",), BODY)
    writer.write(content[:200])
    return Client(reader, writer, content[200:] + b".\r\n")


async def begin_bdat(where: dict[str, str], message_id: str) -> Client:
    """The last chunk is announced and half there."""
    reader, writer = await converse(where, ENVELOPE)
    content = compose(message_id, ("ops@witness.test",), BODY)
    writer.write(f"BDAT {len(content)} LAST\r\n".encode() + content[:200])
    return Client(reader, writer, content[200:])


async def converse(where: dict[str, str], lines: tuple[str, ...]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connect(where["local"])
    await read_reply(reader)
    for line in ("EHLO client.test", *lines):
        answer = await say(reader, writer, f"{line}\r\n".encode())
        assert answer.code in (250, 354), answer
    return reader, writer


class Upload:
    """A raw message over HTTP, half of it there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rest: bytes) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = rest

    @classmethod
    async def begin(cls, postroom: Postroom, where: dict[str, str], message_id: str) -> "Upload":
        content = compose(message_id, ("ops@witness.test",), BODY)
        host = where["console"].removeprefix("http://").replace("localhost", "127.0.0.1")
        reader, writer = await connect(host)
        head = (
            f"POST /api/v1/messages?sender={SENDER} HTTP/1.1\r\nHost: {host}\r\nContent-Type: message/rfc822\r\n"
            f"Authorization: Bearer {postroom.api_key}\r\nContent-Length: {len(content)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        writer.write(head.encode())
        assert b" 100 " in await asyncio.wait_for(reader.readline(), 20)
        assert await reader.readline() == b"\r\n"
        writer.write(content[:200])
        return cls(reader, writer, content[200:])

    async def finish(self) -> Answer:
        try:
            self._writer.write(self._rest)
            status = (await asyncio.wait_for(self._reader.readline(), 20)).split()
            return Answer(int(status[1]) if len(status) > 1 else 0, "")
        finally:
            self._writer.close()


async def test_what_is_on_its_way_is_finished_and_nothing_else_is_taken(postroom: Postroom) -> None:
    with witness_in(postroom.folder) as witness:
        await postroom.set_up(witness.port)
        serving = postroom.start(**ALL_LISTENERS)
        where = await asyncio.to_thread(serving.wait_until_ready)
        idle_reader, idle_writer = await converse(where, ENVELOPE)
        on_their_way: dict[str, Client | Upload] = {
            "<data@witness.test>": await begin_data(where, "<data@witness.test>"),
            "<bdat@witness.test>": await begin_bdat(where, "<bdat@witness.test>"),
            "<raw@witness.test>": await Upload.begin(postroom, where, "<raw@witness.test>"),
        }
        await asyncio.to_thread(be_told_to_stop, serving)
        idle = await read_reply(idle_reader)
        idle_writer.close()
        late = [await come_late(where[name]) for name in ("smtp", "local", "implicit_tls", "device")]
        late.append(await upload_late(postroom, where))
        answers = {message_id: await client.finish() for message_id, client in on_their_way.items()}
        exit_code = await asyncio.to_thread(serving.wait_until_gone, 30)
        assert (idle.code, idle.text[:9]) == (421, "421 4.3.2"), "an open envelope is no message yet"
        assert [answer for answer in late if answer.code not in (0, 421, 503)] == []
        assert {message_id: answer.code for message_id, answer in answers.items()} == {
            "<data@witness.test>": 250,
            "<bdat@witness.test>": 250,
            "<raw@witness.test>": 202,
        }
        assert exit_code == 0, serving.said
        assert "Traceback" not in serving.said
        note = Note()
        note.acknowledged = dict.fromkeys(on_their_way, ("ops@witness.test",))
        store = await postroom.open_store()
        verdict = await judge(store, note, witness.arrivals())
        interrupted = store.interrupted_attempts
        await store.close()
    assert (verdict.trouble, verdict.lost, verdict.duplicates, interrupted) == ([], 0, 0, 0)


def be_told_to_stop(serving: Serving) -> None:
    serving.send_signal(signal.SIGTERM)
    wait_for(lambda: "Stopping" in serving.said, "it says that it stops")


async def come_late(place: str) -> Answer:
    """A new connection after the signal: refused, cut, or told 421."""
    try:
        reader, writer = await connect(place)
    except OSError as refused:
        return Answer(0, str(refused))
    try:
        return await read_reply(reader)
    except OSError as cut:
        return Answer(0, str(cut))
    finally:
        writer.close()


async def upload_late(postroom: Postroom, where: dict[str, str]) -> Answer:
    try:
        return await Ways(postroom, where).raw("<late@witness.test>", ("ops@witness.test",), BODY)
    except OSError as refused:
        return Answer(0, str(refused))
