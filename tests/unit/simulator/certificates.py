"""Self-signed certificates for tests, as an administrator makes them for an app."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class KeyPair:
    key_pem: str
    certificate_pem: bytes
    certificate_der: bytes
    sha1_thumbprint: str
    sha256_thumbprint: str


def make_key_pair(name: str = "postroom", *, days: int = 90, elliptic: bool = False) -> KeyPair:
    """A key and its certificate; it began yesterday and ends in `days`."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = (
        ec.generate_private_key(ec.SECP256R1()) if elliptic else rsa.generate_private_key(65537, 2048)
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        certificate.public_bytes(Encoding.PEM),
        certificate.public_bytes(Encoding.DER),
        certificate.fingerprint(hashes.SHA1()).hex().upper(),
        certificate.fingerprint(hashes.SHA256()).hex().upper(),
    )
