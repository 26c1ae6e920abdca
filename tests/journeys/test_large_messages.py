"""Promise 13: four messages of 150 MB at once, by each way in, cost a running server at most 64 MiB of memory."""

import asyncio
import base64
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from postroom.message import RecipientState
from tests.faults.serving import ALL_LISTENERS, SENDER, Postroom, postroom_in, witness_in
from tests.faults.ways import connect, read_reply, say
from tests.journeys.test_large_scan import memory_kib, reset_peak

pytestmark = pytest.mark.anyio

MESSAGES, SIZE_BYTES = 4, 150 * 1_000_000
LIMIT_BYTES = 160 * 1_000_000
GROWTH_LIMIT_KIB = 64 * 1024
LINE = b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n"
CHUNK = LINE * (262_144 // len(LINE))
CHUNKS = SIZE_BYTES // len(CHUNK)
HEAD = (
    f"From: {SENDER}\r\nTo: ops@witness.test\r\nSubject: Large\r\nMIME-Version: 1.0\r\n"
    "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
).encode()
BOUNDARY = "a-line-between"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pour(writer: asyncio.StreamWriter) -> None:
    for _ in range(CHUNKS):
        writer.write(CHUNK)
        await writer.drain()


async def open_envelope(postroom: Postroom, where: dict[str, str]) -> Streams:
    """Under TLS, signed in, up to the recipient."""
    host, _, port = where["implicit_tls"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=ssl._create_unverified_context())
    await read_reply(reader)
    proof = base64.b64encode(f"\0{postroom.login}\0{postroom.password}".encode()).decode()
    for line in ("EHLO client.test", f"AUTH PLAIN {proof}", f"MAIL FROM:<{SENDER}>", "RCPT TO:<ops@witness.test>"):
        answer = await say(reader, writer, f"{line}\r\n".encode())
        assert answer.code in (235, 250), answer
    return reader, writer


async def data(postroom: Postroom, where: dict[str, str]) -> int:
    reader, writer = await open_envelope(postroom, where)
    assert (await say(reader, writer, b"DATA\r\n")).code == 354
    writer.write(HEAD)
    await pour(writer)
    answer = await say(reader, writer, b".\r\n")
    writer.close()
    return answer.code


async def bdat(postroom: Postroom, where: dict[str, str]) -> int:
    reader, writer = await open_envelope(postroom, where)
    writer.write(f"BDAT {len(HEAD) + CHUNKS * len(CHUNK)} LAST\r\n".encode() + HEAD)
    await pour(writer)
    answer = await read_reply(reader)
    writer.close()
    return answer.code


async def raw(postroom: Postroom, where: dict[str, str]) -> int:
    return await post(postroom, where, "message/rfc822", HEAD, b"")


async def multipart(postroom: Postroom, where: dict[str, str]) -> int:
    """The file in a form: it is written to the disk before the message can be."""
    asked = json.dumps({"from": SENDER, "to": ["ops@witness.test"], "subject": "Large", "text": "It is attached."})
    start = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="message"\r\nContent-Type: application/json\r\n\r\n'
        f'{asked}\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return await post(postroom, where, kind, start.encode(), f"\r\n--{BOUNDARY}--\r\n".encode())


async def post(postroom: Postroom, where: dict[str, str], kind: str, start: bytes, end: bytes) -> int:
    host = where["console"].removeprefix("http://").replace("localhost", "127.0.0.1")
    reader, writer = await connect(host)
    head = (
        f"POST /api/v1/messages HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        f"Authorization: Bearer {postroom.api_key}\r\n"
        f"Content-Length: {len(start) + CHUNKS * len(CHUNK) + len(end)}\r\n\r\n"
    )
    writer.write(head.encode() + start)
    await pour(writer)
    writer.write(end)
    status = (await asyncio.wait_for(reader.readline(), 120)).split()
    writer.close()
    return int(status[1])


HAND_IN: dict[str, Callable[[Postroom, dict[str, str]], Awaitable[int]]] = {
    "data": data,
    "bdat": bdat,
    "raw": raw,
    "multipart": multipart,
}


@pytest.fixture
async def postroom(tmp_path: Path) -> AsyncIterator[Postroom]:
    """Its mail server is away: what comes in stays, and only the way in costs memory."""
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        with witness_in(tmp_path) as witness:
            await postroom.set_up(witness.port)
        yield postroom
    shutil.rmtree(postroom.data)  # pytest would keep 600 MB for each way, three times over


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", HAND_IN)
async def test_four_messages_of_150_mb_at_once(postroom: Postroom, way: str) -> None:
    limits = {"POSTROOM_SMTP_SIZE_LIMIT_BYTES": str(2 * LIMIT_BYTES)}
    serving = postroom.start(**ALL_LISTENERS, **limits)
    where = await asyncio.to_thread(serving.wait_until_ready)
    before = memory_kib(serving.pid, "VmRSS")
    reset_peak(serving.pid)
    codes = await asyncio.gather(*(HAND_IN[way](postroom, where) for _ in range(MESSAGES)))
    growth = memory_kib(serving.pid, "VmHWM") - before
    print(f"{MESSAGES} times {SIZE_BYTES:,} bytes by {way}: {before / 1024:.0f} MiB idle, {growth / 1024:.1f} MiB more")
    assert set(codes) <= {202, 250}
    assert sum(postroom.open_counts().values()) == MESSAGES
    assert postroom.counts()[RecipientState.SENT] == 0
    assert growth < GROWTH_LIMIT_KIB
