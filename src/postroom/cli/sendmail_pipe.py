"""`sendmail -bs`: the caller speaks SMTP with the server, and we only carry the bytes."""

import os
import select
from socket import SHUT_WR, socket

CHUNK_BYTES = 64 * 1024
LAST_ANSWER_SECONDS = 10


def carry(connection: socket, from_caller: int, to_caller: int) -> None:
    """Until the server hangs up. OSError when either side breaks off.

    Not a byte is changed: line ends that were put right on the way could end a message where its writer did not.
    """
    connection.settimeout(None)
    listens = True
    while True:
        ready = _ready(connection, from_caller if listens else None)
        if not ready:
            return
        if connection.fileno() in ready:
            answer = connection.recv(CHUNK_BYTES)
            if not answer:
                return
            _write(to_caller, answer)
        if from_caller in ready:
            said = os.read(from_caller, CHUNK_BYTES)
            if said:
                connection.sendall(said)
            else:
                listens = False
                _say_end(connection)


def _ready(connection: socket, from_caller: int | None) -> list[int]:
    """What can be read; nothing when the caller said all and no more answers come.

    Under TLS, decrypted bytes may wait where the system does not see them.
    """
    descriptor = connection.fileno()
    if getattr(connection, "pending", int)():
        return [descriptor]
    if from_caller is None:
        return select.select([descriptor], [], [], LAST_ANSWER_SECONDS)[0]
    return select.select([descriptor, from_caller], [], [])[0]


def _say_end(connection: socket) -> None:
    """The caller has said all. TLS cannot be half closed."""
    if not hasattr(connection, "pending"):
        connection.shutdown(SHUT_WR)


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
