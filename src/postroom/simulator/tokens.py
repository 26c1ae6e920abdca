"""Access tokens, ID tokens, authorization codes and refresh tokens of the simulated Entra ID."""

import hashlib
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import RSAKey

from postroom.simulator.clouds import CLOUDS
from postroom.simulator.directory_rules import DEFAULT_USER_ROLE, ROLES
from postroom.simulator.issued_grants import (
    AuthorizationCode,
    DeviceRequest,
    RefreshToken,
    SignInProof,
    make_user_code,
)
from postroom.simulator.scopes import Scopes
from postroom.simulator.tenant import Tenant, User

Reason = Literal["malformed", "bad signature", "audience", "expired", "scope missing", "unknown user", "revoked"]

# What Exchange Online and Graph take as the audience of a token; a tenant issues those of its own cloud only.
SMTP_AUDIENCES = frozenset(resource for cloud in CLOUDS for resource in (cloud.outlook, cloud.exchange))
GRAPH_AUDIENCES = frozenset(cloud.graph for cloud in CLOUDS)

ACCESS_TOKEN_SECONDS = 3599
CODE_SECONDS = 600
REFRESH_IDLE_SECONDS = 90 * 86_400
SPA_FAMILY_SECONDS = 86_400
DEVICE_CODE_SECONDS = 900
DEVICE_INTERVAL_SECONDS = 5


class AccessClaims(msgspec.Struct, frozen=True):
    """What a verified access token says. `scopes` and `roles` are short names, `SMTP.Send`, `Mail.Send`.

    `roles` are an application's own permissions; a token without a user may have none (4.9). Then
    `object_id` is the enterprise application's and `user_principal_name` is empty.
    """

    audience: str
    scopes: frozenset[str]
    user_principal_name: str
    object_id: str
    tenant_id: str
    client_id: str
    expires_at: float
    roles: frozenset[str] = frozenset()
    is_app_only: bool = False


class TokenProblem(msgspec.Struct, frozen=True):
    """Why a token is refused: the reason to branch on, the detail to read."""

    reason: Reason
    detail: str


def make_signing_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig"}, auto_kid=True)


