"""Entra ID over HTTP: what servers ask (discovery, keys, tokens) and what people see (sign in, consent)."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import pages
from postroom.simulator.aadsts import AadstsError, error_body, make_trail
from postroom.simulator.authorize import (
    AuthorizeRequest,
    ReturnAddress,
    authenticate_user,
    find_asking_app,
    find_return_address,
    missing_permissions,
    read_authorize_request,
)
from postroom.simulator.scopes import PERMISSIONS
from postroom.simulator.tenant import Tenant, User
from postroom.simulator.token_grants import answer_token_request
from postroom.simulator.tokens import Tokens

LOGIN_HOST = "https://login.microsoftonline.com"
# Sign-in pages that may be open at once; of more, the oldest are forgotten.
KEPT_PAGES = 500
NOT_TO_BE_CACHED = {"cache-control": "no-store, no-cache", "pragma": "no-cache"}


def server_routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What Postroom's server calls under https://login.microsoftonline.com."""
    endpoints = _ServerEndpoints(tenant, tokens)
    return [
        Route("/common/discovery/instance", endpoints.describe_instance),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", endpoints.describe_tenant),
        Route("/{tenant}/discovery/v2.0/keys", endpoints.list_keys),
        Route("/{tenant}/oauth2/v2.0/token", endpoints.issue_tokens, methods=["POST"]),
    ]


def browser_routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What a person's browser opens; the authorize address is the real one but for its host."""
    sign_in = _SignIn(tenant, tokens)
    return [
        Route("/{tenant}/oauth2/v2.0/authorize", sign_in.start),
        Route("/{tenant}/login", sign_in.check_password, methods=["POST"]),
        Route("/{tenant}/consent", sign_in.take_consent, methods=["POST"]),
    ]


class _ServerEndpoints:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens

    async def describe_instance(self, request: Request) -> Response:
        host = "login.microsoftonline.com"
        metadata = [{"preferred_network": host, "preferred_cache": "login.windows.net", "aliases": [host]}]
        tenant_discovery = f"{LOGIN_HOST}/common/v2.0/.well-known/openid-configuration"
        return JSONResponse({"tenant_discovery_endpoint": tenant_discovery, "api-version": "1.1", "metadata": metadata})

    async def describe_tenant(self, request: Request) -> Response:
        name = request.path_params["tenant"]
        if not self.tenant.answers_to(name):
            body = self._error_body(request, AadstsError(90002, tenant=name))
            return JSONResponse({**body, "error": "invalid_tenant"}, 400)
        return JSONResponse(describe_openid(self.tenant, name))

    async def list_keys(self, request: Request) -> Response:
        return JSONResponse(self.tokens.key_set())

    async def issue_tokens(self, request: Request) -> Response:
        form = await pages.read_form(request)
        try:
            fault = self._switched_fault()
            if fault is not None:
                return fault
            authorization = request.headers.get("authorization", "")
            answer = answer_token_request(self.tenant, self.tokens, request.path_params["tenant"], form, authorization)
        except AadstsError as error:
            body = self._error_body(request, error)
            headers = {**NOT_TO_BE_CACHED, "x-ms-request-id": str(body["trace_id"])}
            if error.problem.status == 503:
                headers["retry-after"] = "30"
            return JSONResponse(body, error.problem.status, headers)
        return JSONResponse(answer, headers={**NOT_TO_BE_CACHED, "x-ms-request-id": str(uuid.uuid4())})

    def _switched_fault(self) -> Response | None:
        """The trouble that the switch asks for: two errors of Entra's, or a page of something between."""
        fault = self.tenant.token_endpoint_fault
        if fault == "500":
            raise AadstsError(90033)
        if fault == "503_retry_after":
            raise AadstsError(90055)
        if fault == "html":
            return HTMLResponse("<!doctype html><title>Blocked</title><h1>This proxy wants you to sign in</h1>")
        return None

    def _error_body(self, request: Request, error: AadstsError) -> dict[str, Any]:
        trail = make_trail(self.tenant.clock.now(), request.headers.get("client-request-id", ""))
        return error_body(error, trail)


def describe_openid(tenant: Tenant, name: str) -> dict[str, Any]:
    """The discovery document. A domain is answered with the tenant's id; `common` keeps its name."""
    is_shared = name.lower() in {"common", "organizations"}
    where = name.lower() if is_shared else tenant.tenant_id
    base = f"{LOGIN_HOST}/{where}"
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": f"{base}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": f"{LOGIN_HOST}/{'{tenantid}' if is_shared else where}/v2.0",
        "request_uri_parameter_supported": False,
        "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
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
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }  # fmt: skip


class _Flow(msgspec.Struct, frozen=True):
    """One page that waits for its form. Its id is good for one post."""

    tenant_name: str
    asked: AuthorizeRequest
    object_id: str = ""


