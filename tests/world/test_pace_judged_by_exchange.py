"""Two thousand messages on virtual time, judged by the simulated Exchange Online with the limits that it has.

TLS, tokens, sessions and counters are its own. It rejects what comes too fast, so that every message which needed a
second try tells on us.
"""

import asyncio
import random
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroom.clock import MICROSECONDS, MINUTE_US
from postroom.deliver.transports import Transports
from postroom.deliver.worker import Worker
from postroom.identity.sign_ins import Bearer
from postroom.message import Lane, MailboxState, Reception
from postroom.network import Rehearsal, http_client, verifying_context
from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.tenant import ReceivedMessage, contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from postroom.store import Store
from postroom.store.records import App, AppSettings, MailServerDraft, NewMessage, StoredBody
from postroom.vault import KEY_BYTES, Vault
from tests.world.loop import VirtualClock, VirtualLoop

HOST = "smtp.office365.com"
SCANNER = "scanner@contoso.com"
MAILBOX_ID = 1
MICROSOFTS_LIMIT = 30
AUTHORITY = Authority.create()
KEY = make_signing_key()


class VirtualSimulatorClock(SimulatorClock):
    """The simulator's clock goes by the loop's."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> float:
        self._last_reading = max(self._clock.now_us() / MICROSECONDS, self._last_reading + 1e-6)
        return self._last_reading


class Entra:
    """A new token for each connection."""

    def __init__(self, exchange: ExchangeServer) -> None:
        self._exchange = exchange
        self._client_id = exchange.tenant.register_app("Postroom").client_id

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        user = self._exchange.tenant.user_by_address(SCANNER)
        assert user is not None
        scopes = ["SMTP.Send"]
        token = self._exchange.tokens.issue_access_token(self._client_id, user, "https://outlook.office.com", scopes)
        return Bearer(SCANNER, token)

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        raise NotImplementedError("this is about SMTP")


class Office:
    """Postroom and Exchange Online on one virtual loop."""

    def __init__(self, folder: Path, loop: VirtualLoop) -> None:
        self._folder = folder
        self._vault = Vault(bytes(KEY_BYTES))
        self.clock = VirtualClock(loop)
        tenant = contoso(VirtualSimulatorClock(self.clock))
        tenant.exchange.set_reading("rate_mode", True)
        self.exchange = ExchangeServer(tenant, Tokens(tenant, KEY), AUTHORITY.server_context([HOST]))
        self._network = Rehearsal({(HOST, 587): ("127.0.0.1", 587)}, AUTHORITY.pem.decode(), "http://localhost")
        self.entra = Entra(self.exchange)
        self.store: Store
        self.apps: dict[str, App] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Store]:
        """From a start to a stop in good order, on the same disk as before."""
        self.store = await Store.open(self._folder, self.clock, self._vault, writer="inline")
        transports = Transports(self._network, self.entra, self.clock, http_client(self._network))
        worker = Worker(self.store, transports.transport_for, self.clock, random.Random(1))
        working = asyncio.create_task(worker.run())
        try:
            yield self.store
        finally:
            await worker.stop(30)
            await working
            await transports.close()
            await self.store.close()

    async def set_up(self, *apps: str) -> None:
        draft = MailServerDraft(sender=SCANNER, username=SCANNER, test_address=SCANNER, tenant="contoso.com")
        await self.store.mail_servers.save(draft, "anna")
        for name in apps:
            self.apps[name], _ = await self.store.apps.create(AppSettings(name=name), "anna")

    async def hand_in(self, app: str, number: int, lane: Lane = Lane.NORMAL) -> str:
        """One message; its Message-ID."""
        message_id = f"<{app}.{number}@contoso.com>"
        head = f"From: {SCANNER}\r\nTo: bob@fabrikam.com\r\nSubject: {app}\r\nMessage-ID: {message_id}\r\n\r\n"
        content = head.encode() + b"Hello\r\n"
        await self.store.outbox.keep(
            NewMessage(
                message_id=self.store.ids.make_id(),
                app_id=self.apps[app].app_id,
                envelope_sender=SCANNER,
                recipients=("bob@fabrikam.com",),
                header_from=SCANNER,
                subject=app,
                internet_message_id=message_id,
                body=StoredBody(len(content), content=content),
                reception=Reception("smtp", "192.0.2.7", app, "TLSv1.3", "LOGIN", app),
                received_at_us=self.clock.now_us(),
                lane=lane,
            )
        )
        return message_id

    async def wait_until_arrived(self, number: int) -> None:
        while len(self.exchange.tenant.messages) < number:
            await asyncio.sleep(1)

    def arrived(self) -> list[ReceivedMessage]:
        return self.exchange.tenant.messages

    def place_of(self, message_id: str) -> int:
        """How many arrived before it."""
        return next(place for place, message in enumerate(self.arrived()) if message_id.encode() in message.content)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Callable[[Office], Awaitable[None]]], None]]:
    loop = VirtualLoop(random.Random(7))

    async def live(story: Callable[[Office], Awaitable[None]]) -> None:
        office = Office(tmp_path / "data", loop)
        await office.exchange.start("127.0.0.1", 587)
        await story(office)
        await office.exchange.stop()

    yield lambda story: loop.run_until_complete(live(story))
    loop.close()


def most_in_a_minute(times: Iterable[float]) -> int:
    """The greatest number within any 60 seconds."""
    window: deque[float] = deque()
    most = 0
    for time in sorted(times):
        window.append(time)
        while window[0] <= time - 60:
            window.popleft()
        most = max(most, len(window))
    return most


async def tries_of_all(store: Store) -> list[int]:
    tries, cursor = [], None
    while True:
        rows, cursor = await store.messages.search("", cursor=cursor, limit=500)
        tries += [row.attempts for row in rows]
        if cursor is None:
            return tries


Run = Callable[[Callable[[Office], Awaitable[None]]], None]


def test_two_thousand_messages_at_the_pace_that_microsoft_takes(run: Run) -> None:
    async def story(office: Office) -> None:
        async with office.running() as store:
            await office.set_up("reports", "alarms", "shop")
            for number in range(1_990):
                await office.hand_in("reports", number)
            forecast = (await store.messages.overview(0)).forecast
            await office.wait_until_arrived(700)
            before = len(office.arrived())
            order = [await office.hand_in("shop", 1), await office.hand_in("alarms", 1, Lane.HIGH)]
            await office.wait_until_arrived(900)
            shop, alarm = (office.place_of(message_id) for message_id in order)
            assert alarm - before <= 2, "an alarm waits for those only that are on their way already"
            assert shop - alarm <= 2, "thousands of messages of one app delay another's first by one"
        async with office.running() as store:
            for number in range(2, 10):
                await office.hand_in("alarms", number, Lane.HIGH)
            await office.wait_until_arrived(2_000)
            await asyncio.sleep(60)
            assert await tries_of_all(store) == [1] * 2_000, "not one was refused"
            mailbox = await store.mailboxes.find(MAILBOX_ID)
            assert (mailbox.state, mailbox.learnt_at_us) == (MailboxState.READY, None)
        times = [message.received_at for message in office.arrived()]
        assert most_in_a_minute(times) <= 25 < MICROSOFTS_LIMIT
        assert len({message.content for message in office.arrived()}) == 2_000
        assert forecast.out_at_us is not None
        assert abs(times[1_989] * MICROSECONDS - forecast.out_at_us) < 2 * MINUTE_US, "as it was foretold"

    run(story)


def test_who_goes_too_fast_is_told_so_and_learns(run: Run) -> None:
    """The judge is awake: with more than Microsoft takes it refuses, and we find its pace."""

    async def story(office: Office) -> None:
        async with office.running() as store:
            await office.set_up("reports")
            await store._writer.run(
                lambda connection: connection.raw.execute("UPDATE mailboxes SET message_limit_a_minute = 60").rowcount
            )
            for number in range(200):
                await office.hand_in("reports", number)
            await office.wait_until_arrived(200)
            await asyncio.sleep(60)
            assert max(await tries_of_all(store)) > 1
            mailbox = await store.mailboxes.find(MAILBOX_ID)
            assert mailbox.state is MailboxState.SLOWED
            assert mailbox.learnt_message_limit is not None
            assert mailbox.learnt_message_limit <= 40
        assert most_in_a_minute(message.received_at for message in office.arrived()) <= MICROSOFTS_LIMIT

    run(story)


def test_beside_another_program_in_the_same_mailbox(run: Run) -> None:
    """It holds two of the three connections: our second one is refused, and we go on with one."""

    async def story(office: Office) -> None:
        rivals = [await a_rival(office) for _ in range(2)]
        async with office.running() as store:
            await office.set_up("reports")
            for number in range(100):
                await office.hand_in("reports", number)
            await office.wait_until_arrived(100)
            mailbox = await store.mailboxes.find(MAILBOX_ID)
            assert (mailbox.state, mailbox.learnt_connection_limit) == (MailboxState.SLOWED, 1)
            assert sum(await tries_of_all(store)) - 100 <= 4, "what was refused once is not tried the same way again"
        for rival in rivals:
            rival.close()
        await asyncio.sleep(60)

    run(story)


async def a_rival(office: Office) -> asyncio.StreamWriter:
    """Another program, signed in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", 587)
    bearer = await office.entra.sign_in_for(MAILBOX_ID)
    await reader.readuntil(b"\r\n")
    writer.write(b"EHLO rival\r\n")
    while (await reader.readuntil(b"\r\n"))[3:4] == b"-":
        pass
    writer.write(b"STARTTLS\r\n")
    await reader.readuntil(b"\r\n")
    await writer.start_tls(verifying_context(AUTHORITY.pem.decode()), server_hostname=HOST)
    writer.write(b"EHLO rival\r\n")
    while (await reader.readuntil(b"\r\n"))[3:4] == b"-":
        pass
    token = b64encode(f"user={bearer.user}\x01auth=Bearer {bearer.token}\x01\x01".encode())
    writer.write(b"AUTH XOAUTH2 " + token + b"\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"235")
    return writer
