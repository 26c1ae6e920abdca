"""The ways in, as a client that is no program of ours walks each of them: one message, and what was answered."""

import asyncio
import contextlib
import json
import os
import re
import ssl
from dataclasses import dataclass
from urllib.parse import urlencode

import aiosmtplib

from tests.faults.serving import PATIENCE_SECONDS, POSTROOM, ROOT, SENDER, Postroom

_EX_TEMPFAIL = 75


@dataclass(frozen=True)
class Answer:
    """What the client was told: SMTP's or HTTP's code, and the words behind it. 0 when it was told nothing."""

    code: int
    text: str
    message_id: str = ""
    """The Message-ID, where the server chose it."""

    @property
    def is_acknowledged(self) -> bool:
        return self.code in (202, 250)

    @property
    def is_temporary(self) -> bool:
        """Said nothing, SMTP's 4yz, or HTTP's "later"."""
        return self.code in (0, 421, 451, 452, 503, 507)


class Ways:
    """Where the server is, and how a message is handed in there."""

    def __init__(self, postroom: Postroom, where: dict[str, str]) -> None:
        self._postroom = postroom
        self._where = where
        self._tls = ssl._create_unverified_context()  # as scanners do

    async def smtp(self, message_id: str, recipients: tuple[str, ...], body: bytes) -> Answer:
        """SMTP with STARTTLS and a sign-in."""
        host, _, port = self._where["smtp"].rpartition(":")
        client = aiosmtplib.SMTP(
            hostname=host,
            port=int(port),
            timeout=PATIENCE_SECONDS,
            start_tls=True,
            tls_context=self._tls,
            username=self._postroom.login,
            password=self._postroom.password,
        )
        try:
            await client.connect()
            errors, text = await client.sendmail(SENDER, list(recipients), compose(message_id, recipients, body))
            assert not errors
            return Answer(250, text)
        except aiosmtplib.SMTPResponseException as refused:
            return Answer(refused.code, refused.message)
        finally:
            with contextlib.suppress(OSError, aiosmtplib.SMTPException):
                client.close()

    async def local(self, message_id: str, recipients: tuple[str, ...], body: bytes) -> Answer:
        """SMTP in clear on the listener for programs of this machine."""
        content = compose(message_id, recipients, body).replace(b"\r\n.", b"\r\n..") + b".\r\n"
        reader, writer = await connect(self._where["local"])
        try:
            await read_reply(reader)
            for line in (
                "EHLO client.test",
                f"MAIL FROM:<{SENDER}>",
                *(f"RCPT TO:<{to}>" for to in recipients),
                "DATA",
            ):
                answer = await say(reader, writer, f"{line}\r\n".encode())
                if answer.code not in (250, 354):
                    return answer
            return await say(reader, writer, content)
        finally:
            writer.close()

    async def raw(self, message_id: str, recipients: tuple[str, ...], body: bytes) -> Answer:
        """The message itself as the body of a request; one that is repeated is the same message."""
        query = urlencode([("sender", SENDER), *(("to", to) for to in recipients)])
        return await self._post(f"?{query}", "message/rfc822", message_id, compose(message_id, recipients, body))

    async def json(self, message_id: str, recipients: tuple[str, ...], body: bytes) -> Answer:
        """The message in fields; the server chooses its Message-ID. One that is repeated is the same message."""
        asked = {"from": SENDER, "to": recipients, "subject": "scan", "text": body.decode()}
        answer = await self._post("", "application/json", message_id, json.dumps(asked).encode())
        if not answer.is_acknowledged:
            return answer
        return Answer(answer.code, answer.text, str(json.loads(answer.text)["message_id"]))

    async def _post(self, query: str, kind: str, key: str, content: bytes) -> Answer:
        host = self._where["console"].removeprefix("http://").replace("localhost", "127.0.0.1")
        head = (
            f"POST /api/v1/messages{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {kind}\r\n"
            f"Authorization: Bearer {self._postroom.api_key}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        reader, writer = await connect(host)
        try:
            writer.write(head.encode() + content)
            head_lines, _, text = (await reader.read()).decode(errors="replace").partition("\r\n\r\n")
            words = head_lines.split(" ", 2)
            # A connection that was cut inside the answer is no answer.
            is_whole = len(words) > 1 and f"content-length: {len(text.encode())}" in head_lines.lower()
            return Answer(int(words[1]), text) if is_whole else Answer(0, "the server hung up")
        finally:
            writer.close()

    async def sendmail(
        self, message_id: str, recipients: tuple[str, ...], body: bytes, *, under: tuple[str, ...] = ()
    ) -> Answer:
        """`sendmail`, which exits with 0 when the message is kept, here or in the drop folder.

        `under` is a program that starts it, such as strace.
        """
        program = await asyncio.create_subprocess_exec(
            *(*under, str(POSTROOM), "sendmail", "-i", "-f", SENDER, *recipients),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "POSTROOM_SENDMAIL_CONFIG": str(self._postroom.folder / "sendmail.toml")},
        )
        said, _ = await program.communicate(compose(message_id, recipients, body))
        return Answer({0: 250, _EX_TEMPFAIL: 451}.get(program.returncode or 0, 550), said.decode(errors="replace"))


def compose(message_id: str, recipients: tuple[str, ...], body: bytes) -> bytes:
    head = f"From: {SENDER}\r\nTo: {', '.join(recipients)}\r\nSubject: scan\r\nMessage-ID: {message_id}\r\n\r\n"
    return head.encode() + body


async def connect(place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = place.rpartition(":")
    return await asyncio.wait_for(asyncio.open_connection(host, int(port)), PATIENCE_SECONDS)


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> Answer:
    writer.write(line)
    return await read_reply(reader)


async def read_reply(reader: asyncio.StreamReader) -> Answer:
    """The next reply with all its lines; code 0 when the server hangs up instead."""
    text = b""
    while line := await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS):
        text += line
        if re.match(rb"\d{3} ", line):
            return Answer(int(line[:3]), text.decode(errors="replace").strip())
    return Answer(0, "the server hung up")
