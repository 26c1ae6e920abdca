"""How another host is reached: under its real name, or, in a rehearsal, at the simulated Microsoft 365.

Whoever dials asks for a route first. In a rehearsal the routes of three names lead to loopback and trust the
simulator's throwaway authority, for these names only; everything else goes where it always goes.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx2

ANSWER_LIMIT_BYTES = 1024 * 1024
"""Of one answer over HTTPS: the longest that we ask for, a list of keys, has some tens of KiB."""
ANSWER_SECONDS = 30.0
"""From the request to the last byte: whoever drips must end, since a mailbox waits for its token."""


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


def explain_authorities(pem: str) -> str | None:
    """Why these are no certificates that could vouch for a server; None when they are, or when there are none."""
    if not pem.strip():
        return None
    if "PRIVATE KEY" in pem:
        return "This holds a private key: paste only the certificate of the authority (BEGIN CERTIFICATE)."
    try:
        verifying_context(pem)
    except (ssl.SSLError, ValueError):
        return "This is no certificate in PEM form: it begins with -----BEGIN CERTIFICATE-----."
    return None


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
    """HTTPS over the network's routes, keeping Host and certificate name real; each answer is read whole and bounded.

    Errors are httpx2's: ReadTimeout when it takes too long, ReadError when it is too large, DecodingError when it is
    compressed, which was not asked for and could unfold without end.
    """

    def __init__(self, network: Network, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._network = network
        self._answer_seconds = answer_seconds
        self._by_context: dict[int, httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        route = self._network.route(url.host, url.port or (443 if url.scheme == "https" else 80))
        if route.address != url.host:
            request.extensions = {**request.extensions, "sni_hostname": route.server_name}
            request.url = url.copy_with(host=route.address, port=route.port)
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await _read_whole(await self._transport_of(route.tls).handle_async_request(request))
        except TimeoutError:
            raise httpx2.ReadTimeout(f"The answer took longer than {self._answer_seconds:g} seconds.") from None

    def _transport_of(self, tls: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
        transport = self._by_context.get(id(tls))
        if transport is None:
            transport = self._by_context[id(tls)] = httpx2.AsyncHTTPTransport(verify=tls, limits=KEPT)
        return transport

    async def aclose(self) -> None:
        for transport in self._by_context.values():
            await transport.aclose()


async def _read_whole(response: httpx2.Response) -> httpx2.Response:
    try:
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() != "identity":
            raise httpx2.DecodingError("The answer is compressed, which was not asked for.")
        content = b""
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > ANSWER_LIMIT_BYTES:
                raise httpx2.ReadError(f"The answer is larger than {ANSWER_LIMIT_BYTES:,} bytes.")
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=response.headers, content=content)


def http_client(
    network: Network, timeout_seconds: float = 20, *, answer_seconds: float = ANSWER_SECONDS
) -> httpx2.AsyncClient:
    """A client for what servers say to one another; redirects are not followed, cookies are not kept."""
    return httpx2.AsyncClient(
        transport=RoutedTransport(network, answer_seconds),
        timeout=timeout_seconds,
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )
