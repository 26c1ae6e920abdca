"""A process that keeps and sends mail until it is killed at a named point.

It writes a line for each thing that the outside world saw, unbuffered: `kept ID` after `keep` returned (the 250), and
`arrived ID` when the pretend mail server has taken a message (before it is settled).

    store_child.py FOLDER KEY POINT COUNT
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from postroom.clock import SystemClock
from postroom.message import Reception
from postroom.outcome import Sent
from postroom.store import Store
from postroom.store.records import AppSettings, Lease, MailServerDraft, NewMessage, Settlement
from postroom.vault import Vault

KEEPERS = 12


class Killer:
    """Kills this process when the point is reached for the n-th time once mail flows."""

    def __init__(self, point: str, count: int) -> None:
        self._point = point
        self._left = count
        self.is_armed = False

    def __call__(self, point: str) -> None:
        if self.is_armed and point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def keep(store: Store, app_id: int, number: int) -> None:
    while True:
        body = store.bodies.spool()
        await body.write(os.urandom(80_000 if number % 4 == 0 else 2_000))
        new = NewMessage(
            message_id=store.ids.make_id(),
            app_id=app_id,
            envelope_sender="scanner@contoso.com",
            recipients=("bob@fabrikam.com", "eve@fabrikam.com"),
            header_from="scanner@contoso.com",
            subject="Scan",
            internet_message_id="<1@scanner.contoso.com>",
            body=await body.finish(),
            reception=Reception("smtp"),
            received_at_us=SystemClock().now_us(),
        )
        await store.outbox.keep(new)
        say(f"kept {new.message_id}")


async def send(store: Store, lease: Lease) -> None:
    async for _ in store.bodies.read(lease.body):
        pass
    say(f"arrived {lease.message_id}")
    outcomes = {recipient.recipient_id: Sent("250 2.0.0 OK") for recipient in lease.recipients}
    await store.outbox.settle(lease, Settlement(dict(outcomes)))


async def work(store: Store) -> None:
    while True:
        leases = await store.outbox.lease_due(8)
        await asyncio.gather(*(send(store, lease) for lease in leases))
        if not leases:
            await store.outbox.wait_for_change(None)


async def main() -> None:
    folder, key, point, count = sys.argv[1:]
    killer = Killer(point, int(count))
    store = await Store.open(Path(folder), SystemClock(), Vault(bytes.fromhex(key)), fault=killer)
    await store.mail_servers.save(MailServerDraft(sender="scanner@contoso.com", username="scanner@contoso.com"), "x")
    await store._writer.run(
        lambda c: c.raw.execute("UPDATE mailboxes SET message_limit_a_minute = 100000, connection_limit = 8").rowcount
    )
    app, _ = await store.apps.create(AppSettings(name="Scanner"), "anna")
    killer.is_armed = True
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(work(store))
        for number in range(KEEPERS):
            tasks.create_task(keep(store, app.app_id, number))


asyncio.run(main())
