"""Build every object from the settings, start them in order and stop them in the other; the one file that knows all
rooms."""

import asyncio
import contextlib
import datetime
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import msgspec
import structlog

from postroom.accept.canary_mail import hand_in_canary
from postroom.accept.certificate import CertificateFiles, certificate_ends, load_or_make_certificate, tls_contexts
from postroom.accept.drop_folder import DropFolder, prepare_folder
from postroom.accept.listener_plan import (
    ListenerAddress,
    ListenerPlan,
    address_of,
    certificate_addresses,
    plan_listeners,
    plan_proxies,
    require_safe_apps,
)
from postroom.accept.local import LocalSocket, QueueDesk
from postroom.accept.notice_mail import hand_in_notice
from postroom.accept.profiles import SUBMISSION, limits_of
from postroom.accept.refused_clients import RefusedClientBook
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.api.administrator_socket import bind_administrator_socket, remove_administrator_socket
from postroom.api.app import beside, make_api
from postroom.api.idempotency import RunningRequests
from postroom.api.memory import BodyMemory
from postroom.api.room import ApiRoom
from postroom.api.scrape import Monitors
from postroom.api.uploads import Uploads
from postroom.checks.finding import Finding
from postroom.checks.run import verify_mail_server
from postroom.clock import MICROSECONDS, SystemClock
from postroom.console.app import make_app
from postroom.console.listener import ConsoleListener, bind_console
from postroom.console.rooms import ConsoleRooms
from postroom.deliver.attempt_metrics import AttemptMetrics
from postroom.deliver.canary import CanaryFlights
from postroom.deliver.notice_desk import NoticeDesk
from postroom.deliver.transports import Transports
from postroom.deliver.worker import Worker
from postroom.errors import PostroomError, SettingsError
from postroom.identity.client_secret import ClientSecretDesk
from postroom.identity.expiry_watch import ExpiryWatch
from postroom.identity.redirects import redirect_url_for
from postroom.identity.sign_in import SignIns
from postroom.identity.sign_in_desk import SignInDesk
from postroom.identity.tokens import TokenKeeper
from postroom.metrics import Metrics
from postroom.network import Internet, Network, Rehearsal, http_client
from postroom.settings import Settings
from postroom.simulator.service import Simulator
from postroom.store import Store
from postroom.store.outbox import OutboxLimits
from postroom.store.records import MailServerDraft
from postroom.vault_key import load_or_make_keys

GRACE_SECONDS = 30
PRUNE_EVERY_SECONDS = 600
GRAPH_SECONDS = 60
"""For each step of a request that sends: a few megabytes over a slow line."""
GRAPH_ANSWER_SECONDS = 600
"""For the whole of it, as after the final dot of SMTP."""

PORTALS = {
    "entra.microsoft.com": "/apps",
    "admin.microsoft.com": "/users",
    "admin.exchange.microsoft.com": "/exchange/mailboxes",
    "security.microsoft.com": "/exchange/limits",
}
"""In a rehearsal a link to Microsoft's portals opens the simulator's page of the same purpose."""

log = structlog.get_logger()

Listening = TypeVar("Listening")


