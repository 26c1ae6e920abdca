"""Drafts: made, given attachments, and sent; they need Mail.ReadWrite beside Mail.Send (microsoft365.md 3.4).

Source: Microsoft Learn, Graph v1.0, "Create message", "Add attachment", "message: send".
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from postroom.simulator import exchange_replies as replies
from postroom.simulator.graph_entities import context_of, format_time
from postroom.simulator.graph_errors import refusal
from postroom.simulator.graph_json import FileAttachment, JsonMessage, attach_to_mime, compose, decode_json
from postroom.simulator.graph_mail import decode_mime
from postroom.simulator.graph_mailboxes import Post, open_mailbox
from postroom.simulator.graph_mime import parse_mime
from postroom.simulator.graph_requests import Call, Front, media_type_of, read_body
from postroom.simulator.graph_sending import Outgoing, Sending

READS_WRITES = "Mail.ReadWrite"


@dataclass
class Draft:
    """`content` is the message as it was given; attachments that came afterwards stand beside it."""

    draft_id: str
    mailbox_id: str
    content: JsonMessage | bytes
    created_at: float
    internet_message_id: str
    attachments: dict[str, FileAttachment] = field(default_factory=dict)

    def outgoing(self) -> Outgoing:
        added = list(self.attachments.values())
        if isinstance(self.content, bytes):
            content = attach_to_mime(self.content, added)
            return Outgoing(content, is_json=False, message_id=self.internet_message_id)
        return Outgoing(compose(self.content, added), is_json=True, message_id=self.internet_message_id)


class Drafts:
    """Every mailbox's drafts, in memory."""

    def __init__(self, front: Front, sending: Sending) -> None:
        self.front = front
        self._sending = sending
        self._drafts: dict[str, Draft] = {}

    def find(self, mailbox_id: str, draft_id: str) -> Draft:
        """GraphError 400 for what is no id, 404 for a draft that is not in this mailbox."""
        if not draft_id.startswith("AAMk"):
            raise refusal("id malformed")
        draft = self._drafts.get(draft_id)
        if draft is None or draft.mailbox_id != mailbox_id:
            raise refusal("item unknown")
        return draft

    async def create(self, call: Call) -> Response:
        post = open_mailbox(self.front, call, READS_WRITES)
        with self.front.gate.admit(post.key):
            body = await read_body(call.request)
            self.front.gate.count_upload(post.key, len(body))
            content = await asyncio.to_thread(_read_content, media_type_of(call.request), body)
        draft = self._make_draft(post, content)
        return JSONResponse(self._describe(call, draft), 201, {"location": self._url_of(call, draft)})

    async def read(self, call: Call) -> Response:
        post, draft = self._draft_of(call)
        with self.front.gate.admit(post.key):
            return JSONResponse(self._describe(call, draft))

    async def delete(self, call: Call) -> Response:
        post, draft = self._draft_of(call)
        with self.front.gate.admit(post.key):
            del self._drafts[draft.draft_id]
        return Response(status_code=204)

    async def list_attachments(self, call: Call) -> Response:
        post, draft = self._draft_of(call)
        context = f"{call.base_url}/$metadata#users('{draft.mailbox_id}')/messages('{draft.draft_id}')/attachments"
        with self.front.gate.admit(post.key):
            value = [describe_attachment(name, attachment) for name, attachment in draft.attachments.items()]
        return JSONResponse({"@odata.context": context, "value": value})

    async def attach(self, call: Call) -> Response:
        post, draft = self._draft_of(call)
        with self.front.gate.admit(post.key):
            body = await read_body(call.request)
            self.front.gate.count_upload(post.key, len(body))
            if media_type_of(call.request) != "application/json":
                raise refusal("content type")
            attachment = measured(decode_json(body, FileAttachment))
        attachment_id = self.add_attachment(draft, attachment)
        context = f"{call.base_url}/$metadata#users('{draft.mailbox_id}')/messages('{draft.draft_id}')/attachments"
        entity = describe_attachment(attachment_id, attachment)
        return JSONResponse({"@odata.context": f"{context}/$entity", **entity}, 201)

    async def send(self, call: Call) -> Response:
        """202; the draft is gone then, and Sent Items keeps what was sent."""
        post, draft = self._draft_of(call, "Mail.Send")
        with self.front.gate.admit(post.key):
            outgoing = await asyncio.to_thread(draft.outgoing)
            answer = await self._sending.send(call, post, outgoing)
        if answer.status_code == 202:
            self._drafts.pop(draft.draft_id, None)
        return answer

    def add_attachment(self, draft: Draft, attachment: FileAttachment) -> str:
        attachment_id = make_item_id()
        draft.attachments[attachment_id] = attachment
        return attachment_id

    def _draft_of(self, call: Call, permission: str = READS_WRITES) -> tuple[Post, Draft]:
        post = open_mailbox(self.front, call, permission)
        return post, self.find(post.mailbox.object_id, call.request.path_params["message"])

    def _make_draft(self, post: Post, content: JsonMessage | bytes) -> Draft:
        if isinstance(content, bytes):
            written = parse_mime(content).value("message-id")
        else:
            written = content.internet_message_id or ""
        message_id = written or replies.make_message_id(len(self._drafts) + secrets.randbits(32))
        draft = Draft(
            make_item_id(), post.mailbox.object_id, content, self.front.tenant.clock.now(), message_id.strip()
        )
        self._drafts[draft.draft_id] = draft
        return draft

    def _describe(self, call: Call, draft: Draft) -> dict[str, Any]:
        owner = f"users('{draft.mailbox_id}')/messages"
        has_files = not isinstance(draft.content, bytes) and bool(draft.content.attachments)
        return {
            "@odata.context": context_of(call.base_url, owner),
            "id": draft.draft_id,
            "createdDateTime": format_time(draft.created_at),
            "internetMessageId": draft.internet_message_id,
            "isDraft": True,
            "hasAttachments": has_files or bool(draft.attachments),
            **_describe_content(draft.content),
        }

    def _url_of(self, call: Call, draft: Draft) -> str:
        return f"{call.base_url}/users('{draft.mailbox_id}')/messages('{draft.draft_id}')"


