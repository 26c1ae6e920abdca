"""Reading the certificate that an administrator uploads: `.cer`, `.crt` (DER or PEM) and `.pem`."""

import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from postroom.simulator.registration import ClientCertificate

PEM_BEGINS = b"-----BEGIN CERTIFICATE-----"


def read_certificate(content: bytes, name: str = "") -> ClientCertificate:
    """The certificate in `content`. ValueError with a sentence for anything else, a private key included."""
    if b"PRIVATE KEY-----" in content:
        raise ValueError(
            "Upload the certificate only: this file holds a private key, which must not leave its machine."
        )
    try:
        read = x509.load_pem_x509_certificate if PEM_BEGINS in content else x509.load_der_x509_certificate
        certificate = read(content)
    except ValueError:
        raise ValueError("This is not a certificate in a .cer, .pem or .crt file.") from None
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise ValueError("Entra ID takes certificates with an RSA key only.")
    return ClientCertificate(
        key_id=str(uuid.uuid4()),
        der=certificate.public_bytes(Encoding.DER),
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex().upper(),  # noqa: S303 - a name, not a protection
        sha256_thumbprint=certificate.fingerprint(hashes.SHA256()).hex().upper(),
        subject=certificate.subject.rfc4514_string(),
        starts_at=certificate.not_valid_before_utc.timestamp(),
        ends_at=certificate.not_valid_after_utc.timestamp(),
        display_name=name.strip() or certificate.subject.rfc4514_string(),
    )
