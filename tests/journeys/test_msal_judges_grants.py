"""Microsoft's own library for Python plays the device's, the app's own and the public client's grants, over TLS.

The code grant of a confidential app is in test_msal_judges_entra.py.
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

from postroom.simulator.clouds import CHINA, GCC_HIGH, GRAPH_HOSTS, LOGIN_HOSTS, Cloud
from postroom.simulator.directory import Directory
from postroom.simulator.service import Simulator
from postroom.simulator.tenant import AppRegistration, User
from postroom.simulator.tokens import AccessClaims
from tests.unit.simulator.certificates import KeyPair, make_key_pair

REDIRECT_URI = "http://localhost:8025/oauth/callback"
SMTP_SEND = "https://outlook.office.com/SMTP.Send"
EXCHANGE_DEFAULT = "https://outlook.office365.com/.default"

# Postroom asks for `query` as well: a posted answer would come without its SameSite cookie.
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended:UserWarning"),
]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def directory(simulator: Simulator) -> Directory:
    return Directory(simulator.tenant)


@pytest.fixture
def app(simulator: Simulator, directory: Directory) -> AppRegistration:
    app = simulator.tenant.register_app("Postroom", REDIRECT_URI)
    for permission in ("SMTP.Send", "offline_access"):
        simulator.tenant.add_permission(app.client_id, permission)
    directory.add_application_permission(app.client_id, "Office 365 Exchange Online", "SMTP.SendAsApp")
    return app


@pytest.fixture
def scanner(simulator: Simulator) -> User:
    user = simulator.tenant.user_by_upn("scanner@contoso.com")
    assert user is not None
    return user


@pytest.fixture(scope="module")
def key_pair() -> KeyPair:
    return make_key_pair()


class Library:
    """MSAL with connections that trust the simulator's authority, and a browser beside it."""

    def __init__(self, simulator: Simulator, app: AppRegistration, ca_file: Path) -> None:
        self.simulator, self.app = simulator, app
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(ca_file)

    def authority(self, cloud: Cloud | None = None) -> str:
        return f"{(cloud or self.simulator.tenant.cloud).login_url}/{self.simulator.tenant.tenant_id}"

    def confidential(self, credential: Any, cloud: Cloud | None = None) -> Any:
        return msal.ConfidentialClientApplication(
            self.app.client_id,
            client_credential=credential,
            authority=self.authority(cloud),
            http_client=self.session,
        )

    def public(self) -> Any:
        return msal.PublicClientApplication(self.app.client_id, authority=self.authority(), http_client=self.session)

    async def walk(self, steps: Callable[[], None]) -> None:
        """MSAL blocks; the simulator answers on this loop meanwhile."""
        try:
            await asyncio.to_thread(steps)
        finally:
            self.session.close()


