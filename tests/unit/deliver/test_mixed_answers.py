"""Promise 11 through failover: 250, 451 and 550 in one flight to Exchange, and what is open goes by another server.

`tests/faults/test_mixed_answers.py` has the resend by the same server, with real processes.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtpd.smtp
import pytest

from postroom.deliver.transports import Transports
from postroom.deliver.worker import Worker
from postroom.identity.sign_ins import Password, SignIn
from postroom.network import Rehearsal, http_client
from postroom.outcome import Outcome, Refused, Sent, TryLater
from postroom.simulator.exchange import ExchangeServer
from postroom.store.records import Authentication, MessageDetail, StoredBody
from tests.contract.kept_store import MAILBOX_ID, KeptStore
from tests.unit.deliver.test_against_exchange import AUTHORITY, HOST, Entra, exchange

pytestmark = pytest.mark.anyio
__all__ = ["exchange"]  # the fixture

ANOTHER = "mail.example.net"
RECIPIENTS = ("ok@fabrikam.com", "451@fabrikam.com", "550@fabrikam.com", "also-ok@fabrikam.com")


class Sink:
    """aiosmtpd as the other mail server: it takes everything."""

    def __init__(self) -> None:
        self.recipients: list[list[str]] = []

    async def handle_DATA(self, server: object, session: object, envelope: aiosmtpd.smtp.Envelope) -> str:
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 2.0.0 OK by the other"


class SignIns(Entra):
    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        if mailbox_id != MAILBOX_ID:
            return Password("a", "b")
        return await super().sign_in_for(mailbox_id, refuse_token=refuse_token)


@pytest.fixture
async def sink() -> AsyncIterator[tuple[Sink, int]]:
    sink = Sink()

    def authenticate(*_: object) -> aiosmtpd.smtp.AuthResult:
        return aiosmtpd.smtp.AuthResult(success=True)

    def make() -> aiosmtpd.smtp.SMTP:
        return aiosmtpd.smtp.SMTP(sink, hostname="judge", auth_require_tls=False, authenticator=authenticate)

    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    yield sink, listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()


async def keep(kept: KeptStore, *recipients: str) -> int:
    content = b"From: scanner@contoso.com\r\nSubject: Scan\r\nMessage-ID: <1@contoso.com>\r\n\r\nHello\r\n"
    new = kept.message(*recipients, body=StoredBody(len(content), content))
    await kept.store.outbox.keep(new)
    return new.message_id


async def until(kept: KeptStore, message_id: int, *states: str) -> MessageDetail:
    async with asyncio.timeout(10):
        while await kept.states(message_id) != list(states):
            await asyncio.sleep(0)
    detail = await kept.store.messages.find(message_id)
    assert detail is not None
    return detail


def codes(outcomes: tuple[tuple[str, Outcome], ...]) -> dict[str, tuple[type[Outcome], int | None]]:
    return {
        address: (type(outcome), None if isinstance(outcome, Sent) else outcome.failure.smtp_code)
        for address, outcome in outcomes
    }


async def test_each_recipient_keeps_its_own_truth_when_the_rest_goes_by_another_server(
    tmp_path: Path, exchange: ExchangeServer, sink: tuple[Sink, int]
) -> None:
    other_sink, port = sink
    kept = KeptStore(tmp_path / "data", "inline")
    await kept.open_set_up()
    other = await kept.add_mail_server(
        "other", host=ANOTHER, use_tls=False, authentication=Authentication.BASIC, password="b"
    )
    await kept.store.ways.set_alternatives(1, [other.mail_server_id], "anna")
    destinations = {(HOST, 587): ("127.0.0.1", exchange.port), (ANOTHER, 587): ("127.0.0.1", port)}
    network = Rehearsal(destinations, AUTHORITY.pem.decode(), "http://localhost")
    transports = Transports(network, SignIns(exchange), kept.clock, http_client(network))
    worker = Worker(kept.store, transports.transport_for, kept.clock, random.Random(1))
    running = asyncio.create_task(worker.run())

    mixed = await keep(kept, *RECIPIENTS)
    await until(kept, mixed, "sent", "deferred", "failed", "sent")
    assert [tuple(message.recipients) for message in exchange.tenant.messages] == [(RECIPIENTS[0], RECIPIENTS[3])]

    await exchange.stop()
    finder = await keep(kept, "finds-out@fabrikam.com")
    await until(kept, finder, "sent")
    kept.clock.advance(180)
    await keep(kept, "wakes-the-worker@fabrikam.com")
    detail = await until(kept, mixed, "sent", "sent", "failed", "sent")
    await worker.stop(5)
    await running
    await transports.close()
    await kept.close()

    first, *_, last = detail.attempts  # between them it may have been the probe of Exchange
    assert codes(first.outcomes) == {
        RECIPIENTS[0]: (Sent, None),
        RECIPIENTS[1]: (TryLater, 451),
        RECIPIENTS[2]: (Refused, 550),
        RECIPIENTS[3]: (Sent, None),
    }
    assert codes(last.outcomes) == {RECIPIENTS[1]: (Sent, None)}
    assert [RECIPIENTS[1]] in other_sink.recipients, "the other server got what was open, and nothing else of it"
    assert not any({RECIPIENTS[0], RECIPIENTS[2], RECIPIENTS[3]} & set(got) for got in other_sink.recipients)
    by_address = {row.address: row for row in detail.recipients}
    assert by_address[RECIPIENTS[1]].reply == "250 2.0.0 OK by the other"
    assert by_address[RECIPIENTS[1]].failure is None
    assert any(entry.kind == "rerouted" for entry in detail.timeline)
