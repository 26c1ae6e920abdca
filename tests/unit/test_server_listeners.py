"""The four listeners of a whole server, from the settings to the store."""

import asyncio
import smtplib
import socket
import ssl
from pathlib import Path

import pytest

from postroom.server import Server
from postroom.settings import (
    ConsoleSettings,
    DeviceSettings,
    ImplicitTlsSettings,
    LocalSettings,
    SendmailSettings,
    Settings,
    SmtpSettings,
    SubmissionSettings,
)
from postroom.store.records import AppSettings, RefusedClient

pytestmark = pytest.mark.anyio


def loopback_addresses() -> str:
    """Both, or IPv4's alone on a machine without IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return "127.0.0.1"
    return "127.0.0.1 ::1"


HOSTS = loopback_addresses()


def settings_in(folder: Path) -> Settings:
    return Settings(
        data_folder=str(folder / "data"),
        console=ConsoleSettings(port=0),
        smtp=SmtpSettings(host_name="postroom.example"),
        submission=SubmissionSettings(port=0, host=HOSTS),
        implicit_tls=ImplicitTlsSettings(enabled=True, port=0, host=HOSTS),
        local=LocalSettings(enabled=True, port=0, host=HOSTS),
        device=DeviceSettings(enabled=True, port=0, host=HOSTS),
        sendmail=SendmailSettings(enabled=False),
    )


def speak(ports: dict[str, int], host: str, trust: ssl.SSLContext) -> dict[str, tuple[int, str]]:
    """What each listener says to a stranger's MAIL; the certificate must name the address."""
    said: dict[str, tuple[int, str]] = {}
    with smtplib.SMTP(host, ports["submission"], timeout=20) as client:
        client.starttls(context=trust)
        said["submission"] = mail(client)
    with smtplib.SMTP_SSL(host, ports["implicit_tls"], timeout=20, context=trust) as client:
        said["implicit_tls"] = mail(client)
    for section in ("local", "device"):
        with smtplib.SMTP(host, ports[section], timeout=20) as client:
            said[section] = mail(client)
    return said


def mail(client: smtplib.SMTP) -> tuple[int, str]:
    client.ehlo("printer")
    code, text = client.mail("scanner@contoso.example")
    return code, text.decode()


@pytest.mark.parametrize("host", HOSTS.split())
async def test_each_listener_asks_what_it_should_and_the_refused_are_remembered(tmp_path: Path, host: str) -> None:
    server = await Server.start(settings_in(tmp_path))
    try:
        ports = {plan.section: plan.port for plan in server.listeners}
        assert (server.submission_host, server.submission_port) == ("127.0.0.1", ports["submission"])
        trust = ssl.create_default_context(cafile=str(tmp_path / "data" / "listener.crt"))
        said = await asyncio.to_thread(speak, ports, host, trust)
    finally:
        await server.stop()
    assert {section: code for section, (code, _) in said.items()} == {
        "submission": 530,
        "implicit_tls": 530,
        "local": 451,  # "This machine" has no sender before the mail server is set up
        "device": 550,
    }
    assert said["device"][1] == f"5.7.1 {host} is not a known device; add it under Apps & devices"
    [refused] = await refused_clients_after_a_restart(tmp_path)
    assert (refused.address, refused.listener, refused.helo) == (host, "device", "printer")
    assert (refused.code, refused.attempts) == ("unknown_device", 3)


async def refused_clients_after_a_restart(folder: Path) -> list[RefusedClient]:
    server = await Server.start(settings_in(folder))
    try:
        return await server.store.refused_clients.list()
    finally:
        await server.stop()


async def test_a_device_that_is_named_is_served_at_once(tmp_path: Path) -> None:
    server = await Server.start(settings_in(tmp_path))
    try:
        await server.store.apps.create_without_password(
            AppSettings(
                name="HP",
                senders=("scanner@contoso.example",),
                addresses=("127.0.0.1",),
                needs_sign_in=False,
                allows_plain_text=True,
            ),
            "test",
        )
        ports = {plan.section: plan.port for plan in server.listeners}

        def send() -> tuple[int, str]:
            with smtplib.SMTP("127.0.0.1", ports["device"], timeout=20) as client:
                return mail(client)

        assert await asyncio.to_thread(send) == (250, "2.1.0 Sender OK")
    finally:
        await server.stop()
