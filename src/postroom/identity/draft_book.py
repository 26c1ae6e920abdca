"""A draft's grant, so that what is being set up can sign in before it is live."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from postroom.clock import Clock
from postroom.outcome import Failure, StopCause
from postroom.store.records import AccessToken, Grant, Mailbox, MailServerDraft, RenewalLease

DRAFT_MAILBOX_ID = 0
KeepDraft = Callable[[MailServerDraft], Awaitable[None]]


class DraftBook:
    """The GrantBook of one draft: the rotated refresh token goes back into the draft, kept by the callback."""

    def __init__(self, draft: MailServerDraft, keep_draft: KeepDraft, clock: Clock) -> None:
        self.draft = draft
        self._keep_draft = keep_draft
        self._clock = clock
        self._renewed_at_us: int | None = None
        self._fence = 0

    async def open_grant(self, mailbox_id: int) -> Grant:
        draft = self.draft
        return Grant(
            mailbox_id=mailbox_id,
            authentication=draft.authentication,
            username=draft.username,
            address=draft.mailbox_address or draft.username,
            tenant=draft.tenant,
            client_id=draft.client_id,
            client_secret=draft.client_secret,
            password=draft.password,
            refresh_token=draft.refresh_token,
            scopes=draft.scopes,
            user=draft.user,
            secret_ends_on=draft.secret_ends_on,
            granted_at_us=draft.granted_at_us,
            renewed_at_us=self._renewed_at_us,
            grant_type=draft.grant_type,
            cloud=draft.cloud,
            certificate=draft.certificate,
            private_key=draft.private_key,
        )

    async def take_renewal_lease(self, mailbox_id: int, owner: str) -> RenewalLease | None:
        """A draft that is not live yet is one person's: nobody else renews it."""
        self._fence += 1
        return RenewalLease(mailbox_id, owner, self._fence)

    async def free_renewal_lease(self, lease: RenewalLease) -> None:
        """Nobody waits for it."""

    async def keep_tokens(
        self, lease: RenewalLease, grant: Grant, refresh_token: str, access_tokens: Sequence[AccessToken] = ()
    ) -> None:
        draft = msgspec.structs.replace(self.draft, refresh_token=refresh_token or self.draft.refresh_token)
        await self._keep_draft(draft)
        self.draft = draft
        self._renewed_at_us = self._clock.now_us()

    async def all(self) -> Sequence[Mailbox]:
        """None: a draft is not renewed in the background."""
        return ()

    async def stop(
        self,
        mailbox_id: int,
        failure: Failure,
        cause: StopCause,
        until_us: int | None,
        granted_at_us: int | None = None,
    ) -> None:
        """Nothing leaves through a draft, so there is nothing to stop."""
