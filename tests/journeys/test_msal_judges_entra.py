"""Microsoft's own library for Python signs in at the simulated Entra ID and refreshes, over TLS.

What MSAL takes without complaint is close enough to the real thing for Postroom to rehearse with.
"""

import asyncio
import html
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msal
import pytest
import requests

from postroom.simulator.service import GRAPH_HOST, LOGIN_HOST, Simulator
from postroom.simulator.tenant import AppRegistration
from postroom.simulator.tokens import AccessClaims

REDIRECT_URI = "http://localhost:8025/oauth/callback"
SMTP_SEND = "https://outlook.office.com/SMTP.Send"
USER_READ = "https://graph.microsoft.com/User.Read"

# Postroom asks for `query` as well: a posted answer would come without its SameSite cookie.
pytestmark = pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended:UserWarning")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def app(simulator: Simulator) -> AppRegistration:
    app = simulator.tenant.register_app("Postroom", REDIRECT_URI)
    for permission in ("SMTP.Send", "offline_access"):
        simulator.tenant.add_permission(app.client_id, permission)
    simulator.tenant.add_secret(app.client_id)
    return app


class Msal:
    """The library, its cache of tokens, and connections that trust the simulator's authority."""

    def __init__(self, simulator: Simulator, app: AppRegistration, ca_file: Path) -> None:
        self.simulator = simulator
        self.app = app
        self.cache = msal.TokenCache()
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca_file)

    def client(self, secret: str = "") -> Any:
        """A fresh client over the same tokens: MSAL remembers refusals for minutes, in each client."""
        return msal.ConfidentialClientApplication(
            self.app.client_id,
            client_credential=secret or self.app.secrets[0].value,
            authority=f"https://{LOGIN_HOST}/{self.simulator.tenant.tenant_id}",
            token_cache=self.cache,
            http_client=self.session,
        )

    def sign_in(self, user_name: str, *, prompt: str | None = None) -> dict[str, Any]:
        client = self.client()
        flow = client.initiate_auth_code_flow([SMTP_SEND], redirect_uri=REDIRECT_URI, prompt=prompt)
        answer = walk_through_sign_in(self.simulator, flow["auth_uri"], user_name)
        result: dict[str, Any] = client.acquire_token_by_auth_code_flow(flow, answer)
        return result

    def silently(self, scope: str, **options: Any) -> dict[str, Any]:
        client = self.client()
        [account] = client.get_accounts()
        result: dict[str, Any] = client.acquire_token_silent_with_error([scope], account, **options)
        return result


@pytest.fixture
def library(simulator: Simulator, app: AppRegistration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Msal:
    send_real_names_to(simulator.https_port, monkeypatch)
    ca_file = tmp_path / "simulator.pem"
    ca_file.write_bytes(simulator.ca_pem)
    return Msal(simulator, app, ca_file)


def send_real_names_to(https_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Microsoft's two names lead to the simulator, localhost stays, every other name is an error."""
    resolve = socket.getaddrinfo

    def resolve_locally(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host in (LOGIN_HOST, GRAPH_HOST):
            assert port == 443
            return resolve("127.0.0.1", https_port, *rest, **options)
        assert host in ("localhost", "127.0.0.1"), f"{host} was asked for: nothing may leave this machine"
        return resolve(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_locally)


def walk_through_sign_in(simulator: Simulator, auth_uri: str, user_name: str) -> dict[str, str]:
    """What a person does in the browser; the parameters that arrive at the redirect URI."""
    user = simulator.tenant.user_by_upn(user_name)
    assert user is not None
    with requests.Session() as browser:
        browser.trust_env = False
        page = browser.get(auth_uri.replace(f"https://{LOGIN_HOST}", simulator.http_url), timeout=10)
        page = submit(browser, page, {"loginfmt": user.user_principal_name, "passwd": user.password})
        if page.status_code == 200:
            assert "Permissions requested" in page.text
            page = submit(browser, page, {"answer": "accept"})
        location = urlsplit(page.headers["location"])
        page.close()
    assert f"{location.scheme}://{location.netloc}{location.path}" == REDIRECT_URI
    return dict(parse_qsl(location.query))


def submit(browser: requests.Session, page: requests.Response, fields: dict[str, str]) -> requests.Response:
    action = re.search(r'<form method="post" action="([^"]+)"', page.text)
    flow = re.search(r'name="flow" value="([^"]+)"', page.text)
    assert action, page.text
    assert flow, page.text
    address = f"http://{urlsplit(page.url).netloc}{html.unescape(action[1])}"
    return browser.post(address, {"flow": flow[1], **fields}, allow_redirects=False, timeout=10)


async def in_thread(library: Msal, walk: Callable[[], None]) -> None:
    """MSAL blocks; the simulator answers on this loop meanwhile."""
    try:
        await asyncio.to_thread(walk)
    finally:
        library.session.close()


@pytest.mark.anyio
async def test_msal_completes_the_code_grant_and_refreshes(simulator: Simulator, library: Msal) -> None:
    scanner = simulator.tenant.user_by_upn("scanner@contoso.com")
    assert scanner is not None

    def walk() -> None:
        first = library.sign_in("scanner@contoso.com")
        assert "error" not in first, first
        assert first["scope"] == SMTP_SEND
        assert first["id_token_claims"]["oid"] == scanner.object_id
        assert first["id_token_claims"]["preferred_username"] == "scanner@contoso.com"
        claims = simulator.tokens.check_access_token(first["access_token"])
        assert isinstance(claims, AccessClaims)
        assert claims.user_principal_name == "scanner@contoso.com"

        cached = library.silently(SMTP_SEND)
        assert (cached["token_source"], cached["access_token"]) == ("cache", first["access_token"])

        refreshed = library.silently(SMTP_SEND, force_refresh=True)
        assert refreshed["token_source"] == "identity_provider"
        assert refreshed["access_token"] != first["access_token"]
        assert isinstance(simulator.tokens.check_access_token(refreshed["access_token"]), AccessClaims)

    await in_thread(library, walk)


@pytest.mark.anyio
async def test_one_refresh_token_serves_graph_once_there_is_consent(simulator: Simulator, library: Msal) -> None:
    def walk() -> None:
        library.sign_in("scanner@contoso.com")
        refused = library.silently(USER_READ)
        assert (refused["error"], refused["suberror"]) == ("invalid_grant", "consent_required")
        assert refused["error_codes"] == [65001]

        simulator.tenant.grant_admin_consent(library.app.client_id)
        token = library.silently(USER_READ)["access_token"]
        answer = library.session.get(
            f"https://{GRAPH_HOST}/v1.0/me", headers={"authorization": f"Bearer {token}"}, timeout=10
        )
        assert answer.json()["mail"] == "scanner@contoso.com"

    await in_thread(library, walk)


@pytest.mark.anyio
async def test_msal_reads_the_refusals(simulator: Simulator, library: Msal) -> None:
    def walk() -> None:
        signed_in = library.sign_in("scanner@contoso.com")
        object_id = signed_in["id_token_claims"]["oid"]
        simulator.tenant.revoke_sessions(object_id)
        revoked = library.silently(SMTP_SEND, force_refresh=True)
        assert (revoked["error"], revoked["error_codes"]) == ("invalid_grant", [50173])

        again = library.sign_in("scanner@contoso.com", prompt="consent")
        assert "error" not in again, again
        simulator.tenant.expire_secret(library.app.client_id, library.app.secrets[0].secret_id)
        expired = library.silently(SMTP_SEND, force_refresh=True)
        assert (expired["error"], expired["error_codes"]) == ("invalid_client", [7000222])

    await in_thread(library, walk)
