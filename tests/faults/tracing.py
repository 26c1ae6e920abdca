"""What a process asks of the kernel, as strace sees it: syncs and acknowledgements in their order, and syncs that fail.

Needs the right to trace (root, or CAP_SYS_PTRACE).
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.serving import wait_for
from tests.journeys.judges import needs

needs_strace = needs("strace")

_READS, _WRITES, _SYNCS = (
    ("read", "recvfrom", "recvmsg"),
    ("write", "writev", "sendto", "sendmsg"),
    ("fsync", "fdatasync"),
)
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_TARGET = re.compile(r"\d+<([^>]*)>")
_RESULT = re.compile(r"= (-?\d+)")
_ACKNOWLEDGED = re.compile(r'"(250 2\.0\.0 OK queued as|HTTP/1\.1 202 )')


@dataclass(frozen=True)
class Call:
    """One system call; `began` and `ended` are places in the order in which strace saw things."""

    name: str
    target: str
    """A file's path, or `socket:[number]`."""
    began: int
    ended: int
    result: int | None
    """None while it is under way."""
    text: str

    @property
    def is_good_sync(self) -> bool:
        return self.name in _SYNCS and self.result == 0

    @property
    def is_failed_sync(self) -> bool:
        return self.name in _SYNCS and self.result is not None and self.result < 0

    @property
    def is_acknowledgement(self) -> bool:
        return self.name in _WRITES and _ACKNOWLEDGED.search(self.text) is not None


def trace_command(path: Path, *words: str) -> tuple[str, ...]:
    """strace, ready to be followed by a program; `words` are further options, such as an injected error."""
    calls = ",".join((*_READS, *_WRITES, *_SYNCS))
    return ("strace", "-f", "-y", "-s", "40", "-o", str(path), "-e", f"trace={calls}", *words)


def read_calls(path: Path) -> list[Call]:
    """What strace wrote down, in the order in which the calls began."""
    return sorted(_read_lines(path.read_text(errors="replace")), key=lambda call: call.began)


class Trace:
    """The calls of all threads of a process while it is traced."""

    def __init__(self, path: Path, *words: str) -> None:
        self._path = path
        self._errors = path.with_suffix(".err")
        with self._errors.open("wb") as output:
            self._process = subprocess.Popen(trace_command(path, *words), stderr=output)

    def wait_until_attached(self) -> None:
        wait_for(lambda: "attached" in self.said or self._process.poll() is not None, "strace is attached")
        if "attached" not in self.said:
            pytest.skip(f"strace may not trace here: {self.said.strip()}")

    @property
    def said(self) -> str:
        return self._errors.read_text(errors="replace")

    def stop(self) -> None:
        """Let the process go; it runs on."""
        self._process.terminate()
        self._process.wait()

    def calls(self) -> list[Call]:
        return read_calls(self._path)


@contextmanager
def traced(pid: int, path: Path, *words: str) -> Iterator[Trace]:
    """Trace a running process; `words` are further options of strace, such as an injected error."""
    trace = Trace(path, *words, "-p", str(pid))
    try:
        trace.wait_until_attached()
        yield trace
    finally:
        trace.stop()


def _read_lines(text: str) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    lines = text.splitlines()
    for place, line in enumerate(lines):
        resumed, call = _RESUMED.match(line), _CALL.match(line)
        if resumed and resumed[1] in begun:
            began, name, start = begun.pop(resumed[1])
            yield from _make(name, start + resumed[3], began, place)
        elif call and ("<unfinished ...>" in line or "<detached ...>" in line):
            begun[call[1]] = (place, call[2], call[3])
        elif call:
            yield from _make(call[2], call[3], place, place)
    for began, name, start in begun.values():  # under way when the process was let go
        yield from _make(name, start, began, len(lines))


def _make(name: str, text: str, began: int, ended: int) -> Iterator[Call]:
    target, results = _TARGET.match(text), _RESULT.findall(text)
    if target is not None:
        yield Call(name, target[1], began, ended, int(results[-1]) if results else None, text)


def syncs_before_each_acknowledgement(calls: list[Call], path_part: str) -> list[int]:
    """For each acknowledgement: how many good syncs of a file began after its message's last byte came, and ended."""
    counts = []
    last_read: dict[str, int] = {}
    syncs = [call for call in calls if call.is_good_sync and path_part in call.target]
    for call in calls:
        if call.name in _READS and call.result:
            last_read[call.target] = call.ended
        elif call.is_acknowledgement:
            # A single thread reads and answers, so the last read of this socket is that of the message's end.
            came = last_read[call.target]
            counts.append(sum(came < sync.began and sync.ended < call.began for sync in syncs))
    return counts
