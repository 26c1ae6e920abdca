"""The listener's certificate: the one that was configured, or a self-signed one made at the first start."""

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from postroom.accept.client import TlsContexts
from postroom.accept.smtp_tls import allow_old_tls
from postroom.errors import SettingsError

VALID_DAYS = 825  # what devices and operating systems still accept of a certificate they are told to trust


_KEY_BITS = 2048


class CertificateFiles(NamedTuple):
    """Where certificate and key are; the key may stand in the certificate's file."""

    certificate: str
    private_key: str


def tls_contexts(files: CertificateFiles, *, allows_old: bool = False) -> TlsContexts:
    """What the listeners offer; with TLS 1.0 for named devices where there is a device listener. SettingsError."""
    return TlsContexts(listener_context(*files), listener_context(*files, allows_old=True) if allows_old else None)


def listener_context(certificate_file: str, private_key_file: str, *, allows_old: bool = False) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate; SettingsError names the file that cannot be used.

    `allows_old` is for a device that knows only TLS 1.0 or 1.1.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    if allows_old:
        allow_old_tls(context)
    try:
        # An encrypted key would make OpenSSL ask on the terminal, where nobody sits.
        context.load_cert_chain(certificate_file, private_key_file or None, password="")
    except (OSError, ssl.SSLError) as trouble:
        raise SettingsError(
            f"The listener's certificate {certificate_file} with key {private_key_file or '(in the same file)'} "
            f"cannot be used: {trouble.strerror or trouble}. Both must be PEM files that belong together."
        ) from None
    return context


def load_or_make_certificate(
    folder: Path, host_name: str, now: datetime.datetime, addresses: Sequence[str] = ()
) -> CertificateFiles:
    """A self-signed certificate kept in `folder`; made anew when it is missing, has ended or lacks a name.

    Its names are `host_name` and the addresses that are listened on: some devices know a server by its address only.
    """
    certificate, key = folder / "listener.crt", folder / "listener.key"
    files = CertificateFiles(str(certificate), str(key))
    wanted = _names(host_name, addresses)
    if not _is_usable(files, wanted, now):
        _make_certificate(certificate, key, host_name, wanted, now)
    return files


def certificate_ends(files: CertificateFiles) -> datetime.datetime | None:
    """When it is valid no more; None when that cannot be read."""
    try:
        return x509.load_pem_x509_certificate(Path(files.certificate).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _names(host_name: str, addresses: Sequence[str]) -> list[x509.GeneralName]:
    """Programs on this machine check these names, too."""
    return [
        *(x509.DNSName(name) for name in dict.fromkeys((host_name, "localhost"))),
        *(x509.IPAddress(ipaddress.ip_address(text)) for text in dict.fromkeys(("127.0.0.1", "::1", *addresses))),
    ]


def _is_usable(files: CertificateFiles, wanted: Sequence[x509.GeneralName], now: datetime.datetime) -> bool:
    """A crash between the writing of the two files leaves a pair that does not belong together."""
    try:
        found = x509.load_pem_x509_certificate(Path(files.certificate).read_bytes())
        listener_context(*files)
    except (OSError, ValueError, SettingsError):
        return False
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return now < found.not_valid_after_utc and set(wanted) <= set(names)


def _make_certificate(
    certificate: Path, key: Path, host_name: str, names: Sequence[x509.GeneralName], now: datetime.datetime
) -> None:
    # Printers of the time of TLS 1.0, and some of TLS 1.2, know no other kind of key.
    private_key = rsa.generate_private_key(65_537, _KEY_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name[:64])])
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
