"""Whatever the token endpoint answers, no mail fails for it, and it is not asked in a circle (promise 9)."""

import asyncio
from typing import get_args

import pytest

from postroom.message import RecipientState
from postroom.server import Server
from postroom.simulator.directory_rules import TokenEndpointFault
from postroom.simulator.token_faults import TokenFaults
from postroom.store.records import MessageRow
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

MESSAGES = 5
CALLS_ALLOWED = 6
"""For five messages at once, while one of them would do."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The grant type of each request that has reached the token endpoint."""
    seen: list[str] = []
    strike = TokenFaults.strike

    async def count(self: TokenFaults, form: dict[str, str]) -> object:
        seen.append(form.get("grant_type", ""))
        return await strike(self, form)

    monkeypatch.setattr(TokenFaults, "strike", count)
    return seen


async def rows(server: Server) -> list[MessageRow]:
    found, _ = await server.store.messages.search("", limit=50)
    return found


@pytest.mark.parametrize("fault", [fault for fault in get_args(TokenEndpointFault) if fault != "slow"])
async def test_mail_waits_for_the_token_endpoint(
    running_server: Server, calls: list[str], fault: TokenEndpointFault
) -> None:
    await set_up_mail_server(running_server)
    app, password = await make_app(running_server)
    tenant = simulator_of(running_server).tenant
    tenant.token_endpoint_fault = fault
    before = len(calls)
    for number in range(MESSAGES):
        await hand_in(running_server, app.login, password, compose_mail(SCANNER, (OPS,), f"Scan {number}"))
    await until(lambda: len(calls) > before, "the token endpoint was asked")
    mailbox_id = (await running_server.store.mailboxes.all())[0].mailbox_id
    while (mailbox := await running_server.store.mailboxes.find(mailbox_id)).failure is None:
        await asyncio.sleep(0.01)
    assert mailbox.until_us is not None, "nobody is needed: it is tried again"
    assert len(calls) - before <= CALLS_ALLOWED
    assert {row.state for row in await rows(running_server)} <= {RecipientState.QUEUED, RecipientState.SENDING}

    tenant.token_endpoint_fault = None
    await running_server.store.mailboxes.resume(mailbox_id, "test")
    await until(lambda: len(tenant.messages) == MESSAGES, "all of it has arrived")