def routes(drafts: Drafts) -> list[BaseRoute]:
    endpoint = drafts.front.endpoint
    found: list[BaseRoute] = []
    for owner in ("/v1.0/me", "/v1.0/users/{user}"):
        one = f"{owner}/messages/{{message}}"
        found += [
            Route(f"{owner}/messages", endpoint(drafts.create), methods=["POST"]),
            Route(one, endpoint(drafts.read), methods=["GET"]),
            Route(one, endpoint(drafts.delete), methods=["DELETE"]),
            Route(f"{one}/attachments", endpoint(drafts.list_attachments), methods=["GET"]),
            Route(f"{one}/attachments", endpoint(drafts.attach), methods=["POST"]),
            Route(f"{one}/send", endpoint(drafts.send), methods=["POST"]),
        ]
    return found


def make_item_id() -> str:
    """In the shape of Exchange's own ids; no slash, so that it can stand in a path."""
    return f"AAMk{secrets.token_urlsafe(90)}="


def measured(attachment: FileAttachment) -> FileAttachment:
    """With its true size. GraphError 400 if the content is no base64."""
    return msgspec.structs.replace(attachment, size=len(attachment.content()))


def describe_attachment(attachment_id: str, attachment: FileAttachment) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "id": attachment_id,
        "name": attachment.name,
        "contentType": attachment.content_type,
        "size": attachment.size,
        "isInline": attachment.is_inline,
        "contentId": attachment.content_id,
    }


def _read_content(media_type: str, body: bytes) -> JsonMessage | bytes:
    """What a draft is made of; it is looked through at once, so that a bad one is refused here."""
    if media_type == "text/plain":
        content = decode_mime(body)
        parse_mime(content)
        return content
    if media_type != "application/json":
        raise refusal("content type")
    message = decode_json(body, JsonMessage)
    compose(message)
    return message


def _describe_content(content: JsonMessage | bytes) -> dict[str, Any]:
    if isinstance(content, bytes):
        mime = parse_mime(content)
        addressed = {name: mime.people(field_name) for name, field_name in _RECIPIENT_FIELDS.items()}
        return {
            "subject": mime.value("subject"),
            **{
                name: [
                    {"emailAddress": {"name": person.name or person.address, "address": person.address}}
                    for person in people
                ]
                for name, people in addressed.items()
            },
        }
    listed = {
        "toRecipients": content.to_recipients,
        "ccRecipients": content.cc_recipients,
        "bccRecipients": content.bcc_recipients,
    }
    return {
        "subject": content.subject,
        **{
            name: [
                {"emailAddress": {"name": one.email_address.name, "address": one.email_address.address}}
                for one in people
            ]
            for name, people in listed.items()
        },
    }


_RECIPIENT_FIELDS = {"toRecipients": "to", "ccRecipients": "cc", "bccRecipients": "bcc"}
