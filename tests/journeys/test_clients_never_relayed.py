"""Never an open relay: the classic relay forms without sign-in, and forged senders with it, at the running listener."""

import asyncio
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from postroom.server import Server
from tests.journeys.prepared import SCANNER, make_app, set_up_mail_server, simulator_of

pytestmark = pytest.mark.anyio

HOST, ADDRESS = "contoso.com", "127.0.0.1"
RELAY_FORMS = (
    ("<spam@evil.example>", "<victim@far.example>"),
    ("<spam>", "<victim@far.example>"),
    ("<>", "<victim@far.example>"),
    (f"<spam@{HOST}>", "<victim@far.example>"),
    (f"<{SCANNER}>", "<victim@far.example>"),
    (f"<spam@[{ADDRESS}]>", "<victim@far.example>"),
    (f"<spam@{HOST}>", f"<victim%far.example@{HOST}>"),
    (f"<spam@{HOST}>", f"<victim%far.example@[{ADDRESS}]>"),
    (f"<spam@{HOST}>", '<"victim@far.example">'),
    (f"<spam@{HOST}>", '<"victim%far.example">'),
    (f"<spam@{HOST}>", f"<victim@far.example@{HOST}>"),
    (f"<spam@{HOST}>", f'<"victim@far.example"@{HOST}>'),
    (f"<spam@{HOST}>", f"<victim@far.example@[{ADDRESS}]>"),
    (f"<spam@{HOST}>", f"<@{HOST}:victim@far.example>"),
    (f"<spam@{HOST}>", f"<@[{ADDRESS}]:victim@far.example>"),
    (f"<spam@{HOST}>", "<far.example!victim>"),
    (f"<spam@{HOST}>", f"<far.example!victim@{HOST}>"),
    (f"<spam@{HOST}>", f"<far.example!victim@[{ADDRESS}]>"),
    (f"<{SCANNER}>", f"<user@[{ADDRESS}]>"),
    (f"<{SCANNER}> AUTH=<{SCANNER}>", f"<{SCANNER}>"),
)
MESSAGE = b"From: spam@evil.example\r\nSubject: relayed\r\n\r\nrelayed\r\n.\r\n"

NOT_THIS_ONE = "may send as scanner@contoso.com only, not as {} (in {}). Change it under Apps & devices > HP 2nd floor"
FORGED_ENVELOPES = (
    ("ceo@contoso.com", 550, NOT_THIS_ONE),
    ("scanner@evil.example", 550, NOT_THIS_ONE),
    ("scanner@contoso.com.evil.example", 550, NOT_THIS_ONE),
    ('"scanner@contoso.com"@evil.example', 550, NOT_THIS_ONE),
    ("scanner%evil.example@contoso.com", 550, NOT_THIS_ONE),
    ("evil.example!scanner@contoso.com", 550, NOT_THIS_ONE),
    ("scanner@[127.0.0.1]", 550, NOT_THIS_ONE),
    ("scanner@cоntoso.com", 550, "may send as scanner@contoso.com only"),  # a Cyrillic о
    ("scanner@contoso.com@evil.example", 501, "check what stands before the @"),
    ("ceo", 550, "not as ceo@contoso.com (in the envelope)"),  # the default domain makes no forged sender a right one
    ("scanner@contoso.com.", 501, "check what stands after the @"),
)
FORGED_HEADS = (
    ("From: ceo@contoso.com", NOT_THIS_ONE.format("ceo@contoso.com", "From")),
    ("From: scanner@contoso.com, ceo@contoso.com", "names several senders in From"),
    ('From: "scanner@contoso.com" <ceo@contoso.com>', NOT_THIS_ONE.format("ceo@contoso.com", "From")),
    ("From: staff: scanner@contoso.com, ceo@contoso.com;", "From"),
    ("From : ceo@contoso.com", "ceo@contoso.com"),
    ("From:\r\n ceo@contoso.com", NOT_THIS_ONE.format("ceo@contoso.com", "From")),
    ("From: scanner@contoso.com\r\nSender: ceo@contoso.com", NOT_THIS_ONE.format("ceo@contoso.com", "Sender")),
    ("From: scanner@contoso.com\r\nFrom: ceo@contoso.com", "names several senders in From"),
    ("From: <ceo@contoso.com> <scanner@contoso.com>", "two addresses in angle brackets"),
    ("From: ceo@contoso.com <scanner@contoso.com", "an angle bracket is not closed"),
    ("Subject: no From at all", "has no From field with an address"),
)


