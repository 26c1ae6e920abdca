"""Large mail by Graph against the simulated one: what arrives, what a step's failure means, what is left behind."""

import asyncio
import contextlib
import email.policy
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import httpx2
import pytest

from postroom.deliver.graph_transport import GraphTransport
from postroom.deliver.transport import Report
from postroom.identity.sign_ins import Bearer
from postroom.message import MailboxState
from postroom.network import RoutedTransport
from postroom.outcome import Outcome, Refused, Sent, Stopped, TryLater, Unknown
from postroom.store.records import Authentication, EmailType, Mailbox
from tests.unit.deliver.scripted_server import a_mail_server, a_parcel
from tests.unit.deliver.test_graph_transport import CLOCK, OPS, Entra, Loopback, failure_of, graph
from tests.unit.simulator.graph_client import SCANNER, WRITE, GraphClient

__all__ = ["graph"]
pytestmark = pytest.mark.anyio
MEGABYTE = 1024 * 1024
CHUNK = 64 * 1024
HEAD = f"From: {SCANNER}\r\nTo: {OPS}\r\n".encode()


def a_message(*files: tuple[str, int], text: str = "Hello\n", **fields: str) -> EmailMessage:
    message = EmailMessage(email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SCANNER, OPS, "Scan"
    message["Message-ID"] = "<1@contoso.com>"
    for name, value in fields.items():
        message[name] = value
    message.set_content(text)
    for name, size in files:
        message.add_attachment(content_of(size), maintype="application", subtype="pdf", filename=name)
    return message


def content_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


SCANNED_BYTES = 7 * MEGABYTE // 2
A_SCAN = a_message(("a.pdf", SCANNED_BYTES)).as_bytes()


class Meddling(httpx2.AsyncBaseTransport):
    """Between us and Graph: a request that a test names is answered, broken or watched by it."""

    def __init__(self, beyond: httpx2.AsyncBaseTransport) -> None:
        self._beyond = beyond
        self.asked: list[str] = []
        self.faults: list[tuple[str, Callable[[httpx2.Request], httpx2.Response | None]]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        last = "PUT" if request.method == "PUT" else request.url.path.rpartition("/")[2]
        step = "DELETE" if request.method == "DELETE" else last
        self.asked.append(step)
        for place, (name, fault) in enumerate(self.faults):
            if name == step:
                del self.faults[place]
                answer = fault(request)
                if answer is not None:
                    return answer
                break
        return await self._beyond.handle_async_request(request)

    async def aclose(self) -> None:
        await self._beyond.aclose()


class Agreeing(httpx2.AsyncBaseTransport):
    """Says yes to everything: enough where a test is about one step that does not."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        status, body = {
            "messages": (201, {"id": "AAMk"}),
            "createUploadSession": (201, {"uploadUrl": "https://outlook.office.com/api?authtoken=x"}),
            "send": (202, None),
        }.get(request.url.path.rpartition("/")[2], (200, None))
        return httpx2.Response(status, json=body)


class AnyToken:
    async def graph_sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> Bearer:
        return Bearer(SCANNER, "token")


def answers(status: int, code: str = "", body: dict[str, Any] | None = None, retry_after: int | None = None) -> Any:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    error = body if body is not None else {"error": {"code": code, "message": "No."}}
    return lambda request: httpx2.Response(status, json=error, headers=headers)


def breaks(trouble: BaseException) -> Any:
    def fall(request: httpx2.Request) -> httpx2.Response:
        raise trouble

    return fall


class Way:
    def __init__(self, transport: GraphTransport, meddling: Meddling, waits: list[float]) -> None:
        self.transport = transport
        self.meddling = meddling
        self.waits = waits

    async def send(self, message: EmailMessage | bytes, *recipients: str, **changes: Any) -> Report:
        content = message if isinstance(message, bytes) else message.as_bytes()
        chunks = [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]
        return await self.transport.send(a_parcel(*(recipients or (OPS,)), body=chunks, **changes))


@contextlib.asynccontextmanager
async def a_way(graph: GraphClient | None, *scopes: str, takes_large_mail: bool = True) -> AsyncIterator[Way]:
    server = a_mail_server(
        443, host="graph.microsoft.com", email_type=EmailType.GRAPH, takes_large_mail=takes_large_mail
    )
    mailbox = Mailbox(7, SCANNER, SCANNER, Authentication.OAUTH, MailboxState.READY)
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)

    beyond = RoutedTransport(Loopback(graph)) if graph is not None else Agreeing()
    sign_ins = Entra(graph, *(scopes or WRITE)) if graph is not None else AnyToken()
    meddling = Meddling(beyond)
    async with httpx2.AsyncClient(transport=meddling, trust_env=False) as client:
        yield Way(GraphTransport(client, sign_ins, CLOCK, server, mailbox, pause), meddling, waits)


@pytest.fixture
async def way(graph: GraphClient) -> AsyncIterator[Way]:
    """To the simulated Graph."""
    async with a_way(graph) as made:
        yield made


@pytest.fixture
async def agreed() -> AsyncIterator[Way]:
    """To a Graph that does what it is asked."""
    async with a_way(None) as made:
        yield made


def arrived(graph: GraphClient) -> EmailMessage:
    [received] = graph.tenant.messages
    found = BytesParser(EmailMessage, policy=email.policy.default).parsebytes(received.content)
    assert isinstance(found, EmailMessage)
    return found


def files_in(message: EmailMessage) -> dict[str, bytes]:
    return {str(part.get_filename()): part.get_payload(decode=True) for part in message.walk() if part.get_filename()}  # type: ignore[misc]


async def test_a_large_file_and_small_ones_arrive(graph: GraphClient, way: Way) -> None:
    sizes = {"Büro 1.pdf": 5 * MEGABYTE + 17, "b.pdf": 2 * MEGABYTE, "c.pdf": 100, "d.pdf": 2 * MEGABYTE + 1}
    report = await way.send(a_message(*sizes.items()), OPS, "hidden@fabrikam.example")
    assert [type(outcome) for outcome in report.outcomes] == [Sent, Sent], report.outcomes
    message = arrived(graph)
    assert {name: len(content) for name, content in files_in(message).items()} == sizes
    assert files_in(message)["Büro 1.pdf"] == content_of(sizes["Büro 1.pdf"])
    body = message.get_body()
    assert body is not None
    assert body.get_content().split() == ["Hello"]
    assert (message["Message-ID"], message["Subject"]) == ("<1@contoso.com>", "Scan")
    assert graph.tenant.messages[0].recipients == (OPS, "hidden@fabrikam.example")
    assert way.meddling.asked == [
        "messages", "createUploadSession", "PUT", "PUT", "PUT", "attachments", "send",
    ]  # fmt: skip


async def test_what_becomes_of_it_is_told_and_no_secret_is(agreed: Way) -> None:
    report = await agreed.send(a_message(("a.pdf", 5 * MEGABYTE), **{"DKIM-Signature": "v=1; d=contoso.com; b=x"}))
    told = "\n".join(f"{line.who} {line.text}" for line in report.dialogue)
    assert "It is too large for one request, so it goes as a draft to which one attachment is uploaded" in told
    assert "Its DKIM signature does not hold after that." in told
    assert "PUT https://outlook.office.com/… (bytes 0-2097151/5242880)" in told
    assert "authtoken" not in told
    assert told.endswith("S 202")


async def test_a_file_alone_is_the_whole_message(graph: GraphClient, way: Way) -> None:
    message = a_message()
    message.set_content(content_of(4 * MEGABYTE), maintype="application", subtype="pdf", filename="scan.pdf")
    [outcome] = (await way.send(message)).outcomes
    assert isinstance(outcome, Sent), outcome
    assert files_in(arrived(graph)) == {"scan.pdf": content_of(4 * MEGABYTE)}


async def test_a_multipart_that_loses_its_only_part_gets_a_text(graph: GraphClient, way: Way) -> None:
    message = EmailMessage(email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SCANNER, OPS, "Scan"
    message.make_mixed()
    message.add_attachment(content_of(4 * MEGABYTE), maintype="application", subtype="pdf", filename="scan.pdf")
    [outcome] = (await way.send(message)).outcomes
    assert isinstance(outcome, Sent), outcome
    assert files_in(arrived(graph)) == {"scan.pdf": content_of(4 * MEGABYTE)}


async def test_images_in_the_text_stay_in_it(graph: GraphClient, way: Way) -> None:
    message = a_message()
    message.add_alternative('<img src="cid:logo@x">', subtype="html")
    html = message.get_payload()[1]  # type: ignore[index]
    html.add_related(content_of(4 * MEGABYTE), maintype="image", subtype="png", cid="<logo@x>")  # type: ignore[union-attr]
    message.make_mixed()
    message.add_attachment(content_of(100), maintype="application", subtype="pdf", filename="a.pdf")
    [outcome] = (await way.send(message)).outcomes
    # An image of 4 MB lies within the alternatives of the text, which are never taken apart.
    assert isinstance(outcome, Refused)
    assert outcome.failure.code == "graph_too_large"
    assert graph.tenant.messages == []


async def test_an_inline_image_keeps_its_content_id(graph: GraphClient, way: Way) -> None:
    message = EmailMessage(email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = SCANNER, OPS, "Scan"
    message.set_content('<img src="cid:logo@x">', subtype="html")
    message.add_related(content_of(4 * MEGABYTE), maintype="image", subtype="png", cid="<logo@x>")
    [outcome] = (await way.send(message)).outcomes
    assert isinstance(outcome, Sent), outcome
    [image] = [part for part in arrived(graph).walk() if part.get_content_type() == "image/png"]
    assert (image["Content-ID"], image.get_content_disposition()) == ("<logo@x>", "inline")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (a_message(text=("x" * 70 + "\n") * 50_000), "Without its attachments it still has"),
        (
            HEAD + b"Content-Type: multipart/signed; boundary=a\r\n\r\n"
            b"--a\r\nContent-Type: application/pdf\r\n\r\n" + b"x" * 4 * MEGABYTE + b"\r\n--a--\r\n",
            "signed or encrypted as a whole",
        ),
        (
            HEAD + b"Content-Type: multipart/mixed\r\n\r\n" + b"x" * 4 * MEGABYTE,
            "no boundary",
        ),
    ],
    ids=["a long text", "signed", "unreadable"],
)  # fmt: skip
async def test_what_cannot_be_taken_apart_is_refused(agreed: Way, message: Any, why: str) -> None:
    [outcome] = (await agreed.send(message)).outcomes
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, why in outcome.failure.text) == ("graph_too_large", True), outcome
    assert agreed.meddling.asked == []


async def test_without_being_switched_on_nothing_large_goes(graph: GraphClient) -> None:
    async with a_way(graph, takes_large_mail=False) as way:
        [outcome] = (await way.send(A_SCAN)).outcomes
        assert isinstance(outcome, Refused)
        assert (outcome.failure.code, way.meddling.asked) == ("graph_too_large", [])


async def test_without_the_permission_it_waits_and_small_mail_goes_on(graph: GraphClient) -> None:
    async with a_way(graph, "Mail.Send") as way:
        [outcome] = (await way.send(A_SCAN)).outcomes
        assert isinstance(outcome, TryLater)
        assert (outcome.failure.code, outcome.failure.remedy_id) == ("large_mail_not_allowed", "large_mail_not_allowed")
        [small] = (await way.send(a_message())).outcomes
        assert isinstance(small, Sent)


@pytest.mark.parametrize(
    ("step", "fault", "kind", "code"),
    [
        ("messages", answers(503), TryLater, "graph_away"),
        ("messages", answers(504), TryLater, "graph_away"),
        ("messages", answers(429, retry_after=100), TryLater, "server_busy"),
        ("messages", answers(403, "ErrorQuotaExceeded"), Stopped, "mailbox_full"),
        ("messages", answers(404, "MailboxNotEnabledForRESTAPI"), Stopped, "graph_mailbox_missing"),
        ("messages", answers(201, body={}), TryLater, "unexpected_answer"),
        ("messages", answers(302), TryLater, "upload_interrupted"),
        ("messages", breaks(httpx2.ConnectError("refused")), Stopped, "no_connection"),
        ("messages", breaks(httpx2.ReadError("reset")), TryLater, "connection_broke"),
        ("createUploadSession", answers(404, "ErrorItemNotFound"), TryLater, "draft_lost"),
        ("createUploadSession", answers(413, "ErrorAttachmentSizeLimitExceeded"), Refused, "graph_too_large"),
        ("createUploadSession", answers(201, body={"uploadUrl": 7}), TryLater, "unexpected_answer"),
        ("PUT", answers(401, "InvalidAuthenticationToken"), TryLater, "upload_interrupted"),
        ("PUT", answers(400, "ErrorInvalidArgument"), TryLater, "upload_interrupted"),
        ("PUT", answers(200, body={"nextExpectedRanges": ["17-"]}), TryLater, "upload_interrupted"),
        ("PUT", answers(507), TryLater, "graph_away"),
        ("PUT", breaks(httpx2.ReadTimeout("silent")), TryLater, "connection_broke"),
        ("send", answers(403, "ErrorSendAsDenied"), Refused, "send_as_denied"),
        ("send", answers(429, retry_after=1), TryLater, "server_busy"),
        ("send", answers(413, "ErrorMessageSizeExceeded"), Refused, "message_too_large"),
        ("send", breaks(httpx2.WriteError("broken pipe")), TryLater, "connection_broke"),
    ],
)
async def test_before_it_is_sent_nothing_is_uncertain_and_the_draft_goes(
    agreed: Way, step: str, fault: Any, kind: type[Outcome], code: str
) -> None:
    agreed.meddling.faults.append((step, fault))
    [outcome] = (await agreed.send(A_SCAN)).outcomes
    assert isinstance(outcome, kind), outcome
    assert failure_of(outcome).code == code
    assert ("DELETE" in agreed.meddling.asked) is (step != "messages")
    assert "send" not in agreed.meddling.asked or step == "send"


@pytest.mark.parametrize(
    "fault", [answers(504), answers(200), breaks(httpx2.ReadError("reset")), breaks(httpx2.RemoteProtocolError("?"))]
)
async def test_after_it_was_asked_to_be_sent_nobody_knows(agreed: Way, fault: Any) -> None:
    agreed.meddling.faults.append(("send", fault))
    report = await agreed.send(A_SCAN)
    assert isinstance(report.outcomes[0], Unknown)
    assert "its draft still lies among the drafts" in report.dialogue[-1].text
    assert "DELETE" not in agreed.meddling.asked


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api?authtoken=x",
        "http://outlook.office.com/api",
        "https://outlook.office.com.evil.example/api",
        "https://outlook.office.com@evil.example/api",
        "https://outlook.office.com:8443/api",
        "https://evil.example\\@outlook.office.com/api",
        "https://outlook.office365.us/api",
    ],
)
async def test_no_content_goes_where_a_hostile_answer_points(agreed: Way, url: str) -> None:
    agreed.meddling.faults.append(("createUploadSession", answers(201, body={"uploadUrl": url})))
    [outcome] = (await agreed.send(A_SCAN)).outcomes
    assert isinstance(outcome, TryLater)
    assert outcome.failure.code == "upload_host_unknown"
    assert agreed.meddling.asked == ["messages", "createUploadSession", "DELETE"]


@pytest.mark.parametrize("step", ["messages", "createUploadSession", "PUT"])
async def test_a_short_wait_is_waited_out(graph: GraphClient, way: Way, step: str) -> None:
    way.meddling.faults.append((step, answers(429, retry_after=7)))
    [outcome] = (await way.send(A_SCAN)).outcomes
    assert isinstance(outcome, Sent), outcome
    [seconds] = way.waits
    assert 6 < seconds <= 7
    assert files_in(arrived(graph)) == {"a.pdf": content_of(SCANNED_BYTES)}


async def test_nobody_waits_for_ever(agreed: Way) -> None:
    agreed.meddling.faults += [("PUT", answers(429, retry_after=7))] * 10
    [outcome] = (await agreed.send(A_SCAN)).outcomes
    assert isinstance(outcome, TryLater)
    assert len(agreed.waits) == 5


async def test_a_lease_that_is_too_short_sends_nothing(agreed: Way) -> None:
    [outcome] = (await agreed.send(A_SCAN, may_finish=lambda: False)).outcomes
    assert isinstance(outcome, TryLater)
    assert (outcome.failure.code, agreed.meddling.asked[-1]) == ("no_time_left", "DELETE")


async def test_an_attempt_that_is_ended_leaves_no_draft(agreed: Way) -> None:
    agreed.meddling.faults.append(("PUT", breaks(asyncio.CancelledError())))
    with pytest.raises(asyncio.CancelledError):
        await agreed.send(A_SCAN)
    assert agreed.meddling.asked[-1] == "DELETE"


async def test_memory_does_not_grow_with_the_message(agreed: Way) -> None:
    """The server's side is answered here, so that only ours is measured."""
    line = b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n".replace(b"==", b"AA")
    head = (
        f"From: {SCANNER}\r\nTo: {OPS}\r\nContent-Type: application/pdf; name=a.pdf\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    peaks = []
    for megabytes in (8, 32):
        count = megabytes * MEGABYTE // (800 * len(line))

        async def read(count: int = count) -> AsyncIterator[bytes]:
            yield head
            for _ in range(count):
                yield line * 800

        agreed.meddling.faults = [
            ("messages", answers(201, body={"id": "AAMk"})),
            ("createUploadSession", answers(201, body={"uploadUrl": "https://outlook.office.com/x"})),
            *[("PUT", answers(200, body={}))] * 100,
            ("send", lambda request: httpx2.Response(202)),
        ]
        tracemalloc.start()
        began = time.perf_counter()
        size = len(head) + count * 800 * len(line)
        [outcome] = (await agreed.transport.send(a_parcel(OPS, open_body=read, size_bytes=size))).outcomes
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert isinstance(outcome, Sent), outcome
        print(f"{megabytes} MB: peak {peaks[-1] / MEGABYTE:.1f} MiB, {time.perf_counter() - began:.2f} s")
    assert peaks[1] < peaks[0] + MEGABYTE
    assert peaks[1] < 20 * MEGABYTE
