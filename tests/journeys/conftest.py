"""The whole server with the simulated Microsoft 365, in this process, and a browser to walk it with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroom.server import Server
from tests.journeys.person import Person
from tests.journeys.prepared import rehearsal_settings
from tests.journeys.watched import Watched, open_chromium


@pytest.fixture
async def running_server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server in rehearsal on free ports; `running_server.simulator.tenant` has Microsoft's switches.

    `tests.journeys.prepared` sets up what a test does not want to click through.
    """
    server = await Server.start(rehearsal_settings(tmp_path))
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    """A browser in which nothing goes wrong unseen: at its end the journey fails for whatever was not expected."""
    async with open_chromium() as browser:
        watched = Watched(browser)
        yield watched
    assert watched.unexpected() == []


@pytest.fixture
async def person(running_server: Server, watched: Watched) -> Person:
    """Somebody with a browser, who has not opened any page yet."""
    return await Person.arrive(running_server, await watched.open_context())
