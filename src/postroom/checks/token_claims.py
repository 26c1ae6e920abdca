"""Looks into an access token, for diagnosis only: nothing is ever decided by it. Pure.

Access tokens are opaque to clients (Microsoft Learn, "Access tokens"); those of personal accounts are no JWT at all.
"""

import base64
import binascii

import msgspec


class TokenClaims(msgspec.Struct, frozen=True):
    """What a token seems to say; empty where it says nothing."""

    audience: str = ""
    scopes: str = ""
    user_principal_name: str = ""

    def describe(self) -> list[str]:
        """Its facts as they stand in a line of evidence."""
        named = {
            "audience": self.audience.removeprefix("https://").rstrip("/"),
            "scope": self.scopes,
            "user": self.user_principal_name,
        }
        return [f"{name} {value}" for name, value in named.items() if value]


class _Claims(msgspec.Struct):
    aud: str = ""
    scp: str = ""
    upn: str = ""


def read_claims(token: str) -> TokenClaims:
    """The claims of a token, unverified; empty when it cannot be read."""
    parts = token.split(".")
    if len(parts) != 3:
        return TokenClaims()
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        claims = msgspec.json.decode(payload, type=_Claims)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return TokenClaims()
    return TokenClaims(claims.aud[:200], claims.scp[:200], claims.upn[:200])
