"""The token endpoint: a code, a refresh token, a device code or an app's own credential becomes tokens.

Source: Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow", "… device authorization
grant flow", "… client credentials flow" and "Refresh tokens in the Microsoft identity platform".
"""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from postroom.simulator.aadsts import AadstsError, precise_time
from postroom.simulator.clients import Client, authenticate_client
from postroom.simulator.consent import expand_default, missing_permissions, refuse_missing_service
from postroom.simulator.issued_grants import AuthorizationCode, DeviceRequest, RefreshToken, SignInProof
from postroom.simulator.scopes import DEFAULT, Scopes, parse_scopes
from postroom.simulator.sign_in_rules import (
    demand_mfa,
    refuse_app_by_policy,
    refuse_by_policy,
    refuse_ended_user,
    refuse_old_sign_in,
    refuse_other_cloud,
    refuse_revoked,
    refuse_shared_endpoint,
    refuse_unknown_tenant,
)
from postroom.simulator.tenant import AppRegistration, Tenant, User
from postroom.simulator.tokens import (
    ACCESS_TOKEN_SECONDS,
    CODE_SECONDS,
    REFRESH_IDLE_SECONDS,
    SPA_FAMILY_SECONDS,
    Tokens,
)

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# The older name, which Microsoft's documents used before RFC 8628.
DEVICE_GRANTS = frozenset({DEVICE_GRANT, "device_code"})


class TokenRequest(msgspec.Struct, frozen=True):
    """One POST to the token endpoint. `host` is where it arrived, `authorization` and `origin` are headers."""

    tenant_name: str
    form: Mapping[str, str]
    authorization: str = ""
    host: str = ""
    origin: str = ""

    def required(self, name: str) -> str:
        if not self.form.get(name):
            raise AadstsError(900144, name=name)
        return self.form[name]

    @property
    def scope(self) -> str:
        return self.form.get("scope", "")


class _Grant(msgspec.Struct, frozen=True):
    """Who gets what: the one resource, and every scope that a later refresh falls back on."""

    client: Client
    user: User
    resource: str
    scopes: Scopes
    proof: SignInProof
    nonce: str = ""
    before: RefreshToken | None = None


def answer_token_request(tenant: Tenant, tokens: Tokens, request: TokenRequest) -> dict[str, Any]:
    """The JSON of a successful answer. AadstsError else."""
    refuse_unknown_tenant(tenant, request.tenant_name)
    grant_type = request.required("grant_type")
    has_credential = any(request.form.get(name) for name in ("client_secret", "client_assertion"))
    refuse_other_cloud(tenant, request.host, is_confidential=has_credential or bool(request.authorization))
    if grant_type == "client_credentials":
        return _answer_app(tenant, tokens, request)
    client = authenticate_client(tenant, request.tenant_name, request.form, request.authorization)
    refuse_shared_endpoint(request.tenant_name, client.app)
    redeem = _redeemer(grant_type)
    grant = redeem(tenant, tokens, client, request)
    answer = _issue(tenant, tokens, grant)
    if request.form.get("client_info") == "1":
        answer["client_info"] = _client_info(tenant, grant.user)
    return answer


def _redeemer(grant_type: str) -> Callable[[Tenant, Tokens, Client, TokenRequest], _Grant]:
    if grant_type == "authorization_code":
        return _redeem_code
    if grant_type == "refresh_token":
        return _redeem_refresh_token
    if grant_type in DEVICE_GRANTS:
        return _redeem_device_code
    raise AadstsError(70003, grant_type=grant_type)


# Authorization codes


def _redeem_code(tenant: Tenant, tokens: Tokens, client: Client, request: TokenRequest) -> _Grant:
    app = client.app
    code = tokens.code(request.required("code"))
    if code is None or code.client_id != app.client_id:
        raise AadstsError(70000, name="code")
    _refuse_wrong_proof(client, code, request)
    if code.is_redeemed:
        raise AadstsError(54005)
    if tenant.clock.now() - code.issued_at > CODE_SECONDS:
        raise AadstsError(70008)
    _refuse_other_tenant(tenant, code, request.tenant_name)
    redirect_uri = request.required("redirect_uri")
    if redirect_uri != code.redirect_uri:
        raise AadstsError(500112, redirect_uri=redirect_uri, authorized=code.redirect_uri)
    _refuse_bad_verifier(code, request.form.get("code_verifier", ""))
    user = refuse_ended_user(tenant, code.object_id)
    refuse_revoked(user, code.issued_at)
    resource, scopes = _scopes_for_code(tenant, app, code, request.scope)
    _refuse_without_consent(app, user, scopes)
    code.is_redeemed = True
    return _Grant(client, user, resource, scopes, code.proof, code.nonce)


