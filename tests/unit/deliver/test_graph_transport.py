"""Our client of Microsoft Graph against the simulated one, over TLS: sent, refused, throttled, broken connections."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email import message_from_bytes
from typing import Any

import httpx2
import pytest

from postroom.clock import MICROSECONDS, SystemClock
from postroom.deliver.graph_answers import GraphAnswer, outcome_of_answer, wait_until
from postroom.deliver.graph_transport import GraphTransport
from postroom.deliver.transport import Report
from postroom.errors import SignInTroubleError
from postroom.identity.sign_ins import Bearer
from postroom.message import MailboxState
from postroom.network import Route, http_client
from postroom.outcome import Failure, FailureClass, Outcome, Refused, Sent, StopCause, Stopped, TryLater, Unknown
from postroom.simulator.clock import SimulatorClock
from postroom.simulator.tenant import contoso
from postroom.simulator.tokens import Tokens, make_signing_key
from postroom.store.pace import GRAPH_MESSAGE_LIMIT_BYTES
from postroom.store.records import Authentication, EmailType, Mailbox
from tests.unit.deliver.scripted_server import a_mail_server, a_parcel
from tests.unit.simulator.graph_client import NOREPLY, SCANNER, GraphClient, start_graph

pytestmark = pytest.mark.anyio

KEY = make_signing_key()
OPS = "ops@fabrikam.example"
CLOCK = SystemClock()


@pytest.fixture
async def graph() -> AsyncIterator[GraphClient]:
    tenant = contoso(SimulatorClock())
    async with start_graph(tenant, Tokens(tenant, KEY)) as client:
        yield client


class Loopback:
    """Graph's name leads to the simulator."""

    is_rehearsal = True

    def __init__(self, graph: GraphClient) -> None:
        self._graph = graph

    def route(self, host: str, port: int) -> Route:
        assert (host, port) in (("graph.microsoft.com", 443), ("outlook.office.com", 443))
        return Route("127.0.0.1", self._graph.port, host, self._graph.trust)

    def browser_url(self, url: str) -> str:
        return url


class Entra:
    """Tokens of the simulated tenant; a refused one is replaced."""

    def __init__(self, graph: GraphClient, *scopes: str, trouble: Stopped | TryLater | None = None) -> None:
        self._graph = graph
        self._scopes = scopes or ("Mail.Send",)
        self._trouble = trouble
        self.tokens = [self._graph.token(*self._scopes)]
        self.refused: list[str] = []

    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        if self._trouble is not None:
            raise SignInTroubleError(self._trouble)
        if refuse_token is not None:
            self.refused.append(refuse_token)
            self.tokens.append(self._graph.token(*self._scopes))
        return Bearer(SCANNER, self.tokens[-1])


@contextlib.asynccontextmanager
async def a_transport(
    graph: GraphClient,
    entra: Entra | None = None,
    *,
    http: httpx2.AsyncClient | None = None,
    address: str = SCANNER,
) -> AsyncIterator[GraphTransport]:
    server = a_mail_server(443, host="graph.microsoft.com", email_type=EmailType.GRAPH)
    mailbox = Mailbox(7, SCANNER, address, Authentication.OAUTH, MailboxState.READY)
    async with http or http_client(Loopback(graph)) as client:
        yield GraphTransport(client, entra or Entra(graph), CLOCK, server, mailbox)


def message(*recipients: str, sender: str = SCANNER, text: str = "Hello") -> bytes:
    head = f"From: {sender}\r\nTo: {', '.join(recipients)}\r\nSubject: Scan\r\nMessage-ID: <1@contoso.com>\r\n"
    return f"{head}\r\n{text}\r\n.\r\n".encode()


async def send(
    graph: GraphClient, *recipients: str, body: bytes | None = None, entra: Entra | None = None, **changes: Any
) -> Report:
    recipients = recipients or (OPS,)
    async with a_transport(graph, entra, **changes) as transport:
        return await transport.send(a_parcel(*recipients, body=[body or message(*recipients)]))


def failure_of(outcome: Outcome) -> Failure:
    assert not isinstance(outcome, Sent)
    return outcome.failure


