"""What signatures forbid us to change: the header fields that DKIM names, and bodies that are signed or encrypted."""

import re
from collections.abc import Iterable

import msgspec

from postroom.wire.head import Field, Head

_PROTECTED = frozenset(
    {
        *(b"multipart/signed", b"multipart/encrypted", b"application/pgp-encrypted", b"application/pgp-signature"),
        *(b"application/pkcs7-mime", b"application/x-pkcs7-mime"),
    }
)
_SIGNING = frozenset({b"dkim-signature", b"arc-message-signature"})
_ARC = frozenset({b"arc-seal", b"arc-message-signature", b"arc-authentication-results"})
_SIGNED_NAMES = re.compile(rb"(?:^|;)\s*h\s*=([^;]*)", re.IGNORECASE)
_BLANK = re.compile(rb"[ \t\r\n]+")


class Signature(msgspec.Struct, frozen=True):
    """A DKIM-Signature, or the message signature of an ARC set."""

    field: Field
    names: frozenset[bytes]
    """The header fields that it covers, also those that are not there: adding one would break it (RFC 6376 5.4.2)."""


def find_signatures(head: Head) -> tuple[Signature, ...]:
    """Every signature over header fields, with what its `h=` names (RFC 6376 3.5)."""
    return tuple(Signature(field, _signed_names(head.raw(field))) for field in head.fields if field.name in _SIGNING)


def broken_fields(head: Head, signatures: Iterable[Signature], changed: Iterable[bytes]) -> tuple[Field, ...]:
    """The fields that have to go when these names are changed: a broken signature is worse than none.

    An ARC set is a chain: with one of its signatures all of it goes (RFC 8617 5.2).
    """
    changed_names = frozenset(changed)
    broken = [signature.field for signature in signatures if signature.names & changed_names]
    if any(field.name in _ARC for field in broken):
        broken += [field for field in head.fields if field.name in _ARC and field not in broken]
    return tuple(sorted(broken, key=lambda field: field.start))


def why_body_must_stay(content_type: bytes, signatures: tuple[Signature, ...]) -> str:
    """Half a sentence when not a byte of the body may change; empty when it may."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind in _PROTECTED:
        return f"it is signed or encrypted ({kind.decode('ascii')})"
    return "it has a DKIM signature" if signatures else ""


def _signed_names(value: bytes) -> frozenset[bytes]:
    found = _SIGNED_NAMES.search(value)
    if found is None:
        return frozenset()
    return frozenset(_BLANK.sub(b"", name).lower() for name in found[1].split(b":"))
