"""`postroom serve`: run everything in one process until it is told to stop."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import click

from postroom.errors import PostroomError
from postroom.log import configure_log
from postroom.server import Server
from postroom.settings import Settings, load_settings


@click.command()
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="POSTROOM_CONFIG",
    default="postroom.toml",
    show_default=True,
    help="The settings file.",
)
def serve(path: Path) -> None:
    """Take mail, keep it and send it; serve the console. Stops on Ctrl-C and SIGTERM, finishing what runs."""
    try:
        settings = load_settings(path, os.environ)
        configure_log(settings.log, sys.stderr)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except PostroomError as trouble:
        raise click.ClickException(str(trouble)) from None


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform; the standard loop does the same, slower
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


async def _serve(settings: Settings) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop.set)
    server = await Server.start(settings)
    try:
        _say_where(server)
        await server.wait_until(told_to_stop)
    finally:
        click.echo("Stopping: finishing what runs ...")
        await server.stop()
        click.echo("Stopped.")


LISTENERS = {
    "submission": ("SMTP submission", "STARTTLS, then sign in"),
    "implicit_tls": ("SMTP over TLS", "TLS at once, then sign in"),
    "local": ("SMTP local", "this machine, without a sign-in"),
    "device": ("SMTP devices", "old devices, by their address"),
}
"""By the section of the settings: what each listener is called, and what it asks for."""


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _say_where(server: Server) -> None:
    if server.simulator_url is not None:
        click.echo(f"Rehearsal: nothing leaves this machine. Simulated Microsoft 365: {server.simulator_url}")
    click.echo(f"Console          {server.console_url}")
    for plan in server.listeners:
        label, remark = LISTENERS[plan.section]
        places = ", ".join(_place(host, plan.port) for host in plan.hosts.split())
        click.echo(f"{label:<17}{places} ({remark})")
    if server.sendmail_socket:
        click.echo(f"sendmail         {server.sendmail_socket} (every user of this machine)")
    if server.setup_url is not None:
        click.echo(f"Set up: open     {server.setup_url}")
        click.echo("                 (works once, for 60 minutes; a new start prints a new one)")
    sys.stdout.flush()