async def test_a_message_is_accepted_and_arrives(graph: GraphClient) -> None:
    report = await send(graph, OPS, "hidden@fabrikam.example", body=message(OPS))
    assert [type(outcome) for outcome in report.outcomes] == [Sent, Sent]
    [received] = graph.tenant.messages
    assert received.recipients == (OPS, "hidden@fabrikam.example")
    arrived = message_from_bytes(received.content)
    assert (arrived["To"], arrived["Bcc"], arrived["Message-ID"]) == (OPS, None, "<1@contoso.com>")
    assert arrived.get_payload() == "Hello\r\n.\r\n"
    said = [f"{line.who} {line.text}" for line in report.dialogue]
    assert said[-1] == "S 202"
    assert not any(token in line for line in said for token in Entra(graph).tokens)


async def test_what_graph_changes_stands_in_the_dialogue(graph: GraphClient) -> None:
    body = b"Date: Fri, 27 Nov 2026 06:00:00 +0000\r\nX-Job: 7\r\n" + message(OPS)
    report = await send(graph, body=body)
    remarks = [line.text for line in report.dialogue if line.who == "-"]
    assert remarks == ["Graph puts the time of sending in place of Date.", "Graph may drop these fields: x-job."]


async def test_a_message_that_names_others_does_not_go(graph: GraphClient) -> None:
    report = await send(graph, OPS, body=message(OPS, "sent@fabrikam.example"))
    assert failure_of(report.outcomes[0]).code == "graph_does_not_fit"
    assert isinstance(report.outcomes[0], Refused)
    assert graph.tenant.messages == []


