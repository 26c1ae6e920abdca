"""What one message of 4 KiB costs a whole `postroom serve` by each way in, beside a peer that keeps mail as well.

    .venv/bin/python -m bench.ways [messages]

CPU of the server's process a message, and messages a second from eight connections by turns, until each is on the
disk. The peer is aiosmtpd with a handler that writes each message to a file and syncs it; `sendmail` is beside msmtp.
"""

# ruff: noqa: T201, S603 - it prints its figures, and starts the programs that it measures
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import IO, Any

from tests.faults.serving import ALL_LISTENERS, POSTROOM, SENDER, Postroom, postroom_in, witness_in

CONNECTIONS = 8
CALLS = 20
TICKS = os.sysconf("SC_CLK_TCK")
TO = "ops@witness.test"
LINE = "A line of text as people write them, some sixty letters."
TEXT = f"{LINE}\r\n" * 68
HEAD = (
    f"From: {SENDER}\r\nTo: {TO}\r\nSubject: bench\r\nDate: {formatdate()}\r\nMIME-Version: 1.0\r\n"
    "Message-ID: <{}@bench.example>\r\n\r\n"
)
ENVELOPE = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{TO}>\r\n".encode()
PEER = """
import asyncio, os, sys
from aiosmtpd.smtp import SMTP

class Keeper:
    async def handle_DATA(self, server, session, envelope):
        path = os.path.join(sys.argv[1], os.urandom(16).hex())
        with open(path, "wb") as file:
            file.write(envelope.content)
            file.flush()
            os.fsync(file.fileno())
        return "250 2.0.0 OK"

async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keeper()), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(serve())
"""

Files = list[Any]
Round = Callable[[Files, int], None]


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def open_files(place: tuple[str, int]) -> Iterator[Any]:
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(place)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection.makefile("rwb")


def say(file: IO[bytes], words: bytes) -> None:
    file.write(words)
    file.flush()


def read_reply(file: IO[bytes]) -> bytes:
    while (line := file.readline())[3:4] == b"-":
        continue
    assert line[:1] in b"23", line
    return line


def greet(files: Files) -> None:
    for file in files:
        read_reply(file)
        say(file, b"EHLO bench\r\n")
        read_reply(file)


def by_data(files: Files, number: int) -> None:
    for file in files:
        say(file, ENVELOPE + b"DATA\r\n")
    for at, file in enumerate(files):
        for _ in range(3):
            read_reply(file)
        say(file, HEAD.format(f"{number}.{at}").encode() + TEXT.encode() + b".\r\n")
    for file in files:
        read_reply(file)


def by_bdat(files: Files, number: int) -> None:
    for at, file in enumerate(files):
        content = HEAD.format(f"{number}.{at}").encode() + TEXT.encode()
        say(file, ENVELOPE + f"BDAT {len(content)} LAST\r\n".encode() + content)
    for file in files:
        for _ in range(3):
            read_reply(file)


def by_http(kind: str, key: str, write: Callable[[str], bytes]) -> Round:
    def hand_in(files: Files, number: int) -> None:
        for at, file in enumerate(files):
            content = write(f"{number}.{at}")
            head = (
                f"POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                f"Authorization: Bearer {key}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            say(file, head.encode() + content)
        for file in files:
            read_answer(file)

    return hand_in


def read_answer(file: IO[bytes]) -> None:
    status = file.readline()
    assert b" 202 " in status, status
    size = 0
    while (line := file.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        size = int(value) if name.lower() == b"content-length" else size
    file.read(size)


def as_json(name: str) -> bytes:
    return json.dumps({"from": SENDER, "to": [TO], "subject": f"bench {name}", "text": TEXT}).encode()


def as_it_is(name: str) -> bytes:
    return HEAD.format(name).encode() + TEXT.encode()


def measure(pid: int, place: tuple[str, int], hand_in: Round, messages: int, *, greets: bool) -> tuple[float, float]:
    """CPU seconds of the server a message, and messages a second."""
    files = list(open_files(place))
    try:
        if greets:
            greet(files)
        hand_in(files, -1)
        cpu, wall = cpu_seconds(pid), time.perf_counter()
        rounds = messages // CONNECTIONS
        for number in range(rounds):
            hand_in(files, number)
        kept = rounds * CONNECTIONS
        return (cpu_seconds(pid) - cpu) / kept, kept / (time.perf_counter() - wall)
    finally:
        for file in files:
            file.close()


def seconds_a_call(command: tuple[str, ...], environment: dict[str, str]) -> float:
    content = HEAD.format("call").encode() + TEXT.encode()
    began = time.perf_counter()
    for _ in range(CALLS):
        subprocess.run(command, input=content, check=True, env={**os.environ, **environment})
    return (time.perf_counter() - began) / CALLS


@contextmanager
def peer_in(folder: Path) -> Iterator[tuple[int, tuple[str, int]]]:
    kept = folder / "peer"
    kept.mkdir()
    process = subprocess.Popen([sys.executable, "-c", PEER, str(kept)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.pid, ("127.0.0.1", int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def place_of(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("http://").replace("localhost", "127.0.0.1").rpartition(":")
    return host, int(port)


async def set_up(postroom: Postroom) -> None:
    """Its mail server is away: only the way in costs anything."""
    with witness_in(postroom.folder) as witness:
        await postroom.set_up(witness.port)


def compare(folder: Path, messages: int) -> None:
    with peer_in(folder) as (peer_pid, peer_place), postroom_in(folder) as postroom:
        postroom.init()
        asyncio.run(set_up(postroom))
        serving = postroom.start(**ALL_LISTENERS)
        where = serving.wait_until_ready()
        smtp, http = place_of(where["local"]), place_of(where["console"])
        peer, rate = measure(peer_pid, peer_place, by_data, messages, greets=True)
        print(f"\n{'aiosmtpd that syncs':22}{peer * 1e6:8.0f} µs {rate:8.0f}/s")
        for name, place, hand_in, greets in (
            ("SMTP DATA", smtp, by_data, True),
            ("SMTP BDAT", smtp, by_bdat, True),
            ("HTTP raw", http, by_http("message/rfc822", postroom.api_key, as_it_is), False),
            ("HTTP JSON", http, by_http("application/json", postroom.api_key, as_json), False),
        ):
            cpu, rate = measure(serving.pid, place, hand_in, messages, greets=greets)
            print(f"{name:22}{cpu * 1e6:8.0f} µs {rate:8.0f}/s   aiosmtpd needs {peer / cpu:.2f} times the CPU")
        compare_sendmail(postroom, smtp)


def compare_sendmail(postroom: Postroom, smtp: tuple[str, int]) -> None:
    config = {"POSTROOM_SENDMAIL_CONFIG": str(postroom.folder / "sendmail.toml")}
    ours = seconds_a_call((str(POSTROOM), "sendmail", "-i", "-f", SENDER, TO), config)
    bare = seconds_a_call((sys.executable, "-c", "import sys; sys.stdin.buffer.read()"), {})
    print(f"{'sendmail':22}{ours * 1e3:8.0f} ms a call, of which Python's start is {bare * 1e3:.0f} ms")
    if shutil.which("msmtp"):
        words = ("msmtp", "--file=/dev/null", f"--host={smtp[0]}", f"--port={smtp[1]}", f"--from={SENDER}", TO)
        print(f"{'msmtp':22}{seconds_a_call(words, {}) * 1e3:8.0f} ms a call")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        compare(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
