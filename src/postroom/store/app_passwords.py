"""How apps sign in: at most two passwords each, those of a machine or one that a person kept."""

import hashlib
import hmac
import secrets

import msgspec

from postroom.clock import MINUTE_US, Clock
from postroom.errors import WrongStateError
from postroom.store.audit import note
from postroom.store.calls import Calls
from postroom.store.database import Connection, Row
from postroom.store.passwords import (
    PASSWORD_LENGTH,
    SHORT_LENGTH,
    hash_fast,
    hash_slowly,
    make_password,
    matches_slowly,
)
from postroom.store.reader import Reader
from postroom.store.records import App, AppPassword
from postroom.store.rows import app_of, app_password_of
from postroom.store.writer import Writer
from postroom.vault import Vault

KEPT_LOGIN_LENGTH = 254
KEPT_PASSWORD_LENGTH = 255
NOTED_AGAIN_AFTER_US = MINUTE_US
VERIFIED_FOR_US = 5 * MINUTE_US
"""How long a sign-in with a password of a person's choice is remembered: hashing it slowly each time costs 20 ms."""


class Password(msgspec.Struct, frozen=True):
    """One on its way into the store."""

    clear: str
    stored: bytes
    is_chosen_by_a_person: bool = False

    def __repr__(self) -> str:
        return "Password()"


