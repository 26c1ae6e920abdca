"""Apps: the programs and devices that may hand us mail, and their machine-made passwords."""

import hashlib
import hmac
import re
import secrets
import unicodedata

from postroom.clock import MINUTE_US, Clock
from postroom.errors import WrongStateError
from postroom.store.audit import note
from postroom.store.database import Connection, Row, to_json
from postroom.store.reader import Reader
from postroom.store.records import App
from postroom.store.rows import app_of
from postroom.store.writer import Writer

LOGIN_LENGTH = 32
PASSWORD_LENGTH = 24
PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # noqa: S105 - no 0 O, no 1 l I i o
NOTED_AGAIN_AFTER_US = MINUTE_US
_NOBODY_HASH = hashlib.sha256(b"nobody has this password").digest()


class Apps:
    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._noted: dict[int, tuple[int, str, str]] = {}
        """When, from where and over which TLS each app's use was last written down."""

    async def create(self, name: str, kind: str, senders: tuple[str, ...], who: str) -> tuple[App, str]:
        """A new app and its password, which is shown once and stored as a hash. Errors: ValueError."""
        if not name.strip():
            raise ValueError("Give the app a name, such as “HP 2nd floor”.")
        password = make_password()

        def insert(connection: Connection) -> App:
            app_id = connection.ids.make_id()
            connection.change(
                "insert_app",
                app_id=app_id,
                name=name.strip(),
                login=_free_login(connection, name),
                kind=kind,
                senders=to_json(senders),
                now_us=connection.now_us,
            )
            _insert_password(connection, app_id, password)
            note(connection, who, "created app", name.strip(), after=", ".join(senders))
            return app_of(connection.only_row("app", app_id=app_id))

        return await self._writer.run(insert), password

    async def authenticate(self, login: str, password: str) -> App | None:
        """The app, or None without telling whether login, password or a switched-off app was the reason."""
        plain = login if login.isascii() else ""  # ours are; what a client sent may not even be text
        rows = await self._reader.read(lambda connection: connection.rows("app_to_sign_in", login=plain))
        return _match_password(rows, password)

    async def list(self) -> "list[App]":
        rows = await self._reader.read(lambda connection: connection.rows("apps"))
        return [app_of(row) for row in rows]

    async def find(self, app_id: int) -> App | None:
        row = await self._reader.read(lambda connection: connection.row("app", app_id=app_id))
        return app_of(row) if row is not None else None

    async def internal(self) -> App:
        """The app behind our own mail, such as the test mail."""
        return app_of(await self._reader.read(lambda connection: connection.only_row("internal_app")))

    async def set_enabled(self, app_id: int, is_enabled: bool, who: str) -> None:
        def set_app_enabled(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            connection.change("set_app_enabled", app_id=app_id, is_enabled=int(is_enabled))
            note(connection, who, "enabled app" if is_enabled else "disabled app", app.name)

        await self._writer.run(set_app_enabled)

    async def change_senders(self, app_id: int, senders: tuple[str, ...], who: str) -> None:
        def change_app_senders(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            connection.change("change_app_senders", app_id=app_id, senders=to_json(senders))
            note(
                connection,
                who,
                "changed senders",
                app.name,
                before=", ".join(app.senders),
                after=", ".join(senders),
            )

        await self._writer.run(change_app_senders)

    async def rotate_password(self, app_id: int, who: str) -> str:
        """A new password; the old one ends at once."""
        password = make_password()

        def rotate(connection: Connection) -> None:
            app = _own_app(connection, app_id)
            connection.change("delete_credentials", app_id=app_id)
            _insert_password(connection, app_id, password)
            note(connection, who, "renewed password", app.name)

        await self._writer.run(rotate)
        return password

    async def note_use(self, app_id: int, address: str, tls: str) -> None:
        """Remember that an app signed in; written at most once a minute unless something else changed."""
        now_us = self._clock.now_us()
        at_us, *known = self._noted.get(app_id, (0, "", ""))
        if known == [address, tls] and now_us - at_us < NOTED_AGAIN_AFTER_US:
            return
        self._noted[app_id] = (now_us, address, tls)
        await self._writer.run(
            lambda connection: connection.change(
                "note_app_use", app_id=app_id, address=address, tls=tls, now_us=connection.now_us
            )
        )


def make_password() -> str:
    """24 letters and digits that nobody confuses: 138 random bits."""
    return "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(PASSWORD_LENGTH))


def login_from(name: str) -> str:
    """A login that every device can type: small letters, digits and hyphens, beginning with a letter."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    login = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if not login[:1].isalpha():
        login = f"app-{login}".strip("-")
    return login[:LOGIN_LENGTH].rstrip("-")


def _free_login(connection: Connection, name: str) -> str:
    login = wanted = login_from(name)
    number = 1
    while connection.row("login_is_taken", login=login):
        number += 1
        ending = f"-{number}"
        login = wanted[: LOGIN_LENGTH - len(ending)].rstrip("-") + ending
    return login


def _insert_password(connection: Connection, app_id: int, password: str) -> None:
    connection.change(
        "insert_credential",
        credential_id=connection.ids.make_id(),
        app_id=app_id,
        password_hash=_hash(password),
        now_us=connection.now_us,
    )


def _match_password(rows: "list[Row]", password: str) -> App | None:
    given = _hash(password)
    found = None
    if not rows:
        hmac.compare_digest(given, _NOBODY_HASH)
    for row in rows:
        if hmac.compare_digest(given, row["password_hash"]):
            found = app_of(row)
    return found


def _hash(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def _own_app(connection: Connection, app_id: int) -> App:
    row = connection.row("app", app_id=app_id)
    if row is None or row["is_internal"]:
        raise WrongStateError("There is no such app.")
    return app_of(row)
