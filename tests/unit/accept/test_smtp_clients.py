"""Who a client is, before its first word: load balancers, TLS from bytes, strangers, and what holds for each."""

import asyncio
import contextlib
import getpass
import socket
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

from postroom.accept.client import TlsContexts
from postroom.accept.networks import parse_networks
from postroom.accept.profiles import DEVICE, IMPLICIT_TLS, SUBMISSION, ListenerLimits, ListenerProfile, local_profile
from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.store.records import App
from tests.unit.accept.fake_store import PASSWORD, SCANNER
from tests.unit.accept.test_smtp_session import ENVELOPE, MESSAGE, Tap, World, on_virtual_time, settle

PRINTER = "10.2.3.77"
DEVICE_APP = msgspec.structs.replace(SCANNER, addresses=(PRINTER,), needs_sign_in=False, allows_plain_text=True)


@pytest.fixture(scope="module")
def tls() -> TlsContexts:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("relay.example").configure_cert(context)
    return TlsContexts(context)


class TlsEnd:
    """The client's end of TLS on a tap."""

    def __init__(self, tap: Tap) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._tap = tap
        self._taken = len(tap.said)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing)

    def hello(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._ssl.do_handshake()
        return self._outgoing.read()

    async def shake_hands(self) -> None:
        for _ in range(5):
            await self._exchange()
            with contextlib.suppress(ssl.SSLWantReadError):
                self._ssl.do_handshake()
                await self._exchange()
                return
        raise AssertionError("no TLS came about")

    async def say(self, data: bytes) -> str:
        self._ssl.write(data)
        await self._exchange()
        return self.hear()

    def hear(self) -> str:
        self._incoming.write(self._tap.said[self._taken :])
        self._taken = len(self._tap.said)
        heard = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while part := self._ssl.read(65536):
                heard += part
        return heard.decode()

    def sealed(self, data: bytes) -> bytes:
        self._ssl.write(data)
        return self._outgoing.read()

    async def _exchange(self) -> None:
        outgoing = self._outgoing.read()
        for start in range(0, len(outgoing), 700):  # as packets come
            self._tap.hear(outgoing[start : start + 700])
            await settle()
        await settle()
        self._incoming.write(self._tap.said[self._taken :])
        self._taken = len(self._tap.said)


async def under_tls(world: World) -> tuple[Tap, TlsEnd]:
    tap = await world.connect()
    await world.talk(tap, b"STARTTLS\r\n")
    end = TlsEnd(tap)
    await end.shake_hands()
    return tap, end


# ---- TLS ----


def test_the_greeting_needs_no_time(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        assert (await world.connect(PRINTER)).said == b"220 relay.example ESMTP Postroom\r\n"

    for profile in (SUBMISSION, DEVICE, local_profile(SCANNER)):
        assert on_virtual_time(scenario, profile=profile, tls=tls) == 0


def test_a_message_comes_under_tls_in_any_packets(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        _, end = await under_tls(world)
        assert (await end.say(ENVELOPE)).endswith("354 End the message with <CR><LF>.<CR><LF>\r\n")
        body = b"line of a long message\r\n" * 40_000
        answer = await end.say(MESSAGE[:-3] + body + b".\r\nQUIT\r\n")
        assert [line[:4] for line in answer.splitlines()] == ["250 ", "221 "]
        assert world.store.outbox.kept[0].reception.tls_version == "TLSv1.3"
        assert body in world.store.bodies.writers[0].content

    on_virtual_time(scenario, profile=local_profile(SCANNER), tls=tls)


def test_tls_first_takes_what_came_with_the_header_of_its_load_balancer(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect("192.0.2.1")
        end = TlsEnd(tap)
        tap.hear(f"PROXY TCP4 {PRINTER} 10.2.3.4 40000 465\r\n".encode() + end.hello())
        await settle()
        await end.shake_hands()
        assert end.hear() == "220 relay.example ESMTP Postroom\r\n"
        await end.say(b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0hp-2f\0{PASSWORD}".encode()) + b"\r\n")
        assert world.store.apps.uses == [(7, PRINTER, "TLSv1.3")]

    on_virtual_time(scenario, profile=IMPLICIT_TLS, tls=tls, proxies=parse_networks("192.0.2.1"))


def test_a_record_that_was_changed_on_its_way_ends_the_connection_and_keeps_nothing(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap, end = await under_tls(world)
        await end.say(ENVELOPE + MESSAGE[:20])
        record = bytearray(end.sealed(MESSAGE[20:]))
        record[-1] ^= 1
        tap.hear(bytes(record))
        await settle()
        assert tap.is_closing()
        assert world.store.outbox.kept == []

    on_virtual_time(scenario, profile=local_profile(SCANNER), tls=tls)


def test_a_message_without_end_is_none_when_tls_ends(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap, end = await under_tls(world)
        await end.say(ENVELOPE + MESSAGE[:-3])
        tap.protocol.eof_received()
        await settle()
        assert tap.is_closing()
        assert world.store.outbox.kept == []

    on_virtual_time(scenario, profile=local_profile(SCANNER), tls=tls)


def test_stopping_says_goodbye_under_tls(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        _, end = await under_tls(world)
        await world.server.stop(30)
        assert end.hear() == "421 4.3.2 Postroom is shutting down; send again in a minute\r\n"

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls)


@pytest.mark.parametrize("profile", [SUBMISSION, IMPLICIT_TLS])
def test_stopping_waits_for_no_handshake(profile: ListenerProfile, tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        if profile is SUBMISSION:
            await world.talk(tap, b"STARTTLS\r\n")
        tap.hear(TlsEnd(tap).hello()[:40])
        said = tap.said
        await world.server.stop(30)
        assert tap.is_closing()
        assert tap.said == said

    assert on_virtual_time(scenario, profile=profile, tls=tls) < 1


def test_stopping_waits_for_no_load_balancer(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect("192.0.2.1")
        await world.server.stop(30)
        assert tap.is_closing()

    proxies = parse_networks("192.0.2.1")
    assert on_virtual_time(scenario, profile=SUBMISSION, tls=tls, proxies=proxies) < 1


@pytest.mark.parametrize("profile", [SUBMISSION, IMPLICIT_TLS])
def test_a_handshake_that_does_not_go_on_ends_and_is_noted(profile: ListenerProfile, tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        if profile is SUBMISSION:
            await world.talk(tap, b"STARTTLS\r\n")
        said = tap.said
        tap.hear(TlsEnd(tap).hello()[:40])
        await asyncio.sleep(29)
        assert not tap.is_closing()
        await asyncio.sleep(2)
        assert tap.is_closing()
        assert tap.said == said
        assert [(it.code, it.address) for it in world.refused] == [("old_tls", "192.0.2.7")]

    on_virtual_time(scenario, profile=profile, tls=tls)


def test_a_client_that_goes_during_the_handshake_leaves_nothing_behind(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await world.talk(tap, b"STARTTLS\r\n")
        tap.close()
        await settle()
        assert world.server.connection_count == 0

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls)


def test_where_tls_comes_first_nothing_is_said_in_clear(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        await world.connect()
        refused = await world.connect()
        assert refused.is_closing()
        await world.server.stop(0)
        late = await world.connect()
        assert refused.said == late.said == b""

    on_virtual_time(scenario, profile=IMPLICIT_TLS, tls=tls, limits=ListenerLimits(connection_limit=1))


# ---- strangers ----


def test_a_stranger_may_be_silent_for_a_minute(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect()
        await asyncio.sleep(61)
        assert tap.last == "421 4.4.2 Nothing came for 60 seconds; goodbye"
        _, end = await under_tls(world)
        await end.say(b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0hp-2f\0{PASSWORD}".encode()) + b"\r\n")
        await asyncio.sleep(299)
        assert "250 2.0.0 OK" in await end.say(b"NOOP\r\n")

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls)


def test_when_all_places_are_taken_the_most_silent_stranger_gives_way(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        known, end = await under_tls(world)
        await end.say(b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0hp-2f\0{PASSWORD}".encode()) + b"\r\n")
        silent = await world.connect("192.0.2.1")
        await asyncio.sleep(3)
        talking = await world.connect("192.0.2.2")
        early = await world.connect("192.0.2.3")
        assert early.last.startswith("421 4.7.0 All 3 connections are in use")
        await asyncio.sleep(3)
        late = await world.connect("192.0.2.3")
        assert late.last.startswith("220 ")
        assert silent.last.startswith("421 4.7.0 All connections are in use, and you said nothing for a while")
        assert not known.is_closing()
        assert not talking.is_closing()
        assert world.server.connection_count == 3

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls, limits=ListenerLimits(connection_limit=3))


def test_a_load_balancer_that_says_nothing_is_hung_up_on(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        tap = await world.connect("192.0.2.1")
        await asyncio.sleep(31)
        assert (tap.said, tap.is_closing()) == (b"", True)
        assert world.refused == []

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls, proxies=parse_networks("192.0.2.0/24"))


def test_whoever_is_behind_a_load_balancer_is_counted_alone(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        taps = []
        for client in ("10.2.3.1", "10.2.3.2", "10.2.3.1"):
            taps.append(await world.connect("192.0.2.1"))
            taps[-1].hear(f"PROXY TCP4 {client} 10.2.3.4 40000 25\r\n".encode())
            await settle()
        assert [tap.last[:3] for tap in taps] == ["220", "220", "421"]

    limits = ListenerLimits(client_connection_limit=1)
    on_virtual_time(scenario, profile=SUBMISSION, tls=tls, limits=limits, proxies=parse_networks("192.0.2.1"))


def test_unknown_names_and_wrong_passwords_are_answered_alike_and_after_the_same_time(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        told = []
        for number, login in enumerate(("hp-2f", "nobody")):
            tap = await world.connect(f"192.0.2.{number}")
            await world.talk(tap, b"STARTTLS\r\n")
            end = TlsEnd(tap)
            await end.shake_hands()
            began = asyncio.get_running_loop().time()
            answer = await end.say(b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0{login}\0wrong".encode()) + b"\r\n")
            while "535" not in answer:
                await asyncio.sleep(0.125)
                answer = end.hear()
            told.append((answer.replace(login, "?"), asyncio.get_running_loop().time() - began))
        assert told[0] == told[1]
        assert told[0][1] == pytest.approx(1, abs=0.2)

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls)


@pytest.mark.parametrize(
    ("trouble", "reply"),
    [
        (StoreUnavailableError("away"), "454 4.7.0 Signing in is not possible now; try again later"),
        (StoreFullError("full"), "452 4.3.1 The store of waiting mail is full; tell the administrator, and send again"),
    ],
)
def test_a_sign_in_that_the_store_cannot_judge_is_no_failed_one(
    trouble: Exception, reply: str, tls: TlsContexts
) -> None:
    async def scenario(world: World) -> None:
        _, end = await under_tls(world)
        world.store.apps.trouble = trouble
        answer = await end.say(b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0hp-2f\0{PASSWORD}".encode()) + b"\r\n")
        assert reply in answer
        assert world.refused == []

    on_virtual_time(scenario, profile=SUBMISSION, tls=tls)


# ---- devices ----


def test_what_is_taken_from_a_device_holds_for_connections_that_are_open(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        world.store.apps.apps = {"hp-2f": DEVICE_APP}
        tap = await world.connect(PRINTER)
        answer = await world.talk(tap, ENVELOPE + MESSAGE)
        assert answer.splitlines()[-1].startswith("250 2.0.0 OK queued")
        assert world.store.apps.uses == [(7, PRINTER, "")]
        world.store.apps.apps = {"hp-2f": msgspec.structs.replace(DEVICE_APP, addresses=("10.2.3.78",))}
        answer = await world.talk(tap, b"MAIL FROM:<scanner@contoso.example>\r\n")
        assert answer == f"550 5.7.1 {PRINTER} is not a known device; add it under Apps & devices\r\n"

    on_virtual_time(scenario, profile=DEVICE, tls=tls)


@pytest.mark.parametrize(("allows_plain_text", "code"), [(True, "235"), (False, "535")])
def test_what_a_neighbour_is_allowed_is_not_allowed_to_another_app(
    allows_plain_text: bool, code: str, tls: TlsContexts
) -> None:
    async def scenario(world: World) -> None:
        other = App(app_id=8, name="Other", login="other", addresses=(PRINTER,), allows_plain_text=allows_plain_text)
        world.store.apps.apps = {"hp-2f": DEVICE_APP, "other": other}
        tap = await world.connect(PRINTER)
        await world.talk(tap, b"EHLO x\r\nAUTH PLAIN " + b64encode(f"\0other\0{PASSWORD}".encode()) + b"\r\n")
        await asyncio.sleep(2)
        assert tap.last.startswith(code)
        assert [it.code for it in world.refused] == ([] if code == "235" else ["address_not_allowed"])

    on_virtual_time(scenario, profile=DEVICE, tls=tls)


def test_a_device_is_not_served_on_an_address_of_ours_that_is_public(tls: TlsContexts) -> None:
    """An address that was added to the machine after the start."""

    async def scenario(world: World) -> None:
        world.store.apps.apps = {"hp-2f": DEVICE_APP}
        tap = Tap(PRINTER)
        tap._extra["sockname"] = ("8.8.8.8", 25)  # type: ignore[attr-defined]
        tap.protocol = world.server.make_session()
        tap.protocol.connection_made(tap)
        await settle()
        assert tap.last.startswith(f"554 5.7.1 {PRINTER} is a public address")

    on_virtual_time(scenario, profile=DEVICE, tls=tls)


def test_a_store_that_is_away_keeps_nobody_waiting(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        async def away(address: str) -> App | None:
            raise StoreUnavailableError("away")

        world.store.apps.at_address = away  # type: ignore[method-assign]
        tap = await world.connect(PRINTER)
        assert tap.last == "421 4.3.0 Clients cannot be recognised now; try again later"

    on_virtual_time(scenario, profile=DEVICE, tls=tls)


def test_a_use_that_cannot_be_noted_stops_no_mail(tls: TlsContexts) -> None:
    async def scenario(world: World) -> None:
        async def full(app_id: int, address: str, tls: str, mechanism: str = "") -> None:
            raise StoreFullError("full")

        world.store.apps.note_use = full  # type: ignore[method-assign]
        world.store.apps.apps = {"hp-2f": DEVICE_APP}
        tap = await world.connect(PRINTER)
        assert "250 2.0.0 OK queued" in await world.talk(tap, ENVELOPE + MESSAGE)

    on_virtual_time(scenario, profile=DEVICE, tls=tls)


# ---- this machine ----


@pytest.mark.anyio
async def test_users_of_this_machine_are_known_by_their_process(tmp_path: Path) -> None:
    world = World()
    path = tmp_path / "s"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    class Desk:
        async def list(self, user: object) -> list[str]:
            return ["1 messages", '{"subject": "Grüße"}']

        async def flush(self, user: object, only: str) -> str:
            return f"{only} is tried again"

    desk: Any = Desk()
    await world.server.start_unix(listening, desk)
    reader, writer = await asyncio.open_unix_connection(path)

    async def ask(command: bytes) -> list[str]:
        writer.write(command)
        lines = [(await reader.readline()).decode()]
        while lines[-1][3:4] == "-":
            lines.append((await reader.readline()).decode())
        return lines

    try:
        assert (await reader.readline()).startswith(b"220 ")
        assert not any("AUTH" in line or "STARTTLS" in line for line in await ask(b"EHLO localhost\r\n"))
        assert await ask(b"AUTH PLAIN AGEAYg==\r\n") == [
            "502 5.5.1 AUTH is not offered here: the system says who you are\r\n"
        ]
        assert await ask(b"STARTTLS\r\n") == ["502 5.5.1 STARTTLS is not offered here\r\n"]
        assert await ask(b"XQUEUE\r\n") == ["250-1 messages\r\n", '250 {"subject": "Grüße"}\r\n']
        assert await ask(b"XFLUSH 0A\r\n") == ["250 2.0.0 0A is tried again\r\n"]
        for command in (b"MAIL FROM:<scanner@contoso.example>\r\n", b"RCPT TO:<bob@fabrikam.example>\r\n", b"DATA\r\n"):
            assert (await ask(command))[0][0] in "23"
        assert (await ask(MESSAGE))[0].startswith("250 2.0.0 OK queued")
    finally:
        writer.close()
        await world.server.stop(1)
        listening.close()
    reception = world.store.outbox.kept[0].reception
    assert (reception.way, reception.local_user, reception.peer_address) == ("sendmail", getpass.getuser(), None)
