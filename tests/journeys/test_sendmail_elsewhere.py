"""`sendmail` on a machine without the server: by SMTP, signed in over TLS."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from postroom.server import Server
from postroom.settings import SmtpSettings
from tests.journeys.machine import Machine, a_machine
from tests.journeys.prepared import SCANNER, make_app, rehearsal_settings, set_up_mail_server

pytestmark = pytest.mark.anyio

MESSAGE = f"From: {SCANNER}\nTo: ops@fabrikam.example\nSubject: from elsewhere\n\ntext\n.\n"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with a_machine() as machine:
        yield machine


@pytest.fixture
async def server(tmp_path: Path, machine: Machine) -> AsyncIterator[Server]:
    """On "another machine", with a certificate that this one can trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(machine.folder / "ca.pem"))
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    smtp = SmtpSettings(
        host_name="postroom.example",
        certificate_file=str(tmp_path / "chain.pem"),
        private_key_file=str(tmp_path / "key.pem"),
    )
    server = await Server.start(msgspec.structs.replace(rehearsal_settings(tmp_path), smtp=smtp))
    await set_up_mail_server(server)
    yield server
    await server.stop()


async def configure(machine: Machine, server: Server, **changes: str | int) -> None:
    app, password = await make_app(server, "Web server")
    (machine.folder / "password").write_text(f"{password}\n")
    keys: dict[str, str | int] = {
        "host": "localhost",
        "port": server.submission_port,
        "user": app.login,
        "password_file": str(machine.folder / "password"),
        "ca_file": str(machine.folder / "ca.pem"),
    }
    lines = [f"{key} = {value!r}" for key, value in (keys | changes).items()]
    (machine.folder / "sendmail.toml").write_text("\n".join(lines))


async def test_a_message_goes_to_the_other_machine(machine: Machine, server: Server) -> None:
    await configure(machine, server)
    ended = await machine.run(machine.sendmail, "-v", "-t", "-i", "-f", SCANNER, message=MESSAGE)
    assert (ended.returncode, ended.stderr) == (0, "")
    [row], _ = await server.store.messages.search("")
    detail = await server.store.messages.find(row.message_id)
    assert detail is not None
    assert (detail.row.subject, detail.reception.local_user) == ("from elsewhere", None)
    assert detail.reception.tls_version is not None
    assert ended.stdout.startswith("Queued as ")


async def test_a_name_without_a_domain_gets_the_machines(machine: Machine, server: Server) -> None:
    await configure(machine, server, default_domain="contoso.com")
    ended = await machine.run(machine.sendmail, "-f", "scanner", "ops", message="From: scanner@contoso.com\n\ntext\n")
    assert (ended.returncode, ended.stderr) == (0, "")
    [row], _ = await server.store.messages.search("")
    assert row.recipients == ("ops@contoso.com",)


@pytest.mark.parametrize(
    ("changes", "exit_code", "part"),
    [
        ({"user": "nobody"}, os.EX_NOPERM, "does not let nobody sign in: 535"),
        ({"ca_file": ""}, os.EX_CONFIG, "does not show a certificate to trust"),
        ({"password_file": "/nonexistent"}, os.EX_CONFIG, "cannot be read from /nonexistent"),
        ({"tls": "none", "user": ""}, os.EX_NOPERM, "530 5.7.0"),
        ({"tls": "implicit"}, os.EX_TEMPFAIL, "localhost:"),
        ({"port": 1}, os.EX_TEMPFAIL, "Connection refused"),
    ],
)
async def test_what_is_wrong_is_told_in_one_line(
    machine: Machine, server: Server, changes: dict[str, str | int], exit_code: int, part: str
) -> None:
    await configure(machine, server, **changes)
    ended = await machine.run(machine.sendmail, "-t", "-f", SCANNER, message=MESSAGE)
    assert ended.returncode == exit_code, ended.stderr
    assert part in ended.stderr
    assert ended.stderr.startswith("sendmail: ")
    assert len(ended.stderr.splitlines()) == 1


async def test_smtp_on_standard_input_is_carried_over_tls(machine: Machine, server: Server) -> None:
    await configure(machine, server)
    said = f"EHLO db1\r\nMAIL FROM:<{SCANNER}>\r\nRCPT TO:<ops@fabrikam.example>\r\nRSET\r\nQUIT\r\n"
    ended = await machine.run(machine.sendmail, "-bs", message=said)
    assert (ended.returncode, ended.stderr) == (0, "")
    codes = [line[:3] for line in ended.stdout.splitlines() if line[3:4] == " "]
    assert codes == ["220", "250", "250", "250", "250", "221"]


async def test_the_queue_is_where_the_server_is(machine: Machine, server: Server) -> None:
    await configure(machine, server)
    ended = await machine.run("mailq")
    assert (ended.returncode, ended.stderr) == (
        os.EX_UNAVAILABLE,
        "mailq: The queue is on localhost: see its console, or ask mailq there.\n",
    )
