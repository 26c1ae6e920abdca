"""An SMTP conversation with the server, one command at a time, and a message handed over in it."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from socket import socket
from typing import BinaryIO

from postroom.cli.sendmail_ending import Reply, SendmailError, ServerAwayError, exit_code_of, may_wait_outside
from postroom.cli.sendmail_envelope import Envelope
from postroom.cli.sendmail_message import Message

LINE_LIMIT_BYTES = 64 * 1024
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_QUEUED_AS = re.compile(r"queued as (\S+)")


class Dialogue:
    """A connection that is waited for no longer than `patience_seconds` in all, the sending of content aside."""

    def __init__(self, connection: socket, patience_seconds: float) -> None:
        self._connection = connection
        self._input: BinaryIO = connection.makefile("rb")
        self._left_seconds = patience_seconds
        self.extensions: frozenset[str] = frozenset()

    def greet(self, name: str) -> None:
        """The server's greeting, and ours. ServerAwayError, SendmailError."""
        self._require(self.read_reply())
        self.say_hello(name)

    def say_hello(self, name: str) -> None:
        code, lines = self._exchange(f"EHLO {name}")
        self._require(_as_reply(code, lines))
        self.extensions = frozenset(line.split(" ")[0].upper() for line in lines[1:])

    def ask(self, command: str) -> Reply:
        return _as_reply(*self._exchange(command))

    def ask_for_lines(self, command: str) -> list[str]:
        """The lines of a good reply; SendmailError for any other."""
        code, lines = self._exchange(command)
        self._require(_as_reply(code, lines))
        return lines

    def read_reply(self) -> Reply:
        return _as_reply(*self._read_lines())

    def send(self, content: bytes) -> None:
        try:
            self._connection.sendall(content)
        except OSError as trouble:
            raise _away(trouble) from None

    def close(self) -> None:
        """Say goodbye, and wait for no answer."""
        with contextlib.suppress(OSError):
            self._connection.sendall(b"QUIT\r\n")
        self._input.close()
        self._connection.close()

    def _exchange(self, command: str) -> tuple[int, list[str]]:
        self.send(f"{command}\r\n".encode())
        return self._read_lines()

    def _read_lines(self) -> tuple[int, list[str]]:
        lines = []
        while True:
            line = self._read_line()
            code, sign, text = line[:3], line[3:4], line[4:]
            if not code.isdigit() or sign not in ("", " ", "-"):
                raise ServerAwayError("what answers does not speak SMTP")
            lines.append(text)
            if sign != "-":
                return int(code), lines

    def _read_line(self) -> str:
        began = time.monotonic()
        try:
            self._connection.settimeout(max(self._left_seconds, 0.01))
            line = self._input.readline(LINE_LIMIT_BYTES)
        except OSError as trouble:
            raise _away(trouble) from None
        self._left_seconds -= time.monotonic() - began
        if not line.endswith(b"\n"):
            raise ServerAwayError("the server hung up")
        return line.decode("utf-8", "replace").rstrip("\r\n")

    def _require(self, reply: Reply) -> None:
        if not reply.is_good:
            raise_for(reply)


def _as_reply(code: int, lines: list[str]) -> Reply:
    found = _ENHANCED.match(lines[0])
    texts = [_ENHANCED.sub("", line, count=1) for line in lines] if found else lines
    return Reply(code, found[1] if found else "", " ".join(filter(None, texts)))


def _away(trouble: OSError) -> ServerAwayError:
    if isinstance(trouble, TimeoutError):
        return ServerAwayError("the server does not answer")
    return ServerAwayError(trouble.strerror or str(trouble))


def raise_for(reply: Reply) -> None:
    """A refusal: the mail may wait for a server that is not ready; anything else is for the caller to mend."""
    if reply.is_temporary and may_wait_outside(reply):
        raise ServerAwayError(reply.words)
    raise SendmailError(exit_code_of(reply), reply.words)


