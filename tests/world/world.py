"""One world: the whole way of the mail, from clients to a mail server, on virtual time and with faults by a seed.

Everything of ours that carries mail is the real thing: SMTP server, submission, store on SQLite, worker, SMTP client.
The network, the disk's moods, the machine's crashes, the mail server and the clients belong to the world. Afterwards
the oracle asks one question: is every message that was acknowledged accounted for?
"""

import asyncio
import contextlib
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from structlog.testing import capture_logs

from postroom.accept.profiles import local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.deliver.transports import Transports
from postroom.deliver.worker import Worker
from postroom.errors import PostroomError
from postroom.identity.sign_ins import Bearer, Password
from postroom.message import MailboxState, RecipientState
from postroom.network import Route, http_client, verifying_context
from postroom.outcome import Sent, Unknown
from postroom.store import Store
from postroom.store.choices import ChoiceAnswer, ChosenMail
from postroom.store.faults import Crash
from postroom.store.records import (
    NEW,
    AppSettings,
    Authentication,
    MailboxLimits,
    MailServerDraft,
    MessageDetail,
)
from postroom.store.routing import RuleKind
from postroom.store.ways import NewRule
from postroom.vault import KEY_BYTES, Vault
from tests.world.client import Client, Ledger
from tests.world.loop import VirtualClock, VirtualLoop
from tests.world.mail_server import ADDRESS, SECOND, MailServerProtocol, Weather, Witness

LISTENER = ("127.0.0.1", 2587)
STORM_SECONDS = 1_800
CALM_SECONDS = 4 * 24 * 3_600
CLIENTS = 3
MESSAGES_A_CLIENT = 6
LIMITS = MailboxLimits(4, 2, 10_000, 500)
"""So narrow that a handful of messages meets the pace."""
TLS = verifying_context()


@dataclass
class Verdict:
    """What the oracle found; `trouble` is empty when the promise was kept."""

    seed: int
    acknowledged: int
    duplicates: int
    crashes: int
    trouble: list[str] = field(default_factory=list)


class WorldNetwork:
    is_rehearsal = False

    def route(self, host: str, port: int) -> Route:
        return Route(host, port, host, TLS)

    def browser_url(self, url: str) -> str:
        return url


class WorldSignIns:
    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Password:
        return Password("scanner@world.test", "planted-password")

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        raise NotImplementedError("there is no Graph in this world")


class Machine:
    """What runs our server: it can stop at any moment, and start again on the same disk."""

    def __init__(self, folder: Path, clock: VirtualClock, chance: random.Random) -> None:
        self._folder = folder
        self._clock = clock
        self._chance = chance
        self._vault = Vault(bytes(KEY_BYTES))
        self._working: asyncio.Task[None] | None = None
        self._server: SmtpServer | None = None
        self._transports: Transports | None = None
        self.disk_trouble = 0.0
        """Of each point of the store: that the disk refuses."""
        self.crash_probability = 0.0
        """Of each point of the store: that the machine stops there."""
        self.has_stopped = asyncio.Event()
        self.crashes = 0
        self.store: Store

    async def start(self) -> None:
        self.has_stopped.clear()
        self.store = await Store.open(self._folder, self._clock, self._vault, writer="inline", fault=self._reach)
        intake = Intake(self.store, self._clock, "postroom.world.test", 1_000_000)
        profile = local_profile(await self.store.apps.internal())
        self._server = SmtpServer(intake, self.store.apps, profile=profile)
        await self._server.start(*LISTENER)
        self._transports = Transports(WorldNetwork(), WorldSignIns(), self._clock, http_client(WorldNetwork()))
        worker = Worker(self.store, self._transports.transport_for, self._clock, self._chance)
        self._working = asyncio.create_task(worker.run())

    def stop_at_once(self) -> None:
        """The power goes: from now on every point of the store is the end."""
        self.crash_probability = 1.0
        self.has_stopped.set()

    async def bury(self, loop: VirtualLoop) -> None:
        """After a stop: nothing of the old run goes on, and the disk is free for the next."""
        self.crashes += 1
        self.crash_probability = 1.0
        loop.lose_all()
        assert self._working is not None
        self._working.cancel()
        with contextlib.suppress(BaseException):
            await self.store.mail_servers.discard_draft()  # so that the store notices, if nothing else did
        await asyncio.gather(self._working, return_exceptions=True)
        for ours in (self._server, self._transports):
            if isinstance(ours, SmtpServer):
                await ours.stop(0)
            elif ours is not None:
                await ours.close()
        await self.store.close()
        self.crash_probability = 0.0

    def _reach(self, point: str) -> None:
        if self._chance.random() < self.crash_probability:
            self.has_stopped.set()
            raise Crash
        # A disk that refuses after the commit has already kept its promise.
        if point != "after_commit" and self._chance.random() < self.disk_trouble:
            if self._chance.random() < 0.5:
                raise OSError(28, "No space left on device")
            raise sqlite3.OperationalError("disk I/O error")


