"""Signing in for the draft of the Mail Server page, or anew for what is set up: from the store, and back to it."""

from typing import Protocol

from postroom.errors import WrongStateError
from postroom.identity.providers import MICROSOFT, Provider
from postroom.identity.sign_in import Begun, KeepSignIn, Seat, SignIns, settings_changed
from postroom.store.records import Authentication, MailServer, MailServerDraft

DRAFT = "draft"
"""The subject of a sign-in for the draft; anything else is a mailbox that is set up."""


class ServerBook(Protocol):
    """The store's mail servers."""

    async def find(self, mail_server_id: int) -> MailServer: ...
    async def load_draft(self) -> MailServerDraft | None: ...
    async def draft_from_live(self, mail_server_id: int | None = None) -> MailServerDraft: ...
    async def take_sign_in(self, signed_in: MailServerDraft, who: str, from_address: str = "") -> bool: ...


class MailboxBook(Protocol):
    """The store's mailboxes."""

    async def take_sign_in(
        self, mailbox_id: int, signed_in: MailServerDraft, who: str, from_address: str = ""
    ) -> bool: ...


class SignInDesk:
    """For whoever signs in without the page: None in place of a mail server's id is the page's draft."""

    def __init__(
        self,
        sign_ins: SignIns,
        servers: ServerBook,
        mailboxes: MailboxBook,
        redirect_url: str,
        provider: Provider = MICROSOFT,
    ) -> None:
        self._sign_ins = sign_ins
        self._servers = servers
        self._mailboxes = mailboxes
        self._provider = provider
        self.redirect_url = redirect_url

    async def begin(
        self, mail_server_id: int | None, caller: str, from_address: str = "", *, chooses_account: bool = False
    ) -> Begun:
        """The page of Microsoft to open; what comes of it is used at once, and a draft's is kept in the draft.

        Errors: WrongStateError when nobody signs in for it; SignInRefused when its settings are not whole.
        """
        draft = await self.settings(mail_server_id)
        subject, keep = await self._place(mail_server_id, caller, from_address)
        seat = Seat(_browser(caller), subject)
        return self._sign_ins.begin(draft, seat, self.redirect_url, keep, select_account=chooses_account)

    async def complete(self, mail_server_id: int | None, caller: str, address: str) -> bool:
        """Take the address on which the sign-in ended; False when it had been taken before. Errors: SignInRefused."""
        subject, _ = await self._place(mail_server_id, caller, "")
        seat = Seat(_browser(caller), subject)
        return not (await self._sign_ins.complete_pasted(seat, address, self.redirect_url)).is_repeated

    async def waiting_until_us(self, mail_server_id: int | None, caller: str) -> int | None:
        """Until when what this caller began may be completed."""
        subject, _ = await self._place(mail_server_id, caller, "")
        return self._sign_ins.waiting_until_us(Seat(_browser(caller), subject))

    async def settings(self, mail_server_id: int | None) -> MailServerDraft:
        """What is signed in for. Errors: WrongStateError."""
        if mail_server_id is None:
            draft = await self._servers.load_draft()
            if draft is None:
                raise WrongStateError("No mail server is being set up: begin on the page Mail Server.")
        else:
            draft = await self._servers.draft_from_live(mail_server_id)
            if not draft.username:
                raise WrongStateError("It is not set up: enter its settings on the page Mail Server, and name `draft`.")
        if draft.authentication is not Authentication.OAUTH:
            raise WrongStateError("Nobody signs in to Microsoft for it: it signs in with a password, or not at all.")
        return draft

    def permissions(self, draft: MailServerDraft) -> tuple[str, ...]:
        """What is asked for, by the short names."""
        asked = (*self._provider.sending_scopes(draft), "offline_access", self._provider.graph_scope)
        return tuple(scope.rpartition("/")[2] for scope in asked)

    async def _place(self, mail_server_id: int | None, who: str, from_address: str) -> tuple[str, KeepSignIn]:
        if mail_server_id is None:
            return DRAFT, self._keep_in_draft(who, from_address)
        mailbox_id = (await self._servers.find(mail_server_id)).mailbox_id
        return f"mailbox {mailbox_id}", self._keep_live(mailbox_id, who, from_address)

    def _keep_in_draft(self, who: str, from_address: str) -> KeepSignIn:
        async def keep(signed_in: MailServerDraft) -> None:
            if not await self._servers.take_sign_in(signed_in, who, from_address):
                raise settings_changed()

        return keep

    def _keep_live(self, mailbox_id: int, who: str, from_address: str) -> KeepSignIn:
        async def keep(signed_in: MailServerDraft) -> None:
            if not await self._mailboxes.take_sign_in(mailbox_id, signed_in, who, from_address):
                raise settings_changed()

        return keep


def _browser(caller: str) -> str:
    return f"api {caller}"
