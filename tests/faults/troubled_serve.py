"""`postroom serve`, whole and unchanged, whose clock may be ahead and which may kill itself at a point of the store.

The environment says what happens: POSTROOM_TEST_AHEAD_SECONDS, POSTROOM_TEST_KILL_AT=before_commit:3 (the third time
that point is reached), POSTROOM_TEST_POISON, bytes of a message that end the process whenever it is about to be sent,
and POSTROOM_TEST_TOKENS, a file that gets every token which the simulator issues.
"""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

from postroom import server
from postroom.cli.commands import main
from postroom.clock import MICROSECONDS, SystemClock
from postroom.deliver import worker
from postroom.deliver.outgoing import ReadBody, make_parcel
from postroom.deliver.transport import Parcel
from postroom.simulator.tokens import Tokens
from postroom.store import Store
from postroom.store.faults import FaultHook
from postroom.store.records import Lease

POISONED = 77
"""The exit code of a process that met POSTROOM_TEST_POISON."""


class ClockAhead(SystemClock):
    """The machine was down for so long."""

    def now_us(self) -> int:
        return super().now_us() + int(float(os.environ["POSTROOM_TEST_AHEAD_SECONDS"]) * MICROSECONDS)


def kill_at(point_and_count: str) -> FaultHook:
    wanted, _, count = point_and_count.partition(":")
    left = int(count)

    def reach(point: str) -> None:
        nonlocal left
        left -= point == wanted
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def die_of(poison: str) -> None:
    """As a library's crash would: in the middle of sending, with everything else that runs."""

    async def make_parcel_or_die(lease: Lease, read_body: ReadBody, **options: Any) -> Parcel:
        octets = b"".join([chunk async for chunk in read_body(lease.body)])
        if poison.encode() in octets:
            os._exit(POISONED)
        return await make_parcel(lease, read_body, **options)

    vars(worker).update(make_parcel=make_parcel_or_die)


class FaultyStore:
    """Stands where the server looks for `Store.open`."""

    open = staticmethod(partial(Store.open, fault=kill_at(os.environ.get("POSTROOM_TEST_KILL_AT", "nowhere:1"))))


def write_down_tokens(path: Path) -> None:
    """Every token of the simulated Entra ID goes into `path` as well, one a line."""

    def also_write_down(name: str) -> None:
        issue = getattr(Tokens, name)

        def issue_and_write_down(*arguments: Any, **options: Any) -> Any:
            token = issue(*arguments, **options)
            with path.open("a") as file:
                file.write(f"{name} {getattr(token, 'value', token)}\n")
            return token

        setattr(Tokens, name, issue_and_write_down)

    for name in ("issue_code", "issue_refresh_token", "issue_access_token", "issue_id_token"):
        also_write_down(name)


if __name__ == "__main__":
    if "POSTROOM_TEST_AHEAD_SECONDS" in os.environ:
        vars(server).update(SystemClock=ClockAhead)
    if "POSTROOM_TEST_KILL_AT" in os.environ:
        vars(server).update(Store=FaultyStore)
    if "POSTROOM_TEST_POISON" in os.environ:
        die_of(os.environ["POSTROOM_TEST_POISON"])
    if "POSTROOM_TEST_TOKENS" in os.environ:
        write_down_tokens(Path(os.environ["POSTROOM_TEST_TOKENS"]))
    main(prog_name="postroom")
