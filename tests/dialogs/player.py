"""Plays a conversation from a file against a real listener, and judges each line.

# a remark
@ profile device           before the first line: the listener; `submission` when nothing is said, or `implicit_tls`,
                           `device`, `local`
@ guest                    the listener asks for no TLS and no sign-in
@ client 10.2.3.77         we come from there: a load balancer says so before each conversation
@ proxy 127.0.0.1          it is a load balancer, and begins with a PROXY header
@ app addresses 10.2.3.77  a setting of the one app there is, by its name; lists have blanks, yes and no are booleans
@ size 2048                the largest message it takes
@ limit error_limit 3      one of the listeners' limits
@ room 2                   so many recipients may wait
C: EHLO scanner            we send this line; lines that follow one another leave in one packet
S: 250-relay.example       it must answer exactly this; … stands for anything
S+ 250 …                   a reply of any number of lines, of which this must be the last
S? 250-SIZE …              a reply of any number of lines, of which one must be this
S! STARTTLS                a reply of any number of lines, of which none may hold this
C: {plain hp-2f secret}    base64 of an AUTH PLAIN answer; {b64 text} of any text; {cram hp-2f} of the answer to
                           the last CRAM-MD5 challenge; {password} is the app's; {x 998} so many letters x
C* 500 RCPT TO:<r{n}@fabrikam.example>    so many such lines in one packet, {n} counting from 1
S* 500 250 …               so many such answers
C> bare\\n\\x00              sent as it stands, without a line end, Python's escapes read: chunks of BDAT, for example
- starttls                 take the connection to TLS; `- starttls TLSv1` with this version and no other
- starttls fails TLSv1     it must not come about
- tls                      the same at once, where TLS comes first; with a version, and `fails`, too
- connect                  another connection beside the ones there are
- use 1                    go on with the first connection
- wait 60                  the clock moves on by so many seconds; nobody sleeps
- switch the app off       as a person does in the console
- hang up                  close our end
- closed                   the server must have closed
= kept 1                   so many messages are on the disk
= from a@b.example         the last one's envelope
= to c@d.example e@f.example
= has X-Text: a line       a line that its content has; `lacks`: one that it has not
= repaired Added a …       a sentence of what was changed in it
= dsn FULL QQ314159        RET and ENVID that it carries, `-` for none
= notify SUCCESS,FAILURE rfc822;a@b.example    NOTIFY and ORCPT of its first recipient
= used 10.2.3.77 TLSv1 PLAIN    where, how and by what the app came last; `-` for in clear, and for no sign-in
= refused unknown_device 10.2.3.77    who was turned away last, and for what; `= refused nobody`
"""

import asyncio
import re
import ssl
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Protocol

import msgspec

from postroom.message import DsnRequest, RecipientDsn
from postroom.wire.sasl import cram_md5_digest
from tests.dialogs.old_client import old_client

STEPS = {
    "C:": "send",
    "C>": "send raw",
    "C*": "send many",
    "S*": "expect many",
    "S:": "expect",
    "S+": "expect last",
    "S?": "expect one",
    "S!": "expect none",
    "-": "do",
    "=": "judge",
    "@": "set",
}
ANSWER_SECONDS = 10
HOST = "127.0.0.1"


class Step(msgspec.Struct, frozen=True):
    line: int
    kind: str
    text: str


