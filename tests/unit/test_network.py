import asyncio
import contextlib
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


async def serve_answer(authority: trustme.CA, head: bytes, chunk: bytes = b"") -> tuple[asyncio.Server, list[bytes]]:
    """Answers with `head`, then with `chunk` again and again until the client hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("login.microsoftonline.com").configure_cert(context)
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(OSError):
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n")
            while chunk:
                writer.write(chunk)
                await writer.drain()
            await (reader.read() if head.startswith(b"Content-Length: 9") else writer.drain())
        writer.transport.abort() if chunk else writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context), heard


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("head", "chunk", "error", "words"),
    [
        (b"", b"x" * 65_536, httpx2.ReadError, "larger than 1,048,576 bytes"),
        (b"Content-Encoding: gzip\r\nContent-Length: 0\r\n", b"", httpx2.DecodingError, "compressed"),
        (b"Content-Length: 9\r\n", b"", httpx2.ReadTimeout, "took longer than 0.2 seconds"),
    ],
)
async def test_an_answer_is_bounded_in_size_and_time(
    authority: trustme.CA, head: bytes, chunk: bytes, error: type[Exception], words: str
) -> None:
    server, _ = await serve_answer(authority, head, chunk)
    seconds = 0.2 if b"9" in head else 60
    network = rehearse(authority, server.sockets[0].getsockname()[1])
    async with server, http_client(network, answer_seconds=seconds) as client:
        with pytest.raises(error, match=words):
            await client.get("https://login.microsoftonline.com/x")


@pytest.mark.anyio
async def test_no_cookie_is_carried_from_one_answer_to_the_next_request(authority: trustme.CA) -> None:
    server, heard = await serve_answer(authority, b"Set-Cookie: fpc=1; path=/\r\nContent-Length: 0\r\n")
    async with server, http_client(rehearse(authority, server.sockets[0].getsockname()[1])) as client:
        for _ in range(2):
            await client.get("https://login.microsoftonline.com/x")
    assert len(heard) == 2
    assert b"cookie" not in heard[1].lower()
    assert b"accept-encoding: identity" in heard[1].lower()
