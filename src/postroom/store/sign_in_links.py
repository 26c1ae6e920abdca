"""The link by which a colleague signs in as the mailbox that is being set up: one use, one day, revocable."""

import hashlib
import hmac
import secrets

import msgspec

from postroom.clock import DAY_US
from postroom.store.audit import note
from postroom.store.database import Connection, Row
from postroom.store.reader import Reader
from postroom.store.records import MailServerDraft
from postroom.store.writer import Writer

LIFETIME_US = DAY_US
TOKEN_BYTES = 32


class SignInLink(msgspec.Struct, frozen=True):
    """The newest link, and what became of it."""

    link_id: int
    username: str
    tenant: str
    client_id: str
    made_by: str
    made_at_us: int
    expires_at_us: int
    opened_at_us: int | None = None
    used_at_us: int | None = None
    revoked_at_us: int | None = None

    def is_open(self, now_us: int) -> bool:
        return self.used_at_us is None and self.revoked_at_us is None and self.expires_at_us > now_us

    def fits(self, draft: MailServerDraft) -> bool:
        """Whether the draft still wants what the link was made for."""
        return (draft.username, draft.tenant, draft.client_id) == (self.username, self.tenant, self.client_id)


class SignInLinks:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def make(self, draft: MailServerDraft, who: str, from_address: str = "") -> str:
        """The token of a link that takes the place of the one before; only its hash is stored."""
        token = secrets.token_urlsafe(TOKEN_BYTES)

        def make_it(connection: Connection) -> None:
            connection.change("discard_sign_in_links")
            connection.change(
                "insert_sign_in_link",
                link_id=connection.ids.make_id(),
                token_hash=_hash(token),
                username=draft.username,
                tenant=draft.tenant,
                client_id=draft.client_id,
                made_by=who,
                now_us=connection.now_us,
                expires_at_us=connection.now_us + LIFETIME_US,
            )
            note(connection, who, "made sign-in link", draft.username, from_address=from_address)

        await self._writer.run(make_it)
        return token

    async def newest(self) -> SignInLink | None:
        row = await self._reader.read(lambda connection: connection.row("sign_in_link"))
        return _link_of(row) if row is not None else None

    async def find(self, token: str) -> SignInLink | None:
        """The link of this token, whatever became of it; None when it is not the newest one's."""
        row = await self._reader.read(lambda connection: connection.row("sign_in_link"))
        if row is None or not hmac.compare_digest(_hash(token), row["token_hash"]):
            return None
        return _link_of(row)

    async def note_opened(self, link_id: int) -> None:
        await self._writer.run(lambda c: c.change("note_sign_in_link_opened", link_id=link_id, now_us=c.now_us))

    async def revoke(self, who: str, from_address: str = "") -> bool:
        """False when there was none that could still be used."""

        def revoke_it(connection: Connection) -> bool:
            row = connection.row("sign_in_link")
            if row is None or not connection.change("revoke_sign_in_link", now_us=connection.now_us):
                return False
            note(connection, who, "withdrew sign-in link", row["username"], from_address=from_address)
            return True

        return await self._writer.run(revoke_it)


def _link_of(row: Row) -> SignInLink:
    return SignInLink(**{name: row[name] for name in SignInLink.__struct_fields__})


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
