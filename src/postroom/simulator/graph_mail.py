"""`sendMail`: a message in JSON, or as MIME in base64 (Microsoft Learn, "user: sendMail"; microsoft365.md 3.4)."""

import asyncio
import base64
import binascii

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_json import SendMail, compose, decode_json
from postroom.simulator.graph_mailboxes import open_mailbox
from postroom.simulator.graph_requests import Call, Front, media_type_of, read_body
from postroom.simulator.graph_sending import Outgoing, Sending


def routes(front: Front, sending: Sending) -> list[BaseRoute]:
    async def send_mail(call: Call) -> Response:
        post = open_mailbox(front, call, "Mail.Send")
        with front.gate.admit(post.key):
            body = await read_body(call.request)
            front.gate.count_upload(post.key, len(body))
            outgoing = await asyncio.to_thread(read_message, call.request, body)
            return await sending.send(call, post, outgoing)

    endpoint = front.endpoint(send_mail)
    return [Route(f"/v1.0/{owner}/sendMail", endpoint, methods=["POST"]) for owner in ("me", "users/{user}")]


def read_message(request: Request, body: bytes) -> Outgoing:
    """By the type of the content. GraphError 400 for any other, and for what is not what its type says."""
    media_type = media_type_of(request)
    if media_type == "text/plain":
        return Outgoing(decode_mime(body), is_json=False)
    if media_type != "application/json":
        raise refusal("content type")
    message, is_kept = decode_json(body, SendMail).wanted()
    return Outgoing(compose(message), is_json=True, is_kept=is_kept)


def decode_mime(body: bytes) -> bytes:
    """MIME from its base64; line ends in it do not matter. GraphError 400 for what is no base64."""
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise refusal("mime base64") from None