class _SignIn:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self._flows: dict[str, _Flow] = {}

    async def start(self, request: Request) -> Response:
        tenant_name, query = request.path_params["tenant"], request.query_params
        try:
            app = find_asking_app(self.tenant, tenant_name, query)
            address = find_return_address(app, query)
        except AadstsError as error:
            return self._error_page(request, error)
        try:
            asked = read_authorize_request(self.tenant, app, address, query)
        except AadstsError as error:
            return self._send_back_error(request, address, error)
        return self._sign_in_page(request, _Flow(tenant_name, asked), asked.login_hint)

    async def check_password(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self._flows.pop(form.get("flow", ""), None)
        if flow is None or pages.came_from_elsewhere(request):
            return self._used_page(request)
        user_name = form.get("loginfmt", "").strip()
        try:
            user = authenticate_user(self.tenant, user_name, form.get("passwd", ""))
        except AadstsError as error:
            return self._sign_in_page(request, flow, user_name, error)
        asked = flow.asked
        missing = missing_permissions(self.tenant.app(asked.client_id), user, asked.scopes)
        if missing or asked.prompt == "consent":
            signed_in = msgspec.structs.replace(flow, object_id=user.object_id)
            return self._consent_page(request, signed_in, user, missing or asked.scopes.permissions)
        return self._send_back_code(request, asked, user)

    async def take_consent(self, request: Request) -> Response:
        form = await pages.read_form(request)
        flow = self._flows.pop(form.get("flow", ""), None)
        if flow is None or not flow.object_id or pages.came_from_elsewhere(request):
            return self._used_page(request)
        if form.get("answer") != "accept":
            return self._send_back_error(request, flow.asked.address, AadstsError(65004))
        user = self.tenant.user(flow.object_id)
        self.tenant.record_consent(flow.asked.client_id, user.object_id, flow.asked.scopes.permissions)
        return self._send_back_code(request, flow.asked, user)

    def _keep(self, flow: _Flow) -> str:
        while len(self._flows) >= KEPT_PAGES:
            del self._flows[next(iter(self._flows))]
        flow_id = secrets.token_urlsafe(24)
        self._flows[flow_id] = flow
        return flow_id

    def _sign_in_page(
        self, request: Request, flow: _Flow, user_name: str, error: AadstsError | None = None
    ) -> Response:
        return pages.render(
            request,
            "sign_in.html",
            form_targets=[flow.asked.address.redirect_uri],
            flow_id=self._keep(flow),
            action=f"/{flow.tenant_name}/login",
            app=self.tenant.app(flow.asked.client_id),
            tenant=self.tenant,
            user_name=user_name,
            error=error,
        )

    def _consent_page(self, request: Request, flow: _Flow, user: User, permissions: tuple[str, ...]) -> Response:
        return pages.render(
            request,
            "consent.html",
            form_targets=[flow.asked.address.redirect_uri],
            flow_id=self._keep(flow),
            action=f"/{flow.tenant_name}/consent",
            app=self.tenant.app(flow.asked.client_id),
            user=user,
            permissions=[(name, PERMISSIONS[name]) for name in permissions],
        )

    def _send_back_code(self, request: Request, asked: AuthorizeRequest, user: User) -> Response:
        code = self.tokens.issue_code(
            asked.client_id,
            user,
            asked.address.redirect_uri,
            asked.scopes,
            nonce=asked.nonce,
            code_challenge=asked.code_challenge,
            code_challenge_method=asked.code_challenge_method,
        )
        answer = {"code": code.value, "session_state": str(uuid.uuid4())}
        return self._send_back(request, asked.address, answer)

    def _send_back_error(self, request: Request, address: ReturnAddress, error: AadstsError) -> Response:
        description = make_trail(self.tenant.clock.now()).describe(error.sentence)
        answer = {
            "error": error.problem.error,
            "error_description": description,
            "error_uri": error.uri,
        }
        return self._send_back(request, address, answer)

    def _send_back(self, request: Request, address: ReturnAddress, answer: Mapping[str, str]) -> Response:
        if address.response_mode == "form_post":
            return pages.render(
                request,
                "form_post.html",
                form_targets=[address.redirect_uri],
                action=address.redirect_uri,
                fields=address.with_state(answer),
            )
        return RedirectResponse(address.url(answer), 302, NOT_TO_BE_CACHED)

    def _error_page(self, request: Request, error: AadstsError) -> Response:
        trail = make_trail(self.tenant.clock.now())
        return pages.render(request, "sign_in_error.html", status_code=400, error=error, trail=trail)

    def _used_page(self, request: Request) -> Response:
        return pages.render(request, "sign_in_used.html", status_code=400)
