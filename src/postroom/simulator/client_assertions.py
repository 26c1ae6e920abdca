"""Proof by certificate: the signed assertion that takes the place of a client secret.

Source: Microsoft Learn, "Microsoft identity platform application authentication certificate credentials".
"""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from postroom.simulator.aadsts import AadstsError, precise_time
from postroom.simulator.registration import AppRegistration, ClientCertificate
from postroom.simulator.tenant import Tenant

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PADDINGS: dict[str, padding.AsymmetricPadding] = {
    "PS256": padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256.digest_size),
    "RS256": padding.PKCS1v15(),
}
# A chain in `x5c` is written in the ordinary alphabet of base64 (RFC 7515 4.1.6).
_TO_URL_SAFE = str.maketrans("+/", "-_", "\r\n=")
# Clocks differ; Entra's own tolerance is five minutes.
LEEWAY_SECONDS = 300


class Assertion(msgspec.Struct, frozen=True):
    """What an assertion says before anybody has believed it."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def check_assertion(tenant: Tenant, app: AppRegistration, tenant_name: str, form: Mapping[str, str]) -> None:
    """Check `client_assertion`: its certificate, its signature (PS256, RS256), audience, issuer, subject and times."""
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise AadstsError(90100, name="client_assertion_type")
    assertion = read_assertion(form["client_assertion"])
    certificate = _find_certificate(app, assertion.header)
    if certificate.ends_at <= tenant.clock.now():
        raise _certificate_trouble("is expired on application", "The key used is expired.", certificate.thumbprint)
    _refuse_bad_signature(assertion, certificate)
    _refuse_bad_subject(assertion, certificate)
    _refuse_bad_claims(tenant, app, tenant_name, assertion.claims)


def read_assertion(text: str) -> Assertion:
    """The parts of a JWT, unverified; 50027 for anything else."""
    try:
        header, claims = (_decode_part(part) for part in text.split(".")[:2])
    except ValueError:
        raise AadstsError(50027) from None
    return Assertion(text, header, claims)


def asserted_client_id(form: Mapping[str, str]) -> str:
    """The app that an assertion speaks for, where the form has no `client_id`."""
    return str(read_assertion(form["client_assertion"]).claims.get("sub", ""))


def _decode_part(part: str) -> dict[str, Any]:
    return msgspec.json.decode(_decode_bytes(part), type=dict[str, Any])


def _decode_bytes(part: str) -> bytes:
    """Unpadded base64url (RFC 7515 2); ValueError for anything else."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _find_certificate(app: AppRegistration, header: Mapping[str, Any]) -> ClientCertificate:
    """By `x5t#S256`, or by the older `x5t`; both are unpadded base64url."""
    by_sha256, by_sha1 = _thumbprint(header, "x5t#S256"), _thumbprint(header, "x5t")
    for certificate in app.certificates:
        if by_sha256 == certificate.sha256_thumbprint or (not by_sha256 and by_sha1 == certificate.thumbprint):
            return certificate
    raise _certificate_trouble(
        "is not registered on application", "The key was not found.", by_sha256 or by_sha1 or "none given"
    )


def _thumbprint(header: Mapping[str, Any], name: str) -> str:
    try:
        return _decode_bytes(str(header.get(name, ""))).hex().upper()
    except ValueError:
        return ""


def _refuse_bad_signature(assertion: Assertion, certificate: ClientCertificate) -> None:
    """50012 for a signature of another key, 50027 for another algorithm than PS256 and RS256 (RFC 7518 3.3, 3.5)."""
    scheme = PADDINGS.get(str(assertion.header.get("alg", "")))
    signed, _, signature = assertion.text.rpartition(".")
    public_key = x509.load_der_x509_certificate(certificate.der).public_key()
    if scheme is None or not isinstance(public_key, rsa.RSAPublicKey):
        raise AadstsError(50027)
    try:
        public_key.verify(_decode_bytes(signature), signed.encode(), scheme, hashes.SHA256())
    except (InvalidSignature, ValueError):
        raise AadstsError(50012) from None


def _refuse_bad_subject(assertion: Assertion, certificate: ClientCertificate) -> None:
    """A chain in `x5c` must begin with the registered certificate (subject name and issuer authentication)."""
    chain = assertion.header.get("x5c")
    if not chain:
        return
    first = chain[0] if isinstance(chain, list) else chain
    try:
        presented = x509.load_der_x509_certificate(_decode_bytes(str(first).translate(_TO_URL_SAFE)))
    except ValueError:
        raise AadstsError(50027) from None
    if presented.public_bytes(Encoding.DER) != certificate.der:
        raise AadstsError(700030, subject=presented.subject.rfc4514_string())


def _refuse_bad_claims(tenant: Tenant, app: AppRegistration, tenant_name: str, claims: Mapping[str, Any]) -> None:
    if claims.get("iss") != app.client_id or claims.get("sub") != app.client_id:
        raise AadstsError(700021)
    if claims.get("aud") not in accepted_audiences(tenant, tenant_name):
        raise AadstsError(700023)
    # The client signs by the machine's clock, which does not follow the simulator's.
    now = tenant.clock.machine_now()
    starts, ends = _seconds(claims, "nbf", 0.0), _seconds(claims, "exp", 0.0)
    if not starts - LEEWAY_SECONDS <= now < ends + LEEWAY_SECONDS:
        raise AadstsError(700024, now=precise_time(now), starts=precise_time(starts), ends=precise_time(ends))


def accepted_audiences(tenant: Tenant, tenant_name: str) -> set[str]:
    """The token endpoint by id, by domain or as it was called; the issuer is taken as well."""
    names = {tenant.tenant_id, tenant.domain, tenant_name}
    base = tenant.cloud.login_url
    paths = ("oauth2/v2.0/token", "oauth2/token", "v2.0")
    return {f"{base}/{name}/{path}" for name in names for path in paths}


def _seconds(claims: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) else otherwise


def _certificate_trouble(trouble: str, reason: str, thumbprint: str) -> AadstsError:
    return AadstsError(700027, trouble=trouble, reason=reason, thumbprint=thumbprint)
