"""Entra ID over HTTP: what servers ask (discovery, keys, tokens, device codes) and the addresses of its pages."""

import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.aadsts import AadstsError, error_body, make_trail
from postroom.simulator.admin_consent_pages import AdminConsentPages
from postroom.simulator.authorize_pages import AuthorizePages
from postroom.simulator.clouds import CLOUDS, CONSUMERS_TENANT_ID
from postroom.simulator.device_pages import DevicePages
from postroom.simulator.scopes import parse_scopes
from postroom.simulator.sign_in import SignIn, host_of
from postroom.simulator.sign_in_rules import (
    SHARED_NAMES,
    find_app,
    refuse_other_cloud,
    refuse_shared_endpoint,
    refuse_unknown_tenant,
)
from postroom.simulator.tenant import Tenant
from postroom.simulator.token_faults import TokenFaults
from postroom.simulator.token_grants import TokenRequest, answer_token_request
from postroom.simulator.tokens import DEVICE_CODE_SECONDS, DEVICE_INTERVAL_SECONDS, Tokens

NOT_TO_BE_CACHED = {"cache-control": "no-store, no-cache", "pragma": "no-cache"}
# Where the real page lives (unconfirmed); here a browser opens /devicelogin on localhost.
VERIFICATION_URI = "https://microsoft.com/devicelogin"


def server_routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What Postroom's server calls under https://login.microsoftonline.com."""
    endpoints = _ServerEndpoints(tenant, tokens)
    return [
        Route("/common/discovery/instance", endpoints.describe_instance),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", endpoints.describe_tenant),
        Route("/{tenant}/discovery/v2.0/keys", endpoints.list_keys),
        Route("/{tenant}/oauth2/v2.0/token", endpoints.issue_tokens, methods=["POST"]),
        Route("/{tenant}/oauth2/v2.0/devicecode", endpoints.issue_device_code, methods=["POST", "GET"]),
    ]


def browser_routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What a person's browser opens; the addresses are the real ones but for their host."""
    sign_in = SignIn(tenant, tokens)
    authorize = AuthorizePages(sign_in)
    devices = DevicePages(sign_in)
    consents = AdminConsentPages(sign_in)
    return [
        Route("/{tenant}/oauth2/v2.0/authorize", authorize.start, methods=["GET", "POST"]),
        Route("/{tenant}/oauth2/v2.0/logout", sign_in.sign_out, methods=["GET", "POST"]),
        Route("/{tenant}/login", sign_in.check_password, methods=["POST"]),
        Route("/{tenant}/account", sign_in.pick_account, methods=["POST"]),
        Route("/{tenant}/mfa", sign_in.check_second_factor, methods=["POST"]),
        Route("/{tenant}/consent", sign_in.take_consent, methods=["POST"]),
        Route("/{tenant}/back", sign_in.go_back, methods=["POST"]),
        Route("/{tenant}/oauth2/deviceauth", devices.show),
        Route("/{tenant}/oauth2/deviceauth", devices.take_code, methods=["POST"]),
        Route("/{tenant}/oauth2/deviceauth/answer", devices.take_answer, methods=["POST"]),
        Route("/devicelogin", devices.show),
        Route("/{tenant}/v2.0/adminconsent", consents.start),
        Route("/{tenant}/adminconsent", consents.start_first_version),
    ]


