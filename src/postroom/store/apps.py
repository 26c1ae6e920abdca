"""Apps: the programs and devices that may hand us mail, what each may do, and their passwords."""

import asyncio
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

import msgspec

from postroom.clock import MINUTE_US, Clock
from postroom.errors import WrongStateError
from postroom.ids import EPOCH_MS, first_id_at, parse_public_id
from postroom.message import AfterUnknown
from postroom.store.app_book import AppBook
from postroom.store.audit import note
from postroom.store.calls import Calls
from postroom.store.database import Connection, Row, to_json
from postroom.store.passwords import (
    PASSWORD_LENGTH,
    SHORT_LENGTH,
    hash_fast,
    hash_slowly,
    make_password,
    matches_slowly,
)
from postroom.store.reader import Reader
from postroom.store.records import App, AppFigures, AppPassword, AppSettings, SenderPolicy
from postroom.store.rows import app_of, app_password_of
from postroom.store.writer import Writer
from postroom.vault import Vault

LOGIN_LENGTH = 32
KEPT_LOGIN_LENGTH = 254
KEPT_PASSWORD_LENGTH = 255
NOTED_AGAIN_AFTER_US = MINUTE_US
VERIFIED_FOR_US = 5 * MINUTE_US
"""How long a sign-in with a password of a person's choice is remembered: hashing it slowly each time costs 20 ms."""

THIS_MACHINE = AppSettings(
    name="This machine",
    kind="Script",
    sender_policy=SenderPolicy.REWRITE,
    local_users=("*",),
    fixes_lines=True,
    after_unknown=AfterUnknown.SEND_AGAIN,
)
"""Whose mail it is when a user of this machine calls `sendmail` and no app names that user."""

_SETTINGS = tuple(field.name for field in msgspec.structs.fields(AppSettings))


@dataclass
class _Noted:
    """What was written down last, so that it is not written for each message."""

    at_us: int
    use: tuple[str, str, str]


