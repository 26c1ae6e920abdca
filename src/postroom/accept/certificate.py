"""The listener's certificate: the one that was configured, or a self-signed one made at the first start."""

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postroom.errors import SettingsError

VALID_DAYS = 825  # what devices and operating systems still accept of a certificate they are told to trust


def listener_context(certificate_file: str, private_key_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate; SettingsError names the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An encrypted key would make OpenSSL ask on the terminal, where nobody sits.
        context.load_cert_chain(certificate_file, private_key_file or None, password="")
    except (OSError, ssl.SSLError) as trouble:
        raise SettingsError(
            f"The listener's certificate {certificate_file} with key {private_key_file or '(in the same file)'} "
            f"cannot be used: {trouble.strerror or trouble}. Both must be PEM files that belong together."
        ) from None
    return context


def load_or_make_certificate(folder: Path, host_name: str, now: datetime.datetime) -> ssl.SSLContext:
    """A self-signed certificate for `host_name`, kept in `folder`; made anew when it is missing or has ended."""
    certificate, key = folder / "listener.crt", folder / "listener.key"
    if not (certificate.exists() and key.exists() and _is_valid(certificate, host_name, now)):
        _make_certificate(certificate, key, host_name, now)
    return listener_context(str(certificate), str(key))


def _is_valid(certificate: Path, host_name: str, now: datetime.datetime) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return False
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return now < found.not_valid_after_utc and host_name in names.get_values_for_type(x509.DNSName)


def _make_certificate(certificate: Path, key: Path, host_name: str, now: datetime.datetime) -> None:
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name[:64])])
    # Devices that know only an IP address, and programs on this machine, check these names too.
    names = [x509.DNSName(host_name), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private_key, hashes.SHA256())
    )
    folder = certificate.parent
    folder.mkdir(parents=True, exist_ok=True)
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
