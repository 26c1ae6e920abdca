"""Clients by the dozen: each hands in one message after the other and writes down only what was acknowledged."""

import asyncio
import contextlib
import hashlib
import random
import ssl

import aiosmtplib

from tests.faults.serving import PATIENCE_SECONDS, SENDER, Postroom

SIZES = (300, 300, 20_000, 150_000)
"""Bytes of a body; the last is beyond what the database itself takes."""


class Note:
    """What the clients were told, and what they sent."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self.digests: dict[str, str] = {}
        self.attempted = 0


class Crowd:
    """Clients that go on through every restart, until they are told to stop."""

    def __init__(self, postroom: Postroom, chance: random.Random, count: int) -> None:
        self.note = Note()
        self._postroom = postroom
        self._chance = chance
        self._tls = ssl._create_unverified_context()  # as scanners do
        self._address: tuple[str, int] | None = None
        self._moved = asyncio.Event()
        self._heard = asyncio.Event()
        self._is_over = False
        self._clients = [asyncio.create_task(self._send_on(f"c{number}")) for number in range(count)]

    def go_to(self, smtp: str | None) -> None:
        """Where the server is from now on; None while it is away."""
        self._moved.set()
        self._moved = asyncio.Event()
        host, _, port = smtp.rpartition(":") if smtp else ("", "", "")
        self._address = (host, int(port)) if smtp else None

    async def wait_until_acknowledged(self, more: int) -> None:
        """Until so many further messages were acknowledged."""
        wanted = len(self.note.acknowledged) + more
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.note.acknowledged) < wanted:
                await self._heard.wait()

    async def stop(self) -> None:
        """Each client gives up what it could not hand in; nobody acknowledged it."""
        self._is_over = True
        self.go_to(None)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*self._clients)

    async def _send_on(self, name: str) -> None:
        number = 0
        while not self._is_over:
            number += 1
            message_id = f"<{name}.{number}@witness.test>"
            recipients = tuple(self._choose_recipients(name, number))
            content = self._compose(message_id, recipients)
            while not (self._is_over or await self._hand_in(message_id, recipients, content)):
                await asyncio.sleep(0.02)  # a client that is turned away comes back a little later

    def _choose_recipients(self, name: str, number: int) -> list[str]:
        kinds = ["ops", *self._chance.choices(["desk", "550"], k=self._chance.randint(0, 1))]
        return [f"{kind}.{name}.{number}@witness.test" for kind in kinds]

    def _compose(self, message_id: str, recipients: tuple[str, ...]) -> bytes:
        size = self._chance.choice(SIZES)
        line = f".{self._chance.getrandbits(256):064x}\r\n"
        body = (line * (size // len(line) + 1)).encode()
        self.note.digests[message_id] = hashlib.sha256(body).hexdigest()
        head = f"From: {SENDER}\r\nTo: {', '.join(recipients)}\r\nSubject: scan\r\nMessage-ID: {message_id}\r\n\r\n"
        return head.encode() + body

    async def _hand_in(self, message_id: str, recipients: tuple[str, ...], content: bytes) -> bool:
        if self._address is None:
            await self._moved.wait()
            return False
        self.note.attempted += 1
        try:
            await self._talk(*self._address, recipients, content)
        except (OSError, aiosmtplib.SMTPException):
            return False
        self.note.acknowledged[message_id] = recipients
        self._heard.set()
        self._heard = asyncio.Event()
        return True

    async def _talk(self, host: str, port: int, recipients: tuple[str, ...], content: bytes) -> None:
        client = aiosmtplib.SMTP(
            hostname=host,
            port=port,
            timeout=PATIENCE_SECONDS,
            start_tls=True,
            tls_context=self._tls,
            username=self._postroom.login,
            password=self._postroom.password,
        )
        try:
            await client.connect()
            errors, _ = await client.sendmail(SENDER, list(recipients), content)
            assert not errors
        finally:
            with contextlib.suppress(OSError, aiosmtplib.SMTPException):
                client.close()
