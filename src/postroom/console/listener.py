"""Serve the console in our own event loop, started and stopped by the server rather than by signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Self

import uvicorn
from starlette.applications import Starlette

GRACE_SECONDS = 3


class _QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: SIGTERM is Postroom's to handle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ConsoleListener:
    """The console's HTTP server; `port` is the one really bound."""

    def __init__(self, server: _QuietServer, bound: socket.socket) -> None:
        self._server = server
        self._task = asyncio.create_task(server.serve([bound]), name="console")
        self.port: int = bound.getsockname()[1]

    @classmethod
    async def start(cls, app: Starlette, host: str, port: int) -> Self:
        """Listen; OSError when the address is taken."""
        bound = _bind(host, port)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        return cls(_QuietServer(config), bound)

    async def stop(self) -> None:
        """Finish what runs, within a few seconds; event streams must have ended by themselves."""
        self._server.should_exit = True
        await self._task


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