def _refuse_wrong_proof(client: Client, code: AuthorizationCode, request: TokenRequest) -> None:
    """The platform of the redirect URI decides what the app must show: a secret, an origin, or nothing."""
    if code.proof.platform == "web":
        client.refuse_without_credential()
    elif code.proof.platform == "public":
        client.refuse_unneeded_credential()
    elif not request.origin:
        raise AadstsError(9002327)
    elif not code.code_challenge:
        raise AadstsError(9002325)


def _refuse_other_tenant(tenant: Tenant, code: AuthorizationCode, tenant_name: str) -> None:
    """700005 for a code that came from `/common` and is redeemed at the tenant's own address, or the reverse."""
    own = {tenant.tenant_id, tenant.domain}
    asked, now = code.tenant_name.lower(), tenant_name.lower()
    if asked and asked != now and not (asked in own and now in own):
        raise AadstsError(700005)


def _scopes_for_code(tenant: Tenant, app: AppRegistration, code: AuthorizationCode, text: str) -> tuple[str, Scopes]:
    """One resource only. What OpenID Connect was asked for at sign-in stays asked for."""
    if not text.strip():
        if len(code.scopes.resources) > 1:
            raise AadstsError(28003)
        return code.scopes.first_resource, code.scopes
    asked = expand_default(tenant, app, parse_scopes(text, tenant.name, tenant.cloud))
    if len(asked.resources) > 1:
        raise AadstsError(28000, scope=text)
    refuse_missing_service(tenant, asked)
    openid = tuple(dict.fromkeys([*asked.openid, *code.scopes.openid]))
    resources = asked.resources or _first_only(code.scopes)
    scopes = Scopes(openid, resources, text, tenant.cloud.graph)
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


# Refresh tokens


def _redeem_refresh_token(tenant: Tenant, tokens: Tokens, client: Client, request: TokenRequest) -> _Grant:
    app = client.app
    token = tokens.refresh_token(request.required("refresh_token"))
    if token is None or token.client_id != app.client_id:
        raise AadstsError(70000, name="refresh_token")
    if token.proof.platform == "web":
        client.refuse_without_credential()
    _refuse_old_token(tenant, token)
    user = refuse_ended_user(tenant, token.object_id)
    refuse_revoked(user, token.issued_at, is_public=token.proof.platform != "web")
    resource, scopes = _scopes_for_refresh(tenant, app, token, request.scope)
    refuse_missing_service(tenant, scopes)
    _refuse_by_rules(tenant, app, user, resource, token.proof)
    _refuse_without_consent(app, user, scopes)
    if tenant.entra.refresh_rotation == "strict" and not tokens.spend_refresh_token(token):
        raise AadstsError(70000, name="refresh_token")
    return _Grant(client, user, resource, scopes, token.proof, before=token)


def _refuse_old_token(tenant: Tenant, token: RefreshToken) -> None:
    """700082 after 90 idle days; 700084 a day after the sign-in of a single-page app."""
    now = tenant.clock.now()
    if token.proof.platform == "spa" and now - token.family_started_at > SPA_FAMILY_SECONDS:
        raise AadstsError(700084, issued=precise_time(token.family_started_at))
    if now - token.issued_at > REFRESH_IDLE_SECONDS:
        raise AadstsError(700082, issued=precise_time(token.issued_at))


def _refuse_by_rules(tenant: Tenant, app: AppRegistration, user: User, resource: str, proof: SignInProof) -> None:
    refuse_by_policy(tenant, app, user)
    refuse_old_sign_in(tenant, user, proof)
    demand = None if proof.did_mfa else demand_mfa(tenant, user, resource, is_interactive=False)
    if demand is not None:
        raise demand


def _scopes_for_refresh(tenant: Tenant, app: AppRegistration, token: RefreshToken, text: str) -> tuple[str, Scopes]:
    """The scope decides the resource, the first one where several are named; none means as before."""
    if not text.strip():
        return token.resource, token.scopes
    asked = expand_default(tenant, app, parse_scopes(text, tenant.name, tenant.cloud))
    if asked.resources:
        return asked.first_resource, asked
    before = {token.resource: token.scopes.resources.get(token.resource, ())}
    return token.resource, Scopes(asked.openid, before, text, tenant.cloud.graph)


