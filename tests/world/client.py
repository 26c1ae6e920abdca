"""The world's clients: each hands in messages over SMTP and writes down only what was acknowledged."""

import asyncio
import base64
import random

PAUSE_SECONDS = 150  # on average, so that the messages of a client spread over the storm
HEAD = "From: scanner@world.test\r\nTo: {to}\r\nSubject: scan {number}\r\nMessage-ID: {message_id}\r\n\r\n"


class Ledger:
    """What clients were told: `250` for which message and recipients."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self.attempted = 0


class Client:
    """Sends `count` messages one after the other; after any trouble it reconnects and tries that message again."""

    def __init__(
        self, name: str, address: tuple[str, int], login: tuple[str, str], ledger: Ledger, chance: random.Random
    ) -> None:
        self._name = name
        self._address = address
        self._login = login
        self._ledger = ledger
        self._chance = chance

    async def send(self, count: int) -> None:
        for number in range(count):
            message_id = f"<{self._name}.{number}@world.test>"
            recipients = tuple(
                f"{self._chance.choice(('ops', 'desk', 'never', 'team'))}{i}@world.test"
                for i in range(self._chance.randint(1, 3))
            )
            content = self._compose(number, message_id, recipients)
            while not await self._hand_in(content, message_id, recipients):
                await asyncio.sleep(self._chance.uniform(1, 60))
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_SECONDS))

    def _compose(self, number: int, message_id: str, recipients: tuple[str, ...]) -> bytes:
        size = self._chance.choice((10, 2_000, 30_000, 120_000))
        body = ("." * 60 + "\r\n" + "x" * 70 + "\r\n") * (size // 134 + 1) + "the end\r\n"
        head = HEAD.format(to=", ".join(recipients), number=number, message_id=message_id)
        return (head + body).encode()

    async def _hand_in(self, content: bytes, message_id: str, recipients: tuple[str, ...]) -> bool:
        self._ledger.attempted += 1
        try:
            async with asyncio.timeout(300):
                return await self._talk(content, message_id, recipients)
        except (OSError, EOFError, TimeoutError):
            return False

    async def _talk(self, content: bytes, message_id: str, recipients: tuple[str, ...]) -> bool:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            user, password = self._login
            token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            await self._reply(reader)
            for line in ("EHLO client.world.test", f"AUTH PLAIN {token}", "MAIL FROM:<scanner@world.test>"):
                writer.write(line.encode() + b"\r\n")
                if not (await self._reply(reader)).startswith("2"):
                    return False
            for recipient in recipients:
                writer.write(f"RCPT TO:<{recipient}>\r\n".encode())
                if not (await self._reply(reader)).startswith("2"):
                    return False
            writer.write(b"DATA\r\n")
            if not (await self._reply(reader)).startswith("354"):
                return False
            writer.write(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            if not (await self._reply(reader)).startswith("250"):
                return False
            self._ledger.acknowledged[message_id] = recipients
            return True
        finally:
            writer.close()

    @staticmethod
    async def _reply(reader: asyncio.StreamReader) -> str:
        while True:
            line = (await reader.readuntil(b"\r\n")).decode()
            if line[3:4] != "-":
                return line
