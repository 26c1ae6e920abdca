"""A server on a Unix socket that answers as a test tells it, and remembers what it was told."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

GREETING = "220 postroom.example ESMTP Postroom"
HELLO = "250-postroom.example\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 PIPELINING"
CONTENT, END = "content", "."
"""In the script: what answers a message's end; and that it hangs up there."""
HANG_UP = ""


class ScriptedServer:
    """Answers by the first words of a command, from a list one after the other; accepts what is not in the script."""

    def __init__(self, path: Path, script: Mapping[str, str | list[str]]) -> None:
        self.commands: list[str] = []
        self.contents: list[bytes] = []
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # wakes accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, connection.makefile("rwb", buffering=0) as lines, contextlib.suppress(OSError):
                    self._converse(lines)

    def _converse(self, lines: socket.SocketIO) -> None:
        def say(reply: str) -> None:
            lines.write(f"{reply}\r\n".encode())

        say(self._scripted("greeting") or GREETING)
        while line := lines.readline():
            command = line.decode().rstrip("\r\n")
            self.commands.append(command)
            answer = self._answer(command)
            if answer == HANG_UP:
                return
            say(answer)
            if answer.startswith("221"):
                return
            if answer.startswith("354"):
                self.contents.append(_read_content(lines))
                verdict = self._scripted(CONTENT)
                if verdict == HANG_UP:
                    return
                say(verdict or f"250 2.0.0 OK queued as ID{len(self.contents)}")

    def _scripted(self, words: str) -> str | None:
        for start, answer in self._script.items():
            if words.startswith(start):
                return answer if isinstance(answer, str) else answer.pop(0)
        return None

    def _answer(self, command: str) -> str:
        if (answer := self._scripted(command)) is not None:
            return answer
        return {"EHLO": HELLO, "DATA": "354 go on", "QUIT": "221 2.0.0 bye"}.get(command.split(" ")[0], "250 2.1.0 OK")


def _read_content(lines: socket.SocketIO) -> bytes:
    content = b""
    while (line := lines.readline()) not in (b".\r\n", b""):
        content += line.removeprefix(b".")
    return content


@contextlib.contextmanager
def scripted(path: Path, script: Mapping[str, str | list[str]] | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(path, script or {})
    try:
        yield server
    finally:
        server.close()
