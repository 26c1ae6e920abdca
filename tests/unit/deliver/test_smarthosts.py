"""Mail servers that know us by our address, and those with an authority of their own."""

import pytest
import trustme

from postroom.clock import ManualClock
from postroom.deliver.smtp_transport import SmtpTransport
from postroom.deliver.transport import Report
from postroom.identity.sign_ins import SignIn
from postroom.message import MailboxState
from postroom.network import explain_authorities
from postroom.outcome import Sent, StopCause, Stopped
from postroom.store.records import Authentication, Mailbox
from tests.unit.deliver.scripted_server import (
    EHLO,
    Loopback,
    Peer,
    ScriptedServer,
    a_mail_server,
    a_parcel,
    loopback,
    server_context,
)

pytestmark = pytest.mark.anyio

AUTHORITY = trustme.CA()
PEM = AUTHORITY.cert_pem.bytes().decode()


class NobodySignsIn:
    async def sign_in_for(self, mailbox_id: int, *, refuse_token: str | None = None) -> SignIn:
        raise AssertionError("nobody is asked who we are")


async def send(network: Loopback, *, authorities: str = "", host: str = "mail.example.test") -> Report:
    server = a_mail_server(use_tls=True, authorities=authorities, host=host)
    mailbox = Mailbox(7, "a@example.test", "a@example.test", Authentication.NONE, MailboxState.READY)
    transport = SmtpTransport(network, NobodySignsIn(), ManualClock(), server, mailbox)
    report = await transport.send(a_parcel())
    await transport.close()
    return report


async def take_one(peer: Peer) -> None:
    await peer.greet("250-mail.example.test", "250 STARTTLS")
    assert await peer.hear() == "STARTTLS"
    await peer.say("220 Go ahead")
    await peer.start_tls()
    assert (await peer.hear()).startswith("EHLO ")
    await peer.say(*EHLO, "250 HELP")
    await peer.take_envelope()
    await peer.hear_message()
    await peer.say("250 2.0.0 OK")


async def test_without_a_sign_in_mail_goes_over_starttls() -> None:
    async with ScriptedServer.listen(take_one, tls=server_context(AUTHORITY)) as server:
        report = await send(loopback(server.port, AUTHORITY))
        assert not any(line.startswith("AUTH") for line in server.peers[0].heard)
    assert isinstance(report.outcomes[0], Sent)


async def test_an_authority_of_its_own_vouches_for_it_and_for_nobody_else() -> None:
    async with ScriptedServer.listen(take_one, tls=server_context(AUTHORITY)) as server:
        trusted = await send(loopback(server.port), authorities=PEM)
        stranger = await send(loopback(server.port), authorities=trustme.CA().cert_pem.bytes().decode())
    assert isinstance(trusted.outcomes[0], Sent)
    [outcome] = stranger.outcomes
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.code) == (StopCause.CONFIGURATION, "tls_not_trusted")


async def test_the_name_is_checked_with_an_authority_of_its_own_too() -> None:
    async with ScriptedServer.listen(take_one, tls=server_context(AUTHORITY, "other.example.test")) as server:
        [outcome] = (await send(loopback(server.port), authorities=PEM)).outcomes
    assert isinstance(outcome, Stopped)
    assert outcome.failure.code == "tls_not_trusted"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        (PEM, None),
        (PEM + PEM, None),
        ("hello", "begins with -----BEGIN CERTIFICATE-----"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "holds a private key"),
    ],
)
def test_what_is_pasted_is_judged_where_it_is_pasted(text: str, words: str | None) -> None:
    told = explain_authorities(text)
    assert told is None if words is None else told is not None and words in told


async def test_what_was_stored_and_is_no_authority_stops_the_way_and_dials_nobody() -> None:
    async with ScriptedServer.listen(take_one, tls=server_context(AUTHORITY)) as server:
        [outcome] = (await send(loopback(server.port), authorities="what an older Postroom kept")).outcomes
        assert server.peers == []
    assert isinstance(outcome, Stopped)
    assert (outcome.cause, outcome.failure.code) == (StopCause.CONFIGURATION, "authorities_unusable")
    assert "This is no certificate in PEM form" in outcome.failure.text
    assert outcome.failure.remedy_id == "settings_do_not_fit"
