"""Large mail by Graph: a draft, its attachments put in ranges to upload sessions, and then `send`.

Source: Microsoft Learn, "Attach large files to Outlook messages or events" (microsoft365.md 3.4). The message is read
three times from the disk: to find its parts, to make the draft, to upload. In memory are the draft, which one request
takes, and one range. Until `send` is asked nothing is sent, and a draft that comes to nothing is thrown away.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import httpx2

from postroom.deliver.dialogue import Dialogue
from postroom.deliver.graph_calls import Conversation, GraphCalls, GraphRequest, StepFailedError, sent_outcome
from postroom.deliver.graph_head import GraphFitError, make_graph_head
from postroom.deliver.large_mail import (
    Attachment,
    Cut,
    LargeMailError,
    LargePlan,
    describe_large_changes,
    draft_head,
    plan_large_mail,
)
from postroom.deliver.microsoft_hosts import is_upload_url
from postroom.deliver.mime_parts import MessageParts, PartFinder, PartsError
from postroom.deliver.part_decoding import make_decoder
from postroom.deliver.transport import Parcel
from postroom.outcome import FailureClass, Outcome, Refused, TryLater, Unknown

RANGE_BYTES = 2 * 1024 * 1024
"""A request takes 4 MB; the smaller a range, the less memory."""
ID_LIMIT = 2_000
DISCARD_SECONDS = 10.0
"""An attempt that is ended, at a shutdown for instance, waits so long for its draft to be thrown away."""


async def send_large(calls: GraphCalls, parcel: Parcel, dialogue: Dialogue, own_addresses: Sequence[str]) -> Outcome:
    """The outcome of the whole. Raises only what the parcel's own body raises."""
    try:
        message = await _find_parts(parcel)
        plan = plan_large_mail(message)
        made = make_graph_head(message.head, parcel.recipients, own_addresses)
    except PartsError as trouble:
        return _refused(calls, "graph_too_large", f"It cannot be sent in pieces, because {trouble}.")
    except LargeMailError as trouble:
        return _refused(calls, "graph_too_large", str(trouble))
    except GraphFitError as trouble:
        return _refused(calls, "graph_does_not_fit", str(trouble))
    for change in (*made.changes, *describe_large_changes(plan, message.head)):
        dialogue.remark(change)
    content = draft_head(made.content, plan) + await _read_draft(parcel, len(message.head), plan.cuts)
    return await _Delivery(calls, parcel, dialogue, plan).run(base64.b64encode(content))


class _Delivery:
    """One message on its way."""

    def __init__(self, calls: GraphCalls, parcel: Parcel, dialogue: Dialogue, plan: LargePlan) -> None:
        self._calls = calls
        self._parcel = parcel
        self._dialogue = dialogue
        self._plan = plan
        self._conversation: Conversation = calls.conversation(parcel, dialogue)
        self._draft_url = ""

    async def run(self, content: bytes) -> Outcome:
        try:
            outcome = await self._send(content)
        except StepFailedError as failed:
            outcome = failed.outcome
        except BaseException:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_SECONDS):
                    await self._discard()
            raise
        if isinstance(outcome, Unknown):
            self._dialogue.remark("If it was not sent, its draft still lies among the drafts of the mailbox.")
        else:
            await self._discard()
        return outcome

    async def _send(self, content: bytes) -> Outcome:
        request = GraphRequest("POST", "/messages", content, "text/plain")
        draft_id = self._text(request, await self._conversation.ask(request), "id")
        self._draft_url = f"/messages/{quote(draft_id, safe='')}"
        await self._attach_all()
        response = await self._conversation.ask(GraphRequest("POST", f"{self._draft_url}/send", sends=True))
        self._draft_url = ""
        return sent_outcome(response)

    async def _discard(self) -> None:
        """Throw the draft away, if one was made and not sent."""
        if not self._draft_url:
            return
        request = GraphRequest("DELETE", self._draft_url)
        self._draft_url = ""
        try:
            await self._conversation.ask(request)
        except StepFailedError:
            self._dialogue.remark("The draft could not be deleted: it lies among the drafts of the mailbox.")

    # Attachments

    async def _attach_all(self) -> None:
        """In the order of the message, in one pass over it."""
        waiting = list(self._plan.attachments)
        upload: _Upload | None = self._open(waiting.pop(0))
        position = 0
        async with contextlib.aclosing(_chunks(self._parcel)) as chunks:
            async for chunk in chunks:
                end = position + len(chunk)
                while upload is not None and upload.part.body_start < end:
                    part = upload.part
                    piece = chunk[max(0, part.body_start - position) : max(0, part.body_end - position)]
                    await upload.put(piece)
                    if part.body_end > end:
                        break
                    await upload.finish()
                    upload = self._open(waiting.pop(0)) if waiting else None
                position = end
        if upload is not None:
            await upload.finish()

    def _open(self, attachment: Attachment) -> "_Upload":
        return _Upload(self, attachment)

    async def post(self, attachment: Attachment, content: bytes) -> None:
        file = {
            "@odata.type": "#microsoft.graph.fileAttachment",
            **_described(attachment),
            "contentBytes": base64.b64encode(content).decode(),
        }
        await self._ask_json(f"{self._draft_url}/attachments", file)

    async def begin_upload(self, attachment: Attachment) -> str:
        """The URL of a session; StepFailedError when it leads away from Microsoft."""
        item = {"attachmentType": "file", "size": attachment.size_bytes, **_described(attachment)}
        url = f"{self._draft_url}/attachments/createUploadSession"
        request, response = await self._ask_json(url, {"AttachmentItem": item})
        upload_url = self._text(request, response, "uploadUrl", limit=10_000)
        if not is_upload_url(upload_url, self._calls.server):
            text = "Graph named a place for the attachment that is none of Microsoft's; nothing was put there."
            raise StepFailedError(self._later(request, FailureClass.POLICY, "upload_host_unknown", text))
        return upload_url

    async def put_range(self, url: str, content: bytes, start: int, attachment: Attachment) -> None:
        end, total = start + len(content), attachment.size_bytes
        request = GraphRequest(
            "PUT",
            url,
            content,
            "application/octet-stream",
            content_range=f"bytes {start}-{end - 1}/{total}",
            is_upload=True,
            is_told=start == 0 or end == total,
        )
        response = await self._conversation.ask(request)
        expected = _next_expected(response)
        if end < total and expected not in (None, end):
            text = f"The upload of {attachment.name} is to go on at byte {expected} instead of {end}."
            raise StepFailedError(self._later(request, FailureClass.UNKNOWN, "upload_interrupted", text))

    async def _ask_json(self, url: str, shape: dict[str, Any]) -> tuple[GraphRequest, httpx2.Response]:
        request = GraphRequest("POST", url, json.dumps(shape).encode(), "application/json")
        return request, await self._conversation.ask(request)

    def _text(self, request: GraphRequest, response: httpx2.Response, name: str, limit: int = ID_LIMIT) -> str:
        found = _read_object(response).get(name)
        if isinstance(found, str) and 0 < len(found) <= limit:
            return found
        text = f"Graph's answer {response.status_code} has no {name}."
        raise StepFailedError(self._later(request, FailureClass.UNKNOWN, "unexpected_answer", text))

    def _later(self, request: GraphRequest, failure_class: FailureClass, code: str, text: str) -> TryLater:
        return TryLater(self._calls.failure(request, failure_class, code, text, "large_mail_interrupted"))


