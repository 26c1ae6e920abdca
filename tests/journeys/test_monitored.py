"""A server as a monitor sees it: what goes through it shows in the metrics, and `promtool` has nothing against them."""

import asyncio
import smtplib
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from postroom.clock import MINUTE_US
from postroom.ids import public_id
from postroom.server import Server
from postroom.settings import MetricsSettings
from postroom.store.sending_settings import SendingSettings
from tests.journeys.judges import needs
from tests.journeys.prepared import (
    OPS,
    SCANNER,
    compose_mail,
    hand_in,
    make_app,
    rehearsal_settings,
    set_up_mail_server,
    simulator_of,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """It lets this machine read its metrics without a key."""
    settings = msgspec.structs.replace(rehearsal_settings(tmp_path), metrics=MetricsSettings(open_to_loopback=True))
    server = await Server.start(settings)
    yield server
    await server.stop()


async def ask(server: Server, path: str) -> httpx2.Response:
    async with httpx2.AsyncClient() as client:
        return await client.get(server.console_url.replace("localhost", "127.0.0.1") + path)


async def scrape(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await ask(server, "/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (it.name.removeprefix("postroom_"), frozenset(it.labels.items())): it.value
        for family in text_string_to_metric_families(answer.text)
        for it in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset((label.rstrip("_"), value) for label, value in labels.items())


async def test_a_message_is_followed_from_the_listener_to_microsoft(server: Server) -> None:
    await set_up_mail_server(server)
    app, password = await make_app(server)
    await hand_in(server, app.login, password, compose_mail(SCANNER, (OPS,), "Monitored"))
    with pytest.raises(smtplib.SMTPException):
        await hand_in(server, app.login, password, compose_mail("ceo@contoso.com", (OPS,), "Forged"))
    await until(lambda: bool(simulator_of(server).tenant.messages), "the message arrives")
    found = await scrape(server)
    attempts = key("delivery_attempts_total", result="sent", class_="", code="")
    while attempts not in found:  # counted after it was settled
        found = await scrape(server)
    mailbox = public_id((await server.store.mailboxes.all())[0].mailbox_id)
    assert found[key("messages_finished_total", status="sent", class_="")] == 1
    assert found[key("messages_received_total", listener="submission", app="HP 2nd floor")] == 1
    assert found[key("messages_refused_total", listener="submission", reason="sender_not_allowed")] == 1
    assert found[attempts] == 1
    assert found[key("delivery_duration_seconds_count")] == 1
    assert found[key("oauth_refresh_total", result="renewed")] >= 1
    assert found[key("mailbox_ready", mailbox=mailbox)] == 1
    for name, labels in (
        ("oauth_token_expiry_timestamp_seconds", {"mailbox": mailbox, "resource": "smtp"}),
        ("credential_expiry_timestamp_seconds", {"kind": "client_secret", "mailbox": mailbox}),
        ("credential_expiry_timestamp_seconds", {"kind": "tls_certificate", "mailbox": ""}),
    ):
        assert found[key(name, **labels)] > time.time(), (name, labels)


async def test_open_connections_are_counted_by_listener(server: Server) -> None:
    def connect() -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", server.submission_port, timeout=20)

    client = await asyncio.to_thread(connect)
    try:
        assert (await scrape(server))[key("smtp_connections", listener="submission", tls="none")] == 1
    finally:
        await asyncio.to_thread(client.quit)


async def test_the_canary_flies_through_all_of_it_and_its_age_is_told(server: Server) -> None:
    await set_up_mail_server(server)
    settings = msgspec.structs.replace(SendingSettings(), canary_is_on=True, canary_every_us=5 * MINUTE_US)
    await server.store.sending_settings.save(settings, "test")
    arrived = simulator_of(server).tenant.messages
    await until(lambda: bool(arrived), "the canary arrives")
    assert arrived[0].recipients == (OPS,)
    found = await scrape(server)
    while key("messages_finished_total", status="sent", class_="") not in found:
        found = await scrape(server)
    assert 0 <= found[key("canary_age_seconds")] < 30
    assert found[key("canary_period_seconds")] == 300
    assert found[key("messages_received_total", listener="canary", app="Postroom")] == 1


async def test_it_is_ready_until_it_stops_also_while_the_mail_server_is_away(server: Server) -> None:
    await set_up_mail_server(server)
    await simulator_of(server).stop()
    app, password = await make_app(server)
    await hand_in(server, app.login, password, compose_mail(SCANNER, (OPS,), "Waits"))
    answer = await ask(server, "/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert (await ask(server, "/livez")).status_code == 200


@needs("promtool", "prometheus")
async def test_promtool_has_nothing_to_complain_of(server: Server) -> None:
    await set_up_mail_server(server)
    app, password = await make_app(server)
    await hand_in(server, app.login, password, compose_mail(SCANNER, (OPS,), "Judged"))
    await server.store.sending_settings.save(SendingSettings(canary_is_on=True), "test")
    page = (await ask(server, "/metrics")).text
    judged = await asyncio.to_thread(
        subprocess.run, ["promtool", "check", "metrics"], input=page, capture_output=True, text=True
    )
    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")
