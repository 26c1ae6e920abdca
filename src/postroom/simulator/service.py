"""The whole simulated Microsoft 365 in one object: start it, use it, stop it.

What servers say to one another is TLS under Microsoft's real names; what a person opens is plain
HTTP on localhost, because a browser cannot be sent to those names.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Host, Router
from starlette.types import ASGIApp

from postroom.simulator import admin_center, entra, graph, inbox
from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.clouds import GRAPH_HOSTS
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.graph_requests import UPLOAD_HOSTS
from postroom.simulator.tenant import Tenant, contoso
from postroom.simulator.tokens import Tokens

SMTP_HOST = "smtp.office365.com"
LOGIN_HOST = "login.microsoftonline.com"
GRAPH_HOST = "graph.microsoft.com"
# Graph of every cloud, and where large attachments are uploaded.
GRAPH_AND_UPLOAD_HOSTS = tuple(dict.fromkeys([*GRAPH_HOSTS, *UPLOAD_HOSTS.values()]))
LOOPBACK = "127.0.0.1"


class Simulator:
    """A running simulator. `exchange.slow_seconds` and the tenant's switches may be turned at any time."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.clock = tenant.clock
        self.authority = Authority.create()
        self.tokens = Tokens(tenant)
        self.exchange = ExchangeServer(tenant, self.tokens, self.authority.server_context([SMTP_HOST], speaks_old_tls=True))
        self._servers: list[_WebServer] = []

    @classmethod
    async def start(
        cls,
        host: str = LOOPBACK,
        http_port: int = 0,
        https_port: int = 0,
        smtp_port: int = 0,
        tenant: Tenant | None = None,
    ) -> "Simulator":
        """Start the three listeners; port 0 takes a free one. OSError if a port is taken.

        `host` is where the servers' listeners bind; the pages for people bind to loopback always,
        for they show every password.
        """
        simulator = cls(tenant or contoso(SimulatorClock()))
        try:
            await simulator.exchange.start(host, smtp_port)
            context = simulator.authority.server_context([LOGIN_HOST, *GRAPH_AND_UPLOAD_HOSTS])
            await simulator._start_web(_server_app(simulator), host, https_port, context)
            await simulator._start_web(_browser_app(simulator), LOOPBACK, http_port, None)
        except BaseException:
            await simulator.stop()
            raise
        return simulator

    async def stop(self) -> None:
        """Close every listener and connection, within a second.

        Only a peer that never finishes its TLS handshake with the HTTPS port is left to time out.
        """
        await asyncio.gather(self.exchange.stop(), *(server.stop() for server in self._servers))
        self._servers.clear()

    async def _start_web(self, app: ASGIApp, host: str, port: int, context: ssl.SSLContext | None) -> None:
        server = _WebServer(app, host, port, context)
        self._servers.append(server)
        await server.start()

    @property
    def smtp_port(self) -> int:
        return self.exchange.port

    @property
    def https_port(self) -> int:
        """Where login.microsoftonline.com and graph.microsoft.com answer."""
        return self._servers[0].port

    @property
    def http_url(self) -> str:
        """Where a browser goes: sign-in, consent, the admin pages and the inbox."""
        return f"http://localhost:{self._servers[1].port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate to trust for these three names, and for these only."""
        return self.authority.pem


def _server_app(simulator: Simulator) -> ASGIApp:
    login = Starlette(routes=entra.server_routes(simulator.tenant, simulator.tokens))
    directory = Starlette(routes=graph.routes(simulator.tenant, simulator.tokens))
    return Router([Host(LOGIN_HOST, login), *(Host(name, directory) for name in GRAPH_AND_UPLOAD_HOSTS)])


def _browser_app(simulator: Simulator) -> ASGIApp:
    # Another site's name that points here must not read the passwords shown on these pages.
    local_names_only = Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", LOOPBACK])
    return Starlette(
        middleware=[local_names_only],
        routes=[
            *admin_center.routes(simulator.tenant),
            *inbox.routes(simulator.tenant),
            *entra.browser_routes(simulator.tenant, simulator.tokens),
        ],
    )


class _EmbeddedServer(uvicorn.Server):
    """Says when it listens, and leaves signals to the program that the simulator runs in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listens.set()


class _WebServer:
    def __init__(self, app: ASGIApp, host: str, port: int, context: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        self._server = _EmbeddedServer(config)
        self._socket = socket.create_server((host, port))
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        self.port = int(self._socket.getsockname()[1])

    async def start(self) -> None:
        await self._server.listens.wait()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Break what is open: a client that keeps an idle connection would hold up a graceful end."""
        self._server.should_exit = self._server.force_exit = True
        self._break_connections()
        await self._task
        # Whoever connected while the listener was closing.
        self._break_connections()
        self._socket.close()

    def _break_connections(self) -> None:
        for task in self._server.server_state.tasks:
            task.cancel()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
