"""nmap and the classic relay forms at each listener of a running `postroom serve`: no stranger relays through it, and a
device that is known by its address sends as itself only."""

import asyncio
import smtplib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postroom.store.records import AppSettings
from tests.faults.serving import ALL_LISTENERS, SENDER, Postroom, postroom_in, wait_for, witness_in
from tests.journeys.judges import needs
from tests.journeys.test_clients_never_relayed import RELAY_FORMS

pytestmark = pytest.mark.anyio

STRANGER, PRINTER = "127.0.0.1", "127.0.0.5"
SMTPS = 465
"""nmap begins with TLS at the ports that it knows for it; elsewhere it waits in clear for twenty seconds first."""
NULL_SENDER = "MAIL FROM:<> -> RCPT TO:<relaytest@nmap.scanme.org>"
LISTENERS = ("smtp", "implicit_tls", "device")


def is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postroom, dict[str, str]]]:
    """All listeners, an app that signs in, and a printer that is known by its address."""
    folder = tmp_path_factory.mktemp("relay")
    with witness_in(folder) as witness, postroom_in(folder) as postroom:
        postroom.init()
        asyncio.run(set_up(postroom, witness.port))
        port = str(SMTPS) if is_free(SMTPS) else "0"
        serving = postroom.start(**ALL_LISTENERS, POSTROOM_IMPLICIT_TLS_PORT=port)
        yield postroom, serving.wait_until_ready()


async def set_up(postroom: Postroom, witness_port: int) -> None:
    await postroom.set_up(witness_port)
    printer = AppSettings(name="Old printer", addresses=(f"{PRINTER}/32",), needs_sign_in=False, allows_plain_text=True)
    store = await postroom.open_store()
    await store.apps.create_without_password(printer, "test")
    await store.close()


async def nmap(place: str, address: str) -> str:
    """What the script says, from the address of a stranger or of the printer."""
    words = ("-Pn", "-n", "-v", "--script", "+smtp-open-relay", "-p", place.rpartition(":")[2], "127.0.0.1")
    source = () if address == STRANGER else ("-S", address, "-e", "lo")
    program = await asyncio.create_subprocess_exec(
        "nmap", *source, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0, output
    return "\n".join(line for line in output.decode().splitlines() if line.startswith("|"))


@needs("nmap")
@pytest.mark.parametrize("listener", LISTENERS)
async def test_nmap_finds_no_open_relay(running: tuple[Postroom, dict[str, str]], listener: str) -> None:
    postroom, where = running
    said = await nmap(where[listener], STRANGER)
    print(said)
    assert "smtp-open-relay: Server" in said, "the script ran"
    assert "is an open relay" not in said
    assert not any(postroom.counts().values())


@needs("nmap")
async def test_nmap_may_say_no_more_than_the_null_sender_as_a_known_printer(
    running: tuple[Postroom, dict[str, str]],
) -> None:
    """Notices and automatic replies have none (RFC 5321 4.5.5); who shows as their author is checked all the same."""
    postroom, where = running
    said = await nmap(where["device"], PRINTER)
    print(said)
    assert "smtp-open-relay: Server is an open relay (1/16 tests)" in said
    assert NULL_SENDER in said
    forged = "From: ceo@witness.test\r\n\r\nPay at once.\r\n"
    with (
        smtplib.SMTP(*place_of(where["device"]), timeout=20, source_address=(PRINTER, 0)) as client,
        pytest.raises(smtplib.SMTPDataError, match=r"may send as scanner@witness\.test only"),
    ):
        client.sendmail("", ["victim@far.example"], forged)
    assert not any(postroom.counts().values())


@pytest.mark.parametrize("listener", LISTENERS)
async def test_the_classic_forms_of_a_stranger(running: tuple[Postroom, dict[str, str]], listener: str) -> None:
    postroom, where = running
    expected = (550, "5.7.1") if listener == "device" else (530, "5.7.0")
    accepted = [
        f"{line}: {code} {text}"
        for line, code, text in await asyncio.to_thread(try_all, listener, where[listener], STRANGER)
        if (code, text[:5]) != expected
    ]
    assert accepted == []
    assert not any(postroom.counts().values())


async def test_the_classic_forms_of_a_known_printer(running: tuple[Postroom, dict[str, str]]) -> None:
    """It may send as itself to whom it likes: no other sender is taken, and no recipient is read as another one."""
    postroom, where = running
    answers = await asyncio.to_thread(try_all, "device", where["device"], PRINTER)
    taken = [line for line, code, _ in answers if line.startswith("MAIL") and code == 250]
    assert taken == ["MAIL FROM:<>"]
    sent = await asyncio.to_thread(send_to_odd_recipients, place_of(where["device"]))
    wait_for(lambda: not any(postroom.open_counts().values()), "all of it is sent")
    details = await kept_recipients(postroom)
    assert details == sorted(sent), "as they were said, for the mail server to judge"


def try_all(listener: str, place: str, address: str) -> list[tuple[str, int, str]]:
    """Each line of each form, and what it was answered."""
    answers = []
    anything = ssl._create_unverified_context()
    for sender, recipient in RELAY_FORMS:
        connection = socket.create_connection(place_of(place), 20, source_address=(address, 0))
        if listener == "implicit_tls":
            connection = anything.wrap_socket(connection)
        client = smtplib.SMTP()
        client.sock, client.file = connection, None
        assert client.getreply()[0] == 220
        client.ehlo("client.example")
        if listener == "smtp":
            client._host = "localhost"  # type: ignore[attr-defined] # which starttls wants
            client.starttls(context=anything)
            client.ehlo("client.example")
        for line in (f"MAIL FROM:{sender}", f"RCPT TO:{recipient}", "DATA"):
            code, text = client.docmd(line)
            answers.append((line, code, text.decode()))
        client.close()
    return answers


def place_of(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def send_to_odd_recipients(place: tuple[str, int]) -> list[str]:
    """The forms that hide one address in another, from the sender that it may use; those that were accepted."""
    accepted = []
    for _, recipient in RELAY_FORMS:
        with smtplib.SMTP(*place, timeout=20, source_address=(PRINTER, 0)) as client:
            client.ehlo("printer.example")
            client.mail(SENDER)
            code, _ = client.docmd(f"RCPT TO:{recipient}")
            if code == 250:
                assert client.data(f"From: {SENDER}\r\n\r\nodd\r\n".encode())[0] == 250
                accepted.append(recipient.strip("<>").rpartition(":")[2])
    return accepted


async def kept_recipients(postroom: Postroom) -> list[str]:
    """Of all messages, after the server has stopped."""
    assert await asyncio.to_thread(postroom.runs[-1].terminate) == 0
    store = await postroom.open_store()
    rows, _ = await store.messages.search("", limit=200)
    await store.close()
    return sorted(address for row in rows for address in row.recipients)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"POSTROOM_LOCAL_HOST": "0.0.0.0"}, "local.host is 0.0.0.0, and whoever reaches that listener may send"),
        ({"POSTROOM_DEVICE_HOST": "203.0.113.5"}, "203.0.113.5, which is a public address"),
    ],
    ids=["local", "device"],
)
async def test_it_does_not_start_as_an_open_relay(tmp_path: Path, variables: dict[str, str], sentence: str) -> None:
    with postroom_in(tmp_path) as postroom:
        postroom.init()
        serving = postroom.start(**ALL_LISTENERS, **variables)
        assert await asyncio.to_thread(serving.wait_until_gone) == 1
        assert sentence in serving.said
