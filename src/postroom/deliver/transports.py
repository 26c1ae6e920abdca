"""One transport for each mail server and mailbox, for as long as their settings stay the same."""

import asyncio
import contextlib
from typing import Protocol

import httpx2
import msgspec

from postroom.clock import Clock
from postroom.deliver.graph_transport import GraphSignInSource, GraphTransport
from postroom.deliver.smtp_transport import SmtpTransport
from postroom.deliver.transport import Transport
from postroom.identity.sign_ins import SignInSource
from postroom.network import Network
from postroom.store.records import Authentication, EmailType, Mailbox, MailServer


class AllSignIns(SignInSource, GraphSignInSource, Protocol):
    """For every way out."""


class _Settings(msgspec.Struct, frozen=True):
    """What a connection depends on: when it changes, no connection that was made before may be used."""

    host: str
    port: int
    email_type: EmailType
    use_tls: bool
    ehlo_name: str
    authorities: str
    takes_large_mail: bool
    username: str
    address: str
    authentication: Authentication
    object_id: str


class Transports:
    """Hands out transports, replaces them when their settings change, and closes them at the end."""

    def __init__(self, network: Network, sign_ins: AllSignIns, clock: Clock, http: httpx2.AsyncClient) -> None:
        self._network = network
        self._http = http
        self._sign_ins = sign_ins
        self._clock = clock
        self._current: dict[tuple[int, int], tuple[_Settings, Transport]] = {}
        self._retired: set[asyncio.Task[None]] = set()

    def transport_for(self, mail_server: MailServer, mailbox: Mailbox) -> Transport:
        """The transport of this mail server and mailbox as they are set up now."""
        key = (mail_server.mail_server_id, mailbox.mailbox_id)
        settings = _settings_of(mail_server, mailbox)
        known = self._current.get(key)
        if known is not None and known[0] == settings:
            return known[1]
        if known is not None:
            self._retire(known[1])
        transport = self._make(mail_server, mailbox)
        self._current[key] = (settings, transport)
        return transport

    def _make(self, mail_server: MailServer, mailbox: Mailbox) -> Transport:
        if mail_server.email_type is EmailType.GRAPH:
            return GraphTransport(self._http, self._sign_ins, self._clock, mail_server, mailbox)
        return SmtpTransport(self._network, self._sign_ins, self._clock, mail_server, mailbox)

    async def close(self) -> None:
        """Close all of them, each politely and in its own time."""
        for _, transport in self._current.values():
            self._retire(transport)
        self._current.clear()
        if self._retired:
            await asyncio.wait(self._retired)

    def _retire(self, transport: Transport) -> None:
        closing = asyncio.create_task(_close(transport))
        self._retired.add(closing)
        closing.add_done_callback(self._retired.discard)


async def _close(transport: Transport) -> None:
    with contextlib.suppress(OSError):
        await transport.close()


def _settings_of(mail_server: MailServer, mailbox: Mailbox) -> _Settings:
    return _Settings(
        host=mail_server.host,
        port=mail_server.port,
        email_type=mail_server.email_type,
        use_tls=mail_server.use_tls,
        ehlo_name=mail_server.ehlo_name,
        authorities=mail_server.authorities,
        takes_large_mail=mail_server.takes_large_mail,
        username=mailbox.username,
        address=mailbox.address,
        authentication=mailbox.authentication,
        object_id=mailbox.user.object_id if mailbox.user else "",
    )
