"""Every `*.smtp` file beside this one is a conversation; the player says how one is written."""

import ssl
from pathlib import Path
from typing import get_origin, get_type_hints

import msgspec
import pytest
import trustme

from postroom.accept.client import TlsContexts
from postroom.accept.networks import parse_networks
from postroom.accept.profiles import DEVICE, IMPLICIT_TLS, LOCAL, SUBMISSION, ListenerLimits, local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.smtp_tls import allow_old_tls
from postroom.accept.submission import Intake
from postroom.clock import ManualClock
from postroom.store import Store
from postroom.store.outbox import OutboxLimits
from postroom.store.records import App, AppSettings, RefusedAttempt
from postroom.vault import Vault
from tests.dialogs.player import DialogFailed, Kept, Player, dialogs, read_dialog, settings_of

pytestmark = pytest.mark.anyio

SENDERS = ("scanner@contoso.example", "it@contoso.example")
SIZE_LIMIT_BYTES = 1_000_000
PROFILES = {profile.name: profile for profile in (SUBMISSION, IMPLICIT_TLS, DEVICE, LOCAL)}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> TlsContexts:
    certificate = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA)
    modern, old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context in (modern, old):
        certificate.configure_cert(context)
    modern.minimum_version = ssl.TLSVersion.TLSv1_2
    allow_old_tls(old)
    return TlsContexts(modern, old)


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class Witnessed:
    """A server with one app, and what it has done."""

    def __init__(
        self, store: Store, server: SmtpServer, app: App, refused: list[RefusedAttempt], clock: ManualClock
    ) -> None:
        self._clock = clock
        self._store = store
        self._server = server
        self._app = app
        self._refused = refused
        self._is_gone = False

    async def kept(self) -> list[Kept]:
        if self._is_gone:
            await self._server.stop(grace_seconds=5)
        rows, _ = await self._store.messages.search("")
        return [await read_kept(self._store, row.message_id) for row in reversed(rows)]

    async def last_use(self) -> str:
        app = await self._store.apps.find(self._app.app_id)
        assert app is not None
        return " ".join((app.last_used_from or "-", app.last_used_tls or "-", app.last_used_mechanism or "-"))

    def last_refused(self) -> str:
        return f"{self._refused[-1].code} {self._refused[-1].address}" if self._refused else "nobody"

    async def switch_off(self) -> None:
        await self._store.apps.set_enabled(self._app.app_id, False, "test")

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def note_gone(self) -> None:
        self._is_gone = True


def app_settings(texts: dict[str, str]) -> AppSettings:
    hints = get_type_hints(AppSettings)
    values: dict[str, object] = {}
    for name, text in texts.items():
        kind = hints[name]
        if kind is bool:
            values[name] = text == "yes"
        elif get_origin(kind) is tuple:
            values[name] = tuple(text.split())
        else:
            values[name] = msgspec.convert(text, kind, strict=False)
    return AppSettings(**{"name": "HP 2nd floor", "senders": SENDERS, **values})  # type: ignore[arg-type]


def limits_from(texts: dict[str, str]) -> ListenerLimits:
    return msgspec.convert({"sign_in_delay_seconds": 0, **texts}, ListenerLimits, strict=False)


async def play(path: Path, folder: Path, server_tls: TlsContexts, client_tls: ssl.SSLContext) -> None:
    steps = read_dialog(path)
    settings = settings_of(steps)
    clock = ManualClock()
    room = OutboxLimits(recipient_limit=int(settings.get("room", 1000)))
    store = await Store.open(folder / "data", clock, Vault(bytes(32)), limits=room)
    app, password = await store.apps.create(app_settings(settings_of(steps, "app")), "test")
    proxies = settings.get("proxy", "127.0.0.1" if "client" in settings else "")
    refused: list[RefusedAttempt] = []
    server = SmtpServer(
        Intake(store, clock, "relay.example", int(settings.get("size", SIZE_LIMIT_BYTES))),
        store.apps,
        server_tls,
        profile=local_profile(app) if "guest" in settings else PROFILES[settings.get("profile", "submission")],
        limits=limits_from(settings_of(steps, "limit")),
        proxies=parse_networks(proxies),
        note_refused=refused.append,
    )
    await server.start("127.0.0.1", 0)
    witness = Witnessed(store, server, app, refused, clock)
    player = Player(path.name, server.port, client_tls, password, witness, settings.get("client", ""))
    try:
        await player.play(steps)
    finally:
        await server.stop(grace_seconds=5)
        await store.close()


async def read_kept(store: Store, message_id: int) -> Kept:
    detail = await store.messages.find(message_id)
    assert detail is not None
    assert detail.body is not None
    content = b"".join([chunk async for chunk in store.bodies.read(detail.body)])
    recipients = tuple(recipient.address for recipient in detail.recipients)
    return Kept(detail.envelope_sender, recipients, content, detail.repairs, detail.dsn)


@pytest.mark.parametrize("path", dialogs(), ids=lambda path: path.stem)
async def test_dialog(path: Path, tmp_path: Path, server_tls: TlsContexts, client_tls: ssl.SSLContext) -> None:
    await play(path, tmp_path, server_tls, client_tls)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("S: 220 other.example\n", "false.smtp:1: the server said   220 relay.example ESMTP Postroom"),
        ("S: 220 …\n= kept 1\n", "false.smtp:2: 0 messages were kept, not 1"),
        ("S: 220 …\nC: EHLO x\nS? 250-XCLIENT\n", "false.smtp:3: no line of the reply is  250-XCLIENT"),
        ("S: 220 …\nC: EHLO x\nS! STARTTLS\n", "false.smtp:3: the reply holds  STARTTLS"),
        ("S: 220 …\n= refused unknown_device 10.2.3.77\n", "false.smtp:2: it was  nobody\nand not unknown_device"),
        ("S: 220 …\n= used 10.2.3.77 - -\n", "false.smtp:2: it was  - - -\nand not 10.2.3.77 - -"),
        ("S: 220 …\nC: STARTTLS\nS: 220 …\n- starttls fails TLSv1.2\n", "false.smtp:4: TLS came about"),
        ("S: 220 …\nC: STARTTLS\nS: 220 …\n- starttls TLSv1\n", "false.smtp:4: no TLS came about"),
        ("S: 220 …\n- dance\n", "false.smtp:2: no player knows how to dance"),
        ("S: 220 …\nC: NOOP\n- closed\n", "false.smtp:3: the server did not hang up, it said 250 2.0.0 OK"),
    ],
)
async def test_a_dialog_can_fail(
    text: str, why: str, tmp_path: Path, server_tls: TlsContexts, client_tls: ssl.SSLContext
) -> None:
    path = tmp_path / "false.smtp"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DialogFailed) as caught:
        await play(path, tmp_path, server_tls, client_tls)
    assert str(caught.value).startswith(why)


async def test_a_line_that_is_no_step_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.smtp"
    path.write_text("C: NOOP\nX: what\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd.smtp:2: a line begins with one of"):
        read_dialog(path)


def test_there_are_dialogs() -> None:
    assert len(dialogs()) >= 10
