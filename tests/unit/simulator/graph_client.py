"""A program that calls the simulated Microsoft Graph over TLS, under its real names."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
from starlette.applications import Starlette

from postroom.simulator import graph
from postroom.simulator.authority import Authority
from postroom.simulator.clouds import GRAPH_HOSTS
from postroom.simulator.graph_requests import UPLOAD_HOSTS
from postroom.simulator.registration import AppRegistration
from postroom.simulator.scopes import GRAPH
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from postroom.simulator.web_server import WebServer

SCANNER, NOREPLY, ANNA = "scanner@contoso.com", "noreply@contoso.com", "anna@contoso.com"
MESSAGE = (
    b"From: scanner@contoso.com\r\nTo: b@example.net\r\nSubject: Scan\r\nMessage-ID: <1@contoso.com>\r\n\r\nHello\r\n"
)
JSON_MESSAGE = {
    "subject": "Scan",
    "body": {"contentType": "Text", "content": "Hello"},
    "toRecipients": [{"emailAddress": {"address": "b@example.net"}}],
}
SEND = ("User.Read", "Mail.Send")
WRITE = ("Mail.Send", "Mail.ReadWrite")


class GraphClient:
    """Knows the tenant too, so that a test reads as: this is set, this is called, this comes back."""

    def __init__(self, tenant: Tenant, tokens: Tokens, app: AppRegistration, port: int, trust: ssl.SSLContext) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.app = app
        self.port = port
        self.trust = trust
        self.http = httpx2.AsyncClient(verify=trust, trust_env=False)

    def user(self, address: str = SCANNER) -> User:
        user = self.tenant.user_by_address(address)
        assert user is not None
        return user

    def token(self, *scopes: str, user: str = SCANNER, resource: str = GRAPH) -> str:
        return self.tokens.issue_access_token(self.app.client_id, self.user(user), resource, scopes)

    def app_token(self, *roles: str) -> str:
        return self.tokens.issue_app_token(self.app.client_id, self.app.enterprise.object_id, GRAPH, roles)

    async def call(
        self, method: str, url: str, token: str = "", *, headers: dict[str, str] | None = None, **given: Any
    ) -> httpx2.Response:
        """`url` is whole, or a path of Graph v1.0."""
        parts = urlsplit(url if url.startswith("https://") else f"https://graph.microsoft.com/v1.0{url}")
        all_headers = {
            "host": parts.netloc,
            **({"authorization": f"Bearer {token}"} if token else {}),
            **(headers or {}),
        }
        address = f"https://127.0.0.1:{self.port}{parts.path}{'?' if parts.query else ''}{parts.query}"
        extensions = {"sni_hostname": parts.netloc}
        return await self.http.request(method, address, headers=all_headers, extensions=extensions, **given)

    async def send_mime(
        self, content: bytes = MESSAGE, token: str = "", path: str = "/me/sendMail", **headers: str
    ) -> httpx2.Response:
        plain = {"content-type": "text/plain", **headers}
        body = base64.b64encode(content)
        return await self.call("POST", path, token or self.token(*SEND), headers=plain, content=body)

    async def send_json(
        self, message: dict[str, Any] | None = None, token: str = "", path: str = "/me/sendMail", **parameters: Any
    ) -> httpx2.Response:
        body = {"message": JSON_MESSAGE if message is None else message, **parameters}
        return await self.call("POST", path, token or self.token(*SEND), json=body)

    async def make_draft(self, token: str = "", **changes: Any) -> str:
        answer = await self.call("POST", "/me/messages", token or self.token(*WRITE), json={**JSON_MESSAGE, **changes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def start_upload(self, draft_id: str, size: int, name: str = "scan.pdf") -> str:
        """The upload URL of a session for one attachment."""
        path = f"/me/messages/{draft_id}/attachments/createUploadSession"
        item = {"attachmentType": "file", "name": name, "size": size, "contentType": "application/pdf"}
        answer = await self.call("POST", path, self.token(*WRITE), json={"AttachmentItem": item})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["uploadUrl"])

    async def put_range(self, url: str, chunk: bytes, start: int, total: int, **headers: str) -> httpx2.Response:
        content_range = f"bytes {start}-{start + len(chunk) - 1}/{total}"
        octets = {"content-type": "application/octet-stream", "content-range": content_range, **headers}
        return await self.call("PUT", url, headers=octets, content=chunk)

    @asynccontextmanager
    async def hold_requests(self, count: int, token: str) -> AsyncIterator[None]:
        """Requests that Graph has let in and that wait for their bodies."""
        writers = [await self._open_request(token) for _ in range(count)]
        try:
            yield
        finally:
            for writer in writers:
                writer.transport.abort()
                await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def _open_request(self, token: str) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trust, server_hostname="graph.microsoft.com"
        )
        head = (
            "POST /v1.0/me/sendMail HTTP/1.1\r\nHost: graph.microsoft.com\r\nContent-Type: text/plain\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        writer.write(head.encode())
        # The server asks for the body once the request has its place.
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        return writer


@asynccontextmanager
async def start_graph(tenant: Tenant, tokens: Tokens) -> AsyncIterator[GraphClient]:
    """Graph of every cloud and the hosts for uploads, on a free port of loopback."""
    authority = Authority.create()
    context = authority.server_context([*GRAPH_HOSTS, *dict.fromkeys(UPLOAD_HOSTS.values())])
    server = WebServer(Starlette(routes=graph.routes(tenant, tokens)), "127.0.0.1", 0, context)
    await server.start()
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    client = GraphClient(tenant, tokens, tenant.register_app("Postroom"), server.port, trust)
    try:
        yield client
    finally:
        await client.http.aclose()
        await server.stop()


def to(*addresses: str) -> list[dict[str, Any]]:
    return [{"emailAddress": {"address": address}} for address in addresses]


def message_to(addresses: Iterable[str], **changes: Any) -> dict[str, Any]:
    return {**JSON_MESSAGE, "toRecipients": to(*addresses), **changes}
