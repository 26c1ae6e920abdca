"""The token endpoint: an authorization code or a refresh token becomes tokens for one resource.

Source: Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow" and
"Refresh tokens in the Microsoft identity platform".
"""

import hashlib
import hmac
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from postroom.simulator.aadsts import AadstsError, precise_time
from postroom.simulator.authorize import missing_permissions, refuse_shared_endpoint
from postroom.simulator.scopes import GRAPH, Scopes, parse_scopes
from postroom.simulator.tenant import AppRegistration, ClientSecret, Tenant, User
from postroom.simulator.tokens import (
    ACCESS_TOKEN_SECONDS,
    CODE_SECONDS,
    REFRESH_IDLE_SECONDS,
    AuthorizationCode,
    RefreshToken,
    Tokens,
)


class _Grant(msgspec.Struct, frozen=True):
    """Who gets what: the one resource, and every scope that a later refresh falls back on."""

    app: AppRegistration
    user: User
    resource: str
    scopes: Scopes
    nonce: str = ""


def answer_token_request(
    tenant: Tenant,
    tokens: Tokens,
    tenant_name: str,
    form: Mapping[str, str],
    authorization: str = "",
) -> dict[str, Any]:
    """The JSON of a successful answer. `authorization` is the header of that name. AadstsError else."""
    if not tenant.answers_to(tenant_name):
        raise AadstsError(90002, tenant=tenant_name)
    grant_type = _required(form, "grant_type")
    app = authenticate_client(tenant, form, authorization)
    refuse_shared_endpoint(tenant_name, app)
    if grant_type == "authorization_code":
        grant = _redeem_code(tenant, tokens, app, form)
    elif grant_type == "refresh_token":
        grant = _redeem_refresh_token(tenant, tokens, app, form)
    else:
        raise AadstsError(70003, grant_type=grant_type)
    answer = _issue(tokens, grant)
    if form.get("client_info") == "1":
        answer["client_info"] = _client_info(tenant, grant.user)
    return answer


def authenticate_client(tenant: Tenant, form: Mapping[str, str], authorization: str) -> AppRegistration:
    """The app, by client id and secret in the form or in the Basic header (RFC 6749 2.3.1)."""
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() == "basic":
        client_id, secret = _read_basic(encoded)
    if not client_id:
        raise AadstsError(900144, name="client_id")
    if client_id not in tenant.apps:
        raise AadstsError(700016, client_id=client_id, tenant=tenant.name)
    if "client_assertion" in form:
        raise AadstsError(700027)
    if not secret:
        raise AadstsError(7000218)
    app = tenant.app(client_id)
    _refuse_bad_secret(tenant, app, secret)
    return app


def _read_basic(encoded: str) -> tuple[str, str]:
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def _refuse_bad_secret(tenant: Tenant, app: AppRegistration, value: str) -> None:
    matching = [secret for secret in app.secrets if _is_value(secret, value)]
    if not matching:
        raise AadstsError(7000215, client_id=app.client_id)
    if all(secret.ends_at <= tenant.clock.now() for secret in matching):
        raise AadstsError(7000222, client_id=app.client_id)


def _is_value(secret: ClientSecret, value: str) -> bool:
    return hmac.compare_digest(secret.value.encode(), value.encode())


def _redeem_code(tenant: Tenant, tokens: Tokens, app: AppRegistration, form: Mapping[str, str]) -> _Grant:
    code = tokens.code(_required(form, "code"))
    if code is None or code.client_id != app.client_id:
        raise AadstsError(70000, name="code")
    if code.is_redeemed:
        raise AadstsError(54005)
    if tenant.clock.now() - code.issued_at > CODE_SECONDS:
        raise AadstsError(70008)
    redirect_uri = _required(form, "redirect_uri")
    if redirect_uri != code.redirect_uri:
        raise AadstsError(500112, redirect_uri=redirect_uri, authorized=code.redirect_uri)
    _refuse_bad_verifier(code, form.get("code_verifier", ""))
    user = tenant.user(code.object_id)
    _refuse_revoked(user, code.issued_at)
    resource, scopes = _scopes_for_code(tenant, code, form.get("scope", ""))
    _refuse_without_consent(app, user, scopes)
    code.is_redeemed = True
    return _Grant(app, user, resource, scopes, code.nonce)