@pytest.fixture
def library(simulator: Simulator, app: AppRegistration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    resolve = socket.getaddrinfo

    def resolve_locally(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        if host in (*LOGIN_HOSTS, *GRAPH_HOSTS):
            assert port == 443
            return resolve("127.0.0.1", simulator.https_port, *rest, **options)
        assert host in ("localhost", "127.0.0.1"), f"{host} was asked for: nothing may leave this machine"
        return resolve(host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_locally)
    ca_file = tmp_path / "simulator.pem"
    ca_file.write_bytes(simulator.ca_pem)
    return Library(simulator, app, ca_file)


class Browser:
    """A person at the simulator's pages, form by form."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.session = requests.Session()
        self.session.trust_env = False
        self.text = ""
        self.location = ""

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def open(self, url: str) -> None:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._take(self.session.get(f"{self.simulator.http_url}{path}", timeout=10))

    def submit(self, **fields: str) -> None:
        action = re.search(r'<form method="post" action="([^"]+)"', self.text)
        flow = re.search(r'name="flow" value="([^"]+)"', self.text)
        assert action, self.text
        form = {"flow": flow[1], **fields} if flow else fields
        url = f"{self.simulator.http_url}{html.unescape(action[1])}"
        self._take(self.session.post(url, form, allow_redirects=False, timeout=10))

    def _take(self, answer: requests.Response) -> None:
        self.text, self.location = html.unescape(answer.text), answer.headers.get("location", "")

    def answer(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.location).query))


# Device code


async def test_a_device_signs_in(simulator: Simulator, library: Library, directory: Directory, scanner: User) -> None:
    directory.allow_public_client_flows(library.app.client_id, allowed=True)

    def steps() -> None:
        client = library.public()
        flow = client.initiate_device_flow([SMTP_SEND])
        assert flow["verification_uri"] == "https://microsoft.com/devicelogin"
        assert (flow["expires_in"], flow["interval"]) == (900, 5)
        assert "verification_uri_complete" not in flow
        pending = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
        assert (pending["error"], pending["error_codes"]) == ("authorization_pending", [70016])
        del flow["latest_attempt_at"]  # MSAL would wait for five seconds before it asks again
        with Browser(simulator) as browser:
            browser.open("/devicelogin")
            browser.submit(otc=flow["user_code"].lower())
            browser.submit(loginfmt="scanner@contoso.com", passwd=scanner.password)
            assert "Are you trying to sign in to Postroom?" in browser.text
            browser.submit(answer="continue")
            browser.submit(answer="accept")
            assert "You have signed in to the Postroom application" in browser.text
        result = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
        assert result["scope"] == SMTP_SEND, result
        claims = simulator.tokens.check_access_token(result["access_token"])
        assert isinstance(claims, AccessClaims)
        assert claims.object_id == scanner.object_id
        [account] = client.get_accounts()
        refreshed = client.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)
        assert refreshed["token_source"] == "identity_provider", refreshed

    await library.walk(steps)


async def test_a_device_needs_public_client_flows(library: Library) -> None:
    def steps() -> None:
        client = library.public()
        flow = client.initiate_device_flow([SMTP_SEND])
        refused = client.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
        assert (refused["error"], refused["error_codes"]) == ("invalid_client", [7000218])

    await library.walk(steps)


async def test_a_device_is_declined_and_another_expires(
    simulator: Simulator, library: Library, directory: Directory, scanner: User
) -> None:
    directory.allow_public_client_flows(library.app.client_id, allowed=True)

    def steps() -> None:
        client = library.public()
        declined, late = client.initiate_device_flow([SMTP_SEND]), client.initiate_device_flow([SMTP_SEND])
        with Browser(simulator) as browser:
            browser.open("/common/oauth2/deviceauth")
            browser.submit(otc=declined["user_code"])
            browser.submit(loginfmt="scanner@contoso.com", passwd=scanner.password)
            browser.submit(answer="cancel")
            assert "You have not signed in" in browser.text
        assert client.acquire_token_by_device_flow(declined)["error"] == "authorization_declined"
        simulator.clock.advance(901)
        expired = client.acquire_token_by_device_flow(late, exit_condition=lambda _: True)
        assert (expired["error"], expired["error_codes"]) == ("expired_token", [70019])

    await library.walk(steps)


# Client credentials


async def test_an_app_signs_in_with_its_secret(simulator: Simulator, library: Library) -> None:
    secret = simulator.tenant.add_secret(library.app.client_id).value

    def steps() -> None:
        bare = library.confidential(secret).acquire_token_for_client([EXCHANGE_DEFAULT])
        claims = simulator.tokens.read_access_token(bare["access_token"])
        assert isinstance(claims, AccessClaims)
        assert claims.roles == frozenset()
        assert "refresh_token" not in bare

        simulator.tenant.grant_admin_consent(library.app.client_id)
        granted = library.confidential(secret).acquire_token_for_client([EXCHANGE_DEFAULT])
        claims = simulator.tokens.read_access_token(granted["access_token"])
        assert isinstance(claims, AccessClaims)
        assert claims.roles == {"SMTP.SendAsApp"}
        assert claims.is_app_only
        assert claims.object_id == library.app.enterprise.object_id != library.app.object_id
        assert claims.audience == "https://outlook.office365.com"

    await library.walk(steps)


async def test_an_app_signs_in_with_its_certificate(
    simulator: Simulator, library: Library, directory: Directory, key_pair: KeyPair
) -> None:
    directory.add_certificate(library.app.client_id, key_pair.certificate_pem)
    modern = {"private_key": key_pair.key_pem, "public_certificate": key_pair.certificate_pem.decode()}
    older = {"private_key": key_pair.key_pem, "thumbprint": key_pair.sha1_thumbprint}

    def steps() -> None:
        for credential in (modern, older):
            result = library.confidential(credential).acquire_token_for_client([EXCHANGE_DEFAULT])
            assert "access_token" in result, result
            assert appidacr_of(simulator, result["access_token"]) == "2"

    await library.walk(steps)


async def test_msal_reads_the_refusals_of_an_apps_credential(
    simulator: Simulator, library: Library, directory: Directory, key_pair: KeyPair
) -> None:
    stranger = {"private_key": key_pair.key_pem, "public_certificate": key_pair.certificate_pem.decode()}

    def steps() -> None:
        unknown = library.confidential(stranger).acquire_token_for_client([EXCHANGE_DEFAULT])
        assert (unknown["error"], unknown["error_codes"]) == ("invalid_client", [700027])
        assert key_pair.sha256_thumbprint in unknown["error_description"]

        secret = simulator.tenant.add_secret(library.app.client_id)
        wrong = library.confidential(secret.secret_id).acquire_token_for_client([EXCHANGE_DEFAULT])
        assert wrong["error_codes"] == [7000215]
        named = library.confidential(secret.value).acquire_token_for_client([SMTP_SEND])
        assert (named["error"], named["error_codes"]) == ("invalid_scope", [70011])
        simulator.tenant.expire_secret(library.app.client_id, secret.secret_id)
        expired = library.confidential(secret.value).acquire_token_for_client([EXCHANGE_DEFAULT])
        assert expired["error_codes"] == [7000222]

    await library.walk(steps)


async def test_a_certificate_redeems_a_code_and_refreshes(
    simulator: Simulator, library: Library, directory: Directory, key_pair: KeyPair, scanner: User
) -> None:
    directory.add_certificate(library.app.client_id, key_pair.certificate_pem)
    simulator.tenant.grant_admin_consent(library.app.client_id)
    credential = {"private_key": key_pair.key_pem, "public_certificate": key_pair.certificate_pem.decode()}

    def steps() -> None:
        client = library.confidential(credential)
        first = sign_in(simulator, client, scanner)
        assert appidacr_of(simulator, first["access_token"]) == "2"
        [account] = client.get_accounts()
        refreshed = client.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)
        assert refreshed["token_source"] == "identity_provider", refreshed

    await library.walk(steps)


# A public client


async def test_a_public_client_signs_in_with_pkce_alone(
    simulator: Simulator, library: Library, directory: Directory, scanner: User
) -> None:
    directory.remove_redirect_uri(library.app.client_id, REDIRECT_URI)
    directory.add_redirect_uri(library.app.client_id, "http://localhost/oauth/callback", "public")
    simulator.tenant.grant_admin_consent(library.app.client_id)

    def steps() -> None:
        client = library.public()
        first = sign_in(simulator, client, scanner)
        assert appidacr_of(simulator, first["access_token"]) == "0"
        [account] = client.get_accounts()
        assert "error" not in client.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)
        directory.reset_password(scanner.object_id, "Another-1", by="user")
        revoked = client.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)
        assert (revoked["error"], revoked["error_codes"]) == ("invalid_grant", [50173])

    await library.walk(steps)


# Conditional Access and clouds


async def test_msal_carries_the_second_factor(
    simulator: Simulator, library: Library, directory: Directory, scanner: User
) -> None:
    secret = simulator.tenant.add_secret(library.app.client_id).value
    simulator.tenant.grant_admin_consent(library.app.client_id)

    def steps() -> None:
        client = library.confidential(secret)
        sign_in(simulator, client, scanner)
        [account] = client.get_accounts()
        directory.register_mfa(scanner.object_id)
        directory.add_policy("MFA for all", "require MFA")
        refused = client.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)
        assert (refused["error"], refused["suberror"]) == ("invalid_grant", "basic_action")
        assert refused["error_codes"] == [50076]
        assert "capolids" in refused["claims"]

        again = library.confidential(secret)
        sign_in(simulator, again, scanner, second_factor="approve")
        [account] = again.get_accounts()
        assert "error" not in again.acquire_token_silent_with_error([SMTP_SEND], account, force_refresh=True)

    await library.walk(steps)


@pytest.mark.parametrize("cloud", [GCC_HIGH, CHINA], ids=["GCC High", "21Vianet"])
async def test_a_national_cloud_has_its_own_host_names(simulator: Simulator, library: Library, cloud: Cloud) -> None:
    simulator.tenant.cloud = cloud
    simulator.tenant.grant_admin_consent(library.app.client_id)
    secret = simulator.tenant.add_secret(library.app.client_id).value

    def steps() -> None:
        result = library.confidential(secret).acquire_token_for_client([f"{cloud.exchange}/.default"])
        claims = simulator.tokens.read_access_token(result["access_token"])
        assert isinstance(claims, AccessClaims)
        assert claims.audience == cloud.exchange
        assert claims.roles == {"SMTP.SendAsApp"}
        foreign = library.confidential(secret).acquire_token_for_client([EXCHANGE_DEFAULT])
        assert foreign["error_codes"] == [500011]

    await library.walk(steps)


async def test_the_wrong_cloud_is_told(simulator: Simulator, library: Library) -> None:
    simulator.tenant.cloud = GCC_HIGH

    def steps() -> None:
        where = "https://login.microsoftonline.com"
        tenant_id = simulator.tenant.tenant_id
        found = library.session.get(f"{where}/{tenant_id}/v2.0/.well-known/openid-configuration", timeout=10).json()
        assert found["error_codes"] == [90038]
        assert "National Cloud 'microsoftonline.us'" in found["error_description"]
        form = {"grant_type": "client_credentials", "client_id": library.app.client_id, "client_secret": "x"}
        refused = library.session.post(f"{where}/{tenant_id}/oauth2/v2.0/token", form, timeout=10).json()
        assert (refused["error"], refused["error_codes"]) == ("invalid_request", [900432])

    await library.walk(steps)


def sign_in(simulator: Simulator, client: Any, user: User, *, second_factor: str = "") -> dict[str, Any]:
    """The code grant with PKCE, which MSAL adds by itself."""
    flow = client.initiate_auth_code_flow([SMTP_SEND], redirect_uri=REDIRECT_URI)
    with Browser(simulator) as browser:
        browser.open(flow["auth_uri"])
        browser.submit(loginfmt=user.user_principal_name, passwd=user.password)
        if second_factor:
            assert "Approve sign in request" in browser.text
            browser.submit(answer=second_factor)
        result: dict[str, Any] = client.acquire_token_by_auth_code_flow(flow, browser.answer())
    assert "error" not in result, result
    return result


def appidacr_of(simulator: Simulator, token: str) -> str:
    """How the app proved itself, as the token says it: 0 not at all, 1 by secret, 2 by certificate."""
    said = simulator.tokens.read_claims(token)
    return str(said["appidacr"])
