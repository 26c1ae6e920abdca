"""Signing in: what is said after AUTH, with tokens (XOAUTH2) and passwords (PLAIN, LOGIN).

Sources: RFC 4954, RFC 4616, microsoft365.md 1.3. Microsoft refuses a token at once with 535; Google first sends a
challenge with its reasons as JSON, which an empty line answers.
"""

from collections.abc import Awaitable, Callable

import msgspec

from postroom.identity.sign_ins import Bearer, Password, SignIn
from postroom.wire.client_sasl import decode_challenge, encode_login, encode_plain, encode_xoauth2
from postroom.wire.replies import Reply

Exchange = Callable[[str, str], Awaitable[Reply]]
"""Says a line and hears the reply; the second argument is what the dialogue shows in its place."""


class NotOfferedError(Exception):
    """The server does not offer the way to sign in that is needed; its name is the text."""


class Answer(msgspec.Struct, frozen=True):
    """What came of it: the last reply, and the server's reasons where it gave them."""

    reply: Reply
    challenge: str | None = None


def secrets_of(sign_in: SignIn) -> tuple[str, ...]:
    """Everything that must not be seen while signing in: the secret, and the forms in which it travels."""
    if isinstance(sign_in, Bearer):
        return (sign_in.token, encode_xoauth2(sign_in.user, sign_in.token))
    return (sign_in.password, encode_login(sign_in.password), encode_plain(sign_in.user, sign_in.password))


async def authenticate(sign_in: SignIn, mechanisms: tuple[str, ...], exchange: Exchange) -> Answer:
    """Sign in by the best way that is offered. NotOfferedError; ValueError when the secret cannot be sent."""
    if isinstance(sign_in, Bearer):
        _require("XOAUTH2", mechanisms)
        return await _with_token(sign_in, exchange)
    if "PLAIN" in mechanisms:
        return Answer(await _with_plain(sign_in, exchange))
    _require("LOGIN", mechanisms)
    return Answer(await _with_login(sign_in, exchange))


async def _with_token(sign_in: Bearer, exchange: Exchange) -> Answer:
    blob = encode_xoauth2(sign_in.user, sign_in.token)
    shown = f"(token of {sign_in.user})"
    reply = await exchange(f"AUTH XOAUTH2 {blob}", f"AUTH XOAUTH2 {shown}")
    if reply.code in (500, 501):
        # A server that takes no initial response, or no line of this length, may ask for it (RFC 4954 4).
        reply = await exchange("AUTH XOAUTH2", "AUTH XOAUTH2")
    if reply.code == 334 and not reply.text:
        reply = await exchange(blob, shown)
    if reply.code != 334:
        return Answer(reply)
    challenge = decode_challenge(reply.text) or reply.text
    return Answer(await exchange("", "(empty line)"), challenge)


async def _with_plain(sign_in: Password, exchange: Exchange) -> Reply:
    blob = encode_plain(sign_in.user, sign_in.password)
    shown = f"(password of {sign_in.user})"
    reply = await exchange(f"AUTH PLAIN {blob}", f"AUTH PLAIN {shown}")
    return await exchange(blob, shown) if reply.code == 334 else reply


async def _with_login(sign_in: Password, exchange: Exchange) -> Reply:
    reply = await exchange("AUTH LOGIN", "AUTH LOGIN")
    if reply.code == 334:
        reply = await exchange(encode_login(sign_in.user), f"(user name {sign_in.user})")
    if reply.code == 334:
        reply = await exchange(encode_login(sign_in.password), f"(password of {sign_in.user})")
    return reply


def _require(mechanism: str, mechanisms: tuple[str, ...]) -> None:
    if mechanism not in mechanisms:
        raise NotOfferedError(mechanism)
