"""Clients by the dozen: each hands in one message after the other and writes down only what was acknowledged."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from typing import Self

import aiosmtplib

from tests.faults.serving import PATIENCE_SECONDS, Postroom
from tests.faults.ways import Answer, Ways

SIZES = (300, 300, 20_000, 150_000)
"""Bytes of a body; the last is beyond what the database itself takes."""
SMTP = ("smtp",)
ALL_WAYS = ("smtp", "raw", "json", "local", "smtp", "raw", "json", "sendmail")
"""Taken by turns; a `sendmail` costs a process."""


class Note:
    """What the clients were told, and what they sent."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self.digests: dict[str, str] = {}
        """Of what follows the head, where the client wrote that itself."""
        self.attempted = 0
        self.by_way: Counter[str] = Counter()
        """Acknowledged messages."""
        self.refused: Counter[tuple[str, int]] = Counter()
        """By way and code."""
        self.refusals: dict[tuple[str, int], str] = {}
        """The words of one of them."""


class Crowd:
    """Clients that go on through every restart, until they are told to stop, at the latest when their block ends."""

    def __init__(
        self,
        postroom: Postroom,
        chance: random.Random,
        count: int,
        ways: Sequence[str] = SMTP,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        self.note = Note()
        self._postroom = postroom
        self._chance = chance
        self.sizes = sizes
        """Of messages from now on, in bytes."""
        self._where: Ways | None = None
        self._moved = asyncio.Event()
        self._heard = asyncio.Event()
        self._is_over = False
        self._clients = [
            asyncio.create_task(self._send_on(f"c{number}", ways[number % len(ways)])) for number in range(count)
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *trouble: object) -> None:
        await self.stop()

    def go_to(self, where: dict[str, str] | None) -> None:
        """Where the server is from now on; None while it is away."""
        self._moved.set()
        self._moved = asyncio.Event()
        self._where = Ways(self._postroom, where) if where is not None else None

    async def wait_until_acknowledged(self, more: int) -> None:
        """Until so many further messages were acknowledged."""
        wanted = len(self.note.acknowledged) + more
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.note.acknowledged) < wanted:
                await self._heard.wait()

    async def wait_until_answered(self) -> None:
        """Until some client gets an answer, whichever it is."""
        await asyncio.wait_for(self._heard.wait(), PATIENCE_SECONDS)

    async def stop(self) -> None:
        """Each client gives up what it could not hand in; nobody acknowledged it."""
        self._is_over = True
        self.go_to(None)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*self._clients)

    async def _send_on(self, name: str, way: str) -> None:
        number = 0
        while not self._is_over:
            number += 1
            message_id = f"<{name}.{number}@witness.test>"
            recipients = tuple(self._choose_recipients(name, number))
            body = self._write_body(message_id)
            while not (self._is_over or await self._hand_in(way, message_id, recipients, body)):
                await asyncio.sleep(0.02)  # a client that is turned away comes back a little later

    def _choose_recipients(self, name: str, number: int) -> list[str]:
        kinds = ["ops", *self._chance.choices(["desk", "550"], k=self._chance.randint(0, 1))]
        return [f"{kind}.{name}.{number}@witness.test" for kind in kinds]

    def _write_body(self, message_id: str) -> bytes:
        size = self._chance.choice(self.sizes)
        line = f".{self._chance.getrandbits(256):064x}\r\n"
        body = (line * (size // len(line) + 1)).encode()
        self.note.digests[message_id] = hashlib.sha256(body).hexdigest()
        return body

    async def _hand_in(self, way: str, message_id: str, recipients: tuple[str, ...], body: bytes) -> bool:
        if self._where is None:
            await self._moved.wait()
            return False
        self.note.attempted += 1
        try:
            answer = await getattr(self._where, way)(message_id, recipients, body)
        except (OSError, aiosmtplib.SMTPException):
            return False
        self._write_down(way, answer, message_id, recipients)
        return bool(answer.is_acknowledged)

    def _write_down(self, way: str, answer: Answer, message_id: str, recipients: tuple[str, ...]) -> None:
        if answer.is_acknowledged:
            self.note.acknowledged[answer.message_id or message_id] = recipients
            self.note.by_way[way] += 1
        elif answer.code:
            self.note.refused[way, answer.code] += 1
            self.note.refusals[way, answer.code] = answer.text
        self._heard.set()
        self._heard = asyncio.Event()
