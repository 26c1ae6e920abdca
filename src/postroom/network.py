"""How another host is reached: under its real name, or, in a rehearsal, at the simulated Microsoft 365.

Whoever dials asks for a route first. In a rehearsal the routes of three names lead to loopback and trust the
simulator's throwaway authority, for these names only; everything else goes where it always goes.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx2


@dataclass(frozen=True)
class Route:
    """Where to open a connection, and the name that the certificate must carry."""

    address: str
    port: int
    server_name: str
    tls: ssl.SSLContext


class Network(Protocol):
    """The seam: the internet, or a rehearsal of it."""

    @property
    def is_rehearsal(self) -> bool: ...

    def route(self, host: str, port: int) -> Route:
        """The way to `host`; no name is resolved here."""
        ...

    def browser_url(self, url: str) -> str:
        """The address at which a person's browser opens `url`."""
        ...


KEPT = httpx2.Limits(keepalive_expiry=2)
"""Shorter than servers keep an idle connection, so that a request never meets one that is being closed."""


def verifying_context(authority_pem: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer with certificate and name checked, trusting the system's authorities or only this one."""
    context = ssl.create_default_context(cadata=authority_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Internet:
    """Real names, the system's resolver and authorities; and an own CA file when one is configured."""

    def __init__(self, authority_file: Path | None = None) -> None:
        self._tls = verifying_context()
        if authority_file is not None:
            self._tls.load_verify_locations(cafile=authority_file)

    @property
    def is_rehearsal(self) -> bool:
        return False

    def route(self, host: str, port: int) -> Route:
        return Route(host, port, host, self._tls)

    def browser_url(self, url: str) -> str:
        return url


@dataclass(frozen=True)
class Rehearsal:
    """Sends the three names of Microsoft 365 to a simulator on this machine."""

    destinations: Mapping[tuple[str, int], tuple[str, int]]
    """Real host and port to loopback address and port."""
    authority_pem: str
    browser_base: str
    """Where the simulator's pages are, `http://localhost:8026`."""
    portals: Mapping[str, str] = field(default_factory=dict)
    """Names of Microsoft's portals that a person opens, to the simulator's page in place of each."""
    browser_hosts: frozenset[str] = frozenset({"login.microsoftonline.com"})
    beyond: Network = field(default_factory=Internet)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tls", verifying_context(self.authority_pem))

    @property
    def is_rehearsal(self) -> bool:
        return True

    def route(self, host: str, port: int) -> Route:
        destination = self.destinations.get((host.lower(), port))
        if destination is None:
            return self.beyond.route(host, port)
        tls: ssl.SSLContext = self._tls  # type: ignore[attr-defined]
        return Route(*destination, host, tls)

    def browser_url(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.hostname is not None and parts.hostname in self.portals:
            return self.browser_base + self.portals[parts.hostname]
        if parts.hostname not in self.browser_hosts:
            return url
        local = urlsplit(self.browser_base)
        return urlunsplit((local.scheme, local.netloc, parts.path, parts.query, parts.fragment))


class RoutedTransport(httpx2.AsyncBaseTransport):
    """HTTPS over the network's routes, keeping Host and certificate name real."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._by_context: dict[int, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        route = self._network.route(url.host, url.port or (443 if url.scheme == "https" else 80))
        if route.address != url.host:
            request.extensions = {**request.extensions, "sni_hostname": route.server_name}
            request.url = url.copy_with(host=route.address, port=route.port)
        return await self._transport_of(route.tls).handle_async_request(request)

    def _transport_of(self, tls: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
        transport = self._by_context.get(id(tls))
        if transport is None:
            transport = self._by_context[id(tls)] = httpx2.AsyncHTTPTransport(verify=tls, limits=KEPT)
        return transport

    async def aclose(self) -> None:
        for transport in self._by_context.values():
            await transport.aclose()


def http_client(network: Network, timeout_seconds: float = 20) -> httpx2.AsyncClient:
    """A client for what servers say to one another; redirects are not followed."""
    return httpx2.AsyncClient(transport=RoutedTransport(network), timeout=timeout_seconds, trust_env=False)