def mail_command(envelope: Envelope, size_bytes: int, offers: Callable[[str], bool]) -> str:
    words = [f"MAIL FROM:<{envelope.sender}>"]
    if offers("SIZE"):
        words.append(f"SIZE={size_bytes}")
    if envelope.is_eight_bit and offers("8BITMIME"):
        words.append("BODY=8BITMIME")
    if envelope.needs_smtputf8:
        words.append("SMTPUTF8")
    if offers("DSN"):
        words += [f"RET={envelope.return_content}"] if envelope.return_content else []
        words += [f"ENVID={envelope.envelope_id}"] if envelope.envelope_id else []
    return " ".join(words)


def rcpt_command(envelope: Envelope, address: str, offers: Callable[[str], bool]) -> str:
    notify = f" NOTIFY={','.join(envelope.notify)}" if envelope.notify and offers("DSN") else ""
    return f"RCPT TO:<{address}>{notify}"


class Sending:
    """A message on its way to the server; when that breaks off, what is left can go another way."""

    def __init__(self, message: Message, envelope: Envelope, fields_on_top: Callable[[int], str]) -> None:
        self.message = message
        self.envelope = envelope
        self.fields_on_top = fields_on_top
        self.waiting = envelope.recipients
        """Those for whom no server took the message yet, and none refused it."""
        self.number = 1
        """Which transaction comes next: a message with many recipients takes several."""
        self.refused: list[tuple[str, Reply]] = []
        self.queue_ids: list[str] = []

    def hand_over(self, dialogue: Dialogue) -> None:
        """SendmailError when the server will not have it; ServerAwayError when it cannot take it now."""
        while self.waiting:
            accepted = self._open(dialogue)
            if accepted:
                self.queue_ids.append(self._send_content(dialogue))
                self.waiting = tuple(address for address in self.waiting if address not in accepted)
                self.number += 1

    def check(self, dialogue: Dialogue) -> frozenset[str]:
        """Ask about sender and recipients only: the addresses that would be taken."""
        taken: set[str] = set()
        while self.waiting:
            accepted = self._open(dialogue)
            taken |= accepted
            self.waiting = tuple(address for address in self.waiting if address not in accepted)
            dialogue.ask("RSET")
        return frozenset(taken)

    def _open(self, dialogue: Dialogue) -> set[str]:
        """MAIL and RCPT: the recipients that were accepted. Those refused for good wait no longer."""
        offers = dialogue.extensions.__contains__
        if self.envelope.needs_smtputf8 and not offers("SMTPUTF8"):
            raise SendmailError(os.EX_DATAERR, "The server takes no addresses with letters beyond ASCII.")
        size_bytes = self.message.size_bytes + len(self.fields_on_top(self.number))
        reply = dialogue.ask(mail_command(self.envelope, size_bytes, offers))
        if not reply.is_good:
            raise_for(reply)
        accepted: set[str] = set()
        for address in self.waiting:
            reply = dialogue.ask(rcpt_command(self.envelope, address, offers))
            if reply.is_good:
                accepted.add(address)
            elif not reply.is_temporary:
                self.refused.append((address, reply))
            elif accepted and reply.code == 452:
                break  # enough for one message (RFC 5321 4.5.3.1.10); the others go into the next
            else:
                raise_for(reply)
        gone = {address for address, _ in self.refused}
        self.waiting = tuple(address for address in self.waiting if address not in gone)
        return accepted

    def _send_content(self, dialogue: Dialogue) -> str:
        """DATA and all that follows: the message's id at the server, if it told one."""
        reply = dialogue.ask("DATA")
        if reply.code != 354:
            raise_for(reply)
        dialogue.send(self.fields_on_top(self.number).encode())
        for chunk in _stuffed(self.message.chunks()):
            dialogue.send(chunk)
        dialogue.send(b".\r\n")
        reply = dialogue.read_reply()
        if not reply.is_good:
            raise_for(reply)
        found = _QUEUED_AS.search(reply.text)
        return found[1] if found else ""


def _stuffed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A dot at the beginning of a line is doubled (RFC 5321 4.5.2), also where a chunk begins."""
    before = b"\r\n"
    for chunk in chunks:
        stuffed = (before + chunk).replace(b"\r\n.", b"\r\n..")[len(before) :]
        before = (before + chunk)[-2:]
        yield stuffed
