"""Checks who signed in: the ID token, its signature and its claims. Pure.

OpenID Connect Core 1.0, 3.1.3.7; Microsoft Learn "ID token claims reference": users are known by `oid` and `tid`,
never by `preferred_username`, which changes.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from postroom.clock import MICROSECONDS
from postroom.identity.providers import looks_like_guid
from postroom.identity.refused import SignInRefused, refuse

LEEWAY_SECONDS = 120
ALGORITHMS = ("RS256",)
_TIMES = ("exp", "iat", "nbf")


class IdClaims(msgspec.Struct, frozen=True):
    """Who signed in."""

    object_id: str
    tenant_id: str
    preferred_username: str = ""
    name: str = ""


class Expected(msgspec.Struct, frozen=True):
    """What an ID token must say."""

    client_id: str
    tenant: str
    """As the person entered it: GUID or domain."""
    issuer: str
    """As the tenant's discovery document has it; may hold `{tenantid}`."""
    nonce: str

    def __repr__(self) -> str:
        return f"Expected({self.client_id} in {self.tenant})"


def check_id_token(token: str, key_set: Mapping[str, Any], expected: Expected, now_us: int) -> IdClaims:
    """Who signed in. SignInRefused with a sentence when anything at all is not as it must be."""
    claims = _verify_signature(token, key_set)
    tenant_id = _text(claims, "tid")
    issuer = expected.issuer.replace("{tenantid}", tenant_id)
    _check_times(claims, now_us)
    _check_equal("iss", claims.get("iss"), issuer, f"it was issued by {claims.get('iss')}, not by {issuer}")
    _check_equal("aud", claims.get("aud"), expected.client_id, "it is meant for another app")
    if looks_like_guid(expected.tenant):
        what = f"it is from the tenant {tenant_id}, not from {expected.tenant}"
        _check_equal("tid", tenant_id.lower(), expected.tenant.lower(), what)
    _check_equal("nonce", claims.get("nonce"), expected.nonce, "it belongs to another sign-in")
    return IdClaims(
        object_id=_text(claims, "oid"),
        tenant_id=tenant_id,
        preferred_username=str(claims.get("preferred_username", "")),
        name=str(claims.get("name", "")),
    )


def _verify_signature(token: str, key_set: Mapping[str, Any]) -> dict[str, Any]:
    try:
        keys = KeySet.import_key_set({"keys": _rsa_keys(key_set)})
        return jwt.decode(token, keys, algorithms=ALGORITHMS).claims
    except BadSignatureError:
        raise _refused("its signature is wrong") from None
    except InvalidKeyIdError:
        raise _refused("it is signed with a key that Microsoft does not list") from None
    except (JoseError, ValueError, TypeError, KeyError) as trouble:
        raise _refused(f"it cannot be read ({trouble})") from None


def _rsa_keys(key_set: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keys that can sign RS256: a document may list others beside them."""
    listed = key_set.get("keys")
    if not isinstance(listed, list):
        raise ValueError("the document lists no keys")
    return [
        {name: key[name] for name in ("kty", "kid", "n", "e") if name in key}
        for key in listed
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig"
    ]


def _check_times(claims: dict[str, Any], now_us: int) -> None:
    essential = jwt.JWTClaimsRegistry(
        now=now_us // MICROSECONDS, leeway=LEEWAY_SECONDS, exp={"essential": True}, iat={"essential": True}
    )
    try:
        essential.validate({name: claims[name] for name in _TIMES if name in claims})
    except ExpiredTokenError:
        raise _refused("by this machine's clock it has expired", remedy_id="clock_off") from None
    except InvalidClaimError:
        raise _refused("by this machine's clock it is not valid yet", remedy_id="clock_off") from None
    except JoseError as trouble:
        raise _refused(str(trouble)) from None


def _check_equal(name: str, found: object, wanted: str, trouble: str) -> None:
    if not isinstance(found, str) or not secrets.compare_digest(found.encode(), wanted.encode()):
        raise _refused(f"{trouble} ({name})")


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise _refused(f"it does not say {name}")
    return value


def _refused(why: str, remedy_id: str = "id_token_refused") -> SignInRefused:
    return refuse("id_token_refused", f"The ID token cannot be trusted: {why}. Nothing was saved.", remedy_id)
