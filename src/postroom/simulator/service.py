"""The whole simulated Microsoft 365 in one object: start it, use it, stop it.

What servers say to one another is TLS under Microsoft's real names; what a person opens is plain
HTTP on localhost, because a browser cannot be sent to those names.
"""

import asyncio
import ssl

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Host, Router
from starlette.types import ASGIApp

from postroom.simulator import admin_center, entra, graph, inbox, userinfo
from postroom.simulator.authority import Authority
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.clouds import GRAPH_HOSTS, LOGIN_HOSTS, SMTP_HOSTS
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.graph_requests import UPLOAD_HOSTS
from postroom.simulator.scenarios import Scenarios
from postroom.simulator.tenant import Tenant, contoso
from postroom.simulator.tokens import Tokens
from postroom.simulator.web_server import WebServer

SMTP_HOST = "smtp.office365.com"
LOGIN_HOST = "login.microsoftonline.com"
GRAPH_HOST = "graph.microsoft.com"
# Graph of every cloud, and where large attachments are uploaded.
GRAPH_AND_UPLOAD_HOSTS = tuple(dict.fromkeys([*GRAPH_HOSTS, *UPLOAD_HOSTS.values()]))
LOOPBACK = "127.0.0.1"


class Simulator:
    """A running simulator. `exchange.slow_seconds`, the tenant's switches and `scenarios` may be turned at any time."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.clock = tenant.clock
        self.scenarios = Scenarios(tenant)
        self.authority = Authority.create()
        self.tokens = Tokens(tenant)
        self.exchange = ExchangeServer(
            tenant, self.tokens, self.authority.server_context(SMTP_HOSTS, speaks_old_tls=True)
        )
        self._servers: list[WebServer] = []

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
            context = simulator.authority.server_context([*LOGIN_HOSTS, *GRAPH_AND_UPLOAD_HOSTS])
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
        server = WebServer(app, host, port, context)
        self._servers.append(server)
        await server.start()

    @property
    def smtp_port(self) -> int:
        return self.exchange.port

    @property
    def https_port(self) -> int:
        """Where login.microsoftonline.com and graph.microsoft.com answer, and those of the national clouds."""
        return self._servers[0].port

    @property
    def http_url(self) -> str:
        """Where a browser goes: sign-in, consent, the admin pages and the inbox."""
        return f"http://localhost:{self._servers[1].port}"

    @property
    def ca_pem(self) -> bytes:
        """The certificate to trust for the names of Microsoft's clouds, and for these only."""
        return self.authority.pem


def _server_app(simulator: Simulator) -> ASGIApp:
    """Each host of each cloud; people's pages are not among them, for this listener may be open to others."""
    login = Starlette(routes=entra.server_routes(simulator.tenant, simulator.tokens))
    directory = Starlette(
        routes=[
            *graph.routes(simulator.tenant, simulator.tokens),
            *userinfo.routes(simulator.tenant, simulator.tokens),
        ]
    )
    hosts = [*(Host(name, login) for name in LOGIN_HOSTS), *(Host(name, directory) for name in GRAPH_AND_UPLOAD_HOSTS)]
    return Router(hosts)


def _browser_app(simulator: Simulator) -> ASGIApp:
    # Another site's name that points here must not read the passwords shown on these pages.
    local_names_only = Middleware(TrustedHostMiddleware, allowed_hosts=["localhost", LOOPBACK])
    return Starlette(
        middleware=[local_names_only],
        routes=[
            *admin_center.routes(simulator.tenant, simulator.scenarios),
            *inbox.routes(simulator.tenant),
            *entra.browser_routes(simulator.tenant, simulator.tokens),
        ],
    )
