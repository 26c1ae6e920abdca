"""Certificates in words: whom they are for, who issued them, how long they hold."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID


def describe_verified(certificate: Mapping[str, Any]) -> str:
    """The certificate of a connection that was verified, as `SSLSocket.getpeercert()` gives it."""
    names = [str(name) for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"]
    ends_on = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC).date()
    return f"certificate for {_some_names(names) or 'no name'} valid to {ends_on.isoformat()}"


def describe_seen(encoded: bytes) -> str:
    """A certificate that nobody vouches for, from its DER bytes: for whom it claims to be, and who issued it."""
    try:
        certificate = x509.load_der_x509_certificate(encoded)
        subject = _name_of(certificate.subject)
        issuer = _name_of(certificate.issuer)
        ends_on = certificate.not_valid_after_utc.date()
    except ValueError:
        return "a certificate that cannot be read"
    return f"a certificate for “{subject}”, issued by “{issuer}”, valid to {ends_on.isoformat()}"


def _name_of(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        if found := name.get_attributes_for_oid(kind):
            return "".join(letter for letter in str(found[0].value) if letter.isprintable())[:100]
    return name.rfc4514_string()[:100] or "nobody"


def _some_names(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
