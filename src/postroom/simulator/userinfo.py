"""UserInfo of OpenID Connect, which Microsoft serves under Graph's host.

Source: Microsoft Learn, "Microsoft identity platform UserInfo endpoint". A v2.0 app reads the ID token instead.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.tenant import Tenant
from postroom.simulator.tokens import GRAPH_AUDIENCES, TokenProblem, Tokens


def routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What stands beside Graph's own routes."""
    userinfo = _UserInfo(tenant, tokens)
    return [Route("/oidc/userinfo", userinfo.read, methods=["GET", "POST"])]


class _UserInfo:
    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens

    async def read(self, request: Request) -> Response:
        """Claims by the scopes `profile` and `email`; 401 without a token of Graph that has `openid`."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _refuse("Access token is empty.")
        claims = self.tokens.check_access_token(token, audiences=GRAPH_AUDIENCES, scope="openid")
        if isinstance(claims, TokenProblem):
            return _refuse(claims.detail)
        user = self.tenant.user(claims.object_id)
        answer = {"sub": self.tokens.subject_of(claims.client_id, user)}
        if "profile" in claims.scopes:
            given, _, family = user.display_name.rpartition(" ")
            answer |= {"name": user.display_name, "family_name": family, "given_name": given}
        if "email" in claims.scopes and user.mail:
            answer["email"] = user.mail
        return JSONResponse(answer)


def _refuse(message: str) -> Response:
    body = {"error": {"code": "InvalidAuthenticationToken", "message": message}}
    return JSONResponse(body, 401, {"www-authenticate": 'Bearer error="invalid_token"'})
