"""Our client of OAuth 2.0 before an authorization server that we did not write: the npm package `oidc-provider`.

It insists on PKCE, exact redirect URLs and the client's secret, signs ID tokens, rotates refresh tokens, and revokes
the grant of one that comes twice. Only Graph's `/me` is made here, from that server's own userinfo endpoint.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2
import msgspec
import pytest

from postroom.clock import SystemClock
from postroom.errors import SignInTroubleError
from postroom.identity.draft_book import DRAFT_MAILBOX_ID, DraftBook
from postroom.identity.providers import OPENID_SCOPES, Provider
from postroom.identity.sign_in import Seat, SignInRefused, SignIns
from postroom.identity.sign_ins import Bearer
from postroom.identity.tokens import TokenKeeper
from postroom.network import Internet
from postroom.outcome import StopCause, Stopped
from postroom.store.records import MailServerDraft

HERE = Path(__file__).parent / "oidc"
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"]["oidc-provider"]
FOLDER = Path.home() / ".cache" / "postroom-judges" / f"oidc-provider-{VERSION}"
IS_THERE = shutil.which("node") is not None and (FOLDER / "node_modules" / "oidc-provider").exists()

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not IS_THERE, reason="needs node and oidc-provider (scripts/judges, where npm is there)"),
]

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT_ID, CLIENT_SECRET = "11111111-2222-3333-4444-555555555555", "judged~secret/with+signs&="
REDIRECT = "https://mail.example.com/oauth/callback"
SCANNER = "scanner@contoso.com"
PROVIDER = Provider(login_host="login.judge.example")
SEAT = Seat("session", "draft")
ACCOUNTS = {
    SCANNER: {"oid": "aaaaaaaa-0000-0000-0000-000000000001", "tid": TENANT, "name": "Scanner"},
    "anna@contoso.com": {"oid": "aaaaaaaa-0000-0000-0000-000000000002", "tid": TENANT, "name": "Anna"},
}


class ToJudge(httpx2.AsyncBaseTransport):
    """Leads the made-up host to the judge on loopback, and makes Graph's `/me` of its userinfo."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        is_graph = request.url.host == PROVIDER.graph_host
        path = "/userinfo" if is_graph else request.url.raw_path.decode()
        headers = {**request.headers, "host": PROVIDER.login_host, "x-forwarded-proto": "https"}
        forwarded = httpx2.Request(request.method, self._base + path, headers=headers, content=request.content)
        answer = await self._inner.handle_async_request(forwarded)
        content = await answer.aread()
        if is_graph and answer.status_code == 200:
            told = json.loads(content)
            me = {"id": told["oid"], "userPrincipalName": told["sub"], "displayName": told["name"]}
            return httpx2.Response(200, json=me)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=content)

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Judge:
    """The server, and our client before it."""

    port: int
    http: httpx2.AsyncClient
    sign_ins: SignIns
    kept: list[MailServerDraft] = field(default_factory=list)

    async def keep(self, draft: MailServerDraft) -> None:
        self.kept.append(draft)

    async def sign_in(self, draft: MailServerDraft, redirect_url: str = REDIRECT) -> MailServerDraft:
        begun = self.sign_ins.begin(draft, SEAT, redirect_url, self.keep)
        return (await self.sign_ins.complete(SEAT, await self.walk(begun.url))).draft

    async def walk(self, url: str, who: str = "") -> dict[str, str]:
        """What a browser does from Microsoft's page to the redirect URL: follow, with cookies."""
        # OpenID Connect Core 11 gives offline_access only with prompt=consent; Microsoft gives it without.
        url += "&prompt=consent"
        if who:
            url = url.replace("scanner%40contoso.com", who.replace("@", "%40"))
        async with httpx2.AsyncClient(transport=ToJudge(self.port)) as browser:
            for _ in range(8):
                answer = await browser.get(url)
                assert answer.status_code in (302, 303), answer.text[:500]
                url = urljoin(url, answer.headers["location"])
                if url.startswith(REDIRECT):
                    return dict(parse_qsl(urlsplit(url).query))
        raise AssertionError("it did not come back")

    def keeper(self, draft: MailServerDraft) -> TokenKeeper:
        return TokenKeeper(DraftBook(draft, self.keep, SystemClock()), self.http, SystemClock(), PROVIDER)


