"""Two small mail servers on loopback that speak the real protocols, and do at one step what a test tells them to."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import ClassVar, Self

import trustme

GRAPH_HOST, UPLOAD_HOST = "graph.microsoft.com", "outlook.office.com"
AUTHORITY = trustme.CA()
_FLOOD = b"250-" + b"x" * 4_000 + b"\r\n"


class Gone(Exception):
    """The conversation is over."""


@dataclass
class Double:
    """What both share. `fault` says what happens, and at which step it is due."""

    fault: str = ""
    messages: list[bytes] = field(default_factory=list)
    """Taken over, each as it came."""
    heard_all: asyncio.Event = field(default_factory=asyncio.Event)
    """The last byte is here, and was not answered yet."""
    is_silent: asyncio.Event = field(default_factory=asyncio.Event)
    """It was told to be, and somebody waits for it."""
    connections: int = 0
    port: int = 0
    tls: ClassVar[ssl.SSLContext | None] = None

    @classmethod
    @contextlib.asynccontextmanager
    async def listen(cls) -> AsyncIterator[Self]:
        double, tasks = cls(), set[asyncio.Task[None]]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            double.connections += 1
            try:
                with contextlib.suppress(Gone, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                    await double.converse(reader, writer)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=cls.tls, limit=8 * 1024 * 1024)
        double.port = server.sockets[0].getsockname()[1]
        try:
            yield double
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def misbehave(self, step: str, writer: asyncio.StreamWriter) -> None:
        """Gone, or never an answer, where the fault is one of the connection and due at this step."""
        if step == "end":
            self.heard_all.set()
        match self.fault.split():
            case ["drop", at] if at == step:
                writer.transport.abort()
                raise Gone
            case ["silent", at] if at == step:
                self.is_silent.set()
                await asyncio.Event().wait()
            case ["flood", at] if at == step:
                while True:
                    writer.write(_FLOOD)
                    await writer.drain()
            case ["garbage", at] if at == step:
                writer.write(b"\xff\xfe what?\r\n\r\n")
                await writer.drain()
                raise Gone


class SmtpDouble(Double):
    REPLIES: ClassVar[dict[str, tuple[str, str]]] = {
        "recipient": ("RCPT", "550 5.1.1 No such user"),
        "message": ("end", "554 5.6.0 Message content is not acceptable"),
        "later": ("end", "451 4.3.0 Try again later"),
        "throttled": ("end", "432 4.3.2 Concurrent connections limit exceeded"),
        "daily limit": ("end", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException"),
        "send as": ("end", "554 5.2.252 SendAsDenied; scanner@example.test not allowed to send as other"),
        "oversize": ("end", "552 5.3.4 Message size exceeds fixed maximum message size"),
        "sign-in": ("AUTH", "535 5.7.3 Authentication unsuccessful"),
    }

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.misbehave("begin", writer)
        await self._say(writer, "220 mail.example.test ESMTP")
        while True:
            line = (await reader.readuntil(b"\r\n")).decode().rstrip()
            verb = line.partition(" ")[0].upper()
            match verb:
                case "EHLO":
                    reply = (
                        "250-mail.example.test\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 AUTH PLAIN"
                    )
                case "AUTH":
                    reply = self._reply(verb, "235 2.7.0 Welcome")
                case "DATA":
                    await self.misbehave("middle", writer)
                    reply = "354 Go on"
                case "QUIT":
                    await self._say(writer, "221 2.0.0 Bye")
                    raise Gone
                case _:
                    reply = self._reply(verb, "250 2.0.0 OK")
            await self._say(writer, reply)
            if verb == "DATA":
                await self._take(reader, writer)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = []
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        if not lines and self.fault == "recipient":
            await self._say(writer, "554 5.5.1 No valid recipients")
            return
        await self.misbehave("end", writer)
        reply = self._reply("end", "250 2.6.0 Queued")
        if reply.startswith("250"):
            self.messages.append(b"".join(lines))
        await self._say(writer, reply)

    def _reply(self, step: str, otherwise: str) -> str:
        at, reply = self.REPLIES.get(self.fault, ("", ""))
        return reply if at == step else otherwise

    async def _say(self, writer: asyncio.StreamWriter, reply: str) -> None:
        writer.write(f"{reply}\r\n".encode())
        await writer.drain()


def _graph_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(GRAPH_HOST, UPLOAD_HOST).configure_cert(context)
    return context


@dataclass
class GraphDouble(Double):
    """sendMail, and a draft with its uploads; `end` is whatever sends."""

    tls: ClassVar[ssl.SSLContext | None] = _graph_tls()
    REPLIES: ClassVar[dict[str, tuple[int, str]]] = {
        "recipient": (400, "ErrorInvalidRecipients"),
        "message": (400, "ErrorMimeContentInvalid"),
        "later": (503, "ServiceUnavailable"),
        "throttled": (429, "TooManyRequests"),
        "daily limit": (429, "ErrorExceededMessageLimit"),
        "send as": (403, "ErrorSendAsDenied"),
        "oversize": (413, "ErrorMessageSizeExceeded"),
    }

    drafts: dict[str, bytes] = field(default_factory=dict)
    """What they are made of, with what was uploaded behind it."""
    made: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.fault == "drop begin":
            writer.transport.abort()
            raise Gone
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            content = await reader.readexactly(int(fields.get("content-length", "0")))
            await self.misbehave("begin", writer)
            status, body = await self._answer(head, fields, content, writer)
            answer = json.dumps(body).encode() if body is not None else b""
            start = f"HTTP/1.1 {status} x\r\nContent-Length: {len(answer)}\r\n"
            wait = "Retry-After: 90\r\n" if status in (429, 503) else ""
            writer.write(f"{start}{wait}\r\n".encode() + answer)
            await writer.drain()

    async def _answer(
        self, head: str, fields: dict[str, str], content: bytes, writer: asyncio.StreamWriter
    ) -> tuple[int, dict[str, object] | None]:
        method, path = head.split()[:2]
        last = path.partition("?")[0].rpartition("/")[2]
        if method == "PUT":
            assert "authorization" not in fields
            await self.misbehave("middle", writer)
            self.drafts[last] += content
            return 200, None
        if self.fault == "sign-in" or "authorization" not in fields:
            return 401, {"error": {"code": "InvalidAuthenticationToken", "message": "No."}}
        if method == "DELETE":
            self.drafts.pop(last, None)
            return 204, None
        makers: dict[str, Callable[[], dict[str, object]]] = {
            "messages": lambda: self._make_draft(content),
            "createUploadSession": lambda: {
                "uploadUrl": f"https://{UPLOAD_HOST}/api/{path.split('/')[-3]}?authtoken=secret"
            },
        }
        if last in makers:
            return 201, makers[last]()
        await self.misbehave("end", writer)
        if self.fault in self.REPLIES:
            status, code = self.REPLIES[self.fault]
            return status, {"error": {"code": code, "message": "No."}}
        if last == "send":
            self.messages.append(self.drafts.pop(path.split("/")[-2]))
        else:
            self.messages.append(base64.b64decode(content))
        return 202, None

    def _make_draft(self, content: bytes) -> dict[str, object]:
        self.made += 1
        draft_id = f"AAMk{self.made}"
        self.drafts[draft_id] = base64.b64decode(content)
        return {"id": draft_id}
