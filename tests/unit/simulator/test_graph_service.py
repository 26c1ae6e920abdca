"""Entra ID and Graph together, as a program meets them: a token from the one sends mail at the other."""

import base64
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from postroom.simulator.directory import Directory
from postroom.simulator.registration import AppRegistration
from postroom.simulator.scopes import GRAPH
from postroom.simulator.service import Simulator
from tests.unit.simulator.graph_client import JSON_MESSAGE, MESSAGE, NOREPLY

pytestmark = pytest.mark.anyio


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start()
    yield running
    await running.stop()


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[httpx2.AsyncClient]:
    trust = ssl.create_default_context(cadata=simulator.ca_pem.decode())
    async with httpx2.AsyncClient(verify=trust, trust_env=False) as client:
        yield client


async def post(simulator: Simulator, http: httpx2.AsyncClient, host: str, path: str, **given: Any) -> httpx2.Response:
    headers = {"host": host, **given.pop("headers", {})}
    address = f"https://127.0.0.1:{simulator.https_port}{path}"
    return await http.post(address, headers=headers, extensions={"sni_hostname": host}, **given)


def register(simulator: Simulator, *permissions: str) -> AppRegistration:
    app = simulator.tenant.register_app("Postroom")
    for permission in permissions:
        Directory(simulator.tenant).add_application_permission(app.client_id, "Microsoft Graph", permission)
    simulator.tenant.grant_admin_consent(app.client_id)
    return app


async def app_token(simulator: Simulator, http: httpx2.AsyncClient, app: AppRegistration) -> str:
    """By client credentials, as a service without a person asks for it."""
    form = {
        "grant_type": "client_credentials",
        "client_id": app.client_id,
        "client_secret": simulator.tenant.add_secret(app.client_id).value,
        "scope": f"{GRAPH}/.default",
    }
    path = f"/{simulator.tenant.tenant_id}/oauth2/v2.0/token"
    answer = await post(simulator, http, "login.microsoftonline.com", path, data=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def test_client_credentials_send_from_a_mailbox(simulator: Simulator, http: httpx2.AsyncClient) -> None:
    token = await app_token(simulator, http, register(simulator, "Mail.Send"))
    headers = {"authorization": f"Bearer {token}", "content-type": "text/plain"}
    path = f"/v1.0/users/{NOREPLY}/sendMail"
    content = base64.b64encode(MESSAGE.replace(b"scanner@", b"noreply@"))
    answer = await post(simulator, http, "graph.microsoft.com", path, headers=headers, content=content)
    assert (answer.status_code, answer.text) == (202, "")
    [message] = simulator.tenant.messages
    assert (message.came_by, message.envelope_sender) == ("Graph", NOREPLY)


async def test_a_token_in_hand_proves_no_right(simulator: Simulator, http: httpx2.AsyncClient) -> None:
    """Entra gives a token without any role; only sendMail says that one is missing (4.9)."""
    token = await app_token(simulator, http, register(simulator))
    path, headers = f"/v1.0/users/{NOREPLY}/sendMail", {"authorization": f"Bearer {token}"}
    answer = await post(simulator, http, "graph.microsoft.com", path, headers=headers, json={"message": JSON_MESSAGE})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "ErrorAccessDenied")


async def test_a_large_file_goes_to_outlooks_host(simulator: Simulator, http: httpx2.AsyncClient) -> None:
    token = await app_token(simulator, http, register(simulator, "Mail.Send", "Mail.ReadWrite"))
    headers, owner = {"authorization": f"Bearer {token}"}, f"/v1.0/users/{NOREPLY}/messages"
    draft = await post(simulator, http, "graph.microsoft.com", owner, headers=headers, json=JSON_MESSAGE)
    size = 3 * 1024 * 1024
    path = f"{owner}/{draft.json()['id']}/attachments/createUploadSession"
    item = {"AttachmentItem": {"attachmentType": "file", "name": "scan.pdf", "size": size}}
    session = await post(simulator, http, "graph.microsoft.com", path, headers=headers, json=item)
    url = httpx2.URL(session.json()["uploadUrl"])
    stored = await http.put(
        f"https://127.0.0.1:{simulator.https_port}{url.raw_path.decode()}",
        headers={"host": url.host, "content-range": f"bytes 0-{size - 1}/{size}"},
        extensions={"sni_hostname": url.host},
        content=bytes(size),
    )
    assert stored.status_code == 201
