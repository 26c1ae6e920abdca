"""What a mail server is given at sign-in, and the seam from which it comes."""

from typing import Protocol

import msgspec


class Bearer(msgspec.Struct, frozen=True):
    """A user and an access token: AUTH XOAUTH2."""

    user: str
    token: str

    def __repr__(self) -> str:
        return f"Bearer({self.user})"


class Password(msgspec.Struct, frozen=True):
    """A user and a password: AUTH LOGIN or PLAIN."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Password({self.user})"


SignIn = Bearer | Password


class SignInSource(Protocol):
    """Hands out what a mailbox signs in with, fresh enough to be used now."""

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        """The mailbox's sign-in.

        `refuse_token` is a token that the mail server did not accept: another one is got in its place.
        Raises SignInTroubleError, whose outcome says whether to wait or for what the mailbox stops.
        """
        ...
