"""What the console is given by whoever builds the server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from postroom.accept.listener_plan import ListenerAddress
from postroom.accept.submission import Intake
from postroom.checks.finding import Finding
from postroom.clock import Clock
from postroom.identity.client_secret import SecretDesk
from postroom.identity.sign_in import Begun, KeepSignIn, Seat, SignedIn
from postroom.network import Network
from postroom.settings import Settings
from postroom.store import Store
from postroom.store.records import MailServerDraft


class SignInDesk(Protocol):
    """Sign in to Microsoft as the mailbox: `postroom.identity.sign_in.SignIns`."""

    def begin(
        self,
        draft: MailServerDraft,
        seat: Seat,
        redirect_url: str,
        keep: KeepSignIn,
        *,
        select_account: bool = False,
    ) -> Begun:
        """An attempt, with the page of Microsoft to open; with `select_account` Microsoft asks which account."""
        ...

    def subject_of(self, state: str) -> str:
        """For what the attempt of this state signs in; empty when there is none."""
        ...

    async def complete(self, seat: Seat, params: Mapping[str, str]) -> SignedIn:
        """What came of it, after `keep` took it; SignInRefused when nothing may be saved."""
        ...

    async def complete_pasted(self, seat: Seat, text: str, redirect_url: str) -> SignedIn:
        """The same, with the address on which the sign-in ended in another browser."""
        ...


@dataclass(frozen=True)
class ConsoleRooms:
    """Every object that the pages need."""

    store: Store
    clock: Clock
    settings: Settings
    network: Network
    intake: Intake
    sign_ins: SignInDesk
    client_secrets: SecretDesk
    verify: Callable[[MailServerDraft], AsyncIterator[Finding]]
    """Runs the checks of a draft on the real path, finding by finding."""
    public_url: str
    """How people reach the console, without a slash at the end."""
    redirect_url: str
    """Where Microsoft sends the browser back to; registered in Entra byte for byte."""
    pages_url: str | None
    """The simulator's pages, in a rehearsal."""
    listeners: Callable[[], list[ListenerAddress]]
    """Where apps hand in their mail, as their settings name it."""
    shutdown: asyncio.Event
    """Set when the server stops: open event streams end at once."""

    @property
    def is_secure(self) -> bool:
        return self.public_url.startswith("https:")
