"""Postroom and its witness as real processes: started, killed, ended, and what they wrote."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from postroom.cli.commands import main as postroom_command
from postroom.clock import SystemClock
from postroom.message import RecipientState
from postroom.store import Store
from postroom.store.records import AppSettings, Authentication, MailServerDraft
from postroom.vault_key import load_or_make_keys
from tests.faults.witness import Arrival, read_ledger

ROOT = Path(__file__).resolve().parent.parent.parent
POSTROOM = Path(sys.executable).with_name("postroom")
TROUBLED = (sys.executable, "-m", "tests.faults.troubled_serve")
PATIENCE_SECONDS = 30.0
SENDER = "scanner@witness.test"
BASIC_PASSWORD = "Witness-basic-password-7"
LISTENERS = ("IMPLICIT_TLS", "LOCAL", "DEVICE")
"""Those that are off by default."""
_PORTS = ("CONSOLE_PORT", "SUBMISSION_PORT", "REHEARSAL_PAGES_PORT", *(f"{name}_PORT" for name in LISTENERS))
FREE_PORTS = {f"POSTROOM_{name}": "0" for name in _PORTS}
ALL_LISTENERS = {f"POSTROOM_{name}_ENABLED": "true" for name in LISTENERS}
_ADDRESSES = {
    "simulator": re.compile(r"Simulated Microsoft 365: (\S+)"),
    "console": re.compile(r"Console +(\S+)"),
    "smtp": re.compile(r"SMTP submission +(\S+)"),
    "implicit_tls": re.compile(r"SMTP over TLS +(\S+)"),
    "local": re.compile(r"SMTP local +(\S+)"),
    "device": re.compile(r"SMTP devices +(\S+)"),
    "setup": re.compile(r"Set up: open +(\S+)"),
}

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = PATIENCE_SECONDS) -> Found:
    """Look until something is there: for files and processes, which tell nobody. TimeoutError says what was missed."""
    ends_at = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return found


class Serving:
    """One run of `postroom serve`. Its output goes to a file, so that no pipe fills up and nothing is lost."""

    def __init__(self, folder: Path, command: tuple[str, ...], environment: dict[str, str]) -> None:
        number = len(list(folder.glob("serve-*.log"))) + 1
        self.log = folder / f"serve-{number:03}.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "serve", "--config", str(folder / "postroom.toml")],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, **FREE_PORTS, "POSTROOM_SMTP_HOST_NAME": "postroom.test", **environment},
            )
        self.pid = self._process.pid
        asked = [name.lower() for name in LISTENERS if environment.get(f"POSTROOM_{name}_ENABLED") == "true"]
        self._last_told = _ADDRESSES[asked[-1] if asked else "smtp"]

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def addresses(self) -> dict[str, str] | None:
        """Where everything is, once it listens; None until then, or when it is gone before."""
        said = self.said
        if self._last_told.search(said) is None:
            return None
        found = {name: pattern.search(said) for name, pattern in _ADDRESSES.items()}
        return {name: match[1] for name, match in found.items() if match is not None}

    def wait_until_ready(self) -> dict[str, str]:
        """Its addresses; RuntimeError with its own words when it ended instead."""
        found = self.wait_until_ready_or_gone()
        if found is None:
            raise RuntimeError(f"postroom ended before it was ready: {self.said}")
        return found

    def wait_until_ready_or_gone(self) -> dict[str, str] | None:
        wait_for(lambda: self.addresses() or not self.is_running, "postroom listens or ends")
        return self.addresses()

    def kill(self) -> None:
        """SIGKILL: nothing of it gets to say a word."""
        self._process.kill()
        self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self, seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM, and the exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait_until_gone(self, seconds: float = PATIENCE_SECONDS) -> int:
        return self._process.wait(seconds)


class Postroom:
    """A settings file and a data folder, over all runs of the server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.drop_folder = folder / "run" / "maildrop"
        self.login, self.password, self.api_key = "", "", ""
        self.runs: list[Serving] = []

    def init(self, *options: str) -> None:
        postroom_command.main(["init", "--config", str(self.folder / "postroom.toml"), *options], standalone_mode=False)
        socket = self.folder / "run" / "submit.sock"
        (self.folder / "sendmail.toml").write_text(f'socket = "{socket}"\ndrop_folder = "{self.drop_folder}"\n')

    def start(self, **environment: str) -> Serving:
        """`postroom serve`; with a POSTROOM_TEST_ variable the troubled one."""
        is_troubled = any(name.startswith("POSTROOM_TEST_") for name in environment)
        serving = Serving(self.folder, TROUBLED if is_troubled else (str(POSTROOM),), environment)
        self.runs.append(serving)
        return serving

    async def open_store(self) -> Store:
        """For setting up and for looking, while no server runs."""
        return await Store.open(
            self.data, SystemClock(), load_or_make_keys(self.folder / "vault.key", self.data, {}).vault()
        )

    async def set_up(self, witness_port: int, connections: int = 10) -> None:
        """A mail server that is the witness, with Basic authentication, and an app that may use it; hardly any pace."""
        store = await self.open_store()
        draft = MailServerDraft(
            host="127.0.0.1",
            port=witness_port,
            use_tls=False,
            sender=SENDER,
            username=SENDER,
            test_address="ops@witness.test",
            authentication=Authentication.BASIC,
            password=BASIC_PASSWORD,
        )
        await store.mail_servers.save(draft, "test")
        app, self.password = await store.apps.create(AppSettings(name="Scanner"), "test")
        self.login = app.login
        _, self.api_key = await store.api_keys.create(app.app_id, "test", ("send",), None, "test")
        await store.close()
        self.change_row(
            "UPDATE mailboxes SET message_limit_a_minute = 3000, recipient_limit_a_day = 1000000, "
            f"connection_limit = {connections}"
        )

    def change_row(self, statement: str) -> None:
        """What no page can set. Only while no server runs."""
        with closing(sqlite3.connect(self.data / "postroom.sqlite3")) as connection:
            connection.execute(statement)
            connection.commit()

    def counts(self) -> dict[RecipientState, int]:
        """Recipients by state, looked up from outside, read-only, while the server runs."""
        address = f"{(self.data / 'postroom.sqlite3').as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=5)) as connection:
            rows = connection.execute("SELECT state, recipients FROM recipient_counts").fetchall()
        return {RecipientState(state): number for state, number in rows}

    def dropped(self) -> set[tuple[str, str]]:
        """Message-ID and recipient of what waits in the drop folder, complete."""
        found = set()
        for path in self.drop_folder.glob("*.mail"):
            text = path.read_text(errors="replace")
            [message_id] = re.findall(r"^Message-ID: *(\S+)", text, re.MULTILINE)[:1]
            found |= {(message_id, address) for address in re.findall(r"^RCPT TO:<([^>]*)>", text, re.MULTILINE)}
        return found

    def wait_until_ended(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Until no recipient is open any more."""
        try:
            wait_for(lambda: not any(self.open_counts().values()), "every recipient has ended", seconds)
        except TimeoutError as trouble:
            raise TimeoutError(f"{trouble}: {self.open_counts()}") from None

    def open_counts(self) -> dict[RecipientState, int]:
        return {state: number for state, number in self.counts().items() if not state.is_final}

    def end(self) -> None:
        for serving in self.runs:
            if serving.is_running:
                serving.kill()


@contextmanager
def postroom_in(folder: Path) -> Iterator[Postroom]:
    """A Postroom whose processes are gone afterwards, whatever happens."""
    postroom = Postroom(folder)
    try:
        yield postroom
    finally:
        postroom.end()


class WitnessProcess:
    def __init__(self, port: int, ledger: Path) -> None:
        self.port = port
        self._ledger = ledger

    def arrivals(self) -> list[Arrival]:
        return read_ledger(self._ledger)


@contextmanager
def witness_in(folder: Path, pause_seconds: float = 0.0) -> Iterator[WitnessProcess]:
    ledger = folder / "arrived.jsonl"
    command = [sys.executable, "-m", "tests.faults.witness", str(ledger), str(pause_seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield WitnessProcess(int(process.stdout.readline()), ledger)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
