"""A message that fails is told: the notice goes the way of all mail, and arrives at whoever can do something."""

import asyncio
from email import message_from_bytes

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

NOBODY_HERE = "recipient-not-found@fabrikam.example"


async def test_the_report_arrives_once_and_is_no_cause_of_another(running_server: Server) -> None:
    await set_up_mail_server(running_server, test_address=OPS)
    store, tenant = running_server.store, simulator_of(running_server).tenant
    app, password = await make_app(running_server)
    await hand_in(running_server, app.login, password, compose_mail(SCANNER, (NOBODY_HERE,), "Ticket 7"))
    told = f"Told {OPS} that it failed"
    await until(lambda: len(tenant.messages) == 1, "the notice has arrived")
    [arrived] = tenant.messages
    report = message_from_bytes(arrived.content)
    assert arrived.recipients == (OPS,)
    assert report.get_content_type() == "multipart/report"
    assert report["Subject"] == "Could not be sent: Ticket 7"
    rows, _ = await store.messages.search("", limit=10)
    first = rows[-1].message_id
    for _ in range(100):
        detail = await store.messages.find(first)
        assert detail is not None
        if any(entry.text.startswith(told) for entry in detail.timeline):
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the timeline does not say who was told")
    assert await store.notices_due.due() == []
