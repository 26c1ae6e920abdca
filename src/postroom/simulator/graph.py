"""Microsoft Graph, as far as a program that sends mail meets it; each part has its module.

`graph_people`: /me, /users, licences, roles. `graph_applications`: when secrets end. `graph_mail`:
sendMail. `graph_drafts` and `graph_uploads`: drafts, attachments, upload sessions.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import graph_applications, graph_drafts, graph_mail, graph_people, graph_uploads
from postroom.simulator.graph_drafts import Drafts
from postroom.simulator.graph_errors import GraphError, answer_error, make_trace, refusal
from postroom.simulator.graph_requests import Front
from postroom.simulator.graph_sending import Sending
from postroom.simulator.graph_uploads import Uploads
from postroom.simulator.tenant import Tenant
from postroom.simulator.tokens import Tokens

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(tenant: Tenant, tokens: Tokens) -> list[BaseRoute]:
    """What a server calls under https://graph.microsoft.com, or under the host of another cloud.

    The URLs of upload sessions are there too; they are served at https://outlook.office.com.
    """
    front = Front(tenant, tokens)
    sending = Sending(front)
    drafts = Drafts(front, sending)
    known = [
        *graph_people.routes(front),
        *graph_applications.routes(front),
        *graph_mail.routes(front, sending),
        *graph_drafts.routes(drafts),
        *graph_uploads.routes(Uploads(drafts)),
    ]
    return [*known, *_leftovers(front, known)]


def _leftovers(front: Front, known: list[BaseRoute]) -> list[BaseRoute]:
    """Known addresses with another method, and every other one below v1.0, in Graph's own words."""

    async def refuse_method(request: Request) -> Response:
        return _refused(front, request, refusal("method refused"))

    async def refuse_segment(request: Request) -> Response:
        last = request.url.path.rstrip("/").rpartition("/")[2]
        return _refused(front, request, refusal("segment unknown", name=last))

    paths = dict.fromkeys(route.path for route in known if isinstance(route, Route))
    return [
        *(Route(path, refuse_method, methods=_METHODS) for path in paths),
        Route("/v1.0/{path:path}", refuse_segment, methods=_METHODS),
    ]


def _refused(front: Front, request: Request, error: GraphError) -> Response:
    trace = make_trace(request.headers.get("client-request-id"))
    return answer_error(error, trace, front.tenant.clock.now())