def _refuse_without_consent(app: AppRegistration, user: User, scopes: Scopes) -> None:
    if missing_permissions(app, user, scopes):
        raise AadstsError(65001, client_id=app.client_id, name=app.name)


# Device codes


def _redeem_device_code(tenant: Tenant, tokens: Tokens, client: Client, request: TokenRequest) -> _Grant:
    """What the device is told while a person acts elsewhere; Microsoft's names, not those of RFC 8628."""
    client.refuse_public_flow()
    # The parameter was called `code` before RFC 8628 had its name.
    value = request.form.get("device_code") or request.form.get("code", "")
    if not value:
        raise AadstsError(900144, name="device_code")
    device = tokens.device_request(value)
    if device is None or device.client_id != client.app.client_id or device.state == "redeemed":
        raise AadstsError(70018)
    proof = _proof_of_device(tenant, device)
    user = refuse_ended_user(tenant, device.object_id)
    refuse_revoked(user, proof.signed_in_at, is_public=True)
    _refuse_by_rules(tenant, client.app, user, device.scopes.first_resource, proof)
    _refuse_without_consent(client.app, user, device.scopes)
    device.state = "redeemed"
    return _Grant(client, user, device.scopes.first_resource, device.scopes, proof)


def _proof_of_device(tenant: Tenant, device: DeviceRequest) -> SignInProof:
    if device.state == "declined":
        raise AadstsError(70017)
    if device.refusal is not None:
        raise device.refusal
    if tenant.clock.now() >= device.ends_at:
        raise AadstsError(70019)
    if device.proof is None:
        raise AadstsError(70016)
    return device.proof


# An app on its own


def _answer_app(tenant: Tenant, tokens: Tokens, request: TokenRequest) -> dict[str, Any]:
    """A token for one resource, whatever roles were granted, none included (4.9); never a refresh token."""
    if request.tenant_name.lower() in ("common", "consumers"):
        raise AadstsError(9001023)
    client = authenticate_client(tenant, request.tenant_name, request.form, request.authorization)
    refuse_shared_endpoint(request.tenant_name, client.app)
    client.refuse_without_credential()
    resource = _resource_of_app(tenant, request.required("scope"))
    refuse_app_by_policy(tenant)
    app = client.app
    roles = app.granted_roles(tenant.cloud.canonical_resource(resource))
    token = tokens.issue_app_token(app.client_id, app.enterprise.object_id, resource, roles, appidacr=client.appidacr)
    return {
        "token_type": "Bearer",
        "expires_in": ACCESS_TOKEN_SECONDS,
        "ext_expires_in": ACCESS_TOKEN_SECONDS,
        "access_token": token,
    }


def _resource_of_app(tenant: Tenant, text: str) -> str:
    """Exactly one `<resource>/.default`: 70011 for named permissions and for two resources."""
    if any(not scope.endswith(f"/{DEFAULT}") for scope in text.split()):
        raise AadstsError(70011, scope=text)
    scopes = parse_scopes(text, tenant.name, tenant.cloud)
    if len(scopes.resources) > 1:
        raise AadstsError(70011, scope=text)
    refuse_missing_service(tenant, scopes)
    return scopes.first_resource


# The answer


def _issue(tenant: Tenant, tokens: Tokens, grant: _Grant) -> dict[str, Any]:
    client_id = grant.client.app.client_id
    granted = grant.scopes.resources.get(grant.resource, ())
    profile = [name for name in grant.scopes.openid if name != "offline_access"]
    # Graph serves the claims of OpenID Connect, so that its tokens carry these scopes too.
    carried = [*profile, *granted] if grant.resource == tenant.cloud.graph else [*granted]
    answer: dict[str, Any] = {
        "token_type": "Bearer",
        "scope": " ".join(_full_name(grant.resource, name) for name in carried),
        "expires_in": ACCESS_TOKEN_SECONDS,
        "ext_expires_in": ACCESS_TOKEN_SECONDS,
        "access_token": tokens.issue_access_token(
            client_id, grant.user, grant.resource, carried, appidacr=grant.client.appidacr, proof=grant.proof
        ),
    }
    if "offline_access" in grant.scopes.openid:
        refresh = tokens.issue_refresh_token(
            client_id, grant.user, grant.scopes, grant.resource, proof=grant.proof, before=grant.before
        )
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
