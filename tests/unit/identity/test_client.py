"""How the app proves itself: what stands in the token request."""

import json
from base64 import urlsafe_b64decode
from datetime import date

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from postroom.identity.client import Client, client_of, identify_client
from postroom.identity.client_certificates import (
    certificate_ends_on,
    certificate_file,
    make_client_certificate,
    thumbprint_of,
)
from postroom.identity.providers import provider_of
from postroom.store.records import Cloud, EmailType, GrantType, MailServerDraft

NOW_US = 1_795_800_000_000_000  # 27 November 2026
URL = "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"
MADE = make_client_certificate("Postroom at mail.example.lan", NOW_US)
CLIENT = Client("contoso.com", "11111111-2222-3333-4444-555555555555", "", MADE.certificate, MADE.private_key)


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_certificate_signs_an_assertion_that_its_public_key_proves() -> None:
    form = identify_client(CLIENT, URL, NOW_US)
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form
    head, claims, signature = form["client_assertion"].split(".")
    assert "=" not in form["client_assertion"], "base64url has no padding (RFC 7515 2)"
    certificate = x509.load_der_x509_certificate(certificate_file(MADE.certificate))
    said = json.loads(_decoded(head))
    assert said == {"alg": "PS256", "typ": "JWT", "x5t#S256": said["x5t#S256"]}
    assert _decoded(said["x5t#S256"]) == certificate.fingerprint(hashes.SHA256())
    public_key = certificate.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public_key.verify(_decoded(signature), f"{head}.{claims}".encode(), scheme, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public_key.verify(_decoded(signature), f"{head}.{claims}x".encode(), scheme, hashes.SHA256())
    asserted = json.loads(_decoded(claims))
    assert (asserted["aud"], asserted["iss"], asserted["sub"]) == (URL, CLIENT.client_id, CLIENT.client_id)
    assert asserted["exp"] - asserted["nbf"] == 600
    assert asserted["nbf"] == NOW_US // 1_000_000


def test_no_assertion_is_used_twice() -> None:
    first, second = (identify_client(CLIENT, URL, NOW_US)["client_assertion"] for _ in range(2))
    ids = [json.loads(_decoded(it.split(".")[1]))["jti"] for it in (first, second)]
    assert ids[0] != ids[1]


def test_each_grant_type_uses_its_own_proof_and_no_other() -> None:
    draft = MailServerDraft(
        client_id="app", client_secret="s3cret", certificate=MADE.certificate, private_key=MADE.private_key
    )

    def proof(grant_type: GrantType) -> set[str]:
        client = client_of(msgspec.structs.replace(draft, grant_type=grant_type))
        return set(identify_client(client, URL, NOW_US)) - {"client_id"}

    assert proof(GrantType.AUTHORIZATION_CODE) == {"client_secret"}
    assert proof(GrantType.CLIENT_SECRET) == {"client_secret"}
    assert proof(GrantType.CLIENT_CERTIFICATE) == {"client_assertion", "client_assertion_type"}
    assert proof(GrantType.DEVICE_CODE) == set(), "a public client that sends a secret is refused"


def test_a_certificate_lasts_two_years_and_names_itself_without_its_key() -> None:
    assert certificate_ends_on(MADE.certificate) == date(2028, 11, 26)
    assert certificate_ends_on("") is None
    assert repr(MADE) == f"ClientCertificate({thumbprint_of(MADE.certificate)})"
    assert len(thumbprint_of(MADE.certificate)) == 40


@pytest.mark.parametrize(
    ("cloud", "login", "smtp", "graph"),
    [
        (Cloud.WORLDWIDE, "login.microsoftonline.com", "https://outlook.office365.com", "https://graph.microsoft.com"),
        (Cloud.GCC_HIGH, "login.microsoftonline.us", "https://outlook.office365.us", "https://graph.microsoft.us"),
        (Cloud.DOD, "login.microsoftonline.us", "https://outlook.office365.us", "https://dod-graph.microsoft.us"),
        (
            Cloud.CHINA_21VIANET,
            "login.partner.microsoftonline.cn",
            "https://partner.outlook.cn",
            "https://microsoftgraph.chinacloudapi.cn",
        ),
    ],
)
def test_each_cloud_has_its_own_endpoints(cloud: Cloud, login: str, smtp: str, graph: str) -> None:
    provider = provider_of(cloud)
    assert provider.token_url("contoso.com") == f"https://{login}/contoso.com/oauth2/v2.0/token"
    assert provider.app_scope(EmailType.SMTP) == f"{smtp}/.default"
    assert provider.app_scope(EmailType.GRAPH) == f"{graph}/.default"
    assert provider.graph_mail_scope == f"{graph}/Mail.Send"
