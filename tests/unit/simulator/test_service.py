"""The whole simulator: a person signs in in a browser, a server gets tokens over TLS, and mail is sent."""

import asyncio
import base64
import hashlib
import re
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiosmtplib
import httpx2
import pytest

from postroom.simulator.service import GRAPH_HOST, LOGIN_HOST, SMTP_HOST, Simulator
from postroom.simulator.tenant import AppRegistration

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: Postroom's own server runs on uvloop, whose transports are not asyncio's."""
    return "asyncio", {"use_uvloop": request.param}


REDIRECT_URI = "http://localhost:8025/oauth/callback"
SCANNER = "scanner@contoso.com"
SMTP_SCOPE = "https://outlook.office.com/SMTP.Send"
VERIFIER = "a-verifier-of-at-least-forty-three-characters-0"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start()
    yield running
    await running.stop()


def trust(simulator: Simulator) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=simulator.ca_pem.decode())


class Server:
    """Calls the simulator as Postroom's server does: TLS under the real name, on a port of loopback."""

    def __init__(self, simulator: Simulator) -> None:
        self.base = f"https://127.0.0.1:{simulator.https_port}"
        self.client = httpx2.AsyncClient(verify=trust(simulator), trust_env=False)

    async def request(self, method: str, url: str, **given: Any) -> httpx2.Response:
        parts = urlsplit(url)
        headers = {"host": parts.netloc, **given.pop("headers", {})}
        path = f"{self.base}{parts.path}"
        extensions = {"sni_hostname": parts.netloc}
        return await self.client.request(method, path, headers=headers, extensions=extensions, **given)


@pytest.fixture
async def server(simulator: Simulator) -> AsyncIterator[Server]:
    calling = Server(simulator)
    yield calling
    await calling.client.aclose()


@pytest.fixture
async def browser(simulator: Simulator) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=simulator.http_url, trust_env=False) as client:
        yield client


def register(simulator: Simulator) -> tuple[AppRegistration, str]:
    """An app with a secret, as a person makes it on the pages of Entra."""
    app = simulator.tenant.register_app("Postroom", REDIRECT_URI)
    for permission in ("SMTP.Send", "offline_access"):
        simulator.tenant.add_permission(app.client_id, permission)
    simulator.tenant.grant_admin_consent(app.client_id)
    return app, simulator.tenant.add_secret(app.client_id).value