class Tokens:
    """Issues and checks the tokens of one tenant; the signing key is made at start if none is given."""

    def __init__(self, tenant: Tenant, key: RSAKey | None = None) -> None:
        self.tenant = tenant
        self.clock = tenant.clock
        self._key = key or make_signing_key()
        self._codes: dict[str, AuthorizationCode] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}
        self._used_refresh_tokens: set[str] = set()
        self._revoked_families: set[str] = set()
        self._devices: dict[str, DeviceRequest] = {}

    @property
    def issuer(self) -> str:
        return f"{self.tenant.cloud.login_url}/{self.tenant.tenant_id}/v2.0"

    @property
    def access_token_issuer(self) -> str:
        """The issuer of v1.0 tokens; that of 21Vianet is unconfirmed."""
        return f"https://{self.tenant.cloud.issuer_host}/{self.tenant.tenant_id}/"

    def key_set(self) -> dict[str, Any]:
        """The public keys, as the JWKS endpoint lists them."""
        public = self._key.as_dict(private=False, kid=self._key.kid, alg="RS256")
        return {"keys": [{**public, "issuer": self.issuer}]}

    # Codes and refresh tokens

    def issue_code(
        self,
        client_id: str,
        user: User,
        redirect_uri: str,
        scopes: Scopes,
        *,
        nonce: str = "",
        code_challenge: str = "",
        code_challenge_method: str = "",
        proof: SignInProof | None = None,
        tenant_name: str = "",
    ) -> AuthorizationCode:
        now = self.clock.now()
        code = AuthorizationCode(
            value=f"1.A{secrets.token_urlsafe(96)}",
            client_id=client_id,
            object_id=user.object_id,
            redirect_uri=redirect_uri,
            scopes=scopes,
            nonce=nonce,
            code_challenge=code_challenge,
            code_challenge_method=code_challenge_method,
            issued_at=now,
            proof=proof or SignInProof(now),
            tenant_name=tenant_name,
        )
        self._codes[code.value] = code
        return code

    def code(self, value: str) -> AuthorizationCode | None:
        return self._codes.get(value)

    def issue_refresh_token(
        self,
        client_id: str,
        user: User,
        scopes: Scopes,
        resource: str,
        *,
        proof: SignInProof | None = None,
        before: RefreshToken | None = None,
    ) -> RefreshToken:
        """A new one; those before it stay good, as with Microsoft. `before` is the token that was used for it."""
        now = self.clock.now()
        kept = proof or SignInProof(now)
        token = RefreshToken(
            f"1.A{secrets.token_urlsafe(420)}",
            client_id,
            user.object_id,
            scopes,
            resource,
            now,
            msgspec.structs.replace(kept, family=kept.family or str(uuid.uuid4())),
            before.family_started_at if before else now,
        )
        self._refresh_tokens[token.value] = token
        return token

    def refresh_token(self, value: str) -> RefreshToken | None:
        """None for one that was never issued, or whose family the stricter rotation has revoked."""
        token = self._refresh_tokens.get(value)
        return None if token is None or token.proof.family in self._revoked_families else token

    def spend_refresh_token(self, token: RefreshToken) -> bool:
        """The stricter rotation: the first use counts; a second one revokes the whole family and is refused.

        Microsoft does not rotate so (4.4); other providers do.
        """
        if token.value in self._used_refresh_tokens:
            self._revoked_families.add(token.proof.family)
            return False
        self._used_refresh_tokens.add(token.value)
        return True

    # Device codes

    def issue_device_code(self, client_id: str, scopes: Scopes, tenant_name: str) -> DeviceRequest:
        ends_at = self.clock.now() + DEVICE_CODE_SECONDS
        value = f"{secrets.token_urlsafe(160)}"
        request = DeviceRequest(value, make_user_code(), client_id, scopes, tenant_name, ends_at)
        self._devices[value] = request
        return request

    def device_request(self, device_code: str) -> DeviceRequest | None:
        return self._devices.get(device_code)

    def device_request_by_user_code(self, user_code: str) -> DeviceRequest | None:
        """The request that still waits under this code; capitals do not matter."""
        wanted = user_code.strip().upper()
        waiting = (one for one in self._devices.values() if one.user_code == wanted and one.state == "pending")
        return next((one for one in waiting if self.clock.now() < one.ends_at), None)

    # Access tokens

    def issue_access_token(
        self,
        client_id: str,
        user: User,
        resource: str,
        scopes: Iterable[str],
        *,
        appidacr: str = "1",
        proof: SignInProof | None = None,
    ) -> str:
        """A token in Entra's v1.0 format, which Exchange Online and Graph ask for.

        `appidacr` says how the app proved itself: 0 not at all (public), 1 by secret, 2 by certificate.
        """
        issued_at = self.clock.now()
        claims = {
            **self._claims_of_app(client_id, resource, issued_at, appidacr),
            "acct": 1 if user.sign_in.is_guest else 0,
            "acr": "1",
            "amr": (proof or SignInProof(issued_at)).methods,
            "idtyp": "user",
            "ipaddr": "127.0.0.1",
            **_names_of(user),
            "name": user.display_name,
            "oid": user.object_id,
            "puid": _puid(user),
            "scp": " ".join(scopes),
            "sub": _pairwise_subject(client_id, user),
            "unique_name": user.user_principal_name,
            "upn": user.user_principal_name,
            **self._role_claims(client_id, user),
            # Revocation is decided by an instant; `iat` holds whole seconds only.
            "xms_issued": issued_at,
        }
        return self._sign(claims)

    def _claims_of_app(self, client_id: str, resource: str, issued_at: float, appidacr: str) -> dict[str, Any]:
        return {
            "aud": resource,
            "iss": self.access_token_issuer,
            **_times(issued_at),
            "aio": secrets.token_urlsafe(42),
            "app_displayname": self.tenant.app(client_id).name,
            "appid": client_id,
            "appidacr": appidacr,
            "rh": f"1.A{secrets.token_urlsafe(24)}.",
            "tid": self.tenant.tenant_id,
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
        }

    def _role_claims(self, client_id: str, user: User) -> dict[str, Any]:
        """`wids`, the template ids of directory roles, where the manifest's groupMembershipClaims asks for them."""
        if self.tenant.app(client_id).group_membership_claims not in ("DirectoryRole", "All"):
            return {}
        return {"wids": [*sorted(ROLES[role] for role in user.sign_in.roles), DEFAULT_USER_ROLE]}

    def issue_app_token(
        self, client_id: str, object_id: str, resource: str, roles: Iterable[str], *, appidacr: str = "1"
    ) -> str:
        """A token of the application itself; without any role it has no claim `roles` (4.9).

        `object_id` is the enterprise application's. `appidacr`: 1 by secret, 2 by certificate.
        """
        claims = {
            **self._claims_of_app(client_id, resource, self.clock.now(), appidacr),
            "idp": self.access_token_issuer,
            "idtyp": "app",
            "oid": object_id,
            "sub": object_id,
        }
        if named := sorted(roles):
            claims["roles"] = named
        return self._sign(claims)

    def check_access_token(
        self,
        token: str,
        now: float | None = None,
        *,
        audiences: frozenset[str] = SMTP_AUDIENCES,
        scope: str = "SMTP.Send",
    ) -> AccessClaims | TokenProblem:
        """As `read_access_token`, and the token must be a user's that allows `scope`."""
        claims = self.read_access_token(token, now, audiences=audiences)
        if isinstance(claims, TokenProblem) or scope in claims.scopes:
            return claims
        has = " ".join(sorted(claims.scopes)) or "nothing"
        return TokenProblem("scope missing", f"the token allows {has}, not {scope}")

    def read_claims(self, token: str) -> dict[str, Any]:
        """Every claim of a token of this Entra ID. BadSignatureError, JoseError or ValueError for another one."""
        return jwt.decode(token, self._key, algorithms=["RS256"]).claims

    def read_access_token(
        self, token: str, now: float | None = None, *, audiences: frozenset[str] = SMTP_AUDIENCES
    ) -> AccessClaims | TokenProblem:
        """Check signature, audience, life time and the user's sessions; what it allows is for the caller to judge.

        `now` is Unix seconds. A token of an application itself has no user and no sessions.
        """
        try:
            said = self.read_claims(token)
        except BadSignatureError:
            return TokenProblem("bad signature", "the token was not signed by this Entra ID")
        except (JoseError, ValueError) as error:
            return TokenProblem("malformed", f"not a signed JSON Web Token: {error}")
        claims = _read_claims(said)
        return self._claims_problem(claims, said, now, audiences) or claims

    def _claims_problem(
        self,
        claims: AccessClaims,
        said: dict[str, Any],
        now: float | None,
        audiences: frozenset[str],
    ) -> TokenProblem | None:
        if claims.audience not in audiences:
            wanted = " or ".join(sorted(audiences))
            return TokenProblem("audience", f"the token is for {claims.audience}, not for {wanted}")
        late_seconds = (self.clock.now() if now is None else now) - claims.expires_at
        if late_seconds >= 0:
            return TokenProblem("expired", f"the token expired {late_seconds:.0f} s ago")
        if claims.is_app_only:
            return None
        user = self.tenant.users.get(claims.object_id)
        if user is None:
            return TokenProblem("unknown user", f"there is no user {claims.object_id}")
        if said.get("xms_issued", said["iat"]) < user.sessions_valid_from:
            return TokenProblem("revoked", f"the sessions of {user.user_principal_name} were revoked")
        return None

    # ID tokens

    def issue_id_token(
        self, client_id: str, user: User, openid: Iterable[str], nonce: str = "", *, code: str = ""
    ) -> str:
        """A v2.0 ID token; `oid`, `name` and `preferred_username` come with the scope `profile`.

        Beside an authorization `code` it carries its hash (OpenID Connect Core 3.3.2.11).
        """
        asked = set(openid)
        claims: dict[str, Any] = {
            "aud": client_id,
            "iss": self.issuer,
            # The reader of an ID token checks it by the machine's time, not by a clock pushed forward.
            **_times(self.clock.machine_now()),
            "rh": f"1.A{secrets.token_urlsafe(24)}.",
            "sid": str(uuid.uuid4()),
            "sub": _pairwise_subject(client_id, user),
            "tid": self.tenant.tenant_id,
            "uti": secrets.token_urlsafe(16),
            "ver": "2.0",
        }
        if nonce:
            claims["nonce"] = nonce
        if code:
            half = hashlib.sha256(code.encode()).digest()[:16]
            claims["c_hash"] = urlsafe_b64encode(half).rstrip(b"=").decode()
        if "profile" in asked:
            claims["oid"] = user.object_id
            claims["name"] = user.display_name
            claims["preferred_username"] = user.user_principal_name
        if "email" in asked and user.mail:
            claims["email"] = user.mail
        claims.update(self._role_claims(client_id, user))
        return self._sign(claims)

    def subject_of(self, client_id: str, user: User) -> str:
        """The claim `sub`: another one for each app."""
        return _pairwise_subject(client_id, user)

    def _sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key, algorithms=["RS256"])


def _times(issued_at: float) -> dict[str, int]:
    # Entra dates its tokens five minutes back, for clocks that are behind.
    whole = int(issued_at)
    return {"iat": whole - 300, "nbf": whole - 300, "exp": whole + ACCESS_TOKEN_SECONDS}


def _read_claims(said: dict[str, Any]) -> AccessClaims:
    return AccessClaims(
        audience=str(said.get("aud", "")),
        scopes=frozenset(str(said.get("scp", "")).split()),
        user_principal_name=str(said.get("upn", "")),
        object_id=str(said.get("oid", "")),
        tenant_id=str(said.get("tid", "")),
        client_id=str(said.get("appid", "")),
        expires_at=float(said.get("exp", 0)),
        roles=frozenset(str(role) for role in said.get("roles", ())),
        is_app_only=said.get("idtyp") == "app",
    )


def _names_of(user: User) -> dict[str, str]:
    given, _, family = user.display_name.rpartition(" ")
    return {"given_name": given, "family_name": family} if given else {}


def _puid(user: User) -> str:
    return f"1003{uuid.UUID(user.object_id).hex[:12].upper()}"


def _pairwise_subject(client_id: str, user: User) -> str:
    digest = hashlib.sha256(f"{client_id}/{user.object_id}".encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
