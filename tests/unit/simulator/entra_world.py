"""One organisation at the simulated Entra ID, a registered app, a server that asks for tokens and a browser."""

import html
import json
import re
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from joserfc import jws
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.testclient import TestClient

from postroom.simulator import entra
from postroom.simulator.client_assertions import ASSERTION_TYPE
from postroom.simulator.directory import Directory
from postroom.simulator.issued_grants import RefreshToken
from postroom.simulator.registration import AppRegistration
from postroom.simulator.scopes import OUTLOOK, parse_scopes
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.certificates import KeyPair

REDIRECT_URI = "http://localhost:8025/oauth/callback"
SMTP_SEND = "https://outlook.office.com/SMTP.Send"
USER_READ = "https://graph.microsoft.com/User.Read"
EXCHANGE_DEFAULT = "https://outlook.office365.com/.default"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636, appendix B
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Page:
    """One HTML page: its text, and the form that it holds."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.status = answer.status_code
        self.location = answer.headers.get("location", "")
        self.text = html.unescape(answer.text)
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', answer.text)
        self.fields = {name: html.unescape(value) for name, value in hidden}
        actions = re.findall(r'<form method="post" action="([^"]+)"', answer.text)
        self.action = html.unescape(actions[0]) if actions else ""

    @property
    def answer(self) -> dict[str, str]:
        """What the redirect carries back to the app."""
        assert self.location.startswith(REDIRECT_URI), (self.location, self.text)
        parts = urlsplit(self.location)
        return {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}


@dataclass
class World:
    tenant: Tenant
    tokens: Tokens
    app: AppRegistration
    scanner: User
    server: TestClient = field(init=False)
    browser: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Directory(self.tenant)
        self.server = TestClient(
            Starlette(routes=entra.server_routes(self.tenant, self.tokens)), "https://login.microsoftonline.com"
        )
        self.browser = TestClient(
            Starlette(routes=entra.browser_routes(self.tenant, self.tokens)),
            "http://localhost",
            follow_redirects=False,
        )

    # The server's side

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.app.client_id, "client_secret": self.app.secrets[0].value}

    def ask(
        self, form: dict[str, str], *, tenant: str = "", path: str = "token", headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """POST to the token endpoint; a field with an empty value is left out."""
        given = {name: value for name, value in form.items() if value}
        return self.server.post(f"/{tenant or self.tenant.tenant_id}/oauth2/v2.0/{path}", data=given, headers=headers)

    def redeem(self, code: str, *, tenant: str = "", **changes: str) -> httpx2.Response:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "scope": SMTP_SEND,
            **self.credentials,
            **changes,
        }
        return self.ask(form, tenant=tenant)

    def code(self, scope: str = f"openid offline_access {SMTP_SEND}", **options: Any) -> str:
        scopes = parse_scopes(scope, self.tenant.name)
        return self.tokens.issue_code(self.app.client_id, self.scanner, REDIRECT_URI, scopes, **options).value

    def refresh_token(self, **options: Any) -> RefreshToken:
        scopes = parse_scopes(f"offline_access {SMTP_SEND}", self.tenant.name)
        return self.tokens.issue_refresh_token(self.app.client_id, self.scanner, scopes, OUTLOOK, **options)

    def refresh(self, token: RefreshToken | str | None = None, **changes: str) -> httpx2.Response:
        value = token if isinstance(token, str) else (token or self.refresh_token()).value
        form = {"grant_type": "refresh_token", "refresh_token": value, **self.credentials, **changes}
        return self.ask(form)

    def ask_as_app(self, *, tenant: str = "", **changes: str) -> httpx2.Response:
        form = {"grant_type": "client_credentials", "scope": EXCHANGE_DEFAULT, **self.credentials, **changes}
        return self.ask(form, tenant=tenant)

    def assertion(
        self, key_pair: KeyPair, *, alg: str = "PS256", header: dict[str, Any] | None = None, **changes: Any
    ) -> dict[str, str]:
        """The fields that take the secret's place; `changes` are of the claims."""
        now = int(time.time())
        claims = {
            "aud": f"https://login.microsoftonline.com/{self.tenant.tenant_id}/oauth2/v2.0/token",
            "iss": self.app.client_id,
            "sub": self.app.client_id,
            "jti": str(uuid.uuid4()),
            "nbf": now,
            "iat": now,
            "exp": now + 300,
            **changes,
        }
        thumbprint = {"x5t#S256": base64url(bytes.fromhex(key_pair.sha256_thumbprint))}
        full_header = {"alg": alg, "typ": "JWT", **(thumbprint if header is None else header)}
        key = RSAKey.import_key(key_pair.key_pem)
        registry = jws.JWSRegistry(algorithms=["PS256", "RS256"], strict_check_header=False)
        text = jws.serialize_compact(full_header, json.dumps(claims).encode(), key, registry=registry)
        return {"client_secret": "", "client_assertion_type": ASSERTION_TYPE, "client_assertion": text}

    def start_device(self) -> dict[str, Any]:
        form = {"client_id": self.app.client_id, "scope": f"{SMTP_SEND} offline_access openid"}
        answer = self.ask(form, path="devicecode")
        assert answer.status_code == 200, answer.text
        given: dict[str, Any] = answer.json()
        return given

    def start_device_raw(self) -> httpx2.Response:
        return self.ask({"client_id": self.app.client_id, "scope": SMTP_SEND}, path="devicecode")

    def refresh_default_without_permission(self) -> httpx2.Response:
        """`.default` of Exchange, of which the registration lists nothing any more."""
        token = self.refresh_token()
        self.tenant.remove_permission(self.app.client_id, "SMTP.Send")
        return self.refresh(token, scope=f"{OUTLOOK}/.default")

    def poll(self, device: dict[str, Any], **changes: str) -> httpx2.Response:
        form = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"], "client_id": self.app.client_id}
        return self.ask({**form, **changes})

    # The person's side

    @property
    def query(self) -> dict[str, str]:
        return {
            "client_id": self.app.client_id,
            "response_type": "code",
            "redirect_uri": REDIRECT_URI,
            "scope": f"openid profile offline_access {SMTP_SEND}",
            "state": "af0ifjsldkj",
            "nonce": "n-0S6_WzA2Mj",
        }

    def open(self, *, tenant: str = "", host: str = "", **changes: str) -> Page:
        """The authorize endpoint; a parameter with an empty value is left out."""
        params = {name: value for name, value in {**self.query, **changes}.items() if value}
        url = f"{host}/{tenant or self.tenant.tenant_id}/oauth2/v2.0/authorize"
        return Page(self.browser.get(url, params=params))

    def get(self, path: str, **params: str) -> Page:
        return Page(self.browser.get(path, params=params))

    def submit(self, page: Page, **fields: str) -> Page:
        assert page.action, page.text
        return Page(self.browser.post(page.action, data={**page.fields, **fields}))

    def sign_in(self, page: Page, user: User | None = None, password: str = "") -> Page:
        person = user or self.scanner
        return self.submit(page, loginfmt=person.user_principal_name, passwd=password or person.password)

    def open_and_sign_in(self, user: User | None = None, **changes: str) -> Page:
        return self.sign_in(self.open(**changes), user)

    @property
    def anna(self) -> User:
        user = self.tenant.user_by_upn("anna@contoso.com")
        assert user is not None
        return user


def expect_error(answer: httpx2.Response, code: int, error: str, *, status: int = 400) -> str:
    """Check the whole JSON of an error of Entra's and give back its sentence."""
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [code]), body
    described = str(body["error_description"])
    assert described.startswith(f"AADSTS{code}: ")
    trailer = f"\r\nTrace ID: {body['trace_id']}\r\nCorrelation ID: {body['correlation_id']}"
    assert described.endswith(f"{trailer}\r\nTimestamp: {body['timestamp']}")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", body["timestamp"])
    assert str(uuid.UUID(body["trace_id"])) == body["trace_id"] == answer.headers["x-ms-request-id"]
    assert str(uuid.UUID(body["correlation_id"])) == body["correlation_id"]
    assert body["error_uri"].endswith(f"/error?code={code}")
    return described.removesuffix(f"{trailer}\r\nTimestamp: {body['timestamp']}")


def base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
