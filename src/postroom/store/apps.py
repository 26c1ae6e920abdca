"""Apps: the programs and devices that may hand us mail, what each may do, and their passwords."""

import asyncio
import re
import unicodedata
from typing import Any

import msgspec

from postroom.clock import Clock
from postroom.ids import EPOCH_MS, first_id_at, parse_public_id
from postroom.message import AfterUnknown
from postroom.store.app_book import AppBook
from postroom.store.app_passwords import NOTED_AGAIN_AFTER_US, AppPasswords, Password, check_login, own_app
from postroom.store.audit import note
from postroom.store.calls import Calls
from postroom.store.database import Connection, to_json
from postroom.store.passwords import PASSWORD_LENGTH, SHORT_LENGTH, hash_fast, make_password
from postroom.store.reader import Reader
from postroom.store.records import App, AppFigures, AppSettings, SenderPolicy
from postroom.store.rows import app_of
from postroom.store.writer import Writer
from postroom.vault import Vault

LOGIN_LENGTH = 32

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


class Apps(AppPasswords):
    """Makes, changes and finds apps; how they sign in is `AppPasswords`'."""

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, vault: Vault, calls: Calls) -> None:
        super().__init__(writer, reader, clock, vault, calls)
        self._book = AppBook(self.list)
        self._uses: dict[int, tuple[int, tuple[str, str, str]]] = {}
        """When and how each app's use was last written down."""
        self._making_this_machine = asyncio.Lock()

    def _forget_book(self) -> None:
        self._book.forget()

    # ---- making and changing ----

    async def create(
        self, settings: AppSettings, who: str, *, login: str = "", password: str = "", is_short: bool = False
    ) -> tuple[App, str]:
        """A new app and its password, which is shown once. Errors: ValueError with a sentence.

        `login` and `password` are those that a program has built in and that are kept; empty, they are made.
        """
        if password:
            used = await self._hashed(password)
        else:
            made = make_password(SHORT_LENGTH if is_short else PASSWORD_LENGTH)
            used = Password(made, hash_fast(made))
        return await self._create(settings, who, login, used), used.clear

    async def create_without_password(self, settings: AppSettings, who: str) -> App:
        """For what is known by its address, or by its user on this machine. Errors: ValueError."""
        return await self._create(settings, who, "", None)

    async def _create(self, settings: AppSettings, who: str, login: str, password: "Password | None") -> App:
        settings = _checked(settings)
        kept_login = check_login(login) if login else ""

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
            before = own_app(connection, app_id)
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
            app = own_app(connection, app_id)
            connection.change("set_app_enabled", app_id=app_id, is_enabled=int(is_enabled))
            note(connection, who, "enabled app" if is_enabled else "disabled app", app.name)

        await self._writer.run(set_app_enabled)
        self._book.forget()

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
        at_us, known = self._uses.get(app_id, (0, ()))
        if known == use and now_us - at_us < NOTED_AGAIN_AFTER_US:
            return
        self._uses[app_id] = (now_us, use)
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


def login_from(name: str) -> str:
    """A login that every device can type: small letters, digits and hyphens, beginning with a letter."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    login = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not login[:1].isalpha():
        login = f"app-{login}".strip("-")
    return login[:LOGIN_LENGTH].rstrip("-")


def _checked(settings: AppSettings) -> AppSettings:
    name = settings.name.strip()
    if not name:
        raise ValueError("Give the app a name, such as “HP 2nd floor”.")
    if not settings.needs_sign_in and not settings.addresses:
        raise ValueError("An app that does not sign in needs the address that it connects from.")
    return msgspec.structs.replace(settings, name=name)


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
