"""A request as Microsoft Graph takes it in: who calls, what it carries, and how each one is answered."""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from postroom.simulator.clouds import CLOUDS, GRAPH_HOSTS, WORLDWIDE
from postroom.simulator.graph_errors import GraphError, answer_error, challenge_claims, make_trace, refusal
from postroom.simulator.graph_gate import Gate
from postroom.simulator.tenant import OperationError, Tenant, User
from postroom.simulator.tokens import AccessClaims, TokenProblem, Tokens

# Where a large attachment is uploaded, by the host of Graph. Worldwide [A]; the other clouds are a guess [C].
UPLOAD_HOSTS = {cloud.graph_host: cloud.outlook.removeprefix("https://") for cloud in CLOUDS}
MAX_REQUEST_BYTES = 4 * 1024 * 1024
# A body that is refused for its size is read to its end all the same, up to this, so that the answer arrives.
DRAINED_BYTES = 200 * 1024 * 1024


class Caller(msgspec.Struct, frozen=True):
    """Whose token it is. `user` is None for an application that calls for itself."""

    claims: AccessClaims
    user: User | None

    def allows(self, *permissions: str) -> bool:
        """Whether the token has one of the permissions: delegated ones of a user, else the application's own."""
        held = self.claims.roles if self.user is None else self.claims.scopes
        return not held.isdisjoint(permissions)

    def require(self, *permissions: str) -> None:
        """GraphError 403 of the directory unless one of the permissions is there."""
        if not self.allows(*permissions):
            raise refusal("directory denied")


class Call(msgspec.Struct, frozen=True):
    """One request with its caller; `trace` are the ids that its answer carries."""

    request: Request
    caller: Caller
    trace: dict[str, str]

    @property
    def base_url(self) -> str:
        """`https://graph.microsoft.com/v1.0`, by the host that was called."""
        return f"https://{host_of(self.request)}/v1.0"

    @property
    def select(self) -> str:
        return self.request.query_params.get("$select", "")

    def signed_in_user(self) -> User:
        """The user of /me. GraphError 400 for an application."""
        if self.caller.user is None:
            raise refusal("me without user")
        return self.caller.user


Handler = Callable[[Call], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Front:
    """What the parts of Graph share: the tenant, the tokens and the gate."""

    def __init__(self, tenant: Tenant, tokens: Tokens) -> None:
        self.tenant = tenant
        self.tokens = tokens
        self.gate = Gate(tenant)

    def endpoint(self, handle: Handler) -> Endpoint:
        """`handle` behind the check of the token; its GraphError becomes an answer."""

        async def answer(request: Request) -> Response:
            trace = make_trace(request.headers.get("client-request-id"))
            try:
                self.gate.meet_fault()
                response = await handle(Call(request, self.identify(request), trace))
            except GraphError as error:
                return answer_error(error, trace, self.tenant.clock.now())
            except ClientDisconnect:
                return Response(status_code=499)
            response.headers.update(trace)
            return response

        return answer

    def identify(self, request: Request) -> Caller:
        """GraphError 401 for every token that is not good here."""
        if host_of(request) in UPLOAD_HOSTS.values():
            raise refusal("segment unknown", name=request.url.path.rpartition("/")[2])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise refusal("token empty")
        claims = self.tokens.read_access_token(token, audiences=audiences_of(host_of(request)))
        if isinstance(claims, TokenProblem):
            error = refusal(f"token {claims.reason}")
            if claims.reason == "revoked":
                error.challenge = challenge_claims(error.message, self.tenant.clock.now())
            raise error
        try:
            return Caller(claims, None if claims.is_app_only else self.tenant.user(claims.object_id))
        except OperationError:
            raise refusal("token unknown user") from None

    def find_user(self, name: str) -> User | None:
        """By object id or user principal name, as under /users; other addresses do not name a user."""
        return self.tenant.users.get(name.lower()) or self.tenant.user_by_upn(name)


def host_of(request: Request) -> str:
    return request.headers.get("host", "").partition(":")[0].lower()


def audiences_of(host: str) -> frozenset[str]:
    """What the audience of a token must be at `host`: those of one cloud are no good in another (7).

    An unknown host counts as the worldwide cloud.
    """
    resource = f"https://{host}" if host in GRAPH_HOSTS else WORLDWIDE.graph
    return frozenset({resource, f"{resource}/"})


async def read_body(request: Request, limit_bytes: int = MAX_REQUEST_BYTES) -> bytes:
    """The body. GraphError 413 if it is larger than `limit_bytes`."""
    kept, size_bytes = bytearray(), 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > DRAINED_BYTES:
            break
        if size_bytes <= limit_bytes:
            kept += chunk
    if size_bytes > limit_bytes:
        raise refusal("request too large")
    return bytes(kept)


def media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