async def test_a_message_that_is_too_large_does_not_go(graph: GraphClient) -> None:
    report = await send(graph, body=message(OPS, text=("x" * 70 + "\r\n") * (GRAPH_MESSAGE_LIMIT_BYTES // 72)))
    assert failure_of(report.outcomes[0]).code == "graph_too_large"


async def test_the_largest_message_goes(graph: GraphClient) -> None:
    lines = (GRAPH_MESSAGE_LIMIT_BYTES - 1_000) // 72
    report = await send(graph, body=message(OPS, text=("x" * 70 + "\r\n") * lines))
    assert isinstance(report.outcomes[0], Sent)


async def test_a_token_that_is_refused_is_replaced_once(graph: GraphClient) -> None:
    entra = Entra(graph)
    entra.tokens = ["no token at all"]
    report = await send(graph, entra=entra)
    assert isinstance(report.outcomes[0], Sent)
    assert entra.refused == ["no token at all"]


async def test_a_token_for_another_resource_stops_the_mailbox(graph: GraphClient) -> None:
    entra = Entra(graph)
    wrong = graph.token("SMTP.Send", resource="https://outlook.office.com")
    entra.tokens = [wrong]
    entra._graph = Wrong(graph, wrong)  # type: ignore[assignment]
    report = await send(graph, entra=entra)
    [outcome] = report.outcomes
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.code) == (StopCause.SIGN_IN, "token_not_accepted")
    assert len(entra.refused) == 1


class Wrong:
    def __init__(self, graph: GraphClient, token: str) -> None:
        self._token = token

    def token(self, *scopes: str) -> str:
        return self._token


async def test_a_permission_that_is_missing_stops_the_mailbox(graph: GraphClient) -> None:
    [outcome] = (await send(graph, entra=Entra(graph, "User.Read"))).outcomes
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.code) == (StopCause.SIGN_IN, "graph_not_allowed")
    assert outcome.failure.trace


@pytest.mark.parametrize(
    ("recipient", "kind", "code"),
    [
        ("throttled@fabrikam.example", TryLater, "server_busy"),
        ("432@fabrikam.example", TryLater, "too_many_connections"),
        ("daily-limit@fabrikam.example", Stopped, "daily_limit"),
        ("tenant-limit@fabrikam.example", Stopped, "tenant_external_limit"),
        ("mailbox-full@fabrikam.example", Stopped, "mailbox_full"),
        ("blocked@fabrikam.example", Stopped, "sender_blocked"),
        ("sendas-denied@fabrikam.example", Refused, "send_as_denied"),
        ("too-large@fabrikam.example", Refused, "message_too_large"),
        ("no-answer@fabrikam.example", Unknown, "gateway_timeout"),
        ("421@fabrikam.example", TryLater, "graph_away"),
    ],
)
async def test_the_address_decides_what_happens(
    graph: GraphClient, recipient: str, kind: type[Outcome], code: str
) -> None:
    [outcome] = (await send(graph, recipient)).outcomes
    assert isinstance(outcome, kind), outcome
    assert failure_of(outcome).code == code


async def test_retry_after_is_obeyed(graph: GraphClient) -> None:
    graph.tenant.graph.break_graph("429", retry_after_seconds=40)
    before_us = CLOCK.now_us()
    [outcome] = (await send(graph)).outcomes
    assert isinstance(outcome, TryLater)
    assert outcome.failure.failure_class is FailureClass.THROTTLE
    assert outcome.until_us is not None
    assert 40 * MICROSECONDS <= outcome.until_us - before_us <= 60 * MICROSECONDS


async def test_another_mailbox_is_sent_for_by_its_address(graph: GraphClient) -> None:
    entra = Entra(graph, "Mail.Send", "Mail.Send.Shared")
    report = await send(graph, body=message(OPS, sender=NOREPLY), entra=entra, address=NOREPLY)
    assert report.dialogue[0].text.startswith("POST https://graph.microsoft.com/v1.0/users/noreply%40")
    assert failure_of(report.outcomes[0]).code in ("send_as_denied", "graph_not_allowed")


async def test_trouble_with_signing_in_sends_nothing(graph: GraphClient) -> None:
    failure = Failure(FailureClass.NETWORK, "sign_in_unavailable", "away", "microsoft_unavailable")
    [outcome] = (await send(graph, entra=Entra(graph, trouble=TryLater(failure)))).outcomes
    assert isinstance(outcome, Stopped)
    assert graph.tenant.messages == []


class Breaking(httpx2.AsyncClient):
    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self._trouble = trouble

    async def request(self, method: str, url: Any, **given: Any) -> httpx2.Response:
        raise self._trouble


@pytest.mark.parametrize(
    ("trouble", "kind", "code"),
    [
        (httpx2.ConnectError("refused"), Stopped, "no_connection"),
        (httpx2.ConnectTimeout("silent"), Stopped, "no_connection"),
        (httpx2.WriteError("broken pipe"), TryLater, "connection_broke"),
        (httpx2.ReadError("reset"), Unknown, "answer_lost"),
        (httpx2.ReadTimeout("silent"), Unknown, "answer_lost"),
        (httpx2.RemoteProtocolError("garbage"), Unknown, "answer_lost"),
    ],
)
async def test_what_a_broken_connection_means(
    graph: GraphClient, trouble: Exception, kind: type[Outcome], code: str
) -> None:
    [outcome] = (await send(graph, http=Breaking(trouble))).outcomes
    assert isinstance(outcome, kind)
    assert failure_of(outcome).code == code


async def test_a_lease_that_is_too_short_sends_nothing(graph: GraphClient) -> None:
    async with a_transport(graph) as transport:
        [outcome] = (await transport.send(a_parcel(OPS, body=[message(OPS)], may_finish=lambda: False))).outcomes
    assert failure_of(outcome).code == "no_time_left"
    assert graph.tenant.messages == []


async def test_four_at_once_are_taken(graph: GraphClient) -> None:
    async with a_transport(graph) as transport:
        reports = await asyncio.gather(*(transport.send(a_parcel(OPS, body=[message(OPS)])) for _ in range(4)))
    assert all(isinstance(report.outcomes[0], Sent) for report in reports)


# ---- the table


@pytest.mark.parametrize("status", [*range(200, 210), *range(300, 310), *range(400, 452), *range(500, 512)])
def test_every_status_has_an_outcome_and_only_202_is_sent(status: int) -> None:
    outcome = outcome_of_answer(GraphAnswer(status), server="graph.microsoft.com", now_us=0)
    assert isinstance(outcome, Sent) == (status == 202)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("0", 0), ("999999999999", 86_400), ("", None), ("soon", None), ("-5", None),
     ("Thu, 01 Jan 1970 00:02:00 GMT", 120), ("Thu, 01 Jan 1970 00:00:00 GMT", 60), ("٣", None)],
)  # fmt: skip
def test_retry_after_in_its_two_forms(text: str, seconds: int | None) -> None:
    now_us = 0 if seconds != 60 else 60 * MICROSECONDS
    assert wait_until(text, now_us) == (None if seconds is None else seconds * MICROSECONDS)
