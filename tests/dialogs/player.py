"""Plays a conversation from a file against a real listener, and judges each line.

# a remark
@ guest                    before the first line: the listener asks for no TLS and no sign-in
@ size 2048                the largest message it takes
C: EHLO scanner            we send this line; lines that follow one another leave in one packet
S: 250-relay.example       it must answer exactly this; … stands for anything
S+ 250 …                   a reply of any number of lines, of which this must be the last
C: {plain hp-2f secret}    base64 of an AUTH PLAIN answer; {b64 text} of any text
C> bare\\n\\x00              sent as it stands, without a line end; Python's escapes
- starttls                 take the connection to TLS
- hang up                  close our end
- closed                   the server must have closed
= kept 1                   so many messages are on the disk
= from a@b.example         the last one's envelope
= to c@d.example e@f.example
= has X-Text: a line       a line that its content has; `lacks`: one that it has not
"""

import asyncio
import re
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Protocol

import msgspec

STEPS = {"C:": "send", "C>": "send raw", "S:": "expect", "S+": "expect last", "-": "do", "=": "judge", "@": "set"}
ANSWER_SECONDS = 10


class Step(msgspec.Struct, frozen=True):
    line: int
    kind: str
    text: str


class Kept(msgspec.Struct, frozen=True):
    """A message that the server took."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class KeptMessages(Protocol):
    async def __call__(self) -> list[Kept]: ...


class DialogFailed(AssertionError):
    """The server did something else; the text has the file's line and the conversation so far."""


def read_dialog(path: Path) -> list[Step]:
    """The steps of a file; ValueError names a line that is none."""
    steps = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        mark, _, text = line.partition(" ")
        if mark not in STEPS:
            raise ValueError(f"{path.name}:{number}: a line begins with one of {' '.join(STEPS)}, not with {mark!r}")
        steps.append(Step(number, STEPS[mark], text))
    return steps


def settings_of(steps: list[Step]) -> dict[str, str]:
    """What stands behind `@`."""
    pairs = (step.text.partition(" ") for step in steps if step.kind == "set")
    return {name: value for name, _, value in pairs}


class Player:
    """One conversation."""

    def __init__(self, name: str, port: int, tls: ssl.SSLContext, password: str, kept: KeptMessages) -> None:
        self._name = name
        self._password = password
        self._port = port
        self._tls = tls
        self._kept = kept
        self._said: list[str] = []
        self._unsent = bytearray()
        self.has_hung_up = False

    async def play(self, steps: list[Step]) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for step in steps:
                await self._take(step)
            self._send()
        finally:
            self._writer.close()

    async def _take(self, step: Step) -> None:
        match step.kind:
            case "send":
                self._unsent += _fill(step.text, self._password).encode() + b"\r\n"
            case "send raw":
                self._unsent += step.text.encode().decode("unicode_escape").encode("latin-1")
            case "expect":
                self._send()
                await self._expect(step)
            case "expect last":
                self._send()
                await self._expect(step, is_last=True)
            case "do":
                self._send()
                await self._do(step)
            case "judge":
                await self._judge(step)

    def _send(self) -> None:
        if self._unsent:
            self._said += [f"C: {line}" for line in self._unsent.decode(errors="replace").splitlines()]
            self._writer.write(bytes(self._unsent))
            self._unsent.clear()

    async def _read(self) -> str:
        try:
            line = await asyncio.wait_for(self._reader.readline(), ANSWER_SECONDS)
        except TimeoutError:
            return "(nothing)"
        except ConnectionError:
            return "(the connection was reset)"
        self._said.append("S: " + line.decode(errors="replace").rstrip())
        return line.decode().removesuffix("\r\n") if line else "(the server hung up)"

    async def _expect(self, step: Step, *, is_last: bool = False) -> None:
        found = await self._read()
        while is_last and re.match(r"\d{3}-", found):
            found = await self._read()
        if not re.fullmatch(".*".join(map(re.escape, step.text.split("…"))), found):
            self._fail(step, f"the server said   {found}\nand not           {step.text}")

    async def _do(self, step: Step) -> None:
        match step.text:
            case "starttls":
                await self._writer.start_tls(self._tls)
            case "hang up":
                self._writer.close()
                await self._writer.wait_closed()
                self.has_hung_up = True
            case "closed":
                found = await self._read()
                if found not in ("(the server hung up)", "(the connection was reset)"):
                    self._fail(step, f"the server did not hang up, it said {found}")
            case other:
                self._fail(step, f"no player knows how to {other}")

    async def _judge(self, step: Step) -> None:
        what, _, wanted = step.text.partition(" ")
        kept = await self._kept()
        if what == "kept":
            if len(kept) != int(wanted):
                self._fail(step, f"{len(kept)} messages were kept, not {wanted}")
            return
        if not kept:
            self._fail(step, "nothing was kept")
        if not _matches(what, wanted, kept[-1]):
            self._fail(step, f"the last message is another: {kept[-1]}")

    def _fail(self, step: Step, why: str) -> None:
        raise DialogFailed("\n".join([f"{self._name}:{step.line}: {why}", "", *self._said]))


def _matches(what: str, wanted: str, kept: Kept) -> bool:
    lines = kept.content.decode(errors="replace").split("\r\n")
    found = {
        "from": kept.sender == wanted,
        "to": list(kept.recipients) == wanted.split(),
        "has": any(re.fullmatch(".*".join(map(re.escape, wanted.split("…"))), line) for line in lines),
        "lacks": all(wanted not in line for line in lines),
    }
    return found[what]


def _fill(text: str, password: str) -> str:
    text = text.replace("{password}", password)
    text = re.sub(r"\{plain (\S+) (\S+)\}", lambda found: _base64(f"\0{found[1]}\0{found[2]}"), text)
    return re.sub(r"\{b64 ([^}]*)\}", lambda found: _base64(found[1]), text)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def dialogs() -> list[Path]:
    """Every conversation beside this file."""
    return sorted(Path(__file__).parent.glob("*.smtp"))
