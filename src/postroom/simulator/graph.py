"""Microsoft Graph, as far as a signed-in mailbox is read: `/me` and `/me/licenseDetails`.

Source: Microsoft Learn, Graph v1.0, "Get a user" and "List licenseDetails".
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.tenant import Tenant, User
from postroom.simulator.tokens import GRAPH_AUDIENCES, Reason, TokenProblem, Tokens

CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#users"
DEFAULT_PROPERTIES = (
    "businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation",
    "preferredLanguage", "surname", "userPrincipalName", "id",
)  # fmt: skip

# Exchange Online (Plan 1), and the foundation plan that is in nearly every licence and is no mailbox.
SKU_ID, SKU_NAME = "4b9405b0-7788-4568-add1-99614e613b69", "EXCHANGESTANDARD"
SERVICE_PLANS = (
    ("9aaf7827-d63c-4b61-89c3-182f06f82e5c", "EXCHANGE_S_STANDARD", "User"),
    ("113feb6c-3fe4-4440-bddc-54d774bf0318", "EXCHANGE_S_FOUNDATION", "Company"),
)

_MESSAGES: dict[Reason, str] = {
    "malformed": "CompactToken parsing failed with error code: 80049217",
    "bad signature": "Access token validation failure. Invalid signature.",
    "audience": "Access token validation failure. Invalid audience.",
    "expired": "Lifetime validation failed, the token is expired.",
    "unknown user": "The identity of the calling user could not be found.",
    "revoked": "Continuous access evaluation resulted in challenge with result: InteractionRequired and "
    "code: TokenIssuedBeforeRevocationTimestamp",
}


class GraphError(Exception):
    """An answer with an error: HTTP status, Graph's code, and its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What Postroom's server calls under https://graph.microsoft.com."""
    graph = _Graph(tenant, tokens)
    return [
        Route("/v1.0/me", graph.read_me),
        Route("/v1.0/me/licenseDetails", graph.list_licenses),
    ]


class _Graph:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens

    async def read_me(self, request: Request) -> Response:
        try:
            user = self._signed_in_user(request)
            return JSONResponse(describe_user(user, request.query_params.get("$select", "")))
        except GraphError as error:
            return self._error_response(request, error)

    async def list_licenses(self, request: Request) -> Response:
        try:
            user = self._signed_in_user(request)
            value = self._licenses_of(user)
        except GraphError as error:
            return self._error_response(request, error)
        context = f"{CONTEXT}('{user.object_id}')/licenseDetails"
        return JSONResponse({"@odata.context": context, "value": value})

    def _signed_in_user(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise GraphError(401, "InvalidAuthenticationToken", "Access token is empty.")
        claims = self.tokens.check_access_token(token, audiences=GRAPH_AUDIENCES, scope="User.Read")
        if not isinstance(claims, TokenProblem):
            return self.tenant.user(claims.object_id)
        if claims.reason == "scope missing":
            message = "Insufficient privileges to complete the operation."
            raise GraphError(403, "Authorization_RequestDenied", message)
        raise GraphError(401, "InvalidAuthenticationToken", _MESSAGES[claims.reason])

    def _licenses_of(self, user: User) -> list[dict[str, Any]]:
        """By the switch: all of them, refused for want of a directory role, or ids alone."""
        if self.tenant.license_read == "forbidden":
            message = "Insufficient privileges to complete the operation."
            raise GraphError(403, "Authorization_RequestDenied", message)
        if not user.licensed:
            return []
        is_limited = self.tenant.license_read == "limited"
        return [
            {
                "id": str(uuid.uuid5(uuid.UUID(user.object_id), SKU_ID)),
                "skuId": SKU_ID,
                "skuPartNumber": None if is_limited else SKU_NAME,
                "servicePlans": [] if is_limited else _service_plans(user),
            }
        ]

    def _error_response(self, request: Request, error: GraphError) -> Response:
        request_id = str(uuid.uuid4())
        moment = datetime.fromtimestamp(self.tenant.clock.now(), UTC)
        inner = {
            "date": moment.strftime("%Y-%m-%dT%H:%M:%S"),
            "request-id": request_id,
            "client-request-id": request.headers.get("client-request-id", request_id),
        }
        headers = {"request-id": request_id, "client-request-id": inner["client-request-id"]}
        if error.status == 401:
            headers["www-authenticate"] = (
                'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
                'client_id="00000003-0000-0000-c000-000000000000"'
            )
        body = {"error": {"code": error.code, "message": error.message, "innerError": inner}}
        return JSONResponse(body, error.status, headers)


def describe_user(user: User, select: str = "") -> dict[str, Any]:
    """The default properties of a user, or those that `$select` names. GraphError 400 for an unknown one."""
    known = _properties_of(user)
    if not select:
        entity = {name: known[name] for name in DEFAULT_PROPERTIES}
        return {"@odata.context": f"{CONTEXT}/$entity", **entity}
    names = [name.strip() for name in select.split(",") if name.strip()]
    for name in names:
        if name not in known:
            message = (
                f"Parsing OData Select and Expand failed: Could not find a property named '{name}' "
                "on type 'microsoft.graph.user'."
            )
            raise GraphError(400, "BadRequest", message)
    return {
        "@odata.context": f"{CONTEXT}({','.join(names)})/$entity",
        **{name: known[name] for name in names},
    }


def _properties_of(user: User) -> dict[str, Any]:
    given, _, surname = user.display_name.rpartition(" ")
    proxies = [f"SMTP:{user.mail}"] if user.mail else []
    return {
        "businessPhones": [],
        "displayName": user.display_name,
        "givenName": given or None,
        "jobTitle": None,
        "mail": user.mail or None,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": surname if given else None,
        "userPrincipalName": user.user_principal_name,
        "id": user.object_id,
        "proxyAddresses": proxies + [f"smtp:{alias}" for alias in user.proxy_addresses],
        "accountEnabled": not user.is_shared,
    }


def _service_plans(user: User) -> list[dict[str, str]]:
    return [
        {
            "servicePlanId": plan_id,
            "servicePlanName": name,
            "provisioningStatus": "Success",
            "appliesTo": applies_to,
        }
        for plan_id, name, applies_to in SERVICE_PLANS
        if user.is_mailbox or applies_to == "Company"
    ]