class Apps:
    def __init__(self, writer: Writer, reader: Reader, clock: Clock, vault: Vault, calls: Calls) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._vault = vault
        self._calls = calls
        self._book = AppBook(self.list)
        self._noted: dict[int, _Noted] = {}
        self._verified: dict[int, tuple[bytes, int]] = {}
        self._verifying_key = secrets.token_bytes(32)
        self._nobody_hash: str | None = None
        self._making_this_machine = asyncio.Lock()

    # ---- making and changing ----

    async def create(
        self, settings: AppSettings, who: str, *, login: str = "", password: str = "", is_short: bool = False
    ) -> tuple[App, str]:
        """A new app and its password, which is shown once. Errors: ValueError with a sentence.

        `login` and `password` are those that a program has built in and that are kept; empty, they are made.
        """
        made = password or make_password(SHORT_LENGTH if is_short else PASSWORD_LENGTH)
        hashed = await self._hash(password, made)
        app = await self._create(settings, who, login, (made, hashed))
        return app, made

    async def create_without_password(self, settings: AppSettings, who: str) -> App:
        """For what is known by its address, or by its user on this machine. Errors: ValueError."""
        return await self._create(settings, who, "", None)

    async def _create(self, settings: AppSettings, who: str, login: str, password: "tuple[str, _Hashed] | None") -> App:
        settings = _checked(settings)
        kept_login = _check_login(login) if login else ""

        def insert(connection: Connection) -> App:
            app_id = connection.ids.make_id()
            chosen = kept_login or _free_login(connection, settings.name)
            if kept_login and connection.row("login_is_taken", login=kept_login):
                raise ValueError(f"Another app signs in as {kept_login} already. Change that one, or choose another.")
            connection.change("insert_app", app_id=app_id, name=settings.name, login=chosen, now_us=connection.now_us)
            connection.change("change_app", app_id=app_id, **_values(settings))
            if password is not None:
                self._insert_password(connection, app_id, password, settings.allows_cram_md5)
            note(connection, who, "created app", settings.name, after=_describe(settings))
            return app_of(connection.only_row("app", app_id=app_id))

        app = await self._writer.run(insert)
        self._book.forget()
        return app

    async def change(self, app_id: int, settings: AppSettings, who: str) -> App:
        """Other rules for an app. Errors: ValueError, WrongStateError."""
        settings = _checked(settings)

        def change_app(connection: Connection) -> App:
            before = _own_app(connection, app_id)
            connection.change("change_app", app_id=app_id, **_values(settings))
            if not settings.allows_cram_md5:
                connection.change("forget_sealed_passwords", app_id=app_id)
            note(connection, who, "changed app", settings.name, before=_describe(before), after=_describe(settings))
            return app_of(connection.only_row("app", app_id=app_id))

        app = await self._writer.run(change_app)
        self._book.forget()
        return app

    async def set_enabled(self, app_id: int, is_enabled: bool, who: str) -> None:
        def set_app_enabled(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            connection.change("set_app_enabled", app_id=app_id, is_enabled=int(is_enabled))
            note(connection, who, "enabled app" if is_enabled else "disabled app", app.name)

        await self._writer.run(set_app_enabled)
        self._book.forget()

    # ---- passwords ----

    async def passwords(self, app_id: int) -> "list[AppPassword]":
        """Newest first; at most two."""
        rows = await self._reader.read(lambda connection: connection.rows("credentials_of_app", app_id=app_id))
        return [app_password_of(row) for row in rows]

    async def add_password(self, app_id: int, who: str, *, is_short: bool = False) -> str:
        """A new password beside the newest one, which goes on working until it is removed or the next one comes."""
        password = make_password(SHORT_LENGTH if is_short else PASSWORD_LENGTH)
        await self._add_password(app_id, "", (password, _Hashed(hash_fast(password))), who, "added password")
        return password

    async def keep_password(self, app_id: int, login: str, password: str, who: str) -> None:
        """The user name and password that a program has built in. Errors: ValueError, WrongStateError."""
        hashed = await self._hash(password, password)
        await self._add_password(app_id, _check_login(login), (password, hashed), who, "kept password")

    async def _add_password(
        self, app_id: int, login: str, password: "tuple[str, _Hashed]", who: str, action: str
    ) -> None:
        def add(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            if login and login != app.login:
                if connection.row("login_is_taken", login=login):
                    raise ValueError(f"Another app signs in as {login} already. Change that one, or choose another.")
                connection.change("change_login", app_id=app_id, login=login)
            connection.change("delete_older_credentials", app_id=app_id)
            self._insert_password(connection, app_id, password, app.allows_cram_md5)
            note(connection, who, action, app.name)

        await self._writer.run(add)
        self._book.forget()

    async def remove_password(self, app_id: int, credential_id: int, who: str) -> None:
        """Whoever still uses it cannot sign in any more. Errors: WrongStateError."""

        def remove(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            if not connection.change("delete_credential", app_id=app_id, credential_id=credential_id):
                raise WrongStateError("There is no such password any more.")
            note(connection, who, "removed password", app.name)

        await self._writer.run(remove)
        self._verified.pop(credential_id, None)

    def _insert_password(
        self, connection: Connection, app_id: int, password: "tuple[str, _Hashed]", is_sealed_too: bool
    ) -> None:
        clear, hashed = password
        credential_id = connection.ids.make_id()
        sealed = self._vault.seal(clear.encode(), _sealing_context(credential_id)) if is_sealed_too else None
        connection.change(
            "insert_credential",
            credential_id=credential_id,
            app_id=app_id,
            password_hash=hashed.stored,
            is_chosen_by_a_person=int(hashed.is_chosen_by_a_person),
            sealed_password=sealed,
            now_us=connection.now_us,
        )

    async def _hash(self, chosen: str, password: str) -> "_Hashed":
        if not chosen:
            return _Hashed(hash_fast(password))
        if not chosen.isprintable() or len(chosen) > KEPT_PASSWORD_LENGTH:
            raise ValueError(f"The password must be printable and at most {KEPT_PASSWORD_LENGTH} characters long.")
        return _Hashed((await self._calls.call(hash_slowly, chosen)).encode(), is_chosen_by_a_person=True)

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

    # ---- finding ----

    async def list(self) -> "list[App]":
        rows = await self._reader.read(lambda connection: connection.rows("apps"))
        return [app_of(row) for row in rows]

    async def find(self, app_id: int) -> App | None:
        row = await self._reader.read(lambda connection: connection.row("app", app_id=app_id))
        return app_of(row) if row is not None else None

    async def find_by_name(self, text: str) -> App | None:
        """By its public id, user name or name, in any case of letters."""
        try:
            app = await self.find(parse_public_id(text.rpartition("_")[2]))
        except ValueError:
            app = None
        if app is not None and not app.is_internal:
            return app
        name = text.strip()
        row = await self._reader.read(lambda c: c.row("app_by_name", login=name.casefold(), name=name))
        return app_of(row) if row is not None else None

    async def internal(self) -> App:
        """The app behind our own mail, such as the test mail."""
        return app_of(await self._reader.read(lambda connection: connection.only_row("internal_app")))

    async def at_address(self, address: str) -> App | None:
        """The enabled app that names this address, by the narrowest network; remembered in memory."""
        return await self._book.at_address(address)

    async def of_local_user(self, user: str) -> App:
        """The app of a user of this machine: the one that names the user, else "This machine", made when first used."""
        app = await self._book.of_local_user(user)
        if app is not None:
            return app
        async with self._making_this_machine:
            app = await self._book.of_local_user(user)  # another call may have made it meanwhile
            return app or await self.create_without_password(THIS_MACHINE, "Postroom")

    # ---- use ----

    async def note_use(self, app_id: int, address: str, tls: str, mechanism: str = "") -> None:
        """Remember that an app came; written at most once a minute unless something else changed."""
        now_us = self._clock.now_us()
        use = (address, tls, mechanism)
        noted = self._noted.get(app_id)
        if noted is not None and noted.use == use and now_us - noted.at_us < NOTED_AGAIN_AFTER_US:
            return
        self._noted[app_id] = _Noted(now_us, use)
        await self._writer.run(
            lambda connection: connection.change(
                "note_app_use",
                app_id=app_id,
                address=address,
                tls=tls,
                mechanism=mechanism or None,
                now_us=connection.now_us,
            )
        )

    async def _note_credential_use(self, credential_id: int) -> None:
        now_us = self._clock.now_us()
        noted = self._noted.get(credential_id)
        if noted is not None and now_us - noted.at_us < NOTED_AGAIN_AFTER_US:
            return
        self._noted[credential_id] = _Noted(now_us, ("", "", ""))
        await self._writer.run(lambda c: c.change("note_credential_use", credential_id=credential_id, now_us=c.now_us))

    async def use_by_minute(self, app_id: int, since_us: int) -> dict[int, int]:
        """Messages that an app handed in, by the minute since 1970 in which they came."""
        rows = await self._reader.read(
            lambda c: c.rows("app_use_by_minute", app_id=app_id, first_id=first_id_at(since_us), epoch_ms=EPOCH_MS)
        )
        return {row["minute"]: row["messages"] for row in rows}

    async def figures(self, since_us: int) -> dict[int, AppFigures]:
        """By app, what came since then and what of it failed."""
        rows = await self._reader.read(lambda c: c.rows("app_figures", first_id=first_id_at(since_us)))
        return {row["app_id"]: AppFigures(row["messages"], row["failed"]) for row in rows}


@dataclass(frozen=True)
class _Hashed:
    stored: bytes
    is_chosen_by_a_person: bool = False


def login_from(name: str) -> str:
    """A login that every device can type: small letters, digits and hyphens, beginning with a letter."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    login = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not login[:1].isalpha():
        login = f"app-{login}".strip("-")
    return login[:LOGIN_LENGTH].rstrip("-")


def _check_login(login: str) -> str:
    name = login.strip().casefold()
    if not name or not name.isprintable() or len(name) > KEPT_LOGIN_LENGTH:
        raise ValueError(f"The user name must be printable and at most {KEPT_LOGIN_LENGTH} characters long.")
    return name


def _checked(settings: AppSettings) -> AppSettings:
    name = settings.name.strip()
    if not name:
        raise ValueError("Give the app a name, such as “HP 2nd floor”.")
    if not settings.needs_sign_in and not settings.addresses:
        raise ValueError("An app that does not sign in needs the address that it connects from.")
    return msgspec.structs.replace(settings, name=name)


def _has_chosen_password(connection: Connection) -> bool:
    return connection.row("any_chosen_password") is not None


def _values(settings: AppSettings) -> dict[str, Any]:
    """The columns; lists as JSON, booleans as 0 or 1."""
    values: dict[str, Any] = {}
    for name in _SETTINGS:
        value = getattr(settings, name)
        values[name] = to_json(value) if isinstance(value, tuple) else int(value) if value in (True, False) else value
    return values


def _describe(settings: AppSettings) -> str:
    """What the audit shows: the rules that are not the usual ones."""
    usual = AppSettings(name="")
    shown = {name: getattr(settings, name) for name in _SETTINGS}
    return to_json({name: value for name, value in shown.items() if value != getattr(usual, name)})


def _free_login(connection: Connection, name: str) -> str:
    login = wanted = login_from(name)
    number = 1
    while connection.row("login_is_taken", login=login):
        number += 1
        ending = f"-{number}"
        login = wanted[: LOGIN_LENGTH - len(ending)].rstrip("-") + ending
    return login


def _sealing_context(credential_id: int) -> str:
    return f"credentials.sealed_password.{credential_id}"


def _own_app(connection: Connection, app_id: int) -> App:
    row = connection.row("app", app_id=app_id)
    if row is None or row["is_internal"]:
        raise WrongStateError("There is no such app.")
    return app_of(row)
