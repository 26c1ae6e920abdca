"""The simulated Exchange Online, word for word, over a socket."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from postroom.simulator.authority import Authority
from postroom.simulator.exchange import ExchangeServer
from postroom.simulator.tenant import Tenant
from postroom.simulator.tokens import Tokens
from tests.unit.simulator.exchange_client import (
    HOST,
    HOSTNAME,
    MESSAGE,
    NOREPLY,
    SCANNER,
    TAG,
    Client,
    bearer,
    encoded,
    open_clients,
    trust_of,
    user_of,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: Postroom's own server runs on uvloop, whose transports are not asyncio's."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create()


@pytest.fixture
async def exchange(tenant: Tenant, tokens: Tokens, authority: Authority) -> AsyncIterator[ExchangeServer]:
    server = ExchangeServer(tenant, tokens, authority.server_context([HOST]))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def make_client(exchange: ExchangeServer, authority: Authority) -> AsyncIterator[Callable[[], Client]]:
    async with open_clients(exchange, trust_of(authority)) as make:
        yield make


@pytest.fixture
def client(make_client: Callable[[], Client]) -> Client:
    return make_client()


# Greeting, TLS, signing in


async def test_the_banner_has_the_time_and_the_session(client: Client) -> None:
    banner = await client.connect()

    assert re.fullmatch(
        r"220 SIM0PR01CA0001\.outlook\.office365\.com Microsoft ESMTP MAIL Service ready at "
        r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000 \[08DE[0-9A-F]{12}\]",
        banner,
    )


async def test_both_lists_of_ehlo(client: Client) -> None:
    session_id = (await client.connect())[-17:-1]
    client.writer.write(b"EHLO client.example\r\n")
    before = await client.reply()
    await client.start_tls()
    client.writer.write(b"ehlo client.example\r\n")
    after = await client.reply()

    assert before == [
        "250-SIM0PR01CA0001.outlook.office365.com Hello [127.0.0.1]",
        "250-SIZE 157286400",
        "250-PIPELINING",
        "250-DSN",
        "250-ENHANCEDSTATUSCODES",
        "250-STARTTLS",
        "250-8BITMIME",
        "250-BINARYMIME",
        "250-CHUNKING",
        "250 SMTPUTF8",
    ]
    assert after == ["250-AUTH LOGIN XOAUTH2" if line == "250-STARTTLS" else line for line in before]
    client.writer.write(b"FOO\r\n")
    assert (await client.reply())[0].endswith(f"Z {session_id}]")


async def test_nothing_goes_before_hello(client: Client) -> None:
    await client.connect()

    assert await client.ask("AUTH LOGIN") == "503 5.5.2 Send hello first [tag]"
    assert await client.ask("STARTTLS") == "503 5.5.2 Send hello first [tag]"
    assert await client.ask("EHLO") == "501 5.5.4 Invalid domain name [tag]"
    assert await client.ask("HELO x") == "250 SIM0PR01CA0001.outlook.office365.com Hello [127.0.0.1]"


async def test_a_second_ehlo_is_needed_after_tls(client: Client) -> None:
    await (await client.greet()).start_tls()

    assert await client.ask("AUTH XOAUTH2 x") == "503 5.5.2 Send hello first [tag]"
    assert await client.ask(f"MAIL FROM:<{SCANNER}>") == ("530 5.7.57 Client not authenticated to send mail. [tag]")


async def test_auth_is_for_tls_only(client: Client, exchange: ExchangeServer) -> None:
    await client.greet()

    said = await client.ask(f"AUTH XOAUTH2 {bearer(exchange, SCANNER)}")

    assert said == "504 5.7.4 Unrecognized authentication type [tag]"
    assert exchange.sign_ins == 0


async def test_commands_sent_ahead_of_the_handshake_break_the_connection(client: Client) -> None:
    await client.greet()

    assert await client.ask("STARTTLS\r\nEHLO injected.example") == (
        "554 5.5.1 Commands sent ahead of the TLS handshake [tag]"
    )
    assert await client.is_closed()


async def test_tls_cannot_begin_twice(client: Client) -> None:
    await client.secure()

    assert await client.ask("STARTTLS") == "503 5.5.1 Bad sequence of commands [tag]"


async def test_a_handshake_that_fails_leaves_nothing_behind(client: Client, exchange: ExchangeServer) -> None:
    await client.greet()
    assert await client.ask("STARTTLS") == "220 2.0.0 SMTP server ready"
    session = next(iter(exchange._sessions))

    client.writer.write(b"this is no TLS at all\r\n" * 10)

    await asyncio.wait_for(session.ended, 5)
    assert exchange._sessions == set()


@pytest.mark.parametrize("mechanism", ["PLAIN", "PLAIN AHgAeA==", "OAUTHBEARER", "CRAM-MD5"])
async def test_other_mechanisms_are_unknown(client: Client, mechanism: str) -> None:
    await client.secure()

    assert await client.ask(f"AUTH {mechanism}") == "504 5.7.4 Unrecognized authentication type [tag]"


async def test_xoauth2_in_one_line_whatever_its_case(client: Client, exchange: ExchangeServer) -> None:
    await client.secure()

    said = await client.ask(f"auth xoauth2 {bearer(exchange, SCANNER)}")

    assert said == "235 2.7.0 Authentication successful"
    assert exchange.sign_ins == 1
    assert await client.ask("AUTH LOGIN") == "503 5.5.2 Auth command already specified [tag]"


async def test_xoauth2_in_two_steps_has_an_empty_challenge(client: Client, exchange: ExchangeServer) -> None:
    await client.secure()

    assert await client.ask("AUTH XOAUTH2") == "334 "
    assert await client.ask(bearer(exchange, SCANNER)) == "235 2.7.0 Authentication successful"


async def test_a_token_line_of_12288_octets_and_more_is_read(client: Client, exchange: ExchangeServer) -> None:
    await client.secure()
    blob = bearer(exchange, SCANNER, padding="x" * 9000)
    assert len(blob) > 12_288

    assert await client.ask(f"AUTH XOAUTH2 {blob}") == "235 2.7.0 Authentication successful"


async def test_a_refused_token_is_refused_at_once_without_a_json_challenge(client: Client) -> None:
    await client.secure()
    blob = encoded(f"user={SCANNER}\x01auth=Bearer nonsense\x01\x01")

    assert await client.ask(f"AUTH XOAUTH2 {blob}") == "535 5.7.3 Authentication unsuccessful [tag]"
    assert await client.ask("NOOP") == "250 2.0.0 OK"
    assert await client.ask(f"MAIL FROM:<{SCANNER}>") == ("530 5.7.57 Client not authenticated to send mail. [tag]")


async def test_auth_login_asks_for_user_and_password(client: Client, exchange: ExchangeServer) -> None:
    password = user_of(exchange, SCANNER).password
    await client.secure()

    assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.ask(encoded(SCANNER)) == "334 UGFzc3dvcmQ6"
    assert await client.ask(encoded("wrong")) == (
        "535 5.7.139 Authentication unsuccessful, the user credentials were incorrect. [tag]"
    )
    assert await client.ask(f"AUTH LOGIN {encoded(SCANNER)}") == "334 UGFzc3dvcmQ6"
    assert await client.ask(encoded(password)) == "235 2.7.0 Authentication successful"


async def test_auth_can_be_cancelled(client: Client) -> None:
    await client.secure()

    assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert await client.ask("*") == "501 5.5.4 Authentication cancelled [tag]"
    assert await client.ask("AUTH") == "501 5.5.4 Invalid arguments [tag]"


async def test_smtp_auth_off_is_said_again_at_mail_from(client: Client, exchange: ExchangeServer) -> None:
    exchange.tenant.disable_smtp_auth(disabled=True)
    await client.secure()
    reason = (
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
        "Visit https://aka.ms/smtp_auth_disabled for more information."
    )

    assert await client.ask(f"AUTH XOAUTH2 {bearer(exchange, SCANNER)}") == f"{reason} [tag]"
    assert await client.ask(f"MAIL FROM:<{SCANNER}>") == (
        f"530 5.7.57 Client not authenticated to send mail. Error: {reason} [tag]"
    )


# The envelope


async def test_a_message_goes_its_whole_way(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()

    assert await client.ask(f"mail from:<{SCANNER}> SIZE=90 BODY=8BITMIME RET=HDRS ENVID=7") == ("250 2.1.0 Sender OK")
    assert await client.ask("RCPT TO:<b@example.net> NOTIFY=FAILURE ORCPT=rfc822;b@example.net") == (
        "250 2.1.5 Recipient OK"
    )
    assert await client.ask("DATA") == "354 Start mail input; end with <CRLF>.<CRLF>"
    assert await client.ask(MESSAGE + b"..dotted\r\n.") == f"250 2.0.0 OK <1@contoso.com> {HOSTNAME}"
    assert await client.ask("QUIT") == "221 2.0.0 Service closing transmission channel"
    assert await client.is_closed()
    (message,) = exchange.tenant.messages
    assert (message.number, message.signed_in_as, message.helo) == (1, SCANNER, "client.example")
    assert (message.envelope_sender, message.recipients) == (SCANNER, ("b@example.net",))
    assert message.content == MESSAGE + b".dotted\r\n"
    assert message.tls_version == "TLSv1.3"
    assert 0 <= exchange.tenant.clock.now() - message.received_at < 60


async def test_the_dialogue_is_kept_with_the_message_and_holds_no_secret(
    client: Client, exchange: ExchangeServer
) -> None:
    blob = bearer(exchange, SCANNER)
    await client.secure()
    await client.ask(f"AUTH XOAUTH2 {blob}")
    await client.send()
    await client.send()

    (first, second) = exchange.tenant.messages

    said = list(second.dialogue)
    assert said == list(first.dialogue)
    assert said[0].startswith("S: 220 SIM0PR01CA0001.outlook.office365.com Microsoft ESMTP")
    assert "* TLSv1.3 begins" in said
    assert f"C: AUTH XOAUTH2 <{len(blob)} octets, not kept>" in said
    assert said[-8:] == [
        f"C: MAIL FROM:<{SCANNER}>",
        "S: 250 2.1.0 Sender OK",
        "C: RCPT TO:<b@example.net>",
        "S: 250 2.1.5 Recipient OK",
        "C: DATA",
        "S: 354 Start mail input; end with <CRLF>.<CRLF>",
        f"* a message of {len(MESSAGE)} octets",
        f"S: 250 2.0.0 OK <1@contoso.com> {HOSTNAME}",
    ]
    assert blob not in "\n".join(said)


async def test_a_password_is_not_kept(client: Client, exchange: ExchangeServer) -> None:
    password = user_of(exchange, SCANNER).password
    await client.secure()
    await client.ask(f"AUTH LOGIN {encoded(SCANNER)}")
    await client.ask(encoded(password))

    await client.send()

    said = "\n".join(exchange.tenant.messages[0].dialogue)
    assert password not in said
    assert encoded(password) not in said


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["RCPT TO:<b@example.net>"], "503 5.5.1 Bad sequence of commands [tag]"),
        (["DATA"], "503 5.5.1 Bad sequence of commands [tag]"),
        ([f"MAIL FROM:<{SCANNER}>", "DATA"], "503 5.5.1 Bad sequence of commands [tag]"),
        ([f"MAIL FROM:<{SCANNER}>", f"MAIL FROM:<{SCANNER}>"], "503 5.5.1 Bad sequence of commands [tag]"),
        (["MAIL FROM:<scanner>"], "501 5.1.7 Invalid address [tag]"),
        (["MAIL FROM:<jörg@contoso.com>"], "501 5.1.7 Invalid address [tag]"),
        (["MAIL FROM:<jörg@contoso.com> SMTPUTF8"], "250 2.1.0 Sender OK"),
        (["MAIL FROM:<>"], "250 2.1.0 Sender OK"),
        ([f"MAIL FROM:<{SCANNER}>", "RCPT TO:<b>"], "501 5.1.3 Invalid address [tag]"),
        (["MAIL"], "501 5.5.4 Invalid arguments [tag]"),
        ([f"MAIL FROM:<{SCANNER}> FOO=1"], "501 5.5.4 Invalid arguments [tag]"),
        ([f"MAIL FROM:<{SCANNER}> SIZE=36700160"], "250 2.1.0 Sender OK"),
        (
            [f"MAIL FROM:<{SCANNER}> SIZE=36700161"],
            "552 5.3.4 Message size exceeds fixed maximum message size [tag]",
        ),
        (
            [f"MAIL FROM:<{SCANNER}> BODY=BINARYMIME", "RCPT TO:<b@example.net>", "DATA"],
            "503 5.5.1 Bad sequence of commands [tag]",
        ),
        ([f"MAIL FROM:<{SCANNER}>", "RSET", "RCPT TO:<b@example.net>"], "503 5.5.1 Bad sequence of commands [tag]"),
        (
            [f"MAIL FROM:<{SCANNER}>", "EHLO again.example", "RCPT TO:<b@example.net>"],
            "503 5.5.1 Bad sequence of commands [tag]",
        ),
        (["RSET"], "250 2.0.0 Resetting"),
        (["NOOP"], "250 2.0.0 OK"),
        (["VRFY anna"], "252 2.1.5 Cannot VRFY user"),
        (["EXPN staff"], "500 5.3.3 Unrecognized command [tag]"),
        (["BDAT ten"], "501 5.5.4 Invalid arguments [tag]"),
        (["NOOP\n"], "500 5.3.3 Unrecognized command [tag]"),
    ],
)
async def test_the_reply_to_a_command_and_to_one_out_of_turn(client: Client, lines: list[str], reply: str) -> None:
    await client.sign_in()

    assert [await client.ask(line) for line in lines][-1] == reply


async def test_the_501st_recipient_is_too_many_and_the_first_500_stay(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()

    said = await client.address(*(f"r{number}@example.net" for number in range(501)))
    assert set(said[1:-1]) == {"250 2.1.5 Recipient OK"}
    assert re.sub(TAG, "[tag]", said[-1]) == "452 4.5.3 Too many recipients [tag]"
    await client.ask("DATA")
    assert (await client.ask(MESSAGE + b".")).startswith("250 2.0.0 OK ")
    assert len(exchange.tenant.messages[0].recipients) == 500


async def test_a_line_without_end_is_not_gathered_for_ever(client: Client) -> None:
    await client.greet()

    assert await client.ask("x" * 70_000) == "500 5.3.3 Unrecognized command [tag]"


# The message


async def test_pipelined_commands_and_two_messages_in_one_write(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    once = f"MAIL FROM:<{SCANNER}>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n".encode() + MESSAGE + b".\r\n"

    client.writer.write(once + once + b"QUIT\r\n")

    said = [(await client.reply())[0][:3] for _ in range(9)]
    assert said == ["250", "250", "354", "250"] * 2 + ["221"]
    assert [message.number for message in exchange.tenant.messages] == [1, 2]


async def test_chunks_make_a_message(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    await client.address("b@example.net")
    middle = len(MESSAGE) // 2

    client.writer.write(b"BDAT %d\r\n" % middle + MESSAGE[:middle])
    assert await client.reply() == [f"250 2.6.0 CHUNK received OK, {middle} octets"]
    assert await client.ask("RCPT TO:<c@example.net>") == "503 5.5.1 Bad sequence of commands [tag]"
    client.writer.write(b"BDAT %d\r\n" % (len(MESSAGE) - middle) + MESSAGE[middle:] + b"BDAT 0 LAST\r\n")
    assert (await client.reply())[0].startswith("250 2.6.0 CHUNK received OK, ")
    assert await client.reply() == [f"250 2.0.0 OK <1@contoso.com> {HOSTNAME}"]
    assert exchange.tenant.messages[0].content == MESSAGE


async def test_a_chunk_out_of_turn_is_swallowed_and_refused(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()

    client.writer.write(b"BDAT 6 LAST\r\nQUIT\r\n")

    assert (await client.reply())[0].startswith("503 5.5.1 Bad sequence of commands ")
    assert await client.ask("NOOP") == "250 2.0.0 OK"
    assert exchange.tenant.messages == []


async def test_a_body_of_binary_mime_may_hold_a_lone_dot(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    await client.ask(f"MAIL FROM:<{SCANNER}> BODY=BINARYMIME")
    await client.ask("RCPT TO:<b@example.net>")
    content = MESSAGE + b".\r\n\r\n.\r\n\x00\xff\r\n"

    client.writer.write(b"BDAT %d LAST\r\n" % len(content) + content)

    assert (await client.reply())[0].startswith("250 2.0.0 OK ")
    assert exchange.tenant.messages[0].content == content


async def test_a_bare_linefeed_never_ends_a_message_and_is_refused(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()

    said = await client.send(MESSAGE + b"a\n.\nb\n.\r\nc\r\n")

    assert said == f"554 5.6.0 Invalid message content, contains bare linefeeds {HOSTNAME}"
    assert await client.ask("NOOP") == "250 2.0.0 OK"
    assert exchange.tenant.messages == []


async def test_send_as_is_refused_only_after_the_data(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    assert await client.ask(f"MAIL FROM:<{NOREPLY}>") == "250 2.1.0 Sender OK"
    await client.ask("RSET")

    said = await client.send(MESSAGE.replace(b"scanner@", b"noreply@", 1))

    assert said.startswith(
        "554 5.2.252 SendAsDenied; scanner@contoso.com not allowed to send as noreply@contoso.com; "
        "STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; "
        "Failed to process message due to a permanent exception with message [BeginDiagnosticData]"
        "Cannot submit message."
    )
    assert said.endswith(HOSTNAME)
    assert exchange.tenant.messages == []


async def test_send_on_behalf_passes_with_a_sender(client: Client, exchange: ExchangeServer) -> None:
    exchange.tenant.grant_right("send_on_behalf", user_of(exchange, NOREPLY).object_id, SCANNER)
    await client.sign_in()
    foreign = MESSAGE.replace(b"scanner@", b"noreply@", 1)

    assert (await client.send(foreign)).startswith("554 5.2.252 SendAsDenied; ")
    assert (await client.send(b"Sender: scanner@contoso.com\r\n" + foreign)).startswith("250 2.0.0 OK ")
    exchange.tenant.strict_send_on_behalf = True
    assert (await client.send(b"Sender: scanner@contoso.com\r\n" + foreign)).startswith("554 5.2.252 ")


async def test_a_message_without_a_message_id_gets_one(client: Client) -> None:
    await client.sign_in()

    said = await client.send(MESSAGE.replace(b"Message-ID: <1@contoso.com>\r\n", b""))

    assert re.fullmatch(
        r"250 2\.0\.0 OK <SIM0PR01MB0001\d{12}@SIM0PR01MB0001\.simprd01\.prod\.outlook\.com> \[Hostname=.*\]", said
    )


async def test_a_message_beyond_the_limit_of_the_mailbox_is_refused_at_its_end(
    client: Client, exchange: ExchangeServer
) -> None:
    exchange.tenant.exchange.set_limits(user_of(exchange, SCANNER).object_id, message_size_bytes=1000)
    await client.sign_in()

    said = await client.send(MESSAGE + b"x" * 998 + b"\r\n")

    assert said == f"552 5.3.4 Message size exceeds fixed maximum message size {HOSTNAME}"
    assert (await client.send()).startswith("250 2.0.0 OK ")


async def test_a_head_without_end_is_refused(client: Client) -> None:
    await client.sign_in()

    said = await client.send(b"X-Filler: y\r\n" * 30_000)

    assert said == f"552 5.3.4 Header size exceeds fixed maximum size {HOSTNAME}"


async def test_25_megabytes_arrive_whole(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    line = base64.b64encode(bytes(range(57))) + b"\r\n"
    content = MESSAGE + line * (25 * 1024 * 1024 // len(line))

    assert (await client.send(content)).startswith("250 2.0.0 OK ")
    assert exchange.tenant.messages[0].content == content


# Limits and faults


async def test_the_fourth_connection_of_a_mailbox_is_refused_with_its_message(
    make_client: Callable[[], Client], exchange: ExchangeServer
) -> None:
    first, *others = [await make_client().sign_in() for _ in range(4)]
    other_mailbox = await make_client().sign_in(NOREPLY)

    assert [(await client.send())[:3] for client in (first, *others)] == ["250", "250", "250", "432"]
    assert (await others[-1].send()).startswith("432 4.3.2 Concurrent connections limit exceeded. ")
    assert (await other_mailbox.send(MESSAGE.replace(b"scanner@", b"noreply@", 1))).startswith("250 ")
    await first.ask("QUIT")
    assert await first.is_closed()
    assert (await others[-1].send()).startswith("250 2.0.0 OK ")


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("451@example.net", "451 4.7.0 Temporary server error. Please try again later. [tag]"),
        ("550@example.net", "550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [tag]"),
    ],
)
async def test_a_recipient_decides_its_own_fate_only(
    client: Client, exchange: ExchangeServer, address: str, reply: str
) -> None:
    await client.sign_in()

    said = await client.address("b@example.net", address)
    assert re.sub(TAG, "[tag]", said[-1]) == reply
    await client.ask("DATA")
    assert (await client.ask(MESSAGE + b".")).startswith("250 2.0.0 OK ")
    assert exchange.tenant.messages[0].recipients == ("b@example.net",)


async def test_421_says_so_and_closes(client: Client) -> None:
    await client.sign_in()
    await client.ask(f"MAIL FROM:<{SCANNER}>")

    assert await client.ask("RCPT TO:<421@example.net>") == "421 4.3.2 Service not available [tag]"
    assert await client.is_closed()


async def test_a_full_mailbox_is_said_at_the_end_of_the_message(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()

    assert (await client.send(recipient="mailbox-full@example.net")).startswith("554 5.2.2 mailbox full; STOREDRV")
    assert exchange.tenant.messages == []


async def test_once_strikes_a_message_once(client: Client, exchange: ExchangeServer) -> None:
    await client.sign_in()
    other = MESSAGE.replace(b"<1@", b"<2@")

    replies = [await client.send(content, "451-once@example.net") for content in (MESSAGE, MESSAGE, other, other)]

    assert [reply[:3] for reply in replies] == ["451", "250", "451", "250"]
    assert len(exchange.tenant.messages) == 2


async def test_slow_stores_at_once_and_answers_later(client: Client, exchange: ExchangeServer) -> None:
    exchange.slow_seconds = 0.05
    await client.sign_in()
    await client.address("slow@example.net")
    await client.ask("DATA")
    loop = asyncio.get_running_loop()
    started = loop.time()

    client.writer.write(MESSAGE + b".\r\nNOOP\r\n")

    assert await client.reply() == [f"250 2.0.0 OK <1@contoso.com> {HOSTNAME}"]
    assert loop.time() - started >= 0.04
    assert await client.reply() == ["250 2.0.0 OK"]
    assert exchange.tenant.messages[0].dialogue[-1] == f"S: 250 2.0.0 OK <1@contoso.com> {HOSTNAME}"


async def test_a_client_that_leaves_a_slow_answer_leaves_nothing_behind(
    client: Client, exchange: ExchangeServer
) -> None:
    exchange.slow_seconds = 3600
    await client.sign_in()
    await client.address("slow@example.net")
    await client.ask("DATA")
    session = next(iter(exchange._sessions))

    client.writer.write(MESSAGE + b".\r\n")
    await client.writer.drain()
    client.writer.close()

    await asyncio.wait_for(session.ended, 5)
    assert len(exchange.tenant.messages) == 1


@pytest.mark.parametrize(("fault", "stored"), [("drop-after-dot", 1), ("drop-before-store", 0)])
async def test_a_dropped_connection_may_or_may_not_have_stored_the_message(
    client: Client, exchange: ExchangeServer, fault: str, stored: int
) -> None:
    await client.sign_in()
    await client.address(f"{fault}@example.net")
    await client.ask("DATA")

    client.writer.write(MESSAGE + b".\r\n")

    assert await client.is_closed()
    assert len(exchange.tenant.messages) == stored
    if stored:
        assert exchange.tenant.messages[0].dialogue[-1] == "* the connection breaks without an answer"


# The end


async def test_stop_breaks_open_connections(make_client: Callable[[], Client], exchange: ExchangeServer) -> None:
    opened: list[Awaitable[Client]] = [make_client().greet(), make_client().secure(), make_client().sign_in()]
    clients = [await client for client in opened]
    in_handshake = await make_client().greet()
    assert await in_handshake.ask("STARTTLS") == "220 2.0.0 SMTP server ready"

    port = exchange.port
    await asyncio.wait_for(exchange.stop(), 1)

    assert [await client.is_closed() for client in [*clients, in_handshake]] == [True] * 4
    assert exchange._sessions == set()
    with pytest.raises(OSError):  # noqa: PT011 - whichever way the machine refuses
        await asyncio.open_connection("127.0.0.1", port)
