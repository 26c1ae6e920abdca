"""Makes the notices that are due, one after the other, and hands each in as mail.

A crash between handing one in and writing that down makes no second one: the hand-in knows it again by its id.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Protocol

import structlog

from postroom.clock import MICROSECONDS
from postroom.deliver.notices import NoticeFrom, compose_notice
from postroom.errors import PostroomError, Refusal
from postroom.ids import public_id
from postroom.store.notices_due import DELAY, LOOK_FOR_DELAYS_US, NoticeDue
from postroom.store.records import MailServer, StoredBody
from postroom.store.sending_settings import SendingSettings

log = structlog.get_logger("postroom.deliver")

LOOK_AGAIN_SECONDS = 5.0
TROUBLE_SECONDS = 60.0
ORIGINAL_LIMIT_BYTES = 64 * 1024
"""Of the message a notice is about: beyond it only the header comes back."""

DEVICE_KINDS = frozenset({"printer or scanner", "backup or storage"})
"""Nobody reads the mailbox of such a sender."""

Submit = Callable[[int, str, bytes], Awaitable[int]]
"""Hands in the notice with this id, to a recipient; its message's id."""


class Notices(Protocol):
    async def plan_delays(self) -> int: ...
    async def due(self, limit: int = 20) -> list[NoticeDue]: ...
    async def done(self, notice: NoticeDue, text: str) -> None: ...


class Settings(Protocol):
    async def load(self) -> SendingSettings: ...


class MailServers(Protocol):
    async def default(self) -> MailServer: ...


class Bodies(Protocol):
    def read(self, body: StoredBody) -> AsyncIterator[bytes]: ...


class NoticeStore(Protocol):
    """What it needs of the store."""

    @property
    def notices_due(self) -> Notices: ...
    @property
    def sending_settings(self) -> Settings: ...
    @property
    def mail_servers(self) -> MailServers: ...
    @property
    def bodies(self) -> Bodies: ...


def whom_to_tell(notice: NoticeDue, mail_server: MailServer, administrator: str) -> str | None:
    """Who is told; None when nobody is. A device's own mailbox, or the mail server's, is read by nobody."""
    administrator = administrator or mail_server.test_address
    wanted = notice.app.notices_to
    if not wanted:
        is_device = notice.app.kind.lower() in DEVICE_KINDS
        is_our_sender = notice.envelope_sender.lower() == mail_server.sender.lower()
        wanted = "administrator" if is_device or is_our_sender else "sender"
    told = {"sender": notice.envelope_sender, "administrator": administrator}
    return told.get(wanted) or None


class NoticeDesk:
    """Works while it runs; whatever goes wrong with one notice, the others are made."""

    def __init__(self, store: NoticeStore, submit: Submit, host_name: str, instance_name: str) -> None:
        self._store = store
        self._submit = submit
        self._host_name = host_name
        self._instance_name = instance_name

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        delays_at = loop.time()
        while True:
            pause_seconds = LOOK_AGAIN_SECONDS
            try:
                if loop.time() >= delays_at:
                    delays_at = loop.time() + LOOK_FOR_DELAYS_US / MICROSECONDS
                    await self._store.notices_due.plan_delays()
                await self.make_due()
            except PostroomError as trouble:
                log.warning("notices_wait", reason=str(trouble))
                pause_seconds = TROUBLE_SECONDS
            except Exception:  # telling of mail must not stop mail
                log.exception("notices_failed_unexpectedly")
                pause_seconds = TROUBLE_SECONDS
            await asyncio.sleep(pause_seconds)

    async def make_due(self) -> int:
        """One round; how many were made or put aside. Errors: StoreUnavailableError."""
        due = await self._store.notices_due.due()
        if not due:
            return 0
        settings = await self._store.sending_settings.load()
        mail_server = await self._store.mail_servers.default()
        for notice in due:
            await self._make(notice, mail_server, settings.administrator)
        return len(due)

    async def _make(self, notice: NoticeDue, mail_server: MailServer, administrator: str) -> None:
        recipient = whom_to_tell(notice, mail_server, administrator)
        what = "it is late" if notice.kind == DELAY else "it failed"
        if recipient is None:
            await self._store.notices_due.done(
                notice, f"Nobody was told that {what}: so it is set for {notice.app.name}."
            )
            return
        made_by = NoticeFrom(self._host_name, self._instance_name, mail_server.sender)
        content = compose_notice(notice, await self._read(notice.body), recipient, made_by)
        try:
            message_id = await self._submit(notice.notice_id, recipient, content)
        except Refusal as refusal:
            if refusal.reply.is_temporary:
                raise
            text = f"{recipient} could not be told that {what}: {refusal.reply.text}"
            await self._store.notices_due.done(notice, text)
            return
        log.info("notice_made", message=public_id(notice.message_id), kind=notice.kind, notice=public_id(message_id))
        await self._store.notices_due.done(notice, f"Told {recipient} that {what}, by message {public_id(message_id)}.")

    async def _read(self, body: StoredBody | None) -> bytes:
        """The beginning of the message; empty when its content is gone."""
        octets = b""
        if body is None:
            return octets
        stored = self._store.bodies.read(body)
        try:
            async for chunk in stored:
                octets += chunk
                if len(octets) > ORIGINAL_LIMIT_BYTES:
                    break
        finally:
            if isinstance(stored, AsyncGenerator):
                await stored.aclose()
        return octets
