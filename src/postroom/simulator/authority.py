"""A certification authority made at start and thrown away: TLS under real names, on this machine only."""

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# A demo may run for a long time; nothing outside it trusts these certificates anyway.
LIFETIME = timedelta(days=397)
# Clients whose clock is behind ours must not find a certificate of the future.
BACKDATED = timedelta(days=1)

_NO_KEY_USAGE = {
    "digital_signature": False,
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "key_cert_sign": False,
    "crl_sign": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True)
class Authority:
    """The authority's key and certificate; neither is ever written to a place that stays."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, name: str = "Simulated Microsoft 365, throwaway authority") -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        certificate = (
            _builder(subject, subject, key.public_key(), key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        """The authority's certificate, for those who shall trust it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def server_context(self, names: Sequence[str], *, speaks_old_tls: bool = False) -> ssl.SSLContext:
        """A server's TLS context with a new certificate for the DNS `names`.

        TLS 1.2 or newer; with `speaks_old_tls` 1.0 and 1.1 too, for a server that refuses them in words
        (microsoft365.md 1.1), which it can only after the handshake.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(names, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if speaks_old_tls:
            # The signatures of TLS 1.0 and 1.1 are too weak for OpenSSL's own levels of security.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED if speaks_old_tls else ssl.TLSVersion.TLSv1_2
        # OpenSSL reads certificate and key from a file only; this one is private and goes at once.
        with tempfile.NamedTemporaryFile(prefix="postroom-simulator-") as file:
            file.write(_private_pem(key) + certificate.public_bytes(serialization.Encoding.PEM))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def _issue(self, names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        return (
            _builder(_named(names[0]), self.certificate.subject, key.public_key(), self.key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    # TLS is judged by the machine's clock on both sides, so the simulator's own plays no part here.
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _key_usage(*granted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**(_NO_KEY_USAGE | dict.fromkeys(granted, True)))


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
