"""Renew a mailbox's client secret: the new one is tried at Microsoft before the old one makes way for it."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Protocol

from postroom.errors import WrongStateError
from postroom.identity.tokens import TokenKeeper
from postroom.outcome import Stopped
from postroom.store.records import Authentication, Grant, RenewalLease


class SecretBook(Protocol):
    """Where the secret is kept: the store's client secrets."""

    async def change(
        self,
        grant: Grant,
        client_secret: str,
        ends_on: date | None,
        refresh_token: str,
        who: str,
        from_address: str = "",
        *,
        lease: RenewalLease | None = None,
    ) -> None: ...


class SecretDesk(Protocol):
    """Another client secret for a mailbox that is set up."""

    async def renew(
        self, mailbox_id: int, client_secret: str, ends_on: date | None, who: str, from_address: str = ""
    ) -> Stopped | None:
        """Use this one from now on; the old one is kept for a day.

        Stopped tells that Microsoft accepts the secret, which is kept, and wants somebody to sign in anew. Errors:
        SignInTroubleError, and then nothing was changed; WrongStateError when it has no use for a secret.
        """
        ...

    async def go_back(self, mailbox_id: int, who: str, from_address: str = "") -> Stopped | None:
        """Use the secret of before again, which is tried as well; as `renew`."""
        ...


class ClientSecretDesk:
    """The SecretDesk over the token keeper, so that nobody else renews while a secret is tried."""

    def __init__(self, keeper: TokenKeeper, book: SecretBook, open_grant: Callable[[int], Awaitable[Grant]]) -> None:
        self._keeper = keeper
        self._book = book
        self._open_grant = open_grant

    async def renew(
        self, mailbox_id: int, client_secret: str, ends_on: date | None, who: str, from_address: str = ""
    ) -> Stopped | None:
        grant = await self._open_grant(mailbox_id)
        if grant.authentication is not Authentication.OAUTH:
            raise WrongStateError("This mailbox signs in with a password: it has no client secret.")
        if client_secret == grant.client_secret:
            raise WrongStateError("This is the client secret that is used already: nothing was changed.")

        async def keep(tested: Grant, refresh_token: str, lease: RenewalLease) -> None:
            await self._book.change(tested, client_secret, ends_on, refresh_token, who, from_address, lease=lease)

        return await self._keeper.try_secret(mailbox_id, client_secret, keep)

    async def go_back(self, mailbox_id: int, who: str, from_address: str = "") -> Stopped | None:
        grant = await self._open_grant(mailbox_id)
        if not grant.spare_secret:
            raise WrongStateError("There is no client secret to go back to: the one before is kept for 24 hours only.")
        return await self.renew(mailbox_id, grant.spare_secret, grant.spare_secret_ends_on, who, from_address)
