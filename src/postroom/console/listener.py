"""Serve the console in our own event loop, started and stopped by the server rather than by signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

GRACE_SECONDS = 30
"""As for SMTP: a large message that comes over HTTP is finished too. Event streams end by themselves."""


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: SIGTERM is Postroom's to handle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ConsoleListener:
    """The console's HTTP server, on a socket that is bound already.

    Only behind a proxy does a header say who asks: without one, everybody on this machine could write another
    address there at each guess of a passphrase.
    """

    def __init__(self, app: ASGIApp, bound: socket.socket, *, is_behind_proxy: bool = False) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=is_behind_proxy,
            lifespan="on",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _QuietServer(config)
        self._task = asyncio.create_task(self._server.serve([bound]), name="console")

    async def stop(self) -> None:
        """Finish what runs, within the grace; event streams must have ended by themselves."""
        self._server.should_exit = True
        await self._task


def bind_console(host: str, port: int) -> socket.socket:
    """A socket for the console, bound before the pages exist because they name its port; OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off for what names its protocol only; else answers wait 40 ms for a delayed ACK.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # who comes before the server serves waits, and is not refused
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
