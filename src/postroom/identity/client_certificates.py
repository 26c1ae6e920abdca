"""The certificate with which the app in Entra proves itself: made here, its private key never leaves the vault.

Microsoft Learn, "Microsoft identity platform application authentication certificate credentials": a self-signed one
will do, because Entra compares it with the one that was uploaded and asks no authority.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from postroom.clock import MICROSECONDS

LIFETIME_DAYS = 730
KEY_BITS = 3072  # good beyond 2030 (NIST SP 800-57 part 1); 2048 bits are not
_BEFORE = timedelta(minutes=10)
"""It begins in the past, because clocks differ."""


class ClientCertificate(msgspec.Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: str
    private_key: str

    def __repr__(self) -> str:
        return f"ClientCertificate({thumbprint_of(self.certificate)})"


def make_client_certificate(name: str, now_us: int, lifetime_days: int = LIFETIME_DAYS) -> ClientCertificate:
    """A new one in the name of this server. It takes a part of a second: not for the event loop."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    # A common name has at most 64 letters (RFC 5280 A.1).
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "Postroom")])
    now = datetime.fromtimestamp(now_us // MICROSECONDS, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=lifetime_days))
        .sign(key, hashes.SHA256())
    )
    return ClientCertificate(
        certificate=certificate.public_bytes(Encoding.PEM).decode(),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def certificate_file(certificate: str) -> bytes:
    """The `.cer` to upload in Entra (DER): it holds no secret."""
    return _load(certificate).public_bytes(Encoding.DER)


def thumbprint_of(certificate: str) -> str:
    """As Entra lists it: SHA-1 of the DER form in capital hexadecimal digits. It names, it proves nothing."""
    return _load(certificate).fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303 - the name that Entra shows


def certificate_ends_on(certificate: str) -> date | None:
    """The last day of a certificate in PEM; None when there is none."""
    return _load(certificate).not_valid_after_utc.date() if certificate else None


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())
