"""What is sent for each grant, but for which app asks and what proves it (`client`). Pure.

RFC 6749, RFC 7636 (S256), OpenID Connect Core 1.0; Microsoft Learn "OAuth 2.0 authorization code flow".
"""

import secrets
from collections.abc import Iterable
from urllib.parse import urlencode

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from postroom.identity.client import Client, Form
from postroom.identity.providers import OPENID_SCOPES, Provider


class SignInAttempt(msgspec.Struct, frozen=True):
    """What must be remembered between sending a person to Microsoft and their coming back."""

    state: str
    nonce: str
    code_verifier: str
    redirect_url: str

    def __repr__(self) -> str:
        return f"SignInAttempt(to {self.redirect_url})"


def begin_sign_in(
    provider: Provider,
    client: Client,
    redirect_url: str,
    *,
    username: str,
    scopes: Iterable[str],
    select_account: bool = False,
) -> tuple[SignInAttempt, str]:
    """A new attempt, and the address to which the person's browser goes.

    The username is suggested; with `select_account` the person chooses instead, because Entra refuses `login_hint`
    and `prompt=select_account` together.
    """
    attempt = SignInAttempt(
        state=secrets.token_urlsafe(32),
        nonce=secrets.token_urlsafe(32),
        code_verifier=secrets.token_urlsafe(64),  # 86 characters; RFC 7636 4.1 allows 43 to 128
        redirect_url=redirect_url,
    )
    query = {
        "client_id": client.client_id,
        "response_type": "code",
        "redirect_uri": redirect_url,
        "response_mode": "query",
        "scope": " ".join(scopes),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": create_s256_code_challenge(attempt.code_verifier),
        "code_challenge_method": "S256",
        **({"prompt": "select_account"} if select_account else {"login_hint": username}),
    }
    return attempt, f"{provider.authorize_url(client.tenant)}?{urlencode(query)}"


def code_form(attempt: SignInAttempt, code: str, scope: str) -> Form:
    """What redeems the code, for the scopes of one resource only; another one's token comes from the refresh token."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.redirect_url,
        "code_verifier": attempt.code_verifier,
        "scope": _scopes_of(scope),
    }


def refresh_form(refresh_token: str, scope: str) -> Form:
    """What gets another access token for the resource of `scope`, and a new refresh token with it."""
    return {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "scope": _scopes_of(scope),
    }


def app_form(scope: str) -> Form:
    """What gets a token for the app by itself (RFC 6749 4.4): `scope` is one resource's `.default` and nothing else."""
    return {"grant_type": "client_credentials", "scope": scope}


def missing_scopes(needed: Iterable[str], granted: Iterable[str]) -> tuple[str, ...]:
    """The needed permissions that were not granted, by their short names.

    Entra may answer a scope with or without its resource, and with other capitals.
    """
    had = {_short_name(scope).lower() for scope in granted}
    return tuple(name for name in map(_short_name, needed) if name.lower() not in had)


def _short_name(scope: str) -> str:
    return scope.rpartition("/")[2]


def _scopes_of(scope: str) -> str:
    # Without offline_access in each request there is no new refresh token.
    return " ".join((scope, *OPENID_SCOPES))