@contextmanager
def connected(server: Server, *, with_tls: bool = True) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=20) as client:
        if with_tls:
            client.starttls(context=ssl._create_unverified_context())
        client.ehlo("client.example")
        yield client


def say(client: smtplib.SMTP, line: bytes) -> tuple[int, str]:
    client.send(line)
    code, text = client.getreply()
    return code, text.decode()


async def assert_nothing_came_in(server: Server) -> None:
    assert sum((await server.store.messages.counts()).values()) == 0
    assert simulator_of(server).tenant.messages == []


@pytest.mark.parametrize("with_tls", [True, False])
async def test_the_classic_forms_without_sign_in(running_server: Server, with_tls: bool) -> None:
    await set_up_mail_server(running_server)
    await make_app(running_server)
    reason = "5.7.0 Sign in first" if with_tls else "5.7.0 Start TLS first"

    def try_all() -> list[tuple[str, int, str]]:
        accepted = []
        for sender, recipient in RELAY_FORMS:
            with connected(running_server, with_tls=with_tls) as client:
                for line in (f"MAIL FROM:{sender}", f"RCPT TO:{recipient}", "DATA"):
                    code, text = say(client, f"{line}\r\n".encode())
                    if code != 530 or not text.startswith(reason):
                        accepted.append((line, code, text))
        return accepted

    assert await asyncio.to_thread(try_all) == []
    await assert_nothing_came_in(running_server)


async def test_the_classic_forms_in_one_flight(running_server: Server) -> None:
    """A client that does not wait for our replies gets no further."""
    await set_up_mail_server(running_server)

    def try_all() -> list[str]:
        replies = []
        for sender, recipient in RELAY_FORMS:
            with connected(running_server) as client:
                client.send(f"MAIL FROM:{sender}\r\nRCPT TO:{recipient}\r\nDATA\r\n".encode() + MESSAGE + b"NOOP\r\n")
                while (code := client.getreply()[0]) != 250:
                    replies.append(str(code))
        return replies

    replies = await asyncio.to_thread(try_all)
    assert len(replies) >= 3 * len(RELAY_FORMS)
    assert {code[0] for code in replies} == {"5"}
    await assert_nothing_came_in(running_server)


async def test_a_sender_outside_the_apps_list_is_refused(running_server: Server) -> None:
    await set_up_mail_server(running_server)
    app, password = await make_app(running_server, senders=(SCANNER,))

    def try_all() -> list[str]:
        trouble = []
        for address, wanted_code, sentence in FORGED_ENVELOPES:
            with connected(running_server) as client:
                client.login(app.login, password)
                for path in (f"<{address}>", f"<@contoso.com:{address}>"):
                    code, text = say(client, f"MAIL FROM:{path} SMTPUTF8\r\n".encode())
                    if code != wanted_code or sentence.format(address, "the envelope") not in text:
                        trouble.append(f"{path}: {code} {text}")
                assert say(client, b"MAIL FROM:<SCANNER@contoso.com>\r\n")[0] == 250, "the session goes on"
        return trouble

    assert await asyncio.to_thread(try_all) == []
    await assert_nothing_came_in(running_server)


async def test_a_forged_author_is_refused_with_the_sentence(running_server: Server) -> None:
    await set_up_mail_server(running_server)
    app, password = await make_app(running_server, senders=(SCANNER,))

    def try_all() -> list[str]:
        trouble = []
        with connected(running_server) as client:
            client.login(app.login, password)
            for head, sentence in FORGED_HEADS:
                client.mail(SCANNER)
                client.rcpt("victim@far.example")
                code, reply = client.data(f"{head}\r\nTo: victim@far.example\r\n\r\nPay at once.\r\n".encode())
                if code != 550 or sentence not in reply.decode():
                    trouble.append(f"{head!r}: {code} {reply.decode()}")
        return trouble

    assert await asyncio.to_thread(try_all) == []
    await assert_nothing_came_in(running_server)
