"""The authorize endpoint: what an app may ask for, and the answer that goes back to its redirect URI.

Source: Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow".
"""

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.scopes import OPENID_SCOPES, Scopes, parse_scopes
from postroom.simulator.tenant import AppRegistration, Tenant, User

PROMPTS = ("", "login", "none", "consent", "select_account")
RESPONSE_MODES = ("query", "fragment", "form_post")


class ReturnAddress(msgspec.Struct, frozen=True):
    """Where the browser goes back to, and how it carries the answer."""

    redirect_uri: str
    response_mode: str
    state: str

    def url(self, answer: Mapping[str, str]) -> str:
        """The redirect for `query` and `fragment`; `form_post` needs a page instead."""
        mark = "#" if self.response_mode == "fragment" else "?"
        if mark == "?" and "?" in self.redirect_uri:
            mark = "&"
        return f"{self.redirect_uri}{mark}{urlencode(self.with_state(answer))}"

    def with_state(self, answer: Mapping[str, str]) -> dict[str, str]:
        return {**answer, "state": self.state} if self.state else dict(answer)


class AuthorizeRequest(msgspec.Struct, frozen=True):
    """A request that passed every check which needs no person."""

    client_id: str
    address: ReturnAddress
    scopes: Scopes
    nonce: str
    code_challenge: str
    code_challenge_method: str
    prompt: str
    login_hint: str


def find_asking_app(tenant: Tenant, tenant_name: str, query: Mapping[str, str]) -> AppRegistration:
    """The app that asks, by `client_id`.

    What this and `find_return_address` raise is shown on Microsoft's own page, never redirected: there
    is nobody yet who could be trusted with the answer.
    """
    client_id = query.get("client_id", "")
    if not tenant.answers_to(tenant_name):
        raise AadstsError(90002, tenant=tenant_name)
    if not client_id:
        raise AadstsError(900144, name="client_id")
    if client_id not in tenant.apps:
        raise AadstsError(700016, client_id=client_id, tenant=tenant.name)
    app = tenant.app(client_id)
    refuse_shared_endpoint(tenant_name, app)
    return app


def refuse_shared_endpoint(tenant_name: str, app: AppRegistration) -> None:
    """AADSTS50194 for a single-tenant app that asks at `/common` or `/organizations`."""
    if tenant_name.lower() in {"common", "organizations"} and not app.is_multitenant:
        raise AadstsError(50194, client_id=app.client_id, name=app.name)


def find_return_address(app: AppRegistration, query: Mapping[str, str]) -> ReturnAddress:
    redirect_uri = query.get("redirect_uri", "")
    if not redirect_uri:
        raise AadstsError(900971)
    if redirect_uri not in app.redirect_uris:
        raise AadstsError(50011, redirect_uri=redirect_uri, client_id=app.client_id)
    response_mode = query.get("response_mode", "query")
    known_mode = response_mode if response_mode in RESPONSE_MODES else "query"
    return ReturnAddress(redirect_uri, known_mode, query.get("state", ""))


def read_authorize_request(
    tenant: Tenant, app: AppRegistration, address: ReturnAddress, query: Mapping[str, str]
) -> AuthorizeRequest:
    """Check the rest of the request. AadstsError here goes back to the app by redirect."""
    _refuse_bad_response(query)
    scopes = parse_scopes(query.get("scope", ""), tenant.name)
    challenge, method = _read_challenge(query)
    prompt, login_hint = query.get("prompt", ""), query.get("login_hint", "")
    if prompt not in PROMPTS:
        raise AadstsError(90023, reason=f"Unsupported 'prompt' value '{prompt}'.")
    if prompt == "select_account" and login_hint:
        reason = "The 'login_hint' parameter may not be used together with 'prompt=select_account'."
        raise AadstsError(90023, reason=reason)
    if prompt == "none":
        raise AadstsError(50058)
    nonce = query.get("nonce", "")
    return AuthorizeRequest(app.client_id, address, scopes, nonce, challenge, method, prompt, login_hint)


def _refuse_bad_response(query: Mapping[str, str]) -> None:
    response_type = query.get("response_type", "")
    if not response_type:
        raise AadstsError(900144, name="response_type")
    if response_type != "code":
        raise AadstsError(700051, response_type=response_type)
    response_mode = query.get("response_mode", "query")
    if response_mode not in RESPONSE_MODES:
        raise AadstsError(90023, reason=f"Unsupported 'response_mode' value '{response_mode}'.")


def _read_challenge(query: Mapping[str, str]) -> tuple[str, str]:
    """Challenge and method of PKCE (RFC 7636); without a method `plain` is assumed."""
    challenge = query.get("code_challenge", "")
    method = query.get("code_challenge_method", "plain" if challenge else "")
    if method not in ("", "plain", "S256"):
        raise AadstsError(50149)
    if (challenge or method) and not 43 <= len(challenge) <= 128:
        raise AadstsError(501491)
    return challenge, method


def authenticate_user(tenant: Tenant, user_name: str, password: str) -> User:
    """The person with this user principal name and password, or what the sign-in page says instead."""
    user = tenant.user_by_upn(user_name)
    if user is None:
        raise AadstsError(50034, user=user_name, tenant=tenant.name)
    if user.is_shared:
        raise AadstsError(50057)
    if password != user.password:
        raise AadstsError(50126)
    return user


def missing_permissions(app: AppRegistration, user: User, scopes: Scopes) -> tuple[str, ...]:
    """What nobody has consented to yet. Those of OpenID Connect come along with any other consent."""
    consented = app.consented_permissions(user.object_id)
    missing = tuple(name for name in scopes.permissions if name not in consented)
    if consented and all(name in OPENID_SCOPES for name in missing):
        return ()
    return missing
