"""The desk of client secrets with Microsoft pretended; what is accepted is kept in a real store."""

from dataclasses import dataclass
from datetime import date

from postroom.errors import SignInTroubleError
from postroom.outcome import Stopped
from postroom.store import Store


@dataclass
class PretendSecrets:
    """Microsoft's judgement of a client secret, as the test says; the store is the real one."""

    store: Store
    trouble: SignInTroubleError | None = None
    ended: Stopped | None = None

    async def renew(
        self, mailbox_id: int, client_secret: str, ends_on: date | None, who: str, from_address: str = ""
    ) -> Stopped | None:
        if self.trouble is not None:
            raise self.trouble
        grant = await self.store.mailboxes.open_grant(mailbox_id)
        await self.store.client_secrets.change(grant, client_secret, ends_on, "", who, from_address)
        return self.ended

    async def go_back(self, mailbox_id: int, who: str, from_address: str = "") -> Stopped | None:
        grant = await self.store.mailboxes.open_grant(mailbox_id)
        return await self.renew(mailbox_id, grant.spare_secret, grant.spare_secret_ends_on, who, from_address)
