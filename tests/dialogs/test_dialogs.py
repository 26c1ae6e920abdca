"""Every `*.smtp` file beside this one is a conversation; the player says how one is written."""

import ssl
from pathlib import Path

import pytest
import trustme

from postroom.accept.profiles import SUBMISSION, ListenerLimits, local_profile
from postroom.accept.smtp_server import SmtpServer
from postroom.accept.submission import Intake
from postroom.clock import SystemClock
from postroom.store import Store
from postroom.store.records import AppSettings
from postroom.vault import Vault
from tests.dialogs.player import DialogFailed, Kept, Player, dialogs, read_dialog, settings_of

pytestmark = pytest.mark.anyio

SENDERS = ("scanner@contoso.example", "it@contoso.example")
SIZE_LIMIT_BYTES = 1_000_000


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def play(path: Path, folder: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    steps = read_dialog(path)
    settings = settings_of(steps)
    clock = SystemClock()
    store = await Store.open(folder / "data", clock, Vault(bytes(32)))
    app, password = await store.apps.create(AppSettings(name="HP 2nd floor", senders=SENDERS), "test")
    server = SmtpServer(
        Intake(store, clock, "relay.example", int(settings.get("size", SIZE_LIMIT_BYTES))),
        store.apps,
        server_tls,
        profile=local_profile(app) if "guest" in settings else SUBMISSION,
        limits=ListenerLimits(sign_in_delay_seconds=0),
    )
    await server.start("127.0.0.1", 0)

    async def kept() -> list[Kept]:
        if player.has_hung_up:
            await server.stop(grace_seconds=5)  # what is not kept by then never will be
        rows, _ = await store.messages.search("")
        return [await read_kept(store, row.message_id) for row in reversed(rows)]

    player = Player(path.name, server.port, client_tls, password, kept)
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
    return Kept(detail.envelope_sender, tuple(recipient.address for recipient in detail.recipients), content)


@pytest.mark.parametrize("path", dialogs(), ids=lambda path: path.stem)
async def test_dialog(path: Path, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    await play(path, tmp_path, server_tls, client_tls)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("S: 220 other.example\n", "false.smtp:1: the server said   220 relay.example ESMTP Postroom"),
        ("S: 220 …\n= kept 1\n", "false.smtp:2: 0 messages were kept, not 1"),
        ("S: 220 …\nC: NOOP\n- closed\n", "false.smtp:3: the server did not hang up, it said 250 2.0.0 OK"),
    ],
)
async def test_a_dialog_can_fail(
    text: str, why: str, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
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
