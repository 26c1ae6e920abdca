"""A token endpoint, keys and a profile behind httpx2's mock transport, with real signatures; told what to answer."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx2
from joserfc import jwt
from joserfc.jwk import RSAKey

from postroom.clock import MICROSECONDS, ManualClock
from postroom.identity.sign_in import SignIns
from postroom.network import Internet
from postroom.store.records import MailServerDraft

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
CLIENT_SECRET = "Q~planted-client-secret"
OBJECT_ID = "aaaaaaaa-0000-0000-0000-000000000001"
ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
SMTP_SEND = "https://outlook.office.com/SMTP.Send"
USER_READ = "https://graph.microsoft.com/User.Read"

# 2,048 bits take a moment to find: once for all tests.
KEY = RSAKey.generate_key(2048, {"kid": "key-1", "use": "sig"})
OTHER_KEY = RSAKey.generate_key(2048, {"kid": "key-1", "use": "sig"})

Answer = httpx2.Response | Exception | Callable[[dict[str, str]], httpx2.Response]


def entra_error(error: str, code: int = 0, status: int = 400, **more: Any) -> httpx2.Response:
    """An error as Microsoft words it."""
    trace, correlation, at = "0d1c-trace", "7f3a-correlation", "2026-11-23 02:02:12Z"
    words = f"AADSTS{code}: The words of Microsoft."
    return httpx2.Response(
        status,
        json={
            "error": error,
            "error_description": f"{words}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {at}",
            "error_codes": [code] if code else [],
            "timestamp": at,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={code}",
            **more,
        },
    )


class PretendEntra:
    """Records what it was asked, answers what it was told, and otherwise as Microsoft does."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.forms: list[dict[str, str]] = []
        self.answers: list[Answer] = []
        """Taken first, one a token request."""
        self.nonce = ""
        self.claims: dict[str, Any] = {}
        """Laid over the ID token's; None takes a claim away."""
        self.key = KEY
        self.smtp_scope = f"{SMTP_SEND} openid profile email"
        self.graph_scope = f"{USER_READ} openid profile email"
        self.lifetime_seconds = 3599
        self.rotates = True
        self.me: dict[str, Any] = {
            "id": OBJECT_ID,
            "displayName": "Scanner",
            "mail": "scanner@contoso.com",
            "userPrincipalName": "scanner@contoso.onmicrosoft.com",
            "proxyAddresses": ["SMTP:scanner@contoso.com", "smtp:Kopierer@contoso.com", "sip:scanner@contoso.com"],
        }
        self.me_response: httpx2.Response | None = None
        self.licence_response = httpx2.Response(403, json={"error": {"code": "Authorization_RequestDenied"}})
        self.issuer = ISSUER
        self.paths: list[str] = []

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))

    def sign_ins(self) -> SignIns:
        return SignIns(self.client(), self.clock, Internet())

    def address_of(self, authorize_url: str, answer: str = "code=code-1") -> str:
        """Where the sign-in ends that begins at this page."""
        query = parse_qs(urlsplit(authorize_url).query)
        self.nonce = query["nonce"][0]
        return f"{query['redirect_uri'][0]}?{answer}&state={query['state'][0]}"

    def id_token(self) -> str:
        now = self.clock.now_us() // MICROSECONDS
        claims = {
            "aud": CLIENT_ID,
            "iss": ISSUER,
            "iat": now - 300,
            "nbf": now - 300,
            "exp": now + 3599,
            "nonce": self.nonce,
            "oid": OBJECT_ID,
            "tid": TENANT,
            "name": "Scanner",
            "preferred_username": "scanner@contoso.com",
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "key-1"}, claims, self.key)

    def key_set(self) -> dict[str, Any]:
        return {"keys": [{"kty": "EC", "kid": "another"}, {**KEY.as_dict(private=False), "issuer": ISSUER}]}

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.paths.append(request.url.path)
        if request.url.path.endswith("/token"):
            return self._answer_token(dict(parse_qsl(request.content.decode(), keep_blank_values=True)))
        if request.url.path.endswith("/openid-configuration"):
            return httpx2.Response(200, json={"issuer": self.issuer})
        if request.url.path.endswith("/keys"):
            return httpx2.Response(200, json=self.key_set())
        if request.url.path == "/v1.0/me":
            assert request.headers["Authorization"].startswith("Bearer access-")
            return self.me_response or httpx2.Response(200, content=json.dumps(self.me).encode())
        assert request.url.path == "/v1.0/me/licenseDetails", request.url
        return self.licence_response

    def _answer_token(self, form: dict[str, str]) -> httpx2.Response:
        self.forms.append(form)
        answer: Answer = self.answers.pop(0) if self.answers else self.issue
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx2.Response) else answer(form)

    def issue(self, form: dict[str, str]) -> httpx2.Response:
        number = len(self.forms)
        is_graph = "graph.microsoft.com" in form["scope"]
        tokens = {
            "token_type": "Bearer",
            "scope": self.graph_scope if is_graph else self.smtp_scope,
            "expires_in": self.lifetime_seconds,
            "access_token": f"access-{number}-{'graph' if is_graph else 'smtp'}",
            "id_token": self.id_token(),
        }
        if self.rotates:
            tokens["refresh_token"] = f"refresh-{number}"
        return httpx2.Response(200, json=tokens)


def oauth_draft(**changes: Any) -> MailServerDraft:
    fields: dict[str, Any] = {
        "sender": "scanner@contoso.com",
        "username": "scanner@contoso.com",
        "test_address": "anna@contoso.com",
        "tenant": TENANT,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    return MailServerDraft(**{**fields, **changes})
