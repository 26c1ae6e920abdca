"""Upload sessions for attachments from 3 to 150 MB: ranges put in order to a URL that is signed in already.

Source: Microsoft Learn, "Attach large files to Outlook messages or events" (microsoft365.md 3.4). How long
a session lasts, and what a wrong range is told, is not confirmed [C].
"""

import base64
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.graph_drafts import READS_WRITES, Draft, Drafts, make_item_id
from postroom.simulator.graph_errors import GraphError, answer_error, make_trace, refusal
from postroom.simulator.graph_gate import Key
from postroom.simulator.graph_json import AttachmentItem, FileAttachment, UploadRequest, decode_json
from postroom.simulator.graph_mailboxes import open_mailbox
from postroom.simulator.graph_requests import MAX_REQUEST_BYTES, UPLOAD_HOSTS, Call, host_of, read_body

# A smaller file is posted whole: its base64 fits into the 4 MB of a request.
MIN_ATTACHMENT_BYTES = 3 * 1024 * 1024
MAX_ATTACHMENT_BYTES = 150 * 1024 * 1024
SESSION_SECONDS = 3_600.0
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PATH = "/api/v2.0/Users('{user}')/Messages('{message}')/AttachmentSessions('{session}')"


@dataclass
class UploadSession:
    """`authtoken` stands in the URL, and is all that a PUT is asked for."""

    session_id: str
    authtoken: str
    item: AttachmentItem
    draft: Draft
    key: Key
    expires_at: float
    received: bytearray = field(default_factory=bytearray)


class Uploads:
    def __init__(self, drafts: Drafts) -> None:
        self.front = drafts.front
        self._drafts = drafts
        self._sessions: dict[str, UploadSession] = {}

    async def create(self, call: Call) -> Response:
        post = open_mailbox(self.front, call, READS_WRITES)
        draft = self._drafts.find(post.mailbox.object_id, call.request.path_params["message"])
        with self.front.gate.admit(post.key):
            item = decode_json(await read_body(call.request), UploadRequest).item
        if item.size < MIN_ATTACHMENT_BYTES:
            raise refusal("attachment too small")
        if item.size > MAX_ATTACHMENT_BYTES:
            raise refusal("attachment too large")
        expires_at = self.front.tenant.clock.now() + SESSION_SECONDS
        session = UploadSession(make_item_id(), secrets.token_urlsafe(60), item, draft, post.key, expires_at)
        self._sessions[session.session_id] = session
        host = UPLOAD_HOSTS.get(host_of(call.request), UPLOAD_HOSTS["graph.microsoft.com"])
        body = {
            "@odata.context": f"{call.base_url}/$metadata#microsoft.graph.uploadSession",
            "uploadUrl": f"https://{host}{self._path_of(session)}?authtoken={session.authtoken}",
            "expirationDateTime": format_fine_time(expires_at),
            "nextExpectedRanges": ["0-"],
        }
        return JSONResponse(body, 201)

    async def answer_upload(self, request: Request) -> Response:
        """PUT a range, or DELETE to give up, at the host of Outlook."""
        trace = make_trace(request.headers.get("client-request-id"))
        try:
            response = await self._take(request)
        except GraphError as error:
            return answer_error(error, trace, self.front.tenant.clock.now())
        except ClientDisconnect:
            return Response(status_code=499)
        response.headers.update(trace)
        return response

    async def _take(self, request: Request) -> Response:
        self.front.gate.meet_fault()
        session = self._admit(request)
        if request.method == "DELETE":
            del self._sessions[session.session_id]
            return Response(status_code=204)
        with self.front.gate.admit(session.key):
            chunk = await read_body(request, MAX_REQUEST_BYTES)
            self.front.gate.count_upload(session.key, len(chunk))
            _check_range(session, request.headers.get("content-range", ""), len(chunk))
            session.received += chunk
        return (
            self._conclude(session, request)
            if len(session.received) == session.item.size
            else self._go_on(session, request)
        )

    def _admit(self, request: Request) -> UploadSession:
        """GraphError 401 for an Authorization header, and for a URL that is not, or no longer, good."""
        if host_of(request) not in UPLOAD_HOSTS.values():
            raise refusal("segment unknown", name=request.url.path.rpartition("/")[2])
        if "authorization" in request.headers:
            # Seen with tokens of Graph, whose audience is not Outlook's.
            url = f"https://{host_of(request)}{request.url.path.partition('(')[0]}..."
            raise refusal("upload audience", audience=self._audience_of(request), url=url)
        session = self._sessions.get(request.path_params["session"])
        given = request.query_params.get("authtoken", "")
        if session is None or not secrets.compare_digest(given, session.authtoken):
            raise refusal("upload token")
        if session.expires_at <= self.front.tenant.clock.now():
            raise refusal("upload token")
        return session

    def _audience_of(self, request: Request) -> str:
        hosts = {upload: graph for graph, upload in reversed(UPLOAD_HOSTS.items())}
        return f"https://{hosts[host_of(request)]}"

    def _go_on(self, session: UploadSession, request: Request) -> Response:
        path = request.url.path.removeprefix("/api/v2.0/")
        body: dict[str, Any] = {
            "@odata.context": f"https://{host_of(request)}/api/v2.0/$metadata#{path}/$entity",
            "ExpirationDateTime": format_fine_time(session.expires_at),
            "nextExpectedRanges": [str(len(session.received))],
        }
        return JSONResponse(body)

    def _conclude(self, session: UploadSession, request: Request) -> Response:
        attachment = FileAttachment(
            name=session.item.name,
            content_bytes=base64.b64encode(session.received).decode(),
            content_type=session.item.content_type,
            is_inline=session.item.is_inline,
            size=len(session.received),
            content_id=session.item.content_id,
        )
        attachment_id = self._drafts.add_attachment(session.draft, attachment)
        del self._sessions[session.session_id]
        messages = request.url.path.partition("/AttachmentSessions")[0]
        location = f"https://{host_of(request)}{messages}/Attachments('{attachment_id}')"
        return Response(status_code=201, headers={"location": location})

    def _path_of(self, session: UploadSession) -> str:
        user = f"{session.draft.mailbox_id}@{self.front.tenant.tenant_id}"
        return _PATH.format(user=user, message=session.draft.draft_id, session=session.session_id)


def routes(uploads: Uploads) -> list[BaseRoute]:
    create = uploads.front.endpoint(uploads.create)
    owners = ("/v1.0/me", "/v1.0/users/{user}")
    return [
        *(
            Route(f"{owner}/messages/{{message}}/attachments/createUploadSession", create, methods=["POST"])
            for owner in owners
        ),
        Route(_PATH, uploads.answer_upload, methods=["PUT", "DELETE"]),
    ]


def _check_range(session: UploadSession, content_range: str, size_bytes: int) -> None:
    """GraphError 400 unless the range follows what is there, is as long as it says, and ends within the file."""
    start, total = len(session.received), session.item.size
    match = _RANGE.fullmatch(content_range)
    given = tuple(int(number) for number in match.groups()) if match else ()
    if given != (start, start + size_bytes - 1, total) or not 0 < size_bytes <= total - start:
        raise refusal("upload range", expected=f"bytes {start}-…/{total}")


def format_fine_time(moment: float) -> str:
    """Outlook writes seven digits of a second: `2026-11-23T18:20:05.7671707Z`."""
    whole = datetime.fromtimestamp(moment, UTC)
    return f"{whole.strftime('%Y-%m-%dT%H:%M:%S')}.{whole.microsecond:06d}0Z"
