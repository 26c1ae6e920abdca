"""Keys of the HTTP API: each belongs to an app, has scopes, and is stored as a hash."""

from collections.abc import Sequence

from postroom.clock import MINUTE_US, Clock
from postroom.errors import WrongStateError
from postroom.store.audit import note
from postroom.store.database import Connection, to_json
from postroom.store.passwords import hash_fast, make_password
from postroom.store.reader import Reader
from postroom.store.records import SCOPES, ApiKey, App
from postroom.store.rows import api_key_of, app_of
from postroom.store.writer import Writer

KEY_START = "pr_live_"
"""By this, programs that look for leaked secrets know a key."""
KEY_LETTERS = 32
SHOWN_LETTERS = 4
NOTED_AGAIN_AFTER_US = MINUTE_US


class ApiKeys:
    def __init__(self, writer: Writer, reader: Reader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._noted: dict[int, tuple[int, str]] = {}

    async def create(
        self, app_id: int, name: str, scopes: Sequence[str], expires_at_us: int | None, who: str
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown once. Errors: ValueError, WrongStateError."""
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ValueError(f"A key needs scopes out of {', '.join(SCOPES)}.")
        text = KEY_START + make_password(KEY_LETTERS)

        def insert(connection: Connection) -> ApiKey:
            app = connection.row("app", app_id=app_id)
            if app is None or app["is_internal"]:
                raise WrongStateError("There is no such app.")
            api_key_id = connection.ids.make_id()
            connection.change(
                "insert_api_key",
                api_key_id=api_key_id,
                app_id=app_id,
                name=name.strip(),
                shown_start=text[: len(KEY_START) + SHOWN_LETTERS],
                key_hash=hash_fast(text),
                scopes=to_json(tuple(scope for scope in SCOPES if scope in scopes)),
                now_us=connection.now_us,
                expires_at_us=expires_at_us,
            )
            note(connection, who, "created API key", app["name"], after=", ".join(scopes))
            return api_key_of(connection.only_row("api_key", api_key_id=api_key_id))

        return await self._writer.run(insert), text

    async def authenticate(self, text: str) -> tuple[ApiKey, App] | None:
        """The key, also an expired one, and its app; None for what is no key, was revoked, or whose app is off."""
        key_hash = hash_fast(text)

        def read(connection: Connection) -> tuple[ApiKey, App] | None:
            row = connection.row("api_key_to_sign_in", key_hash=key_hash)
            if row is None:
                return None
            return api_key_of(row), app_of(connection.only_row("app", app_id=row["app_id"]))

        return await self._reader.read(read)

    async def list(self, app_id: int) -> "list[ApiKey]":
        """Newest first."""
        rows = await self._reader.read(lambda connection: connection.rows("api_keys_of_app", app_id=app_id))
        return [api_key_of(row) for row in rows]

    async def revoke(self, api_key_id: int, who: str) -> None:
        """It ends at once. Errors: WrongStateError."""

        def delete(connection: Connection) -> None:
            row = connection.row("api_key", api_key_id=api_key_id)
            if row is None:
                raise WrongStateError("There is no such key any more.")
            connection.change("delete_api_key", api_key_id=api_key_id)
            app = connection.only_row("app", app_id=row["app_id"])
            note(connection, who, "revoked API key", app["name"], before=row["shown_start"])

        await self._writer.run(delete)

    async def note_use(self, api_key_id: int, address: str) -> None:
        """Written at most once a minute unless the address changed."""
        now_us = self._clock.now_us()
        at_us, known = self._noted.get(api_key_id, (0, ""))
        if known == address and now_us - at_us < NOTED_AGAIN_AFTER_US:
            return
        self._noted[api_key_id] = (now_us, address)
        await self._writer.run(
            lambda c: c.change("note_api_key_use", api_key_id=api_key_id, address=address, now_us=c.now_us)
        )
