"""The seam between the worker and a way out: a parcel goes in, a report comes back."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from postroom.message import DsnRequest
from postroom.outcome import Outcome
from postroom.store.records import DialogueLine


@dataclass(frozen=True)
class Parcel:
    """One message for the recipients still open, ready to leave."""

    envelope_sender: str
    recipients: tuple[str, ...]
    size_bytes: int
    open_body: Callable[[], AsyncIterator[bytes]]
    """The bytes as they leave: unstuffed, CRLF only, in chunks; from the beginning each time it is asked for."""
    is_eight_bit: bool = False
    needs_smtputf8: bool = False
    dsn: DsnRequest | None = None
    """What the sender wants to be told; said only to a server that offers it."""
    may_finish: Callable[[], bool] = lambda: True
    """Asked before the last byte leaves: is enough of the lease left?"""
    is_moving: Callable[[], None] = lambda: None
    """Called while bytes move, so that the lease is renewed."""


@dataclass(frozen=True)
class Report:
    """What the attempt came to, recipient by recipient in the parcel's order."""

    outcomes: tuple[Outcome, ...]
    dialogue: tuple[DialogueLine, ...] = ()
    server: str = ""


class Transport(Protocol):
    """A way out of one mail server, signed in with one mailbox."""

    async def send(self, parcel: Parcel) -> Report:
        """Send, and never raise for what a mail server or network can do: that is an outcome."""
        ...

    async def close(self) -> None: ...