class Kept(msgspec.Struct, frozen=True):
    """A message that the server took."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    repairs: tuple[str, ...] = ()
    dsn: DsnRequest | None = None


class Witness(Protocol):
    """What the server has done, as its store tells."""

    async def kept(self) -> list[Kept]: ...

    async def last_use(self) -> str:
        """Address, TLS version and mechanism, with blanks between them."""
        ...

    def last_refused(self) -> str:
        """Code and address."""
        ...

    async def switch_off(self) -> None: ...

    def wait(self, seconds: float) -> None: ...

    def note_gone(self) -> None:
        """The client hung up: what is not kept soon never will be."""
        ...


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


def settings_of(steps: list[Step], prefix: str = "") -> dict[str, str]:
    """What stands behind `@`, or behind `@` and the prefix."""
    texts = [step.text for step in steps if step.kind == "set"]
    if prefix:
        texts = [text.removeprefix(prefix + " ") for text in texts if text.startswith(prefix + " ")]
    pairs = (text.partition(" ") for text in texts)
    return {name: value for name, _, value in pairs}


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.unsent = bytearray()

    async def read(self) -> str:
        try:
            line = await asyncio.wait_for(self.reader.readline(), ANSWER_SECONDS)
        except TimeoutError:
            return "(nothing)"
        except (ConnectionError, ssl.SSLError):
            return "(the connection was reset)"
        return line.decode(errors="replace").removesuffix("\r\n") if line else "(the server hung up)"


class Player:
    """One conversation, over one connection or several."""

    def __init__(
        self, name: str, port: int, tls: ssl.SSLContext, password: str, witness: Witness, client: str = ""
    ) -> None:
        """`client` is where a load balancer is to say that we come from."""
        self._name = name
        self._password = password
        self._port = port
        self._tls = tls
        self._witness = witness
        self._client = client
        self._lines: list[Line] = []
        self._line: Line
        self._said: list[str] = []
        self._challenge = ""

    async def play(self, steps: list[Step]) -> None:
        try:
            await self._connect()
            for step in steps:
                await self._take(step)
            self._send()
        finally:
            for line in self._lines:
                line.writer.close()

    async def _connect(self) -> None:
        self._line = Line(*await asyncio.open_connection(HOST, self._port))
        self._lines.append(self._line)
        if self._client:
            family = "TCP6" if ":" in self._client else "TCP4"
            own = "::1" if ":" in self._client else "10.2.3.4"
            self._line.writer.write(f"PROXY {family} {self._client} {own} 40000 25\r\n".encode())

    async def _take(self, step: Step) -> None:
        match step.kind:
            case "send":
                self._line.unsent += self._fill(step.text).encode() + b"\r\n"
            case "send raw":
                self._line.unsent += self._fill(step.text).encode().decode("unicode_escape").encode("latin-1")
            case "send many":
                count, _, text = step.text.partition(" ")
                for number in range(1, int(count) + 1):
                    self._line.unsent += self._fill(text.replace("{n}", str(number))).encode() + b"\r\n"
            case "expect many":
                self._send()
                count, _, text = step.text.partition(" ")
                for _ in range(int(count)):
                    await self._expect(Step(step.line, "expect", text))
            case "judge":
                self._send()
                await self._judge(step)
            case "set":
                pass
            case _:
                self._send()
                await (self._do(step) if step.kind == "do" else self._expect(step))

    def _send(self) -> None:
        unsent = self._line.unsent
        if unsent:
            self._said += [f"C: {line}" for line in unsent.decode(errors="replace").splitlines()]
            self._line.writer.write(bytes(unsent))
            unsent.clear()

    async def _read(self) -> str:
        found = await self._line.read()
        self._said.append("S: " + found)
        if found.startswith("334 "):
            self._challenge = found[4:]
        return found

    async def _expect(self, step: Step) -> None:
        found = await self._read()
        if step.kind == "expect":
            if not _fits(step.text, found):
                self._fail(step, f"the server said   {found}\nand not           {step.text}")
            return
        lines = [found]
        while re.match(r"\d{3}-", lines[-1]):
            lines.append(await self._read())
        if step.kind == "expect last" and not _fits(step.text, lines[-1]):
            self._fail(step, f"the server said   {lines[-1]}\nand not           {step.text}")
        if step.kind == "expect one" and not any(_fits(step.text, line) for line in lines):
            self._fail(step, f"no line of the reply is  {step.text}")
        if step.kind == "expect none" and any(step.text in line for line in lines):
            self._fail(step, f"the reply holds  {step.text}")

    async def _do(self, step: Step) -> None:
        match step.text.split():
            case ["starttls" | "tls", *words]:
                await self._start_tls(step, words)
            case ["connect"]:
                await self._connect()
            case ["use", number]:
                self._line = self._lines[int(number) - 1]
            case ["switch", "the", "app", "off"]:
                await self._witness.switch_off()
            case ["wait", seconds]:
                self._witness.wait(float(seconds))
            case ["hang", "up"]:
                self._line.writer.close()
                await self._line.writer.wait_closed()
                self._witness.note_gone()
            case ["closed"]:
                found = await self._read()
                if found not in ("(the server hung up)", "(the connection was reset)"):
                    self._fail(step, f"the server did not hang up, it said {found}")
            case _:
                self._fail(step, f"no player knows how to {step.text}")

    async def _start_tls(self, step: Step, words: list[str]) -> None:
        versions = [word for word in words if word != "fails"]
        context = old_client(versions[0]) if versions else self._tls
        try:
            await self._line.writer.start_tls(context, server_hostname=HOST)
        except (ssl.SSLError, ConnectionError) as trouble:
            if "fails" not in words:
                self._fail(step, f"no TLS came about: {trouble}")
            return
        if "fails" in words:
            self._fail(step, "TLS came about")

    async def _judge(self, step: Step) -> None:
        what, _, wanted = step.text.partition(" ")
        if what in ("used", "refused"):
            found = await self._witness.last_use() if what == "used" else self._witness.last_refused()
            if found != wanted:
                self._fail(step, f"it was  {found}\nand not {wanted}")
            return
        kept = await self._witness.kept()
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

    def _fill(self, text: str) -> str:
        text = text.replace("{password}", self._password)
        text = re.sub(r"\{x (\d+)\}", lambda found: "x" * int(found[1]), text)
        text = re.sub(r"\{plain (\S+) (\S+)\}", lambda found: _base64(f"\0{found[1]}\0{found[2]}"), text)
        text = re.sub(r"\{cram (\S+)\}", lambda found: self._cram(found[1]), text)
        return re.sub(r"\{b64 ([^}]*)\}", lambda found: _base64(found[1]), text)

    def _cram(self, login: str) -> str:
        return _base64(f"{login} {cram_md5_digest(self._password, b64decode(self._challenge).decode())}")


def _fits(wanted: str, found: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, wanted.split("…"))), found) is not None


def _matches(what: str, wanted: str, kept: Kept) -> bool:
    lines = kept.content.decode(errors="replace").split("\r\n")
    dsn = kept.dsn or DsnRequest()
    first = dsn.recipients.get(kept.recipients[0], RecipientDsn())
    found = {
        "from": kept.sender == wanted,
        "to": list(kept.recipients) == wanted.split(),
        "has": any(_fits(wanted, line) for line in lines),
        "lacks": all(wanted not in line for line in lines),
        "repaired": any(_fits(wanted, sentence) for sentence in kept.repairs),
        "dsn": wanted == f"{dsn.return_content or '-'} {dsn.envelope_id or '-'}",
        "notify": wanted == f"{','.join(first.notify) or '-'} {first.original_recipient or '-'}",
    }
    return found[what]


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def dialogs() -> list[Path]:
    """Every conversation beside this file."""
    return sorted(Path(__file__).parent.glob("*.smtp"))