class World:
    """A storm of half an hour, then calm until everything has come to its end; then the oracle."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self.loop = VirtualLoop(random.Random(seed + 1))
        self._witness = Witness()
        self._weather = {ADDRESS: Weather(), SECOND: Weather()}
        self._cancelled: set[int] = set()
        self._ledger = Ledger()
        self._folder = folder
        self._machine: Machine

    def run(self) -> Verdict:
        self.loop.set_exception_handler(_report_all_but_crashes)
        try:
            return self.loop.run_until_complete(self._live())
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    async def _live(self) -> Verdict:
        clock = VirtualClock(self.loop)
        machine = self._machine = Machine(self._folder, clock, random.Random(self._seed + 2))
        self._put_up_mail_servers()
        await machine.start()
        login = await self._set_up(machine.store)
        clients = [
            asyncio.create_task(
                Client(f"c{number}", LISTENER, login, self._ledger, random.Random(self._seed + 10 + number)).send(
                    MESSAGES_A_CLIENT
                )
            )
            for number in range(CLIENTS)
        ]
        keeping = asyncio.create_task(self._keep_running())
        await self._storm()
        await asyncio.gather(*clients)
        await self._wait_until_all_ended()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        verdict = await self._judge()
        await machine.bury(self.loop)
        return verdict

    async def _set_up(self, store: Store) -> tuple[str, str]:
        _, second = await set_up_ways(store)
        for mailbox in await store.mailboxes.all():
            await store.mailboxes.set_limits(mailbox.mailbox_id, LIMITS, "world")
        if self._chance.random() < 0.3:
            await store.ways.replace_rules([NewRule(RuleKind.SENDER, "scanner@world.test", second)], "world")
        app, password = await store.apps.create(AppSettings(name="Scanner"), "world")
        return app.login, password

    async def _keep_running(self) -> None:
        """Whoever looks after the machine starts it again; whoever looks after the mailbox solves what stopped it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(600):
                    await self._machine.has_stopped.wait()
            if self._machine.has_stopped.is_set():
                await self._machine.bury(self.loop)
                self._put_up_mail_servers()
                await asyncio.sleep(self._chance.uniform(1, 120))
                await self._machine.start()
            await self._solve_stops()

    def _put_up_mail_servers(self) -> None:
        for address in self._weather:
            self.loop.listeners[address] = self._mail_server_factory(address)

    def _mail_server_factory(self, address: tuple[str, int]) -> Callable[[], asyncio.BaseProtocol]:
        chance = random.Random(self._chance.random())
        return partial(MailServerProtocol, self._witness, self._weather[address], chance, address[0])

    async def _solve_stops(self) -> None:
        with contextlib.suppress(PostroomError, Crash):
            for mailbox in await self._machine.store.mailboxes.all():
                if mailbox.state is MailboxState.STOPPED and mailbox.until_us is None:
                    await self._machine.store.mailboxes.resume(mailbox.mailbox_id, "world")
            for choice in await self._machine.store.choices.open():
                await self._machine.store.choices.answer(choice.choice_id, ChoiceAnswer(ChosenMail.ALL), "world")
            # What was alone at three crashes is held, though none is to blame here; and what people held.
            held, _ = await self._machine.store.messages.search("status:held", limit=200)
            for row in held:
                await self._machine.store.outbox.release(row.message_id, "world")

    async def _storm(self) -> None:
        """Change what goes wrong every few minutes, then let everything be well."""
        ends_at = self.loop.time() + STORM_SECONDS
        while self.loop.time() < ends_at:
            self._change_weather()
            await self._meddle()
            await asyncio.sleep(self._chance.uniform(30, 300))
            if self._chance.random() < 0.2:
                self._machine.stop_at_once()
        self._calm()

    async def _meddle(self) -> None:
        """What people do meanwhile: pause, hold, release, cancel."""
        chance, store = self._chance, self._machine.store
        act = chance.choice(("pause", "resume", "hold", "release", "cancel", "", "", ""))
        with contextlib.suppress(PostroomError, LookupError, Crash):
            if act in ("pause", "resume"):
                mailbox = chance.choice(await store.mailboxes.all())
                await getattr(store.mailboxes, act)(mailbox.mailbox_id, "world")
            elif act:
                rows, _ = await store.messages.search("", limit=20)
                if rows:
                    message_id = chance.choice(rows).message_id
                    if act == "cancel":
                        self._cancelled.add(message_id)
                    await getattr(store.outbox, act)(message_id, "world")

    def _change_weather(self) -> None:
        for address in self._weather:
            self._change_weather_at(address)

    def _change_weather_at(self, address: tuple[str, int]) -> None:
        chance, weather, machine = self._chance, self._weather[address], self._machine

        def sometimes(most: float) -> float:
            return chance.choice((0.0, 0.0, most * chance.random()))

        weather.temporary = sometimes(0.4)
        weather.drop_after_dot = sometimes(0.3)
        weather.drop_before_dot = sometimes(0.3)
        weather.throttles = sometimes(0.5)
        weather.offers_chunking = chance.random() < 0.7
        weather.sign_in_fails = chance.random() < 0.1
        weather.reply_delay_seconds = chance.choice((0.02, 0.5, 30.0))
        self.loop.cut_probability = sometimes(0.02)
        machine.disk_trouble = sometimes(0.1)
        if not machine.has_stopped.is_set():
            machine.crash_probability = sometimes(0.01)
        if chance.random() < 0.1:
            self.loop.listeners.pop(address, None)  # the mail server is away
        else:
            self.loop.listeners[address] = self._mail_server_factory(address)

    def _calm(self) -> None:
        for weather in self._weather.values():
            weather.__init__()  # type: ignore[misc]
        self.loop.cut_probability = self._machine.disk_trouble = 0.0
        if not self._machine.has_stopped.is_set():
            self._machine.crash_probability = 0.0
        self._put_up_mail_servers()

    async def _wait_until_all_ended(self) -> None:
        ends_at = self.loop.time() + CALM_SECONDS
        while self.loop.time() < ends_at:
            if not self._machine.has_stopped.is_set() and not await self._count_open():
                return
            await asyncio.sleep(60)

    async def _count_open(self) -> int:
        counts = await self._machine.store.messages.counts()
        return sum(number for state, number in counts.items() if not state.is_final)

    # ---- the oracle

    async def _judge(self) -> Verdict:
        kept = await self._read_all()
        verdict = Verdict(
            self._seed, len(self._ledger.acknowledged), self._count_duplicates(kept), self._machine.crashes
        )
        for message_id, recipients in self._ledger.acknowledged.items():
            for recipient in recipients:
                self._judge_recipient(verdict, kept, message_id, recipient)
        verdict.trouble += [f"{message_id} arrived damaged" for message_id in self._witness.damaged]
        for name in (ADDRESS[0], SECOND[0]):
            most = most_in_a_minute([at for at, server, _ in self._witness.taken if server == name])
            if most > LIMITS.messages_a_minute:
                verdict.trouble.append(f"{most} messages reached {name} within a minute")
        for details in kept.values():
            verdict.trouble += [trouble for detail in details for trouble in _judge_story(detail)]
        return verdict

    def _judge_recipient(
        self, verdict: Verdict, kept: dict[str, list[MessageDetail]], message_id: str, recipient: str
    ) -> None:
        details = kept.get(message_id, [])
        states = [
            row.state
            for detail in details
            for row in detail.recipients
            if row.address == recipient
            and not (row.state is RecipientState.CANCELLED and detail.row.message_id in self._cancelled)
        ]
        arrived = self._witness.arrived[message_id, recipient]
        if not details:
            verdict.trouble.append(f"{message_id} for {recipient} was acknowledged and is gone")
        for state in states:
            wanted = RecipientState.FAILED if recipient.startswith("never") else RecipientState.SENT
            if state is not wanted:
                verdict.trouble.append(f"{message_id} for {recipient} ended as {state}, not as {wanted}")
        if RecipientState.SENT in states and not arrived:
            verdict.trouble.append(f"{message_id} for {recipient} is called sent and never arrived")
        told = sum(_may_have_arrived(detail, recipient) for detail in details)
        if details and arrived > told:
            verdict.trouble.append(
                f"{message_id} for {recipient} arrived {arrived} times, and {told} attempts tell of it"
            )

    def _count_duplicates(self, kept: dict[str, list[MessageDetail]]) -> int:
        """Arrivals beyond one for each copy that clients handed in."""
        copies = Counter({message_id: len(details) for message_id, details in kept.items()})
        return sum(max(0, number - copies[message_id]) for (message_id, _), number in self._witness.arrived.items())

    async def _read_all(self) -> dict[str, list[MessageDetail]]:
        kept: dict[str, list[MessageDetail]] = {}
        cursor: str | None = None
        while True:
            rows, cursor = await self._machine.store.messages.search("", cursor=cursor, limit=200)
            for row in rows:
                detail = await self._machine.store.messages.find(row.message_id)
                assert detail is not None
                kept.setdefault(detail.internet_message_id, []).append(detail)
            if cursor is None:
                return kept


