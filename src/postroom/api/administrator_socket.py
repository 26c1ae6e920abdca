"""The socket in the data folder on which the commands speak to the running server: private to who runs it."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

NAME = "postroom.sock"
_SOCKET_MODE = 0o600
_BACKLOG = 16


def bind_administrator_socket(folder: Path) -> socket.socket:
    """Listen in the data folder, whose lock the caller holds: a socket found there is a dead server's. OSError."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_administrator_socket(folder)
        with short_path(folder) as path:
            bound.bind(path)
        (folder / NAME).chmod(_SOCKET_MODE)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def remove_administrator_socket(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """The socket's name by its folder's descriptor: a path in an address may have 107 bytes only (unix(7))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