async def sign_in(simulator: Simulator, browser: httpx2.AsyncClient, app: AppRegistration) -> str:
    """The code that comes back to the redirect URI once the scanner's password was given."""
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    query = {
        "client_id": app.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT_URI,
        "scope": f"openid profile offline_access {SMTP_SCOPE} https://graph.microsoft.com/User.Read",
        "state": "abc",
        "nonce": "n",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    page = await browser.get(f"/{simulator.tenant.tenant_id}/oauth2/v2.0/authorize", params=query)
    flow, action = _field(page.text, r'name="flow" value="([^"]+)"'), _field(page.text, r'action="([^"]+)"')
    password = simulator.tenant.users[_object_id(simulator)].password
    answer = await browser.post(action, data={"flow": flow, "loginfmt": SCANNER, "passwd": password})
    assert answer.status_code == 302, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{REDIRECT_URI}?")
    returned = parse_qs(urlsplit(location).query)
    assert returned["state"] == ["abc"]
    return returned["code"][0]


def _object_id(simulator: Simulator) -> str:
    user = simulator.tenant.user_by_address(SCANNER)
    assert user is not None
    return user.object_id


def _field(page: str, pattern: str) -> str:
    found = re.search(pattern, page)
    assert found, f"{pattern} is not in the page: {page}"
    return found[1]


async def redeem(simulator: Simulator, server: Server, **fields: str) -> dict[str, Any]:
    address = f"https://{LOGIN_HOST}/{simulator.tenant.tenant_id}/oauth2/v2.0/token"
    answer = await server.request("POST", address, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def letter(message_id: str = "<1@contoso.com>") -> EmailMessage:
    message = EmailMessage()
    message["From"] = SCANNER
    message["To"] = "anna@example.net"
    message["Subject"] = "Page 1"
    message["Message-ID"] = message_id
    message.set_content("Hello\n.\nwith a lone dot")
    return message


def make_client(simulator: Simulator) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=simulator.smtp_port, start_tls=False, timeout=10)


async def connect(simulator: Simulator) -> aiosmtplib.SMTP:
    client = make_client(simulator)
    await client.connect()
    await client.starttls(server_hostname=SMTP_HOST, tls_context=trust(simulator))
    return client


async def test_from_the_sign_in_page_to_the_inbox(
    simulator: Simulator, server: Server, browser: httpx2.AsyncClient
) -> None:
    app, secret = register(simulator)
    client_fields = {"client_id": app.client_id, "client_secret": secret}
    code = await sign_in(simulator, browser, app)
    tokens = await redeem(
        simulator,
        server,
        grant_type="authorization_code",
        code=code,
        redirect_uri=REDIRECT_URI,
        code_verifier=VERIFIER,
        scope=f"openid profile offline_access {SMTP_SCOPE}",
        **client_fields,
    )

    client = await connect(simulator)
    said = await client.auth_xoauth2(SCANNER, tokens["access_token"])
    assert said.code == 235
    _, last = await client.send_message(letter())
    await client.quit()

    assert last.startswith("2.0.0 OK <1@contoso.com> [Hostname=")
    (message,) = simulator.tenant.messages
    assert message.signed_in_as == SCANNER
    assert b"\r\n.\r\nwith a lone dot" in message.content
    assert "Page 1" in (await browser.get("/inbox")).text
    assert "AUTH XOAUTH2 &lt;" in (await browser.get("/inbox/1")).text
    assert tokens["access_token"][:40] not in (await browser.get("/inbox/1")).text


async def test_a_refresh_token_yields_a_token_for_graph(
    simulator: Simulator, server: Server, browser: httpx2.AsyncClient
) -> None:
    app, secret = register(simulator)
    client_fields = {"client_id": app.client_id, "client_secret": secret}
    first = await redeem(
        simulator,
        server,
        grant_type="authorization_code",
        code=await sign_in(simulator, browser, app),
        redirect_uri=REDIRECT_URI,
        code_verifier=VERIFIER,
        scope=f"openid profile offline_access {SMTP_SCOPE}",
        **client_fields,
    )
    second = await redeem(
        simulator,
        server,
        grant_type="refresh_token",
        refresh_token=first["refresh_token"],
        scope="https://graph.microsoft.com/User.Read offline_access",
        **client_fields,
    )

    bearer = {"authorization": f"Bearer {second['access_token']}"}
    me = await server.request("GET", f"https://{GRAPH_HOST}/v1.0/me", headers=bearer)

    assert me.json()["mail"] == SCANNER
    client = await connect(simulator)
    with pytest.raises(aiosmtplib.SMTPAuthenticationError, match=r"5\.7\.3 Authentication unsuccessful"):
        await client.auth_xoauth2(SCANNER, second["access_token"])
    client.close()


async def test_discovery_names_the_real_addresses(simulator: Simulator, server: Server) -> None:
    tenant_id = simulator.tenant.tenant_id
    address = f"https://{LOGIN_HOST}/{tenant_id}/v2.0/.well-known/openid-configuration"

    found = (await server.request("GET", address)).json()

    assert found["issuer"] == f"https://{LOGIN_HOST}/{tenant_id}/v2.0"
    assert found["authorization_endpoint"] == f"https://{LOGIN_HOST}/{tenant_id}/oauth2/v2.0/authorize"
    keys = await server.request("GET", found["jwks_uri"])
    assert keys.json()["keys"][0]["kty"] == "RSA"


async def test_each_name_has_its_own_pages(simulator: Simulator, server: Server) -> None:
    assert (await server.request("GET", f"https://{LOGIN_HOST}/v1.0/me")).status_code == 404
    assert (await server.request("GET", f"https://{GRAPH_HOST}/v1.0/me")).status_code == 401
    assert (await server.request("GET", "https://evil.example/")).status_code == 404


async def test_the_certificate_holds_these_names_only(simulator: Simulator, server: Server) -> None:
    with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
        await server.request("GET", f"https://{SMTP_HOST}/")


async def test_what_servers_ask_is_not_open_to_browsers_and_the_reverse(
    simulator: Simulator, server: Server, browser: httpx2.AsyncClient
) -> None:
    assert (await browser.get("/v1.0/me")).status_code == 404
    assert (await server.request("GET", f"https://{LOGIN_HOST}/users")).status_code == 404
    assert (await browser.get("/users")).status_code == 200


async def test_the_pages_answer_to_local_names_only(simulator: Simulator, browser: httpx2.AsyncClient) -> None:
    assert simulator.http_url.startswith("http://localhost:")

    page = await browser.get("/users", headers={"host": "rebound.example"})

    assert page.status_code == 400
    assert simulator.tenant.users[_object_id(simulator)].password not in page.text


async def test_smtplib_sends_with_a_password(simulator: Simulator) -> None:
    password = simulator.tenant.users[_object_id(simulator)].password

    def send() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", simulator.smtp_port, timeout=10) as client:
            # smtplib checks the certificate against the name in this attribute.
            client._host = SMTP_HOST  # type: ignore[attr-defined]
            client.starttls(context=trust(simulator))
            client.login(SCANNER, password)
            return client.send_message(letter(), to_addrs=["anna@example.net", "550@example.net"])

    refused = await asyncio.to_thread(send)

    assert refused.keys() == {"550@example.net"}
    assert refused["550@example.net"][1].startswith(b"5.4.1 Recipient address rejected: Access denied.")
    assert simulator.tenant.messages[0].recipients == ("anna@example.net",)


async def test_a_lost_answer_is_a_lost_connection_for_a_client(simulator: Simulator) -> None:
    client = await connect(simulator)
    await client.login(SCANNER, simulator.tenant.users[_object_id(simulator)].password)

    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await client.send_message(letter(), recipients=["drop-after-dot@example.net"])

    assert len(simulator.tenant.messages) == 1


async def test_stop_is_quick_and_complete_with_connections_open(simulator: Simulator) -> None:
    smtp = await connect(simulator)
    _, tls_writer = await asyncio.open_connection(
        "127.0.0.1", simulator.https_port, ssl=trust(simulator), server_hostname=LOGIN_HOST
    )
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", urlsplit(simulator.http_url).port)
    async with httpx2.AsyncClient(base_url=simulator.http_url, trust_env=False) as kept:
        assert (await kept.get("/")).status_code == 200
        ports = [simulator.smtp_port, simulator.https_port, urlsplit(simulator.http_url).port or 0]

        await asyncio.wait_for(simulator.stop(), 1)

        assert await idle_reader.read() == b""
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
    for writer in (tls_writer, idle_writer):
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    smtp.close()


async def test_stop_twice_is_no_error(simulator: Simulator) -> None:
    await simulator.stop()
    await simulator.stop()


async def test_ports_may_be_chosen_and_a_taken_one_stops_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
            await Simulator.start(http_port=port)

    simulator = await Simulator.start(http_port=port)
    assert simulator.http_url == f"http://localhost:{port}"
    await simulator.stop()
