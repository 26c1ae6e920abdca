"""Mail that was left while the server was down: taken once, whoever tries what."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from postroom.accept.drop_folder import FOLDER_MODE, DropFolder, prepare_folder
from postroom.accept.submission import Intake
from postroom.clock import DAY_US
from postroom.errors import SettingsError, StoreUnavailableError
from postroom.ids import public_id
from postroom.message import RecipientDsn
from postroom.store.records import AppSettings, MessageDetail
from postroom.wire.drop_file import ENVELOPE_LIMIT_BYTES, READY, REASON, REFUSED, UNFINISHED, format_envelope
from tests.contract.kept_store import KeptStore

pytestmark = pytest.mark.anyio

SENDER = "scanner@contoso.com"
CONTENT = f"From: {SENDER}\r\nTo: bob@fabrikam.com\r\nSubject: Backup\r\n\r\nDone.\r\n".encode()
LIMIT_BYTES = 1_000_000
MAIL = f"MAIL FROM:<{SENDER}>"
RCPT = "RCPT TO:<bob@fabrikam.com>"


def name_of(number: int, at_us: int = 1_800_000_000_000_000) -> str:
    return f"{at_us + number:016}-{number:032x}"


class Dropping:
    """A drop folder with a real store behind it, and a hand that puts files into it."""

    def __init__(self, kept: KeptStore, folder: Path) -> None:
        self.kept = kept
        self.folder = folder
        self.users: dict[int, str] = {}
        self.restart()

    def restart(self) -> None:
        """What a server that was started anew knows: nothing but what is on the disk."""
        self.intake = Intake(self.kept.store, self.kept.clock, "postroom.example", LIMIT_BYTES)
        self.drops = DropFolder(self.intake, self.folder, lambda uid: self.users.get(uid, "www-data"))

    def leave(
        self, number: int = 1, *recipients: str, mail: str = MAIL, content: bytes = CONTENT, ending: str = READY
    ) -> Path:
        path = self.folder / (name_of(number) + ending)
        path.write_bytes(format_envelope(mail, recipients or (RCPT,), len(content)) + content)
        return path

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def reason(self, number: int = 1) -> str:
        return (self.folder / (name_of(number) + REASON)).read_text()

    async def messages(self) -> list[MessageDetail]:
        """Oldest first."""
        rows, _ = await self.kept.store.messages.search("")
        found = [await self.kept.store.messages.find(row.message_id) for row in reversed(rows)]
        return [detail for detail in found if detail is not None]

    async def content_of(self, detail: MessageDetail) -> bytes:
        assert detail.body is not None
        assert detail.body.content is not None
        return detail.body.content


@pytest.fixture
async def dropping(tmp_path: Path) -> AsyncIterator[Dropping]:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    prepare_folder(tmp_path / "drop")
    yield Dropping(kept, tmp_path / "drop")
    await kept.close()


async def test_what_was_left_is_taken_in_as_mail_of_its_owner(dropping: Dropping) -> None:
    dropping.leave(1, RCPT + " NOTIFY=NEVER", "RCPT TO:<root>", mail=f"{MAIL} BODY=8BITMIME RET=HDRS ENVID=7")
    await dropping.drops.pick_up()
    assert dropping.names() == []
    [found] = await dropping.messages()
    assert (found.reception.way, found.reception.local_user) == ("sendmail", "www-data")
    assert found.app.name == "This machine"
    assert found.envelope_sender == SENDER
    assert [recipient.address for recipient in found.recipients] == ["bob@fabrikam.com", "root@contoso.com"]
    assert found.dsn is not None
    assert (found.dsn.return_content, found.dsn.envelope_id) == ("HDRS", "7")
    assert found.dsn.recipients == {"bob@fabrikam.com": RecipientDsn(("NEVER",))}
    assert (await dropping.content_of(found)).endswith(b"\r\n\r\nDone.\r\n")


async def test_the_oldest_comes_first_and_other_files_are_left_alone(dropping: Dropping) -> None:
    for number in (3, 1, 2):
        dropping.leave(number, content=CONTENT.replace(b"Backup", b"Number %d" % number))
    (dropping.folder / "notes.mail").write_text("not ours")
    dropping.leave(4, ending=UNFINISHED)
    await dropping.drops.pick_up()
    assert [found.row.subject for found in await dropping.messages()] == ["Number 1", "Number 2", "Number 3"]
    assert dropping.names() == [name_of(4) + UNFINISHED, "notes.mail"]


async def test_the_app_that_names_the_user_decides(dropping: Dropping) -> None:
    app = await dropping.kept.store.apps.create_without_password(
        AppSettings(name="Shop", local_users=("www-data",), recipient_domains=("contoso.com",)), "anna"
    )
    dropping.leave(1)
    dropping.leave(2, "RCPT TO:<bob@contoso.com>")
    await dropping.drops.pick_up()
    [found] = await dropping.messages()
    assert found.app.app_id == app.app_id
    assert dropping.names() == [name_of(1) + REASON, name_of(1) + REFUSED]
    assert dropping.reason().startswith('550 5.7.1 "Shop" may send to contoso.com only')


# ---- crashes ----


@pytest.mark.parametrize("field", [b"", b"X-Idempotency-Key: order-7\r\n"])
async def test_a_crash_between_commit_and_removal_makes_no_second_message(
    dropping: Dropping, monkeypatch: pytest.MonkeyPatch, field: bytes
) -> None:
    """The file is known again by the key in its header, which the way over the socket may have used, or by its name."""

    class PowerCut(BaseException):
        pass

    def cut(self: DropFolder, file: object) -> None:
        raise PowerCut

    dropping.leave(1, content=field + CONTENT)
    with monkeypatch.context() as patched:
        patched.setattr(DropFolder, "_remove", cut)
        with pytest.raises(PowerCut):
            await dropping.drops.pick_up()
    assert dropping.names() == [name_of(1) + READY]
    dropping.restart()
    dropping.kept.clock.advance(60)
    await dropping.drops.pick_up()
    assert dropping.names() == []
    assert len(await dropping.messages()) == 1


async def test_a_crash_before_the_commit_leaves_the_file(dropping: Dropping, monkeypatch: pytest.MonkeyPatch) -> None:
    dropping.leave(1)

    async def away(self: object, new: object) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(type(dropping.kept.store.outbox), "keep", away)
        await dropping.drops.pick_up()
    assert dropping.names() == [name_of(1) + READY]
    dropping.restart()
    await dropping.drops.pick_up()
    assert len(await dropping.messages()) == 1
    assert dropping.names() == []


async def test_what_cannot_be_removed_is_not_taken_again(dropping: Dropping, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted")

    dropping.leave(1)
    monkeypatch.setattr(Path, "unlink", forbidden)
    for _ in range(3):
        await dropping.drops.pick_up()
        dropping.kept.clock.advance(2 * DAY_US / 1_000_000)  # the key is forgotten
    assert len(await dropping.messages()) == 1


# ---- refused, or not now ----


async def test_what_is_refused_stays_with_its_reason(dropping: Dropping) -> None:
    path = dropping.leave(1, "RCPT TO:<not an address>")
    dropping.leave(2, content=CONTENT + b"x" * LIMIT_BYTES)
    content = path.read_bytes()
    await dropping.drops.pick_up()
    assert dropping.names() == [name_of(number) + ending for number in (1, 2) for ending in (REASON, REFUSED)]
    assert "501 5.1.3 The recipient cannot be used" in dropping.reason(1)
    assert "552 5.3.4" in dropping.reason(2)
    assert (dropping.folder / (name_of(1) + REFUSED)).read_bytes() == content
    assert await dropping.messages() == []
    await dropping.drops.pick_up()
    assert len(dropping.names()) == 4


async def test_the_others_get_what_one_cannot_and_that_is_kept_too(dropping: Dropping) -> None:
    dropping.leave(1, "RCPT TO:<not an address>", RCPT)
    await dropping.drops.pick_up()
    [found] = await dropping.messages()
    assert [recipient.address for recipient in found.recipients] == ["bob@fabrikam.com"]
    assert dropping.reason().startswith(f"Taken as {public_id(found.row.message_id)}, but not for not an address: 501")


async def test_until_a_mail_server_is_set_up_it_waits_longer_each_time(tmp_path: Path) -> None:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open()
    prepare_folder(tmp_path / "drop")
    dropping = Dropping(kept, tmp_path / "drop")
    dropping.leave(1)
    asked = 0
    open_submission = dropping.intake.open

    async def count(*arguments: object, **options: object) -> object:
        nonlocal asked
        asked += 1
        return await open_submission(*arguments, **options)  # type: ignore[arg-type]

    dropping.intake.open = count  # type: ignore[assignment, method-assign]
    for _ in range(60):
        await dropping.drops.pick_up()
        kept.clock.advance(3)
    assert asked == 6  # at 0, 5, 15, 35, 75 and 155 seconds
    [waiting] = dropping.drops.waiting()
    assert (waiting.sender, waiting.recipients, waiting.size_bytes) == (SENDER, ("bob@fabrikam.com",), len(CONTENT))
    assert waiting.reason.startswith("451 4.3.5")
    assert waiting.next_try_at_us > kept.clock.now_us()
    assert dropping.names() == [name_of(1) + READY]
    await kept.store.mail_servers.save(kept.draft(), "anna")
    kept.clock.advance(300)
    await dropping.drops.pick_up()
    assert len(await dropping.messages()) == 1
    assert dropping.drops.waiting() == []
    await kept.close()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "does not begin with an envelope"),
        (b"Subject: hello\r\n\r\nDATA\r\n", "does not begin with POSTROOM DROP 1"),
        (b"POSTROOM DROP 1 5\r\nMAIL FROM:<a@b>\r\nDATA\r\nabc", "not written to its end"),
        (b"POSTROOM DROP 1 3\r\nRCPT TO:<a@b>\r\nDATA\r\nabc", "not MAIL and RCPT"),
        (b"POSTROOM DROP 1 3\r\nDATA\r\nabc", "not MAIL and RCPT"),
        (b"POSTROOM DROP 1 3\r\nMAIL TO:<a@b>\r\nDATA\r\nabc", "write MAIL FROM"),
        (b"POSTROOM DROP 1 3\r\nMAIL FROM:<\xff@b>\r\nDATA\r\nabc", "not UTF-8"),
        (b"POSTROOM DROP 1 3\r\n" + b"x" * ENVELOPE_LIMIT_BYTES, "does not begin with an envelope"),
    ],
)
async def test_what_is_no_mail_of_ours_is_set_aside(dropping: Dropping, content: bytes, part: str) -> None:
    (dropping.folder / (name_of(1) + READY)).write_bytes(content)
    await dropping.drops.pick_up()
    assert dropping.names() == [name_of(1) + REASON, name_of(1) + REFUSED]
    assert part in dropping.reason()


async def test_one_file_with_a_fault_of_ours_does_not_stop_the_others(
    dropping: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_user(uid: int) -> str:
        if not found:
            found.append(uid)
            raise RuntimeError("a fault")
        return "www-data"

    found: list[int] = []
    dropping.drops = DropFolder(dropping.intake, dropping.folder, find_user)
    dropping.leave(1)
    dropping.leave(2)
    await dropping.drops.pick_up()
    assert dropping.names() == [name_of(1) + READY]
    assert len(await dropping.messages()) == 1


# ---- attacks ----


async def test_a_link_is_not_followed_and_a_file_with_two_names_is_not_read(dropping: Dropping, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(format_envelope(MAIL, [RCPT], len(CONTENT)) + CONTENT)
    (dropping.folder / (name_of(1) + READY)).symlink_to(secret)
    (dropping.folder / (name_of(2) + READY)).hardlink_to(secret)
    os.mkfifo(dropping.folder / (name_of(3) + READY))
    (dropping.folder / (name_of(4) + READY)).mkdir()
    await dropping.drops.pick_up()
    assert await dropping.messages() == []
    assert secret.exists()
    reasons = [dropping.reason(number) for number in (1, 2, 3, 4)]
    assert "symbolic links" in reasons[0]
    assert "another name" in reasons[1]
    assert all("not a regular file" in reason for reason in reasons[2:])


async def test_a_reason_is_never_written_through_a_link(dropping: Dropping, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    dropping.leave(1, "RCPT TO:<not an address>")
    (dropping.folder / (name_of(1) + REASON)).symlink_to(victim)
    await dropping.drops.pick_up()
    assert victim.read_text() == "precious"
    assert name_of(1) + REFUSED in dropping.names()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_whose_mail_it_is_says_the_system_and_nothing_else(dropping: Dropping) -> None:
    os.chown(dropping.leave(1, mail="MAIL FROM:<root>"), 4815, 4815)
    dropping.users = {0: "root", 4815: "eve"}
    await dropping.drops.pick_up()
    [found] = await dropping.messages()
    assert found.reception.local_user == "eve"


@pytest.mark.parametrize("change", ["longer", "shorter", "another"])
async def test_an_owner_who_changes_the_file_meanwhile_gains_nothing(
    dropping: Dropping, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = dropping.leave(1)

    def find_user(uid: int) -> str:
        match change:
            case "longer":
                with path.open("ab") as file:
                    file.write(b"more")
            case "shorter":
                os.truncate(path, path.stat().st_size - 10)
            case "another":
                path.unlink()
                path.write_bytes(b"another")
        return "eve"

    dropping.drops = DropFolder(dropping.intake, dropping.folder, find_user)
    await dropping.drops.pick_up()
    messages = await dropping.messages()
    match change:
        case "longer":
            assert (await dropping.content_of(messages[0])).endswith(b"\r\n\r\nDone.\r\n")
            assert dropping.names() == []
        case "shorter":
            assert messages == []
            assert "became shorter" in dropping.reason()
        case "another":
            assert len(messages) == 1
            assert path.read_bytes() == b"another"


# ---- the folder ----


async def test_what_was_never_finished_goes_after_a_day(dropping: Dropping) -> None:
    path = dropping.folder / (name_of(0, dropping.kept.clock.now_us()) + UNFINISHED)
    path.write_bytes(b"POSTROOM")
    await dropping.drops.pick_up()
    dropping.kept.clock.advance(86_390)
    await dropping.drops.pick_up()
    assert path.exists()
    dropping.kept.clock.advance(20)
    await dropping.drops.pick_up()
    assert not path.exists()


async def test_the_folder_gets_its_rights(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "drop"
    for _ in range(2):
        prepare_folder(folder)
        assert folder.stat().st_mode & 0o7777 == FOLDER_MODE
        folder.chmod(0o755)


async def test_a_folder_may_be_kept_private_without_the_set_group_id_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chmod: Callable[[Path, int], None] = Path.chmod

    def forbidden(self: Path, mode: int) -> None:
        if mode & 0o2000:
            raise PermissionError(1, "Operation not permitted")
        chmod(self, mode)

    monkeypatch.setattr(Path, "chmod", forbidden)
    prepare_folder(tmp_path / "drop")
    assert (tmp_path / "drop").stat().st_mode & 0o7777 == 0o1733


@pytest.mark.parametrize("kind", ["file", "link", "other"])
async def test_a_folder_that_is_not_ours_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = tmp_path / "drop"
    match kind:
        case "file":
            folder.write_text("x")
        case "link":
            folder.symlink_to(tmp_path)
        case "other":
            folder.mkdir()
            monkeypatch.setattr(os, "geteuid", lambda: 4815)
    with pytest.raises(SettingsError, match=r"sendmail\.drop_folder"):
        prepare_folder(folder)