def _scopes_for_code(tenant: Tenant, code: AuthorizationCode, text: str) -> tuple[str, Scopes]:
    """One resource only. What OpenID Connect was asked for at sign-in stays asked for."""
    if not text.strip():
        if len(code.scopes.resources) > 1:
            raise AadstsError(28003)
        return code.scopes.first_resource, code.scopes
    asked = parse_scopes(text, tenant.name)
    if len(asked.resources) > 1:
        raise AadstsError(28000, scope=text)
    openid = tuple(dict.fromkeys([*asked.openid, *code.scopes.openid]))
    resources = asked.resources or _first_only(code.scopes)
    scopes = Scopes(openid, resources, text)
    return scopes.first_resource, scopes


def _first_only(scopes: Scopes) -> dict[str, tuple[str, ...]]:
    first = scopes.first_resource
    return {first: scopes.resources[first]} if scopes.resources else {}


def _refuse_bad_verifier(code: AuthorizationCode, verifier: str) -> None:
    """PKCE, RFC 7636 4.6."""
    if not code.code_challenge and not verifier:
        return
    if not verifier:
        raise AadstsError(50148)
    digest = hashlib.sha256(verifier.encode()).digest()
    hashed = urlsafe_b64encode(digest).rstrip(b"=").decode()
    if code.code_challenge != (hashed if code.code_challenge_method == "S256" else verifier):
        raise AadstsError(501481)


def _redeem_refresh_token(tenant: Tenant, tokens: Tokens, app: AppRegistration, form: Mapping[str, str]) -> _Grant:
    token = tokens.refresh_token(_required(form, "refresh_token"))
    if token is None or token.client_id != app.client_id:
        raise AadstsError(70000, name="refresh_token")
    if tenant.clock.now() - token.issued_at > REFRESH_IDLE_SECONDS:
        raise AadstsError(700082, issued=precise_time(token.issued_at))
    user = tenant.user(token.object_id)
    _refuse_revoked(user, token.issued_at)
    resource, scopes = _scopes_for_refresh(tenant, token, form.get("scope", ""))
    _refuse_without_consent(app, user, scopes)
    return _Grant(app, user, resource, scopes)


def _scopes_for_refresh(tenant: Tenant, token: RefreshToken, text: str) -> tuple[str, Scopes]:
    """The scope decides the resource, the first one where several are named; none means as before."""
    if not text.strip():
        return token.resource, token.scopes
    asked = parse_scopes(text, tenant.name)
    if asked.resources:
        return asked.first_resource, asked
    before = {token.resource: token.scopes.resources.get(token.resource, ())}
    return token.resource, Scopes(asked.openid, before, text)


def _refuse_revoked(user: User, issued_at: float) -> None:
    if issued_at < user.sessions_valid_from:
        raise AadstsError(
            50173,
            issued=precise_time(issued_at),
            valid_from=precise_time(user.sessions_valid_from),
        )


def _refuse_without_consent(app: AppRegistration, user: User, scopes: Scopes) -> None:
    if missing_permissions(app, user, scopes):
        raise AadstsError(65001, client_id=app.client_id, name=app.name)


def _issue(tokens: Tokens, grant: _Grant) -> dict[str, Any]:
    client_id = grant.app.client_id
    granted = grant.scopes.resources.get(grant.resource, ())
    profile = [name for name in grant.scopes.openid if name != "offline_access"]
    # Graph serves the claims of OpenID Connect, so that its tokens carry these scopes too.
    carried = [*profile, *granted] if grant.resource == GRAPH else [*granted]
    answer: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": " ".join(_full_name(grant.resource, name) for name in carried),
        "expires_in": ACCESS_TOKEN_SECONDS,
        "ext_expires_in": ACCESS_TOKEN_SECONDS,
        "access_token": tokens.issue_access_token(client_id, grant.user, grant.resource, carried),
    }
    if "offline_access" in grant.scopes.openid:
        refresh = tokens.issue_refresh_token(client_id, grant.user, grant.scopes, grant.resource)
        answer["refresh_token"] = refresh.value
    if "openid" in grant.scopes.openid:
        answer["id_token"] = tokens.issue_id_token(client_id, grant.user, profile, grant.nonce)
    return answer


def _full_name(resource: str, name: str) -> str:
    return name if name in ("openid", "profile", "email") else f"{resource}/{name}"


def _client_info(tenant: Tenant, user: User) -> str:
    """What Microsoft's own libraries ask for: the user's home, as unpadded base64url of JSON."""
    home = json.dumps({"uid": user.object_id, "utid": tenant.tenant_id}).encode()
    return urlsafe_b64encode(home).rstrip(b"=").decode()


def _required(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise AadstsError(900144, name=name)
    return form[name]