class _ServerEndpoints:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.faults = TokenFaults(tenant)

    async def describe_instance(self, request: Request) -> Response:
        metadata = [
            {
                "preferred_network": cloud.login_host,
                "preferred_cache": "login.windows.net" if cloud is CLOUDS[0] else cloud.login_host,
                "aliases": [cloud.login_host],
            }
            for cloud in CLOUDS
            if cloud.name != "DoD"
        ]
        discovery = f"{self.tenant.cloud.login_url}/common/v2.0/.well-known/openid-configuration"
        return JSONResponse({"tenant_discovery_endpoint": discovery, "api-version": "1.1", "metadata": metadata})

    async def describe_tenant(self, request: Request) -> Response:
        name = request.path_params["tenant"]
        try:
            refuse_unknown_tenant(self.tenant, name)
            refuse_other_cloud(self.tenant, host_of(request))
        except AadstsError as error:
            body = self._error_body(request, error)
            return JSONResponse({**body, "error": "invalid_tenant"}, 400)
        return JSONResponse(describe_openid(self.tenant, name))

    async def list_keys(self, request: Request) -> Response:
        return JSONResponse(self.tokens.key_set())

    async def issue_tokens(self, request: Request) -> Response:
        return await self._answer(request, self._tokens_for)

    async def issue_device_code(self, request: Request) -> Response:
        return await self._answer(request, self._device_code_for)

    async def _answer(self, request: Request, ask: Callable[[TokenRequest], dict[str, Any]]) -> Response:
        form = await pages.read_form(request)
        asked = TokenRequest(
            request.path_params["tenant"],
            {**request.query_params, **form} if request.method == "GET" else form,
            request.headers.get("authorization", ""),
            host_of(request),
            request.headers.get("origin", ""),
        )
        try:
            fault = await self.faults.strike(form)
            answer = None if fault is not None else ask(asked)
        except AadstsError as error:
            return self._refuse(request, error)
        if fault is not None:
            return fault
        headers = {**NOT_TO_BE_CACHED, "x-ms-request-id": str(uuid.uuid4())}
        return JSONResponse(answer, headers=headers)

    def _refuse(self, request: Request, error: AadstsError) -> Response:
        body = self._error_body(request, error)
        headers = {**NOT_TO_BE_CACHED, "x-ms-request-id": str(body["trace_id"])}
        if error.problem.status == 503:
            headers["retry-after"] = str(self.tenant.entra.retry_after_seconds)
        return JSONResponse(body, error.problem.status, headers)

    def _tokens_for(self, asked: TokenRequest) -> dict[str, Any]:
        return answer_token_request(self.tenant, self.tokens, asked)

    def _device_code_for(self, asked: TokenRequest) -> dict[str, Any]:
        """A new pair of codes. Whether the app may use the flow is asked when its token is fetched (7000218)."""
        tenant = self.tenant
        refuse_unknown_tenant(tenant, asked.tenant_name)
        refuse_other_cloud(tenant, asked.host)
        app = find_app(tenant, asked.required("client_id"))
        refuse_shared_endpoint(asked.tenant_name, app)
        scopes = parse_scopes(asked.required("scope"), tenant.name, tenant.cloud)
        device = self.tokens.issue_device_code(app.client_id, scopes, asked.tenant_name)
        return {
            "user_code": device.user_code,
            "device_code": device.device_code,
            "verification_uri": VERIFICATION_URI,
            "expires_in": DEVICE_CODE_SECONDS,
            "interval": DEVICE_INTERVAL_SECONDS,
            "message": f"To sign in, use a web browser to open the page {VERIFICATION_URI} and enter the code "
            f"{device.user_code} to authenticate.",
        }

    def _error_body(self, request: Request, error: AadstsError) -> dict[str, Any]:
        trail = make_trail(self.tenant.clock.now(), request.headers.get("client-request-id", ""))
        return error_body(error, trail, self.tenant.cloud.login_url)


def describe_openid(tenant: Tenant, name: str) -> dict[str, Any]:
    """The discovery document. A domain is answered with the tenant's id; `common` and its kin keep their names."""
    cloud = tenant.cloud
    where = name.lower() if name.lower() in SHARED_NAMES else tenant.tenant_id
    issuers = {"common": "{tenantid}", "organizations": "{tenantid}", "consumers": CONSUMERS_TENANT_ID}
    base = f"{cloud.login_url}/{where}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": f"{cloud.login_url}/{issuers.get(where, where)}/v2.0",
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": f"{cloud.graph}/oidc/userinfo",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
        "http_logout_supported": True,
        "frontchannel_logout_supported": True,
        "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
        "claims_supported": [
            "sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name",
            "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username",
            "name", "tid", "ver", "at_hash", "c_hash", "email",
        ],
        "tenant_region_scope": "EU",
        "cloud_instance_name": cloud.instance,
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": cloud.graph_host,
        "rbac_url": "https://pas.windows.net",
    }  # fmt: skip
