"""`postroom simulate`: the simulated Microsoft 365 alone, to test any mail program against."""

import asyncio
import signal
import sys
from pathlib import Path

import click

from postroom.simulator.clock import SimulatorClock
from postroom.simulator.service import Simulator
from postroom.simulator.tenant import contoso, empty_tenant

LOOPBACK = "127.0.0.1"
PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--http-port", type=PORT, default=8026, show_default=True, help="The pages for people.")
@click.option("--https-port", type=PORT, default=8443, show_default=True, help="Entra ID and Graph, over TLS.")
@click.option("--smtp-port", type=PORT, default=8587, show_default=True, help="Exchange Online's SMTP.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the certificate to trust here. It is made anew at each start.",
)
@click.option("--empty", is_flag=True, help="Start without users, to walk the whole way from the beginning.")
def simulate(http_port: int, https_port: int, smtp_port: int, ca_file: Path | None, empty: bool) -> None:
    """Start the simulated Microsoft 365 alone, on loopback only; Ctrl-C stops it. A port of 0 takes a free one."""
    try:
        asyncio.run(_simulate(http_port, https_port, smtp_port, ca_file, empty))
    except OSError as trouble:
        raise click.ClickException(f"{trouble.strerror}. Choose other ports, or another file.") from None


async def _simulate(http_port: int, https_port: int, smtp_port: int, ca_file: Path | None, empty: bool) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    tenant = (empty_tenant if empty else contoso)(SimulatorClock())
    simulator = await Simulator.start(LOOPBACK, http_port, https_port, smtp_port, tenant)
    try:
        if ca_file is not None:
            ca_file.write_bytes(simulator.ca_pem)  # noqa: ASYNC240 - nobody is served yet
        _say_where(simulator, ca_file)
        await told_to_stop.wait()
    finally:
        await simulator.stop()


def _say_where(simulator: Simulator, ca_file: Path | None) -> None:
    """What a program must be pointed at: names as they are, addresses on this machine."""
    click.echo("Simulated Microsoft 365: nothing leaves this machine.")
    click.echo(f"Pages                          {simulator.http_url}")
    click.echo(f"smtp.office365.com:587         {LOOPBACK}:{simulator.smtp_port} (STARTTLS)")
    for name in ("login.microsoftonline.com:443", "graph.microsoft.com:443"):
        click.echo(f"{name:<30} {LOOPBACK}:{simulator.https_port}")
    trust = str(ca_file) if ca_file is not None else "start again with --ca-file to have it written"
    click.echo(f"Certificate to trust           {trust}")
    sys.stdout.flush()
