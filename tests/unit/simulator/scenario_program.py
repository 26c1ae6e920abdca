"""A program that sends through the simulator in each of the ways, and what it can know when it is refused."""

import base64
import json
import re
import ssl
from typing import Any

import httpx2
import msgspec

from postroom.simulator.scenarios import Scenario, SetUp
from postroom.simulator.scopes import parse_scopes
from postroom.simulator.service import GRAPH_HOST, LOGIN_HOST, Simulator
from postroom.simulator.tenant import User
from tests.unit.simulator.exchange_client import Client, encoded

OUTLOOK, GRAPH = "https://outlook.office.com", "https://graph.microsoft.com"
SMTP_SCOPE, GRAPH_SCOPE = f"{OUTLOOK}/SMTP.Send", f"{GRAPH}/Mail.Send"
APP_SCOPE = "https://outlook.office365.com/.default"
RECIPIENT = "ops@fabrikam.example"


class Evidence(msgspec.Struct, frozen=True):
    """All that a program can know: the last reply, and what its access token says."""

    reply: str
    granted: str = ""


class Token(msgspec.Struct, frozen=True):
    value: str
    granted: str


class Program:
    """Knows what a set-up told it, and goes on with that whatever has changed since."""

    def __init__(self, simulator: Simulator, set_up: SetUp) -> None:
        tenant = simulator.tenant
        self.simulator, self.set_up = simulator, set_up
        self.mailbox, self.sender = tenant.user(set_up.mailbox_id), tenant.user(set_up.sender_id)
        self.password = self.mailbox.password
        self.secret = tenant.app(set_up.client_id).secrets[-1].value
        self.trust = ssl.create_default_context(cadata=simulator.ca_pem.decode())
        self.https = httpx2.AsyncClient(verify=self.trust, trust_env=False)
        self.refresh_token = self.sign_in_as(self.mailbox)

    def sign_in_as(self, user: User) -> str:
        """The refresh token that a sign-in leaves."""
        scopes = parse_scopes(f"{SMTP_SCOPE} {GRAPH_SCOPE} offline_access", self.simulator.tenant.name)
        return self.simulator.tokens.issue_refresh_token(self.set_up.client_id, user, scopes, OUTLOOK).value

    async def send(self, scenario: Scenario) -> Evidence:
        """One message, in the way of the scenario; what was heard in the end."""
        sender = self.sender if scenario.sends_for_other else self.mailbox
        if scenario.way == "password":
            return Evidence(await self._send_over_smtp(sender, None))
        token = await self._fetch_token(scenario)
        if isinstance(token, str):
            return Evidence(token)
        if scenario.way == "graph":
            return Evidence(await self._send_over_graph(token.value), token.granted)
        return Evidence(await self._send_over_smtp(sender, token.value), token.granted)

    # The token

    async def _fetch_token(self, scenario: Scenario) -> Token | str:
        form = {"client_id": self.set_up.client_id, "client_secret": self.secret}
        if scenario.way == "application":
            form |= {"grant_type": "client_credentials", "scope": APP_SCOPE}
        else:
            refresh_token, user = self.refresh_token, None
            if scenario.signs_in_as:
                user = self.simulator.tenant.user_by_upn(f"{scenario.signs_in_as}@contoso.com")
            if user is not None:
                refresh_token = self.sign_in_as(user)
            scope = GRAPH_SCOPE if scenario.way == "graph" else SMTP_SCOPE
            form |= {"grant_type": "refresh_token", "refresh_token": refresh_token, "scope": f"{scope} offline_access"}
        answer = await self._post(LOGIN_HOST, f"/{self.simulator.tenant.tenant_id}/oauth2/v2.0/token", data=form)
        if answer.status_code == 200 and "json" in answer.headers["content-type"]:
            value = answer.json()["access_token"]
            return Token(value, self._read_granted(value))
        return _mask_token_answer(answer)

    def _read_granted(self, token: str) -> str:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        if "scp" in claims:
            is_other = claims["upn"] != self.mailbox.user_principal_name
            return f"scp {claims['scp']}{' of another account' if is_other else ''}"
        return f"roles {' '.join(claims['roles'])}" if claims.get("roles") else "no roles"

    async def _post(self, host: str, path: str, **given: Any) -> httpx2.Response:
        headers = {"host": host, **given.pop("headers", {})}
        url = f"https://127.0.0.1:{self.simulator.https_port}{path}"
        return await self.https.post(url, headers=headers, extensions={"sni_hostname": host}, **given)

    # The message

    def _compose(self, sender: User) -> bytes:
        lines = [f"From: {sender.mail}", f"To: {RECIPIENT}", "Subject: Scan"]
        if sender is not self.mailbox:
            lines.insert(1, f"Sender: {self.mailbox.mail}")
        return "\r\n".join([*lines, "", "Hello", ""]).encode()

    async def _send_over_graph(self, token: str) -> str:
        headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
        content = base64.b64encode(self._compose(self.mailbox))
        answer = await self._post(GRAPH_HOST, "/v1.0/me/sendMail", headers=headers, content=content)
        return (
            str(answer.status_code) if answer.is_success else f"{answer.status_code} {answer.json()['error']['code']}"
        )

    async def _send_over_smtp(self, sender: User, token: str | None) -> str:
        """With a token, or with the password where there is none; the reply that ended it."""
        client = Client(self.simulator.exchange, self.trust)
        try:
            return _mask_reply(await self._converse(client, sender, token))
        finally:
            await client.close()

    async def _converse(self, client: Client, sender: User, token: str | None) -> str:
        greeting = await client.connect()
        if not greeting.startswith("220 "):
            return greeting
        await client.ask("EHLO client.example")
        await client.start_tls()
        await client.ask("EHLO client.example")
        if token is None:
            await client.ask(f"AUTH LOGIN {encoded(self.mailbox.mail)}")
            said = await client.ask(encoded(self.password))
        else:
            blob = encoded(f"user={self.mailbox.mail}\x01auth=Bearer {token}\x01\x01")
            said = await client.ask(f"AUTH XOAUTH2 {blob}")
        if not said.startswith("235 "):
            return said
        return await client.send(self._compose(sender), RECIPIENT)


def _mask_token_answer(answer: httpx2.Response) -> str:
    if "json" not in answer.headers["content-type"]:
        return f"{answer.status_code} {answer.headers['content-type']}"
    body = answer.json()
    return f"{answer.status_code} {body['error']} AADSTS{body['error_codes'][0]}"


def _mask_reply(reply: str) -> str:
    reply = re.sub(r"\[tag\]$|\[SIM0PR01CA0001[^\]]*\]", "[host]", reply)
    return re.sub(r"<[^>]+>", "<id>", re.sub(r"\[Hostname=[^\]]*\]", "[Hostname=host]", reply))
