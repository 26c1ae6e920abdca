"""The host names of every national cloud, on the wire: names of the certificates, and who answers."""

import json
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator

import anyio
import pytest

from postroom.simulator.clouds import CHINA, CLOUDS, GRAPH_HOSTS, LOGIN_HOSTS, SMTP_HOSTS, Cloud
from postroom.simulator.service import Simulator

pytestmark = pytest.mark.anyio


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await Simulator.start()
    try:
        yield running
    finally:
        await running.stop()


def ask(simulator: Simulator, host: str, path: str) -> tuple[int, str]:
    """One GET under a host's own name, its certificate checked against the simulator's authority."""
    context = ssl.create_default_context(cadata=simulator.ca_pem.decode())
    with (
        socket.create_connection(("127.0.0.1", simulator.https_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        wrapped.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize("cloud", CLOUDS, ids=[cloud.name for cloud in CLOUDS])
async def test_each_cloud_answers_under_its_names(simulator: Simulator, cloud: Cloud) -> None:
    simulator.tenant.cloud = cloud
    path = f"/{simulator.tenant.tenant_id}/v2.0/.well-known/openid-configuration"
    for host in LOGIN_HOSTS:
        status, body = await anyio.to_thread.run_sync(ask, simulator, host, path)
        found = json.loads(body)
        if host == cloud.login_host:
            assert (status, found["msgraph_host"]) == (200, cloud.graph_host)
        else:
            assert (status, found["error_codes"]) == (400, [90038])
    for host in GRAPH_HOSTS:
        status, _ = await anyio.to_thread.run_sync(ask, simulator, host, "/oidc/userinfo")
        assert status == 401


@pytest.mark.parametrize("host", SMTP_HOSTS)
async def test_the_mail_servers_certificate_holds_every_name(simulator: Simulator, host: str) -> None:
    context = ssl.create_default_context(cadata=simulator.ca_pem.decode())

    def upgrade() -> int:
        with smtplib.SMTP("127.0.0.1", simulator.smtp_port, timeout=10) as client:
            client._host = host  # type: ignore[attr-defined]  # the name that smtplib checks
            client.starttls(context=context)
            number, _ = client.ehlo()
            return number

    assert await anyio.to_thread.run_sync(upgrade) == 250


async def test_instance_discovery_lists_the_clouds(simulator: Simulator) -> None:
    status, body = await anyio.to_thread.run_sync(ask, simulator, CHINA.login_host, "/common/discovery/instance")
    aliases = [entry["aliases"][0] for entry in json.loads(body)["metadata"]]
    assert (status, aliases) == (200, list(LOGIN_HOSTS))
