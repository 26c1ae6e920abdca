"""How each refusal of Graph comes about, by the name it has in the simulator's table and in tests/reference."""

from collections.abc import Awaitable, Callable

import httpx2

from postroom.simulator.scopes import OUTLOOK
from postroom.simulator.tokens import Tokens, make_signing_key
from tests.unit.simulator.graph_client import JSON_MESSAGE, NOREPLY, SCANNER, SEND, WRITE, GraphClient, message_to

Trouble = Callable[[GraphClient], Awaitable[httpx2.Response]]
TROUBLES: dict[str, Trouble] = {}
MEGABYTE = 1024 * 1024


def _trouble(name: str) -> Callable[[Trouble], Trouble]:
    def note(produce: Trouble) -> Trouble:
        TROUBLES[name] = produce
        return produce

    return note


def _get(name: str, path: str, *scopes: str) -> None:
    async def produce(graph: GraphClient) -> httpx2.Response:
        return await graph.call("GET", path, graph.token(*scopes))

    TROUBLES[name] = produce


def _post_message(name: str, **changes: object) -> None:
    async def produce(graph: GraphClient) -> httpx2.Response:
        return await graph.send_json({**JSON_MESSAGE, **changes})

    TROUBLES[name] = produce


# Who calls


@_trouble("token empty")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("GET", "/me")


@_trouble("token malformed")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("GET", "/me", "nonsense")


@_trouble("token bad signature")
async def _(graph: GraphClient) -> httpx2.Response:
    others = Tokens(graph.tenant, make_signing_key())
    token = others.issue_access_token(graph.app.client_id, graph.user(), "https://graph.microsoft.com", ["User.Read"])
    return await graph.call("GET", "/me", token)


@_trouble("token audience")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("GET", "/me", graph.token("User.Read", resource=OUTLOOK))


@_trouble("token expired")
async def _(graph: GraphClient) -> httpx2.Response:
    token = graph.token("User.Read")
    graph.tenant.clock.advance(3_600)
    return await graph.call("GET", "/me", token)


@_trouble("token unknown user")
async def _(graph: GraphClient) -> httpx2.Response:
    token = graph.token("User.Read")
    del graph.tenant.users[graph.user().object_id]
    return await graph.call("GET", "/me", token)


@_trouble("token revoked")
async def _(graph: GraphClient) -> httpx2.Response:
    token = graph.token("User.Read")
    graph.tenant.revoke_sessions(graph.user().object_id)
    return await graph.call("GET", "/me", token)


@_trouble("me without user")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("GET", "/me", graph.app_token("User.Read.All"))


# The directory


@_trouble("object unknown")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("GET", "/users/nobody@contoso.com", graph.app_token("User.Read.All"))


_get("directory denied", "/applications", "User.Read")
_get("property unknown", "/me?$select=shoeSize", "User.Read")
_get("query unsupported", "/me/transitiveMemberOf/microsoft.graph.directoryRole", "User.Read")
_get("filter unsupported", "/applications?$filter=displayName eq 'Postroom'", "Application.Read.All")
_get("segment unknown", "/me/calendars", "User.Read")
_get("method refused", "/me/sendMail", *SEND)


# The mailbox


@_trouble("mail denied")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(token=graph.token("User.Read"))


@_trouble("mailbox fenced")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.restrict_application(graph.app.client_id, [graph.user(NOREPLY).object_id])
    return await graph.send_mime(token=graph.app_token("Mail.Send"), path=f"/users/{SCANNER}/sendMail")


@_trouble("send as denied")
async def _(graph: GraphClient) -> httpx2.Response:
    foreign = {"emailAddress": {"address": NOREPLY}}
    return await graph.send_json({**JSON_MESSAGE, "from": foreign}, graph.token("Mail.Send.Shared"))


@_trouble("mailbox unknown")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(token=graph.app_token("Mail.Send"), path="/users/nobody@contoso.com/sendMail")


@_trouble("mailbox not enabled")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.set_licensed(graph.user().object_id, licensed=False)
    return await graph.send_mime()


# What was sent


@_trouble("json unreadable")
async def _(graph: GraphClient) -> httpx2.Response:
    json = {"content-type": "application/json"}
    return await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=json, content=b"{message}")


@_trouble("content type")
async def _(graph: GraphClient) -> httpx2.Response:
    xml = {"content-type": "application/xml"}
    return await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=xml, content=b"<message/>")


@_trouble("message missing")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.call("POST", "/me/sendMail", graph.token(*SEND), json={"saveToSentItems": True})


