"""When secrets and certificates end, over HTTPS: what a program reads that warns in good time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc.jwk import RSAKey

from postroom.simulator.directory import Directory
from tests.unit.simulator.graph_client import GraphClient

pytestmark = pytest.mark.anyio
CREDENTIALS = "$select=passwordCredentials,keyCredentials"


async def read(graph: GraphClient, path: str, token: str = "") -> dict[str, Any]:
    answer = await graph.call("GET", path, token or graph.app_token("Application.Read.All"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a_secret_has_its_end_and_never_its_value(graph: GraphClient) -> None:
    secret = graph.tenant.add_secret(graph.app.client_id, days=90, name="Postroom")
    found = await read(graph, f"/applications/{graph.app.object_id}?{CREDENTIALS}")
    assert found == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#applications(passwordCredentials,keyCredentials)/$entity",
        "passwordCredentials": [
            {
                "customKeyIdentifier": None,
                "displayName": "Postroom",
                "endDateTime": written(secret.ends_at),
                "hint": secret.value[:3],
                "keyId": secret.secret_id,
                "secretText": None,
                "startDateTime": written(secret.ends_at - 90 * 86_400),
            }
        ],
        "keyCredentials": [],
    }


async def test_a_certificate_has_its_end(graph: GraphClient, certificate_pem: bytes) -> None:
    certificate = Directory(graph.tenant).add_certificate(graph.app.client_id, certificate_pem, "Postroom")
    [found] = (await read(graph, f"/applications/{graph.app.object_id}?{CREDENTIALS}"))["keyCredentials"]
    assert found["endDateTime"] == written(certificate.ends_at)
    assert (found["keyId"], found["displayName"]) == (certificate.key_id, "Postroom")
    assert (found["type"], found["usage"], found["key"]) == ("AsymmetricX509Cert", "Verify", None)


async def test_an_application_is_found_by_its_client_id(graph: GraphClient) -> None:
    graph.tenant.register_app("Another")
    client_id = graph.app.client_id
    listed = await read(graph, f"/applications?$filter=appId eq '{client_id}'&$select=id,appId")
    assert listed["value"] == [{"id": graph.app.object_id, "appId": client_id}]
    direct = await read(graph, f"/applications(appId='{client_id}')?$select=id")
    assert direct["id"] == graph.app.object_id


async def test_without_a_filter_all_are_listed(graph: GraphClient) -> None:
    graph.tenant.register_app("Another")
    names = [app["displayName"] for app in (await read(graph, "/applications"))["value"]]
    assert names == ["Postroom", "Another"]


async def test_the_client_id_is_no_object_id(graph: GraphClient) -> None:
    answer = await graph.call("GET", f"/applications/{graph.app.client_id}", graph.app_token("Application.Read.All"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "Request_ResourceNotFound")


async def test_a_person_reads_them_with_the_permission(graph: GraphClient) -> None:
    await read(graph, f"/applications/{graph.app.object_id}", graph.token("Application.Read.All"))


@pytest.mark.parametrize("permission", ["User.Read", "Mail.Send", "User.Read.All"])
async def test_other_permissions_do_not_do(graph: GraphClient, permission: str) -> None:
    for token in (graph.token(permission), graph.app_token(permission)):
        answer = await graph.call("GET", f"/applications/{graph.app.object_id}?{CREDENTIALS}", token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Authorization_RequestDenied")


@pytest.fixture
def certificate_pem(signing_key: RSAKey) -> bytes:
    key = signing_key.private_key
    assert isinstance(key, RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Postroom")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=30))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
