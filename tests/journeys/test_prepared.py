"""What the other journeys find ready made works: handed in by smtplib, it arrives at the simulated Microsoft 365."""

import pytest

from postroom.server import Server
from tests.journeys.prepared import (
    OPS,
    SCANNER,
    compose_mail,
    hand_in,
    make_app,
    set_up_mail_server,
    simulator_of,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_prepared_server_sends(running_server: Server) -> None:
    await set_up_mail_server(running_server)
    app, password = await make_app(running_server)
    reply = await hand_in(running_server, app.login, password, compose_mail(SCANNER, (OPS,), "Prepared"))
    assert reply.startswith("250 2.0.0")
    arrived = simulator_of(running_server).tenant.messages
    await until(lambda: bool(arrived), "the message arrives")
    assert arrived[0].recipients == (OPS,)
