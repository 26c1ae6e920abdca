"""Postfix judges our client: PLAIN over STARTTLS in a private root, each recipient its own truth, every byte kept."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.clock import SystemClock
from postroom.deliver.smtp_transport import SmtpTransport
from postroom.deliver.transport import Report
from postroom.identity.sign_ins import Password, SignIn
from postroom.message import MailboxState
from postroom.outcome import Refused, Sent, StopCause, Stopped, TryLater
from postroom.store.records import Authentication, Mailbox
from tests.faults.serving import wait_for
from tests.journeys.postfix import HOST, PASSWORD, USER, Postfix, postfix_in
from tests.unit.deliver.scripted_server import a_mail_server, a_parcel, loopback

pytestmark = pytest.mark.anyio

SENDER = "scanner@example.test"
LINES = b"".join(b"." * (number % 5) + b"line %d\r\n" % number for number in range(2_000))


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    with postfix_in(tmp_path_factory.mktemp("postfix")) as running:
        yield running


class OnePassword:
    def __init__(self, password: str) -> None:
        self._password = password

    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        return Password(f"{USER}@example.test", self._password)


async def send(postfix: Postfix, *recipients: str, body: bytes, password: str = PASSWORD, **changes: Any) -> Report:
    server = a_mail_server(
        587, host=HOST, use_tls=True, sender=SENDER, authorities=postfix.authority.cert_pem.bytes().decode()
    )
    mailbox = Mailbox(7, USER, USER, Authentication.BASIC, MailboxState.READY)
    transport = SmtpTransport(loopback(postfix.port), OnePassword(password), SystemClock(), server, mailbox)

    parcel = a_parcel(*(recipients or ("ops@example.test",)), envelope_sender=SENDER, body=[body], **changes)
    report = await transport.send(parcel)
    await transport.close()
    return report


def message(number: int, text: bytes) -> bytes:
    head = (
        b"From: scanner@example.test\r\nTo: ops@example.test\r\nDate: Fri, 27 Nov 2026 06:00:00 +0000\r\n"
        b"Message-ID: <%d@example.test>\r\n\r\n"
    )
    return head % number + text


@pytest.mark.parametrize(
    ("number", "text", "changes"),
    [
        (1, b"Hello\r\n.\r\n..\r\n.end\r\n", {}),
        (2, "Grüße\r\n".encode(), {"is_eight_bit": True}),
        (3, LINES, {}),
        (4, b"x" * 70 + b"\r\n" + (b"y" * 74 + b"\r\n") * 140_000, {}),
    ],
    ids=["dots", "eight bit", "many lines", "10 MB"],
)
async def test_every_byte_arrives_as_it_was_stored(
    postfix: Postfix, number: int, text: bytes, changes: dict[str, Any]
) -> None:
    body = message(number, text)
    report = await send(postfix, body=body, **changes)
    assert isinstance(report.outcomes[0], Sent), report

    def find() -> bytes | None:
        sought = b"Message-ID: <%d@example.test>" % number
        return next((arrived for arrived in postfix.arrived() if sought in arrived), None)

    arrived = await asyncio.to_thread(wait_for, find, "the message has arrived")
    assert arrived is not None
    assert arrived.endswith(body.replace(b"\r\n", b"\n")), "Postfix stores lines as Unix does"


async def test_each_recipient_gets_its_own_truth(postfix: Postfix) -> None:
    recipients = ("ops@example.test", "refused@example.test", "later@example.test", "elsewhere@other.test")
    report = await send(postfix, *recipients, body=message(5, b"Hello\r\n"))
    assert [type(outcome) for outcome in report.outcomes] == [Sent, Refused, TryLater, Sent]


async def test_a_wrong_password_stops_the_mailbox(postfix: Postfix) -> None:
    [outcome] = (await send(postfix, body=message(6, b"Hello\r\n"), password="guessed")).outcomes
    assert isinstance(outcome, Stopped)
    assert outcome.cause is StopCause.SIGN_IN


async def test_its_certificate_is_not_trusted_without_its_authority(postfix: Postfix, tmp_path: Path) -> None:
    other = Postfix(postfix.port, type(postfix.authority)(), tmp_path)
    [outcome] = (await send(other, body=message(7, b"Hello\r\n"))).outcomes
    assert isinstance(outcome, Stopped)
    assert outcome.failure.code == "tls_not_trusted"
