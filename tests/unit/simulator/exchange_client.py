"""A client that speaks SMTP by hand to the simulated Exchange Online, for tests that look at each word."""

import asyncio
import base64
import re
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from postroom.simulator.authority import Authority
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.registration import AppRegistration
from postroom.simulator.tenant import User

HOST = "smtp.office365.com"
SCANNER, NOREPLY = "scanner@contoso.com", "noreply@contoso.com"
TAG = r"\[SIM0PR01CA0001\.simprd01\.prod\.outlook\.com \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 08DE[0-9A-F]{12}\]"
HOSTNAME = "[Hostname=SIM0PR01MB0001.simprd01.prod.outlook.com]"
MESSAGE = b"From: scanner@contoso.com\r\nTo: b@example.net\r\nMessage-ID: <1@contoso.com>\r\n\r\nHello\r\n"


class Client:
    """Speaks SMTP by hand: what is sent is what is written in the test."""

    def __init__(self, exchange: ExchangeServer, trust: ssl.SSLContext) -> None:
        self.exchange = exchange
        self.trust = trust
        self.is_connected = False

    async def connect(self) -> str:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.exchange.port)
        self.is_connected = True
        return (await self.reply())[0]

    async def reply(self) -> list[str]:
        lines = [(await self.reader.readuntil(b"\r\n")).decode()[:-2]]
        while lines[-1][3] == "-":
            lines.append((await self.reader.readuntil(b"\r\n")).decode()[:-2])
        return lines

    async def ask(self, line: str | bytes) -> str:
        """Send a line, and return the last line of its reply without the tag of a refusal."""
        self.writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.hear()

    async def hear(self) -> str:
        """The last line of what comes next, without the tag of a refusal."""
        return re.sub(f" {TAG}$", " [tag]", (await self.reply())[-1])

    async def ask_all(self, *lines: str) -> list[str]:
        """Send the lines in one write, and return the reply to each."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        return [(await self.reply())[-1] for _ in lines]

    async def greet(self) -> "Client":
        await self.connect()
        await self.ask("EHLO client.example")
        return self

    async def start_tls(self) -> "Client":
        assert await self.ask("STARTTLS") == "220 2.0.0 SMTP server ready"
        await self.writer.start_tls(self.trust, server_hostname=HOST)
        return self

    async def secure(self) -> "Client":
        await (await self.greet()).start_tls()
        await self.ask("EHLO client.example")
        return self

    async def sign_in(self, address: str = SCANNER) -> "Client":
        await self.secure()
        assert await self.ask(f"AUTH XOAUTH2 {bearer(self.exchange, address)}") == (
            "235 2.7.0 Authentication successful"
        )
        return self

    async def sign_in_with(self, blob: str) -> str:
        """AUTH XOAUTH2 on a new connection; the reply."""
        await self.secure()
        return await self.ask(f"AUTH XOAUTH2 {blob}")

    async def sign_in_by_password(self, address: str, password: str) -> str:
        """AUTH LOGIN on a new connection; the last reply."""
        await self.secure()
        assert await self.ask(f"AUTH LOGIN {encoded(address)}") == "334 UGFzc3dvcmQ6"
        return await self.ask(encoded(password))

    async def address(self, *recipients: str, sender: str = SCANNER) -> list[str]:
        return await self.ask_all(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients))

    async def send(self, content: bytes = MESSAGE, recipient: str = "b@example.net") -> str:
        """One message by DATA; the last reply."""
        said = (await self.address(recipient))[-1]
        assert said.startswith("250 "), said
        assert await self.ask("DATA") == "354 Start mail input; end with <CRLF>.<CRLF>"
        return await self.ask(content + b".")

    async def close(self) -> None:
        if self.is_connected:
            self.writer.close()
            await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)

    async def is_closed(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True


def user_of(exchange: ExchangeServer, address: str) -> User:
    user = exchange.tenant.user_by_address(address)
    assert user is not None
    return user


def bearer(exchange: ExchangeServer, address: str, padding: str = "", *, member: str = "") -> str:
    """A user's own response, or with `member` that of another person for the mailbox."""
    app = exchange.tenant.register_app(f"Postroom{padding}")
    user = user_of(exchange, member or address)
    token = exchange.tokens.issue_access_token(app.client_id, user, "https://outlook.office.com", ["SMTP.Send"])
    return encoded(f"user={address}\x01auth=Bearer {token}\x01\x01")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def app_bearer(
    exchange: ExchangeServer, app: AppRegistration, address: str, roles: Iterable[str] = ("SMTP.SendAsApp",)
) -> str:
    """The response of an application that has a token of its own."""
    token = exchange.tokens.issue_app_token(
        app.client_id, app.enterprise.object_id, "https://outlook.office365.com", roles
    )
    return encoded(f"user={address}\x01auth=Bearer {token}\x01\x01")


def trust_of(authority: Authority, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """What trusts the simulator; with `version`, however old, it speaks that one only."""
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    if version is not None:
        trust.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            trust.minimum_version = trust.maximum_version = version
    return trust


@asynccontextmanager
async def open_clients(exchange: ExchangeServer, trust: ssl.SSLContext) -> AsyncIterator[Callable[[], Client]]:
    """Makes clients, and closes at the end what they opened."""
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(exchange, trust))
        return made[-1]

    yield make
    for client in made:
        await client.close()
