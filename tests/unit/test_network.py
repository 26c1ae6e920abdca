import asyncio
import ssl
from pathlib import Path

import httpx2
import pytest
import trustme

from postroom.network import Internet, Rehearsal, http_client, verifying_context

BROWSER = "http://localhost:8026"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def rehearse(authority: trustme.CA, port: int) -> Rehearsal:
    pem = authority.cert_pem.bytes().decode()
    return Rehearsal({("login.microsoftonline.com", 443): ("127.0.0.1", port)}, pem, BROWSER)


def test_only_the_three_names_lead_to_the_simulator(authority: trustme.CA) -> None:
    network = rehearse(authority, 4433)
    route = network.route("Login.MicrosoftOnline.com", 443)
    assert (route.address, route.port, route.server_name) == ("127.0.0.1", 4433, "Login.MicrosoftOnline.com")
    elsewhere = network.route("mail.example.net", 587)
    assert (elsewhere.address, elsewhere.port) == ("mail.example.net", 587)
    assert elsewhere.tls is not route.tls, "the throwaway authority is trusted for the rehearsed names only"


def test_a_browser_is_sent_to_localhost_for_the_sign_in_only(authority: trustme.CA) -> None:
    network = rehearse(authority, 4433)
    sign_in = "https://login.microsoftonline.com/t/oauth2/v2.0/authorize?a=b%20c"
    assert network.browser_url(sign_in) == BROWSER + "/t/oauth2/v2.0/authorize?a=b%20c"
    assert network.browser_url("https://example.net/x") == "https://example.net/x"
    assert Internet().browser_url(sign_in) == sign_in


def test_a_portal_of_microsofts_opens_the_simulators_page_in_its_place() -> None:
    network = Rehearsal({}, trustme.CA().cert_pem.bytes().decode(), BROWSER, {"entra.microsoft.com": "/apps"})
    assert network.browser_url("https://entra.microsoft.com/#view/x") == BROWSER + "/apps"
    assert network.browser_url("https://learn.microsoft.com/x") == "https://learn.microsoft.com/x"


def test_tls_is_never_older_than_1_2_and_always_checked(tmp_path: Path, authority: trustme.CA) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    for context in (verifying_context(), Internet(file).route("x", 1).tls):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


async def serve_https(authority: trustme.CA, name: str) -> asyncio.Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"host:"))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(host), host))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)


@pytest.mark.anyio
async def test_the_real_name_stands_in_the_request_and_in_the_certificate(authority: trustme.CA) -> None:
    server = await serve_https(authority, "login.microsoftonline.com")
    async with server, http_client(rehearse(authority, server.sockets[0].getsockname()[1])) as client:
        answer = await client.get("https://login.microsoftonline.com/x")
    assert answer.text.lower() == "host: login.microsoftonline.com"


@pytest.mark.anyio
async def test_a_certificate_for_another_name_is_refused(authority: trustme.CA) -> None:
    server = await serve_https(authority, "someone.else.test")
    async with server, http_client(rehearse(authority, server.sockets[0].getsockname()[1])) as client:
        with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
            await client.get("https://login.microsoftonline.com/x")
