"""One web server inside the program: on a free port, over TLS or without, and gone within a moment."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class _EmbeddedServer(uvicorn.Server):
    """Says when it listens, and leaves signals to the program that the simulator runs in."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listens.set()


class WebServer:
    """Listens as soon as it is made; `port` is the one it got. `start` waits until it answers."""

    def __init__(self, app: ASGIApp, host: str, port: int, context: ssl.SSLContext | None) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=(lambda _config, _default: context) if context else None,
        )
        self._server = _EmbeddedServer(config)
        self._socket = socket.create_server((host, port))
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        self.port = int(self._socket.getsockname()[1])

    async def start(self) -> None:
        await self._server.listens.wait()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Break what is open: a client that keeps an idle connection would hold up a graceful end."""
        self._server.should_exit = self._server.force_exit = True
        self._break_connections()
        await self._task
        # Whoever connected while the listener was closing.
        self._break_connections()
        self._socket.close()

    def _break_connections(self) -> None:
        for task in self._server.server_state.tasks:
            task.cancel()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
