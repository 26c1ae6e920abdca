"""The whole server with the simulated Microsoft 365, in this process, for every journey."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroom.server import Server
from tests.journeys.prepared import rehearsal_settings


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