class _Upload:
    """One attachment, as its part streams by."""

    def __init__(self, delivery: _Delivery, attachment: Attachment) -> None:
        self.part = attachment.part
        self._delivery = delivery
        self._attachment = attachment
        self._decoder = make_decoder(attachment.part.fields.encoding)
        self._content = bytearray()
        self._start = 0
        self._url = ""

    async def put(self, encoded: bytes) -> None:
        self._content += self._decoder.feed(encoded)
        while not self._attachment.is_posted and len(self._content) >= RANGE_BYTES:
            await self._put_range(RANGE_BYTES)

    async def finish(self) -> None:
        self._content += self._decoder.end()
        if self._attachment.is_posted:
            await self._delivery.post(self._attachment, bytes(self._content))
            return
        while self._content:
            await self._put_range(min(RANGE_BYTES, len(self._content)))

    async def _put_range(self, size_bytes: int) -> None:
        self._url = self._url or await self._delivery.begin_upload(self._attachment)
        await self._delivery.put_range(self._url, bytes(self._content[:size_bytes]), self._start, self._attachment)
        self._start += size_bytes
        del self._content[:size_bytes]


def _described(attachment: Attachment) -> dict[str, Any]:
    described: dict[str, Any] = {"name": attachment.name, "contentType": attachment.content_type}
    if attachment.is_inline:
        described |= {"isInline": True, "contentId": attachment.content_id}
    return described


def _next_expected(response: httpx2.Response) -> int | None:
    """Where the session goes on; None when it does not say."""
    ranges = _read_object(response).get("nextExpectedRanges")
    first = str(ranges[0]).partition("-")[0] if isinstance(ranges, list) and ranges else ""
    return int(first) if first.isascii() and first.isdigit() and len(first) < 16 else None


def _read_object(response: httpx2.Response) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(response.content)
        if isinstance(found, dict):
            return found
    return {}


async def _find_parts(parcel: Parcel) -> MessageParts:
    """PartsError when they cannot be found with certainty."""
    finder = PartFinder()
    async with contextlib.aclosing(_chunks(parcel)) as chunks:
        async for chunk in chunks:
            finder.feed(chunk)
            parcel.is_moving()
    return finder.end()


async def _read_draft(parcel: Parcel, start: int, cuts: Sequence[Cut]) -> bytes:
    """What is left of the body, from `start`."""
    content = bytearray()
    position, waiting = 0, list(cuts)
    async with contextlib.aclosing(_chunks(parcel)) as chunks:
        async for chunk in chunks:
            end, kept_from = position + len(chunk), max(position, start)
            while waiting and waiting[0].start < end:
                cut = waiting[0]
                content += chunk[max(0, kept_from - position) : max(0, cut.start - position)]
                if cut.start >= position:
                    content += cut.instead
                kept_from = max(kept_from, cut.end)
                if cut.end > end:
                    break
                waiting.pop(0)
            content += chunk[max(0, kept_from - position) :]
            position = end
    return bytes(content)


async def _chunks(parcel: Parcel) -> AsyncGenerator[bytes]:
    body: AsyncIterator[bytes] = parcel.open_body()
    try:
        async for chunk in body:
            yield chunk
    finally:
        if isinstance(body, AsyncGenerator):
            await body.aclose()


def _refused(calls: GraphCalls, code: str, text: str) -> Refused:
    failure_class = FailureClass.SIZE if code == "graph_too_large" else FailureClass.CONTENT
    request = GraphRequest("POST", "/messages")
    return Refused(calls.failure(request, failure_class, code, text, code))
