"""The socket of this machine: its place in the file system, and what is told to whom."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from postroom.accept.drop_folder import DroppedMail
from postroom.accept.local import PATH_LIMIT_BYTES, LocalSocket, QueueDesk
from postroom.accept.local_users import LocalUser, peer_user_id, user_name
from postroom.clock import HOUR_US
from postroom.errors import Refusal, SettingsError
from postroom.ids import public_id
from postroom.message import Reception
from tests.contract.kept_store import SENT, KeptStore, later, stopped

# ---- the socket ----


def take_away(bound: LocalSocket) -> None:
    bound.remove()
    bound.socket.close()


def test_everybody_may_connect_and_nobody_may_put_another_in_its_place(tmp_path: Path) -> None:
    bound = LocalSocket.bind(tmp_path / "run" / "s")
    found = (tmp_path / "run" / "s").stat()
    assert (stat.S_ISSOCK(found.st_mode), stat.S_IMODE(found.st_mode)) == (True, 0o666)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "run" / "s"))
        peer, _ = bound.socket.accept()
        with peer:
            assert peer_user_id(peer) == os.getuid()
    bound.remove()
    bound.socket.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_private_socket_is_its_owners_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    bound = LocalSocket.bind(tmp_path / "s", is_private=True)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
    with pytest.raises(SettingsError, match=r"answers there\. Choose another data_folder\."):
        LocalSocket.bind(tmp_path / "s", is_private=True)
    take_away(bound)


def test_what_a_killed_server_left_is_taken_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "s"))
        killed.listen()
    take_away(LocalSocket.bind(tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_a_server_that_answers_is_left_alone(tmp_path: Path) -> None:
    first = LocalSocket.bind(tmp_path / "s")
    with pytest.raises(SettingsError, match="another Postroom answers there"):
        LocalSocket.bind(tmp_path / "s")
    assert (tmp_path / "s").exists()
    take_away(first)


def test_what_is_no_socket_is_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(SettingsError, match="something that is no socket stands there"):
        LocalSocket.bind(tmp_path / "s")
    assert (tmp_path / "s").read_text() == "precious"


def test_a_socket_that_took_the_place_of_ours_is_not_removed(tmp_path: Path) -> None:
    bound = LocalSocket.bind(tmp_path / "s")
    (tmp_path / "s").unlink()
    other = LocalSocket.bind(tmp_path / "s")
    take_away(bound)
    assert (tmp_path / "s").exists()
    take_away(other)
    take_away(other)


def test_a_path_that_no_socket_can_have_is_named_with_the_limit(tmp_path: Path) -> None:
    path = tmp_path / ("s" * (PATH_LIMIT_BYTES - len(os.fsencode(tmp_path)) - 1))
    take_away(LocalSocket.bind(path))
    with pytest.raises(SettingsError, match="more than 107 bytes"):
        LocalSocket.bind(path.with_name(path.name + "s"))


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(SettingsError, match="chmod o-w"):
        LocalSocket.bind(tmp_path / "run" / "s")
    (tmp_path / "run").chmod(0o1777)
    take_away(LocalSocket.bind(tmp_path / "run" / "s"))


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match=r"cannot be made: Not a directory\. Choose another sendmail\.socket, or"):
        LocalSocket.bind(tmp_path / "file" / "s")


def test_a_user_whom_nobody_wrote_down_has_a_name_all_the_same() -> None:
    assert user_name(0) == "root"
    assert user_name(48_151_623) == "uid-48151623"


# ---- the queue ----

ROOT, OWNER = LocalUser(0, "root"), LocalUser(os.geteuid(), "postroom")
WWW, EVE = LocalUser(4815, "www-data"), LocalUser(4816, "eve")


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[KeptStore]:
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    yield kept
    await kept.close()


async def keep(kept: KeptStore, *recipients: str, user: str | None = None) -> int:
    new = msgspec.structs.replace(kept.message(*recipients), reception=Reception("sendmail", local_user=user))
    await kept.store.outbox.keep(new)
    return new.message_id


@pytest.mark.anyio
async def test_each_user_sees_their_own_mail_and_who_runs_the_server_all(kept: KeptStore) -> None:
    desk = QueueDesk(kept.store)
    mine, other = await keep(kept, user="www-data"), await keep(kept)
    for user, expected in ((WWW, [mine]), (EVE, []), (ROOT, [mine, other]), (OWNER, [mine, other])):
        count, *lines = await desk.list(user)
        assert count == f"{len(expected)} messages"
        assert [json.loads(line)["id"] for line in lines] == [public_id(found) for found in expected]


@pytest.mark.anyio
async def test_what_waits_is_told_with_its_reason_and_its_next_try(kept: KeptStore) -> None:
    desk = QueueDesk(kept.store)
    message_id = await keep(kept, "a@x.example", "b@y.example")
    at_us = kept.clock.now_us() + HOUR_US
    await kept.settle(await kept.lease_one(), SENT, later(at_us))
    _, line = await desk.list(ROOT)
    assert json.loads(line) == {
        "id": public_id(message_id),
        "state": "deferred",
        "size_bytes": 24,
        "received_at": kept.clock.now_us() // 1_000_000,
        "sender": "scanner@contoso.com",
        "recipients": [["b@y.example", "451 4.7.500 Server busy", at_us // 1_000_000]],
    }


@pytest.mark.anyio
async def test_mail_of_a_stopped_mailbox_says_for_what_it_waits(kept: KeptStore) -> None:
    await keep(kept)
    await kept.settle(await kept.lease_one(), stopped())
    _, line = await QueueDesk(kept.store).list(ROOT)
    assert json.loads(line)["recipients"] == [["bob@fabrikam.com", "waits for sign-in", None]]


@pytest.mark.anyio
async def test_what_waits_in_the_drop_folder_is_listed_too(kept: KeptStore) -> None:
    mail = DroppedMail(
        "1790000000000000-" + "0" * 32, 4815, 5, "www-data", ("root",), "451 4.3.5 Wait", 1_790_000_060_000_000
    )
    desk = QueueDesk(kept.store, lambda: [mail])
    assert (await desk.list(EVE)) == ["0 messages"]
    for user in (WWW, ROOT):
        _, line = await desk.list(user)
        assert json.loads(line) == {
            "id": "drop-00000000",
            "state": "deferred",
            "size_bytes": 5,
            "received_at": 1_790_000_000,
            "sender": "www-data",
            "recipients": [["root", "451 4.3.5 Wait", 1_790_000_060]],
        }


@pytest.mark.anyio
@pytest.mark.parametrize(("only", "flushed"), [("", 2), ("Y.example", 1), ("z.example", 0), ("id", 1)])
async def test_what_was_put_off_is_tried_again_for_who_runs_the_server(
    kept: KeptStore, only: str, flushed: int
) -> None:
    first, second = await keep(kept, "a@x.example"), await keep(kept, "b@y.example")
    for _ in range(2):
        await kept.settle(await kept.lease_one(), later(kept.clock.now_us() + HOUR_US))
    desk = QueueDesk(kept.store)
    for user in (WWW, EVE):
        with pytest.raises(Refusal, match="ask root"):
            await desk.flush(user)
    chosen = public_id(first) if only == "id" else only
    assert await desk.flush(ROOT, chosen) == f"{flushed} messages are tried again"
    states = [*await kept.states(first), *await kept.states(second)]
    assert states.count("queued") == flushed
