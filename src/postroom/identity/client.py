"""The app in Entra as which we ask, and how it proves that it is the app: by a secret, or by a certificate. Pure.

RFC 6749 2.3.1, RFC 7521 4.2, RFC 7523 2.2; Microsoft Learn, "Microsoft identity platform application authentication
certificate credentials".
"""

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from postroom.clock import MICROSECONDS
from postroom.store.records import Cloud, Grant, GrantType, MailServerDraft

Form = Mapping[str, str]

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 600
"""How long an assertion is valid: Microsoft advises five to ten minutes."""


class Client(msgspec.Struct, frozen=True):
    """The app: the tenant it lives in, its id, and its secret or else its certificate (PEM) with the private key."""

    tenant: str
    client_id: str
    client_secret: str = ""
    certificate: str = ""
    private_key: str = ""
    cloud: Cloud = Cloud.WORLDWIDE

    @property
    def can_prove_itself(self) -> bool:
        return bool(self.client_secret or (self.certificate and self.private_key))

    def __repr__(self) -> str:
        return f"Client({self.client_id} in {self.tenant})"


def client_of(settings: Grant | MailServerDraft) -> Client:
    """The app of a grant or a draft, with the one proof that its grant type uses."""
    uses_certificate = settings.grant_type is GrantType.CLIENT_CERTIFICATE
    # The device code grant is a public client's: whoever sends a secret with it is refused (AADSTS700025).
    uses_secret = settings.grant_type in (GrantType.AUTHORIZATION_CODE, GrantType.CLIENT_SECRET)
    return Client(
        tenant=settings.tenant,
        client_id=settings.client_id,
        client_secret=settings.client_secret if uses_secret else "",
        certificate=settings.certificate if uses_certificate else "",
        private_key=settings.private_key if uses_certificate else "",
        cloud=settings.cloud,
    )


def identify_client(client: Client, token_url: str, now_us: int) -> Form:
    """The fields of a token request that say which app asks, and prove it; a public client proves nothing."""
    if client.client_secret:
        return {"client_id": client.client_id, "client_secret": client.client_secret}
    if client.private_key:
        assertion = _sign_assertion(client, token_url, now_us // MICROSECONDS)
        return {
            "client_id": client.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
    return {"client_id": client.client_id}


def _sign_assertion(client: Client, token_url: str, now_seconds: int) -> str:
    """A JWT signed with PS256 (RFC 7518 3.5), whose `x5t#S256` names the certificate (RFC 7515 4.1.8)."""
    certificate = x509.load_pem_x509_certificate(client.certificate.encode())
    header = {
        "alg": "PS256",
        "typ": "JWT",
        "x5t#S256": _base64url(certificate.fingerprint(hashes.SHA256())),
    }
    claims = {
        "aud": token_url,
        "iss": client.client_id,
        "sub": client.client_id,
        "jti": str(uuid.uuid4()),
        "nbf": now_seconds,
        "iat": now_seconds,
        "exp": now_seconds + ASSERTION_SECONDS,
    }
    signed = ".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
    key = load_pem_private_key(client.private_key.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("PS256 needs an RSA key.")
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size)
    return f"{signed}.{_base64url(key.sign(signed.encode(), scheme, hashes.SHA256()))}"


def _base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()
