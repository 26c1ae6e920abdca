"""The authorize endpoint: what an app may ask for, and the answer that goes back to its redirect URI.

Source: Microsoft Learn, "Microsoft identity platform and OAuth 2.0 authorization code flow".
"""

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from postroom.simulator.aadsts import AadstsError
from postroom.simulator.consent import expand_default, refuse_missing_service
from postroom.simulator.registration import Platform
from postroom.simulator.scopes import Scopes, parse_scopes
from postroom.simulator.sign_in_rules import (
    find_app,
    refuse_other_cloud,
    refuse_shared_endpoint,
    refuse_unknown_tenant,
)
from postroom.simulator.tenant import AppRegistration, Tenant

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

    tenant_name: str
    client_id: str
    address: ReturnAddress
    platform: Platform
    response_types: frozenset[str]
    scopes: Scopes
    nonce: str
    code_challenge: str
    code_challenge_method: str
    prompt: str
    login_hint: str
    domain_hint: str


def find_asking_app(tenant: Tenant, tenant_name: str, host: str, query: Mapping[str, str]) -> AppRegistration:
    """The app that asks, by `client_id`; `host` is where it asks.

    What this and `find_return_address` raise is shown on Microsoft's own page, never redirected: there
    is nobody yet who could be trusted with the answer.
    """
    client_id = query.get("client_id", "")
    refuse_unknown_tenant(tenant, tenant_name)
    refuse_other_cloud(tenant, host)
    if not client_id:
        raise AadstsError(900144, name="client_id")
    app = find_app(tenant, client_id)
    refuse_shared_endpoint(tenant_name, app)
    return app


def find_return_address(app: AppRegistration, query: Mapping[str, str]) -> ReturnAddress:
    """Where the answer goes. 900971 without it, 500113 if the app has none registered."""
    redirect_uri = query.get("redirect_uri", "")
    if not redirect_uri:
        raise AadstsError(900971 if app.every_redirect_uri else 500113)
    if app.platform_of(redirect_uri) is None:
        raise AadstsError(50011, redirect_uri=redirect_uri, client_id=app.client_id)
    is_fragment = "id_token" in query.get("response_type", "")
    response_mode = query.get("response_mode", "fragment" if is_fragment else "query")
    known_mode = response_mode if response_mode in RESPONSE_MODES else "query"
    return ReturnAddress(redirect_uri, known_mode, query.get("state", ""))


def read_authorize_request(
    tenant: Tenant, tenant_name: str, app: AppRegistration, address: ReturnAddress, query: Mapping[str, str]
) -> AuthorizeRequest:
    """Check the rest of the request. AadstsError here goes back to the app by redirect."""
    response_types = _read_response_types(app, query)
    scopes = expand_default(tenant, app, parse_scopes(query.get("scope", ""), tenant.name, tenant.cloud))
    refuse_missing_service(tenant, scopes)
    challenge, method = _read_challenge(query)
    prompt, login_hint = query.get("prompt", ""), query.get("login_hint", "")
    if prompt not in PROMPTS:
        raise AadstsError(90023, reason=f"Unsupported 'prompt' value '{prompt}'.")
    if prompt == "select_account" and login_hint:
        reason = "The 'login_hint' parameter may not be used together with 'prompt=select_account'."
        raise AadstsError(90023, reason=reason)
    return AuthorizeRequest(
        tenant_name=tenant_name,
        client_id=app.client_id,
        address=address,
        platform=app.platform_of(address.redirect_uri) or "web",
        response_types=response_types,
        scopes=scopes,
        nonce=query.get("nonce", ""),
        code_challenge=challenge,
        code_challenge_method=method,
        prompt=prompt,
        login_hint=login_hint,
        domain_hint=query.get("domain_hint", "").lower(),
    )


def _read_response_types(app: AppRegistration, query: Mapping[str, str]) -> frozenset[str]:
    """`code`, `id_token` or both; an ID token needs the app's switch, a nonce and an answer outside the query."""
    response_type = query.get("response_type", "")
    if not response_type:
        raise AadstsError(900144, name="response_type")
    asked = frozenset(response_type.split())
    if not asked or not asked <= {"code", "id_token"}:
        raise AadstsError(700051, response_type=response_type)
    response_mode = query.get("response_mode", "")
    if response_mode not in ("", *RESPONSE_MODES):
        raise AadstsError(90023, reason=f"Unsupported 'response_mode' value '{response_mode}'.")
    if "id_token" in asked:
        _refuse_bad_id_token_request(app, query, response_mode)
    return asked


def _refuse_bad_id_token_request(app: AppRegistration, query: Mapping[str, str], response_mode: str) -> None:
    if not app.id_tokens_are_enabled:
        raise AadstsError(700054)
    if response_mode == "query":
        raise AadstsError(70007)
    if not query.get("nonce"):
        raise AadstsError(90014, name="nonce")


def _read_challenge(query: Mapping[str, str]) -> tuple[str, str]:
    """Challenge and method of PKCE (RFC 7636); without a method `plain` is assumed."""
    challenge = query.get("code_challenge", "")
    method = query.get("code_challenge_method", "plain" if challenge else "")
    if method and not challenge:
        raise AadstsError(50147)
    if method not in ("", "plain", "S256"):
        raise AadstsError(50149)
    if challenge and not 43 <= len(challenge) <= 128:
        raise AadstsError(501491)
    return challenge, method