class AppPasswords:
    """What of `Apps` is about signing in."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, vault: Vault, calls: Calls) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._vault = vault
        self._calls = calls
        self._credential_uses: dict[int, int] = {}
        self._verified: dict[int, tuple[bytes, int]] = {}
        self._verifying_key = secrets.token_bytes(32)
        self._nobody_hash: str | None = None

    def _forget_book(self) -> None:
        """An app changed: who remembers apps forgets them."""

    async def passwords(self, app_id: int) -> "list[AppPassword]":
        """Newest first; at most two."""
        rows = await self._reader.read(lambda connection: connection.rows("credentials_of_app", app_id=app_id))
        return [app_password_of(row) for row in rows]

    async def add_password(self, app_id: int, who: str, *, is_short: bool = False) -> str:
        """A new password beside the newest one, which goes on working until it is removed or the next one comes."""
        password = make_password(SHORT_LENGTH if is_short else PASSWORD_LENGTH)
        await self._add_password(app_id, "", Password(password, hash_fast(password)), who, "added password")
        return password

    async def keep_password(self, app_id: int, login: str, password: str, who: str) -> None:
        """The user name and password that a program has built in. Errors: ValueError, WrongStateError."""
        kept = await self._hashed(password)
        await self._add_password(app_id, check_login(login), kept, who, "kept password")

    async def _add_password(self, app_id: int, login: str, password: Password, who: str, action: str) -> None:
        def add(connection: Connection) -> None:
            app = own_app(connection, app_id)
            if login and login != app.login:
                if connection.row("login_is_taken", login=login):
                    raise ValueError(f"Another app signs in as {login} already. Change that one, or choose another.")
                connection.change("change_login", app_id=app_id, login=login)
            connection.change("delete_older_credentials", app_id=app_id)
            self._insert_password(connection, app_id, password, app.allows_cram_md5)
            note(connection, who, action, app.name)

        await self._writer.run(add)
        self._forget_book()

    async def remove_password(self, app_id: int, credential_id: int, who: str) -> None:
        """Whoever still uses it cannot sign in any more. Errors: WrongStateError."""

        def remove(connection: Connection) -> None:
            app = own_app(connection, app_id)
            if not connection.change("delete_credential", app_id=app_id, credential_id=credential_id):
                raise WrongStateError("There is no such password any more.")
            note(connection, who, "removed password", app.name)

        await self._writer.run(remove)
        self._verified.pop(credential_id, None)

    def _insert_password(self, connection: Connection, app_id: int, password: Password, is_sealed_too: bool) -> None:
        credential_id = connection.ids.make_id()
        sealed = self._vault.seal(password.clear.encode(), _sealing_context(credential_id)) if is_sealed_too else None
        connection.change(
            "insert_credential",
            credential_id=credential_id,
            app_id=app_id,
            password_hash=password.stored,
            is_chosen_by_a_person=int(password.is_chosen_by_a_person),
            sealed_password=sealed,
            now_us=connection.now_us,
        )

    async def _hashed(self, chosen: str) -> Password:
        """A password that a person chose. ValueError."""
        if not chosen.isprintable() or len(chosen) > KEPT_PASSWORD_LENGTH:
            raise ValueError(f"The password must be printable and at most {KEPT_PASSWORD_LENGTH} characters long.")
        return Password(chosen, (await self._calls.call(hash_slowly, chosen)).encode(), is_chosen_by_a_person=True)

    # ---- signing in ----

    async def authenticate(self, login: str, password: str) -> App | None:
        """The app, or None without telling whether login, password or a switched-off app was the reason.

        Programs that insist on an address as user name get one: what stands behind the `@` does not matter, unless
        an app's user name was kept with it.
        """
        rows = await self._rows_to_sign_in(login)
        given = hash_fast(password)
        found = None
        for row in rows:
            if not row["is_chosen_by_a_person"] and hmac.compare_digest(given, row["password_hash"]):
                found = row
        if found is None:
            found = await self._match_slowly([row for row in rows if row["is_chosen_by_a_person"]], password)
        if found is None:
            return None
        await self._note_credential_use(found["credential_id"])
        return app_of(found)

    async def cram_md5_secrets(self, login: str) -> "list[tuple[App, str]]":
        """The app that signs in with CRAM-MD5 under this name, once for each of its passwords, in clear."""
        return [
            (app_of(row), self._vault.open(row["sealed_password"], _sealing_context(row["credential_id"])).decode())
            for row in await self._rows_to_sign_in(login)
            if row["sealed_password"] is not None and row["allows_cram_md5"]
        ]

    async def _rows_to_sign_in(self, login: str) -> "list[Row]":
        name = login.strip().casefold()
        if not name.isprintable() or len(name) > KEPT_LOGIN_LENGTH:
            name = ""

        def read(connection: Connection) -> list[Row]:
            rows = connection.rows("app_to_sign_in", login=name)
            return rows or connection.rows("app_to_sign_in", login=name.partition("@")[0])

        return await self._reader.read(read)

    async def _match_slowly(self, rows: "list[Row]", password: str) -> Row | None:
        """Where any app has a password of a person's choice, every wrong guess costs the same time."""
        now_us = self._clock.now_us()
        told = hmac.digest(self._verifying_key, hash_fast(password), hashlib.sha256)
        for row in rows:
            known, until_us = self._verified.get(row["credential_id"], (b"", 0))
            if hmac.compare_digest(known, told) and now_us < until_us:
                return row
        for row in rows:
            if await self._calls.call(matches_slowly, password[:KEPT_PASSWORD_LENGTH], row["password_hash"].decode()):
                self._verified[row["credential_id"]] = (told, now_us + VERIFIED_FOR_US)
                return row
        if not rows and await self._reader.read(_has_chosen_password):
            await self._calls.call(matches_slowly, password[:KEPT_PASSWORD_LENGTH], await self._hash_of_nobody())
        return None

    async def _hash_of_nobody(self) -> str:
        if self._nobody_hash is None:
            self._nobody_hash = await self._calls.call(hash_slowly, secrets.token_urlsafe(32))
        return self._nobody_hash

    async def _note_credential_use(self, credential_id: int) -> None:
        now_us = self._clock.now_us()
        if now_us - self._credential_uses.get(credential_id, 0) < NOTED_AGAIN_AFTER_US:
            return
        self._credential_uses[credential_id] = now_us
        await self._writer.run(lambda c: c.change("note_credential_use", credential_id=credential_id, now_us=c.now_us))


def check_login(login: str) -> str:
    name = login.strip().casefold()
    if not name or not name.isprintable() or len(name) > KEPT_LOGIN_LENGTH:
        raise ValueError(f"The user name must be printable and at most {KEPT_LOGIN_LENGTH} characters long.")
    return name


def _has_chosen_password(connection: Connection) -> bool:
    return connection.row("any_chosen_password") is not None


def _sealing_context(credential_id: int) -> str:
    return f"credentials.sealed_password.{credential_id}"


def own_app(connection: Connection, app_id: int) -> App:
    row = connection.row("app", app_id=app_id)
    if row is None or row["is_internal"]:
        raise WrongStateError("There is no such app.")
    return app_of(row)