class Server:
    """Everything that runs in one process. What is started is stopped in the opposite order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._stack = contextlib.AsyncExitStack()
        self._doors: list[Callable[[], Awaitable[None]]] = []
        """What closes each way in: all of them at once, or mail would come by one while another finishes."""
        self._shutdown = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._fallen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.simulator: Simulator | None = None
        self.store: Store
        self._uploads: Uploads
        self.smtp_server: SmtpServer
        self.listeners: list[ListenerPlan] = []
        """Those that run, with the ports that were taken."""
        self.setup_url: str | None = None
        self.console_url = ""

    @classmethod
    async def start(cls, settings: Settings) -> Self:
        """Start everything; SettingsError, DataFolderError or VaultKeyError say why it cannot be."""
        server = cls(settings)
        try:
            await server._start()
        except BaseException:
            await server.stop()
            raise
        return server

    @property
    def simulator_url(self) -> str | None:
        return self.simulator.http_url if self.simulator is not None else None

    @property
    def submission_host(self) -> str:
        """The first address of the listener that programs are told to use."""
        return (self._submission.hosts.split() or [""])[0]

    @property
    def submission_port(self) -> int:
        return self._submission.port

    @property
    def sendmail_socket(self) -> str:
        """Where `sendmail` reaches us; empty when that is switched off."""
        return self._settings.sendmail.socket if self._settings.sendmail.enabled else ""

    @property
    def _submission(self) -> ListenerPlan:
        section = self._settings.submission
        named = ListenerPlan(SUBMISSION, section.host, section.port)
        return next((plan for plan in self.listeners if plan.profile is SUBMISSION), named)

    async def wait_until(self, told_to_stop: asyncio.Event) -> None:
        """Until somebody says stop, or a part of us falls: then its error is raised."""
        waiting = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait((waiting, self._fallen), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._fallen.done():
            self._fallen.result()

    async def stop(self) -> None:
        """No new mail, what runs is finished within the grace, everything is closed."""
        self._shutdown.set()
        try:
            await asyncio.gather(*(close() for close in self._doors))
        finally:
            await self._stack.aclose()
        if not self._fallen.done():
            self._fallen.cancel()

    async def _start(self) -> None:
        settings = self._settings
        plans = plan_listeners(settings)
        network = await self._start_network()
        self.store = await self._open_store()
        http = http_client(network)
        self._stack.push_async_callback(http.aclose)
        keeper = self._start_keeper(http)
        self._start_worker(network, keeper)
        uploads_folder = settings.data_path / "uploads"
        self._uploads = Uploads(uploads_folder, self._clock, settings.smtp.size_limit_bytes)
        self._run("pruning", self._prune())
        default_domain = settings.sendmail.default_domain
        intake = Intake(
            self.store,
            self._clock,
            self._host_name,
            settings.smtp.size_limit_bytes,
            default_domain,
            metrics=self._metrics,
        )
        hand_in = partial(hand_in_canary, intake, settings.instance_name)
        self._run("canary", CanaryFlights(self.store.canaries, hand_in, self._clock).run())
        submit = partial(hand_in_notice, intake)
        self._run("notices", NoticeDesk(self.store, submit, self._host_name, settings.instance_name).run())
        await self._start_smtp_server(intake, plans)
        await self._start_sendmail(intake)
        await self._start_console(network, http, intake)

    @property
    def _host_name(self) -> str:
        return self._settings.smtp.host_name or socket.getfqdn()

    async def _start_network(self) -> Network:
        rehearsal = self._settings.rehearsal
        if not rehearsal.enabled:
            return Internet()
        self.simulator = await _listening(
            "rehearsal.pages_port", rehearsal.pages_port, Simulator.start(http_port=rehearsal.pages_port)
        )
        self._stack.push_async_callback(self.simulator.stop)
        loopback = "127.0.0.1"
        destinations = {
            ("smtp.office365.com", 587): (loopback, self.simulator.smtp_port),
            ("login.microsoftonline.com", 443): (loopback, self.simulator.https_port),
            ("graph.microsoft.com", 443): (loopback, self.simulator.https_port),
            ("outlook.office.com", 443): (loopback, self.simulator.https_port),  # uploads
        }
        return Rehearsal(destinations, self.simulator.ca_pem.decode(), self.simulator.http_url, PORTALS)

    async def _open_store(self) -> Store:
        settings = self._settings
        keys = load_or_make_keys(settings.vault_key_path, settings.data_path, os.environ)
        outbox = self._settings.outbox
        limits = OutboxLimits(outbox.recipient_limit, outbox.reserved_bytes)
        store = await Store.open(settings.data_path, self._clock, keys.vault(), limits=limits)
        self._stack.push_async_callback(store.close)
        return store

    def _start_keeper(self, http: httpx2.AsyncClient) -> TokenKeeper:
        keeper = self._keeper = TokenKeeper(self.store.mailboxes, http, self._clock, metrics=self._metrics)
        self._stack.push_async_callback(keeper.close)
        self._run("token keeper", keeper.run())
        mailboxes = self.store.mailboxes
        self._run("expiry watch", ExpiryWatch(mailboxes.expiries).run())
        self._client_secrets = ClientSecretDesk(keeper, self.store.client_secrets, mailboxes.open_grant)
        return keeper

    def _start_worker(self, network: Network, keeper: TokenKeeper) -> None:
        http = http_client(network, GRAPH_SECONDS, answer_seconds=GRAPH_ANSWER_SECONDS)
        self._stack.push_async_callback(http.aclose)
        transports = Transports(network, keeper, self._clock, http)
        self._stack.push_async_callback(transports.close)
        # Jitter spreads retries; nobody is harmed who guesses it.
        chance = random.Random()  # noqa: S311
        note_attempt = AttemptMetrics(self._metrics, self._clock).note
        worker = Worker(self.store, transports.transport_for, self._clock, chance, note_attempt=note_attempt)
        self._run("worker", worker.run())
        self._stack.push_async_callback(worker.stop, GRACE_SECONDS)

    async def _start_smtp_server(self, intake: Intake, plans: list[ListenerPlan]) -> None:
        has_devices = any(plan.profile.knows_devices for plan in plans)
        if has_devices:
            require_safe_apps(await self.store.apps.list())
        refused = RefusedClientBook(self.store.refused_clients.note)
        self._stack.push_async_callback(refused.flush)  # when no listener is left that could turn anybody away
        self._run("refused clients", refused.run())
        certificate = self._certificate(plans)
        self._certificate_ends = certificate_ends(certificate)
        self.smtp_server = SmtpServer(
            intake,
            self.store.apps,
            tls_contexts(certificate, allows_old=has_devices),
            limits=limits_of(self._settings.smtp),
            proxies=plan_proxies(self._settings),
            note_refused=refused.note,
        )
        self._doors.append(partial(self.smtp_server.stop, GRACE_SECONDS))
        for plan in plans:
            start = self.smtp_server.start(plan.hosts, plan.port, plan.profile)
            port = await _listening(f"{plan.section}.port", plan.port, start)
            self.listeners.append(msgspec.structs.replace(plan, port=port))

    def _certificate(self, plans: list[ListenerPlan]) -> CertificateFiles:
        smtp = self._settings.smtp
        if smtp.certificate_file:
            return CertificateFiles(smtp.certificate_file, smtp.private_key_file)
        now = datetime.datetime.fromtimestamp(self._clock.now_us() / MICROSECONDS, datetime.UTC)
        addresses = certificate_addresses(plans)
        return load_or_make_certificate(self._settings.data_path, self._host_name, now, addresses)

    async def _start_sendmail(self, intake: Intake) -> None:
        """The socket of this machine's programs, and what they left while nobody listened."""
        sendmail = self._settings.sendmail
        if not sendmail.enabled:
            return
        folder = Path(sendmail.drop_folder)
        prepare_folder(folder)
        bound = LocalSocket.bind(Path(sendmail.socket))
        self._stack.callback(bound.remove)
        drops = DropFolder(intake, folder)
        await self.smtp_server.start_unix(bound.socket, QueueDesk(self.store, drops.waiting))
        self._run("drop folder", drops.run())

    async def _start_console(self, network: Network, http: httpx2.AsyncClient, intake: Intake) -> None:
        console = self._settings.console
        bound = await _listening("console.port", console.port, _bind(console.host, console.port))
        self.console_url = console.public_url.rstrip("/") or f"http://localhost:{bound.getsockname()[1]}"
        sign_ins = SignIns(http, self._clock, network)
        redirect_url = redirect_url_for(self.console_url, bound.getsockname()[1])
        rooms = ConsoleRooms(
            store=self.store,
            clock=self._clock,
            settings=self._settings,
            network=network,
            intake=intake,
            sign_ins=sign_ins,
            client_secrets=self._client_secrets,
            verify=partial(self._verify, network, http),
            public_url=self.console_url,
            redirect_url=redirect_url,
            pages_url=self.simulator_url,
            listeners=self._listener_addresses,
            shutdown=self._shutdown,
        )
        desk = SignInDesk(sign_ins, self.store.mail_servers, self.store.mailboxes, redirect_url)
        api_room = self._make_api_room(intake, desk)
        app = beside(make_app(rooms), make_api(api_room))
        listener = ConsoleListener(app, bound, is_behind_proxy=rooms.is_secure)
        self._doors.append(listener.stop)
        folder = self._settings.data_path
        self._stack.callback(remove_administrator_socket, folder)
        commands = ConsoleListener(make_api(api_room, is_administrator=True), bind_administrator_socket(folder))
        self._doors.append(commands.stop)
        if not await self.store.people.has_any():
            self.setup_url = f"{self.console_url}/setup?token={await self.store.people.make_setup_link_token()}"

    def _make_api_room(self, intake: Intake, sign_ins: SignInDesk) -> ApiRoom:
        """Guessing is counted together with that of the SMTP listeners."""
        return ApiRoom(
            store=self.store,
            clock=self._clock,
            intake=intake,
            guard=self.smtp_server.guard,
            uploads=self._uploads,
            running=RunningRequests(),
            memory=BodyMemory(),
            client_secrets=self._client_secrets,
            sign_ins=sign_ins,
            listeners=self._listener_addresses,
            shutdown=self._shutdown,
            monitors=Monitors(
                connections=self.smtp_server.connections,
                token_ends=self._keeper.token_ends,
                is_listening=lambda: self.smtp_server.is_listening,
                certificate_ends=self._certificate_ends,
                is_open_to_loopback=self._settings.metrics.open_to_loopback,
            ),
        )

    def _listener_addresses(self) -> list[ListenerAddress]:
        found = [address_of(plan, self._host_name) for plan in self.listeners]
        return [address for address in found if address is not None]

    def _verify(self, network: Network, http: httpx2.AsyncClient, draft: MailServerDraft) -> AsyncIterator[Finding]:
        return verify_mail_server(draft, network, self.store.mail_servers.renew_draft, self._clock, http)

    async def _prune(self) -> None:
        """A disk that is full or a database that is away is a temporary matter: the next round makes up for it."""
        retention = self._settings.retention
        while True:
            try:
                while await self.store.outbox.prune(retention.content_days, retention.metadata_days):
                    pass
                await self.store.client_secrets.forget_spares()
                await asyncio.to_thread(self._uploads.sweep)
            except Exception as trouble:  # tidying up must not stop what sends mail
                log.warning("pruning_failed", reason=str(trouble), exc_info=not isinstance(trouble, PostroomError))
            await asyncio.sleep(PRUNE_EVERY_SECONDS)

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Keep `work` running in the background; when it falls, the whole server stops and says why."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._notice_end)
        self._stack.push_async_callback(_cancel, task)

    def _notice_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled() or self._fallen.done():
            return
        trouble = task.exception()
        if trouble is not None:
            log.error("part_fell", part=task.get_name(), exc_info=trouble)
            self._fallen.set_exception(trouble)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _bind(host: str, port: int) -> socket.socket:
    return bind_console(host, port)


async def _listening(key: str, port: int, start: Coroutine[Any, Any, Listening]) -> Listening:
    try:
        return await start
    except OSError as trouble:
        raise SettingsError(
            f"Port {port} cannot be listened on: {trouble.strerror or trouble}. "
            f"Stop what uses it, or choose another {key}."
        ) from None
