"""People who use the console: the first one behind a one-time link, sign-in, sessions."""

import hashlib
import hmac
import secrets

from postroom.clock import HOUR_US, MICROSECONDS
from postroom.errors import AlreadyDoneError
from postroom.store.audit import note
from postroom.store.calls import Calls
from postroom.store.database import Connection
from postroom.store.passwords import hash_slowly, matches_slowly
from postroom.store.reader import Reader
from postroom.store.records import Person, Session
from postroom.store.rows import person_of
from postroom.store.writer import Writer

SHORTEST_PASSPHRASE = 12
LONGEST_PASSPHRASE = 1024  # hashing endless input is work for nothing
SESSION_US = 12 * HOUR_US
TOKEN_BYTES = 32


class People:
    def __init__(self, writer: Writer, reader: Reader, calls: Calls) -> None:
        self._writer = writer
        self._reader = reader
        self._calls = calls
        self._nobody_hash: str | None = None

    async def has_any(self) -> bool:
        return await self._reader.read(lambda connection: connection.row("anybody")) is not None

    async def make_setup_link_token(self, valid_seconds: int = 3600) -> str:
        """A token for the link behind which the first administrator is made; it replaces the one before."""
        token = secrets.token_urlsafe(TOKEN_BYTES)

        def keep(connection: Connection) -> None:
            expires_at_us = connection.now_us + valid_seconds * MICROSECONDS
            connection.change("keep_setup_link", token_hash=_hash_token(token), expires_at_us=expires_at_us)

        await self._writer.run(keep)
        return token

    async def create_first(self, token: str, name: str, email: str, passphrase: str) -> Person:
        """The first administrator; of two at once one is made.

        Errors: AlreadyDoneError when somebody exists; ValueError with a sentence for the token or a field.
        """
        _check_fields(name, email, passphrase)
        passphrase_hash = await self._calls.call(hash_slowly, passphrase)

        def create(connection: Connection) -> Person:
            if connection.row("anybody") is not None:
                raise AlreadyDoneError("The first administrator exists already: sign in, or ask that person.")
            _check_setup_token(connection, token)
            person = Person(connection.ids.make_id(), name.strip(), _canonical(email), connection.now_us)
            connection.change(
                "insert_person",
                person_id=person.person_id,
                name=person.name,
                email=person.email,
                passphrase_hash=passphrase_hash,
                now_us=connection.now_us,
            )
            connection.change("discard_setup_link")
            note(connection, person.name, "created first administrator", person.email)
            return person

        return await self._writer.run(create)

    async def authenticate(self, email: str, passphrase: str) -> Person | None:
        """The person, or None; it takes the same time for an address that nobody has."""
        row = await self._reader.read(lambda connection: connection.row("person_by_email", email=_canonical(email)))
        stored = row["passphrase_hash"] if row is not None else await self._hash_of_nobody()
        is_right = await self._calls.call(matches_slowly, passphrase[:LONGEST_PASSPHRASE], stored)
        return person_of(row) if row is not None and is_right else None

    async def open_session(self, person_id: int) -> tuple[str, Session]:
        """The token for the cookie, and the session; only the token's hash is stored."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        token_hash = _hash_token(token)

        def insert(connection: Connection) -> Session:
            connection.change(
                "insert_session",
                session_id=connection.ids.make_id(),
                token_hash=token_hash,
                person_id=person_id,
                now_us=connection.now_us,
                expires_at_us=connection.now_us + SESSION_US,
            )
            session = _read_session(connection, token)
            assert session is not None, "it was inserted in this transaction"
            return session

        return token, await self._writer.run(insert)

    async def find_session(self, token: str) -> Session | None:
        """The session of a cookie's token; None when it ended or never was."""
        return await self._reader.read(lambda connection: _read_session(connection, token))

    async def close_session(self, token: str) -> None:
        await self._writer.run(lambda connection: connection.change("delete_session", token_hash=_hash_token(token)))

    async def _hash_of_nobody(self) -> str:
        if self._nobody_hash is None:
            self._nobody_hash = await self._calls.call(hash_slowly, secrets.token_urlsafe(TOKEN_BYTES))
        return self._nobody_hash


def _check_fields(name: str, email: str, passphrase: str) -> None:
    if not name.strip():
        raise ValueError("Enter your name.")
    local_part, at, domain = email.strip().partition("@")
    if not (local_part and at and domain):
        raise ValueError("Enter your e-mail address, such as anna@contoso.com.")
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise ValueError(
            f"The passphrase has {len(passphrase)} characters; it needs at least {SHORTEST_PASSPHRASE}. "
            "Three or four words are easy to remember."
        )
    if len(passphrase) > LONGEST_PASSPHRASE:
        raise ValueError(f"The passphrase is longer than {LONGEST_PASSPHRASE} characters.")


def _check_setup_token(connection: Connection, token: str) -> None:
    link = connection.row("setup_link")
    if link is None or not hmac.compare_digest(_hash_token(token), link["token_hash"]):
        raise ValueError("This set-up link is not valid, or a newer one replaced it. Use the newest one.")
    if link["expires_at_us"] <= connection.now_us:
        raise ValueError("This set-up link has expired. Restart Postroom: it prints a new one.")


def _read_session(connection: Connection, token: str) -> Session | None:
    row = connection.row("session", token_hash=_hash_token(token), now_us=connection.now_us)
    if row is None:
        return None
    return Session(row["session_id"], person_of(row), _csrf_token(token), row["expires_at_us"])


def _csrf_token(token: str) -> str:
    """Made from the cookie's token, so that neither is stored."""
    return hmac.digest(token.encode(), b"postroom form token", "sha256").hex()


def _hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _canonical(email: str) -> str:
    return email.strip().casefold()