def _may_have_arrived(detail: MessageDetail, recipient: str) -> int:
    """Attempts that were successful, or of which nobody knows."""
    return sum(
        address == recipient and isinstance(outcome, Sent | Unknown)
        for attempt in detail.attempts
        for address, outcome in attempt.outcomes
    )


def _judge_story(detail: MessageDetail) -> list[str]:
    """Each change of the way stands in the timeline with its reason, and each attempt has ended."""
    name, trouble = detail.internet_message_id, []
    ways = [attempt.mail_server_id for attempt in detail.attempts]
    changes = sum(before != after for before, after in pairwise(ways))
    told = [entry.text for entry in detail.timeline if entry.kind == "rerouted" and "because" in entry.text]
    if changes > len(told):
        trouble.append(f"{name} changed its way {changes} times, and its timeline tells of {len(told)}")
    if any(attempt.ended_at_us is None for attempt in detail.attempts):
        trouble.append(f"{name} has an attempt without an end")
    return trouble


def most_in_a_minute(times: list[float]) -> int:
    """The greatest number within any 60 seconds."""
    return max((sum(start <= time < start + 60 for time in times) for start in times), default=0)


async def set_up_ways(store: Store) -> tuple[int, int]:
    """Two mail servers with a mailbox each, and each takes over from the other."""
    draft = MailServerDraft(
        name="first",
        host=ADDRESS[0],
        port=ADDRESS[1],
        use_tls=False,
        sender="scanner@world.test",
        username="scanner@world.test",
        test_address="ops@world.test",
        authentication=Authentication.BASIC,
        password="planted-password",
    )
    await store.mail_servers.save(draft, "world")
    other = msgspec.structs.replace(
        draft, mail_server_id=NEW, mailbox_id=NEW, name="second", host=SECOND[0], username="second@world.test"
    )
    second = await store.mail_servers.save(other, "world")
    await store.ways.set_alternatives(1, [second.mail_server_id], "world")
    await store.ways.set_alternatives(second.mail_server_id, [1], "world")
    return 1, second.mail_server_id


def _report_all_but_crashes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that died with its machine has nobody left to tell."""
    if not isinstance(context.get("exception"), Crash):
        loop.default_exception_handler(context)


def live(seed: int) -> Verdict:
    """One world by its seed."""
    # Logs are not what is judged, and showing them takes longer than the world.
    with tempfile.TemporaryDirectory(prefix="postroom-world-") as folder, capture_logs():
        return World(seed, Path(folder)).run()


def describe(verdict: Verdict) -> str:
    return msgspec.json.encode(verdict).decode()