@_trouble("mime base64")
async def _(graph: GraphClient) -> httpx2.Response:
    plain = {"content-type": "text/plain"}
    return await graph.call("POST", "/me/sendMail", graph.token(*SEND), headers=plain, content=b"From: not base64")


@_trouble("mime invalid")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(b"no header at all\r\n\r\nHello\r\n")


@_trouble("no recipients")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(b"From: scanner@contoso.com\r\nSubject: Scan\r\n\r\nHello\r\n")


@_trouble("recipient invalid")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(b"From: scanner@contoso.com\r\nTo: BAD_ADDRESS\r\n\r\nHello\r\n")


@_trouble("too many recipients")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.exchange.set_limits(graph.user().object_id, recipients_per_message=1)
    return await graph.send_json(message_to(["b@example.net", "c@example.net"]))


@_trouble("request too large")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_mime(bytes(3 * MEGABYTE + 1))


@_trouble("message too large")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.exchange.set_limits(graph.user().object_id, message_size_bytes=100)
    return await graph.send_mime()


_post_message("json property", subjekt="Scan")
_post_message("header name", internetMessageHeaders=[{"name": "List-Unsubscribe", "value": "<mailto:a@b.c>"}])
_post_message("header count", internetMessageHeaders=[{"name": f"x-{n}", "value": "1"} for n in range(6)])


# Limits and troubles


@_trouble("concurrency")
async def _(graph: GraphClient) -> httpx2.Response:
    async with graph.hold_requests(4, graph.token(*SEND)):
        return await graph.send_mime()


@_trouble("too many requests")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.requests_per_window = 1
    await graph.send_mime()
    return await graph.send_mime()


@_trouble("upload limit")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.upload_bytes_per_window = 200
    await graph.send_mime()
    return await graph.send_mime()


@_trouble("throttled")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.break_graph("429")
    return await graph.send_mime()


@_trouble("unavailable")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.break_graph("503")
    return await graph.send_mime()


@_trouble("gateway timeout")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.graph.break_graph("504")
    return await graph.send_mime()


@_trouble("daily limit")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.exchange.submissions.use_up(graph.user().object_id, 10_000)
    return await graph.send_mime()


@_trouble("external limit")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.exchange.set_tenant_limits(external_recipients_per_day=1)
    return await graph.send_json(message_to(["b@example.net", "c@example.net"]))


@_trouble("mailbox full")
async def _(graph: GraphClient) -> httpx2.Response:
    graph.tenant.exchange.submissions.fill_sent_items(graph.user().object_id, 50 * 1024**3)
    return await graph.send_mime()


@_trouble("mailbox blocked")
async def _(graph: GraphClient) -> httpx2.Response:
    return await graph.send_json(message_to(["blocked@example.net"]))


# Drafts and upload sessions

_get("item unknown", "/me/messages/AAMkNoSuchDraft=", *WRITE)
_get("id malformed", "/me/messages/17", *WRITE)


async def _ask_for_session(graph: GraphClient, size: int) -> httpx2.Response:
    path = f"/me/messages/{await graph.make_draft()}/attachments/createUploadSession"
    item = {"attachmentType": "file", "name": "scan.pdf", "size": size}
    return await graph.call("POST", path, graph.token(*WRITE), json={"AttachmentItem": item})


@_trouble("attachment too large")
async def _(graph: GraphClient) -> httpx2.Response:
    return await _ask_for_session(graph, 150 * MEGABYTE + 1)


@_trouble("attachment too small")
async def _(graph: GraphClient) -> httpx2.Response:
    return await _ask_for_session(graph, 3 * MEGABYTE - 1)


@_trouble("upload audience")
async def _(graph: GraphClient) -> httpx2.Response:
    url = await graph.start_upload(await graph.make_draft(), 3 * MEGABYTE)
    return await graph.put_range(url, b"%PDF", 0, 3 * MEGABYTE, authorization=f"Bearer {graph.token(*WRITE)}")


@_trouble("upload token")
async def _(graph: GraphClient) -> httpx2.Response:
    url = await graph.start_upload(await graph.make_draft(), 3 * MEGABYTE)
    return await graph.put_range(f"{url}x", b"%PDF", 0, 3 * MEGABYTE)


@_trouble("upload range")
async def _(graph: GraphClient) -> httpx2.Response:
    url = await graph.start_upload(await graph.make_draft(), 3 * MEGABYTE)
    return await graph.put_range(url, b"%PDF", 4, 3 * MEGABYTE)
