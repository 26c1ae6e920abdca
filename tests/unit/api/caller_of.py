"""The API over a real store, called as a program calls it, without a network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from postroom.accept.listener_plan import ListenerAddress
from postroom.accept.sign_in_guard import SignInGuard
from postroom.accept.submission import Intake
from postroom.api.app import make_api
from postroom.api.idempotency import RunningRequests
from postroom.api.memory import BodyMemory
from postroom.api.room import ApiRoom
from postroom.api.uploads import Uploads
from postroom.clock import ManualClock
from postroom.identity.sign_in_desk import SignInDesk
from postroom.store import Store
from postroom.store.records import SCOPES, App, AppSettings, MailServerDraft, MessageDetail
from postroom.vault import Vault
from tests.unit.identity.pretend_entra import PretendEntra
from tests.unit.pretend_secrets import PretendSecrets

REDIRECT_URL = "http://localhost:8025/oauth/callback"
SENDER = "noreply@contoso.example"
HEADER = {"subject": "Backup done", "text": "All 42 machines."}
MAIL: dict[str, Any] = {"to": "ops@fabrikam.example", **HEADER}


@dataclass
class House:
    """What a test of the API finds ready made."""

    room: ApiRoom
    client: httpx2.AsyncClient
    administrator: httpx2.AsyncClient
    app: App
    key: str
    clock: ManualClock
    entra: PretendEntra

    @property
    def store(self) -> Store:
        return self.room.store

    async def make_key(self, app: App, *scopes: str, expires_at_us: int | None = None) -> str:
        _, text = await self.store.api_keys.create(app.app_id, "test", scopes or SCOPES, expires_at_us, "test")
        return text

    async def kept(self) -> list[MessageDetail]:
        """Every message on the disk, oldest first."""
        rows, _ = await self.store.messages.search("", limit=500)
        details = [await self.store.messages.find(row.message_id) for row in reversed(rows)]
        return [detail for detail in details if detail is not None]

    async def content(self, detail: MessageDetail) -> bytes:
        assert detail.body is not None
        return b"".join([chunk async for chunk in self.store.bodies.read(detail.body)])


@asynccontextmanager
async def open_house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    clock = ManualClock()
    store = await Store.open(folder / "data", clock, Vault(bytes(32)), writer="inline")
    try:
        await store.mail_servers.save(MailServerDraft(sender=SENDER, username=SENDER, refresh_token="x"), "test")
        intake = Intake(store, clock, "relay.example", 5_000_000)
        entra = PretendEntra(clock)
        room = ApiRoom(
            store=store,
            clock=clock,
            intake=intake,
            guard=SignInGuard(0, 0),
            uploads=Uploads(folder / "data" / "uploads", clock, intake.size_limit_bytes),
            running=RunningRequests(),
            memory=BodyMemory(),
            client_secrets=PretendSecrets(store),
            sign_ins=SignInDesk(entra.sign_ins(), store.mail_servers, store.mailboxes, REDIRECT_URL),
            listeners=lambda: [
                ListenerAddress("Submission", "relay.example", "relay.example", 587, "STARTTLS", False),
                ListenerAddress("Device", "relay.example", "relay.example", 2525, "none or STARTTLS", True),
            ],
            shutdown=asyncio.Event(),
        )
        app, _ = await store.apps.create(
            msgspec.structs.replace(AppSettings(name="CI", senders=(SENDER,)), **settings), "test"
        )
        _, key = await store.api_keys.create(app.app_id, "test", SCOPES, None, "test")
        async with client_of(room, key) as client, client_of(room, None) as administrator:
            yield House(room, client, administrator, app, key, clock, entra)
    finally:
        await store.close()


def client_of(room: ApiRoom, key: str | None) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(make_api(room, is_administrator=key is None), raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(transport=transport, base_url="http://relay.example", headers=headers)