@pytest.fixture
async def judge() -> AsyncIterator[Judge]:
    client = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "client_secret_post",
    }
    settings = {
        "tenant": TENANT,
        "issuer": f"https://{PROVIDER.login_host}/{TENANT}/v2.0",
        "clients": [client],
        "accounts": ACCOUNTS,
        "scopes": [*OPENID_SCOPES, PROVIDER.smtp_scope, PROVIDER.graph_scope],
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "server.mjs"), str(FOLDER), json.dumps(settings),
        stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    async with asyncio.timeout(20):
        while not (line := (await process.stdout.readline()).decode()).startswith("port "):
            assert line, "the judge did not start"
    port = int(line.split()[1])
    http = httpx2.AsyncClient(transport=ToJudge(port))
    try:
        yield Judge(port, http, SignIns(http, SystemClock(), Internet(), PROVIDER))
    finally:
        await http.aclose()
        process.stdin.close()
        await process.wait()


def draft_of(**fields: object) -> MailServerDraft:
    draft = MailServerDraft(
        sender=SCANNER, username=SCANNER, tenant=TENANT, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
    )
    return msgspec.structs.replace(draft, **fields)


async def test_it_signs_us_in_renews_and_revokes_what_comes_twice(judge: Judge) -> None:
    signed_in = await judge.sign_in(draft_of())
    assert judge.kept == [signed_in]
    assert signed_in.user is not None
    assert (signed_in.user.object_id, signed_in.user.tenant_id) == (ACCOUNTS[SCANNER]["oid"], TENANT)
    assert {PROVIDER.smtp_scope, PROVIDER.graph_scope} <= set(signed_in.scopes)

    keeper = judge.keeper(signed_in)
    bearers = await asyncio.gather(*(keeper.sign_in_for(DRAFT_MAILBOX_ID) for _ in range(10)))
    first = bearers[0]
    assert isinstance(first, Bearer)
    assert set(bearers) == {first}, "ten callers are one renewal, or the second would have ended the grant"
    renewed = judge.kept[-1]
    assert renewed.refresh_token != signed_in.refresh_token, "it rotates"
    second = await keeper.sign_in_for(DRAFT_MAILBOX_ID, refuse_token=first.token)
    assert isinstance(second, Bearer)
    assert second.token != first.token, "the rotated one is as good"

    with pytest.raises(SignInTroubleError) as ended:
        await judge.keeper(renewed).sign_in_for(DRAFT_MAILBOX_ID)
    assert isinstance(ended.value.outcome, Stopped)
    assert (ended.value.outcome.cause, ended.value.outcome.failure.code) == (StopCause.SIGN_IN, "sign_in_ended")
    with pytest.raises(SignInTroubleError) as ended:
        await judge.keeper(judge.kept[-1]).sign_in_for(DRAFT_MAILBOX_ID)
    assert isinstance(ended.value.outcome, Stopped), "the whole grant is revoked, as it must be"


async def test_what_is_not_right_it_refuses_and_we_say_why(judge: Judge) -> None:
    with pytest.raises(SignInRefused) as refused:
        await judge.sign_in(draft_of(client_secret="another"))
    assert refused.value.failure.code.startswith(("secret", "client")), refused.value.failure
    assert "another" not in repr(refused.value.failure)

    begun = judge.sign_ins.begin(draft_of(), SEAT, REDIRECT, judge.keep)
    with pytest.raises(SignInRefused, match=r"signed in as anna@contoso\.com but the username is scanner"):
        await judge.sign_ins.complete(SEAT, await judge.walk(begun.url, "anna@contoso.com"))

    one, other = (judge.sign_ins.begin(draft_of(), SEAT, REDIRECT, judge.keep) for _ in range(2))
    params = await judge.walk(one.url)
    with pytest.raises(SignInRefused):  # a code that was put into another attempt: PKCE does not fit
        await judge.sign_ins.complete(SEAT, {**params, "state": other.state})
    assert judge.kept == []
