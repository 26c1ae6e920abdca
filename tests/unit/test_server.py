"""The server as a whole: what one of its parts meets must not end the others."""

import asyncio
from pathlib import Path

import pytest

from postroom.errors import StoreFullError
from postroom.server import Server
from postroom.settings import ConsoleSettings, SendmailSettings, Settings, SmtpSettings, SubmissionSettings
from postroom.store.outbox import Outbox


def settings_in(folder: Path) -> Settings:
    return Settings(
        data_folder=str(folder / "data"),
        console=ConsoleSettings(port=0),
        submission=SubmissionSettings(port=0),
        smtp=SmtpSettings(host_name="postroom.example"),
        sendmail=SendmailSettings(socket=str(folder / "run" / "s"), drop_folder=str(folder / "run" / "maildrop")),
    )


@pytest.mark.anyio
async def test_a_full_disk_does_not_end_the_server_because_nothing_can_be_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    asked_again = asyncio.Event()

    async def prune(outbox: Outbox, content_days: int, metadata_days: int) -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise StoreFullError("The disk is full.")
        asked_again.set()
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(Outbox, "prune", prune)
    monkeypatch.setattr("postroom.server.PRUNE_EVERY_SECONDS", 0)
    server = await Server.start(settings_in(tmp_path))
    try:
        async with asyncio.timeout(30):
            await server.wait_until(asked_again)  # raises what felled a part of the server
    finally:
        await server.stop()
    assert asked == 2
