# ruff: noqa: T201 - it is run by hand and prints its figures
"""How fast the store is: run by hand, prints figures.

.venv/bin/python bench/store.py [FOLDER]
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from postroom.clock import SystemClock
from postroom.message import Reception
from postroom.outcome import Sent
from postroom.store import Store
from postroom.store.records import AppSettings, Lease, MailServerDraft, NewMessage, Settlement, StoredBody
from postroom.vault import Vault

CLOCK = SystemClock()


class Bench:
    def __init__(self, store: Store, app_id: int) -> None:
        self.store = store
        self.app_id = app_id
        self.leases: list[Lease] = []

    def message(self, content: bytes, number: int = 0) -> NewMessage:
        return NewMessage(
            message_id=self.store.ids.make_id(),
            app_id=self.app_id,
            envelope_sender="scanner@contoso.com",
            recipients=(f"somebody{number}@fabrikam.com",),
            header_from="scanner@contoso.com",
            subject=f"Scan number {number} from the second floor",
            internet_message_id=f"<{number}@scanner.contoso.com>",
            body=StoredBody(len(content), content=content),
            reception=Reception("smtp", "192.0.2.7", "scanner", "TLSv1.3", "LOGIN", "scanner"),
            received_at_us=CLOCK.now_us(),
        )

    async def keep(self, keepers: int, each: int, size: int) -> None:
        content = os.urandom(size)
        waits: list[float] = []

        async def keeper() -> None:
            for number in range(each):
                began = time.perf_counter()
                await self.store.outbox.keep(self.message(content, number))
                waits.append(time.perf_counter() - began)

        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(keeper() for _ in range(keepers)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        waits.sort()
        print(
            f"keep {size / 1024:4.0f} KiB, {keepers:3d} keepers: {len(waits) / seconds:8.0f}/s"
            f"   CPU {cpu / len(waits) * 1e6:5.0f} µs   p50 {statistics.median(waits) * 1e3:6.1f} ms"
            f"   p99 {waits[int(len(waits) * 0.99)] * 1e3:6.1f} ms"
        )

    async def set_limits(self, messages: int, connections: int) -> None:
        """Beyond Microsoft's, so that the store is what is measured."""
        text = "UPDATE mailboxes SET message_limit_a_minute = ?, connection_limit = ?"
        await self.store._writer.run(lambda connection: connection.raw.execute(text, (messages, connections)).rowcount)

    async def claim(self, limit: int) -> None:
        self.leases += await self.store.outbox.lease_due(limit)

    async def settle_all(self) -> None:
        while self.leases:
            lease = self.leases.pop()
            outcomes = {recipient.recipient_id: Sent("250 2.0.0 OK") for recipient in lease.recipients}
            await self.store.outbox.settle(lease, Settlement(dict(outcomes), server="AM0"))

    async def claim_and_settle(self, limit: int) -> None:
        await self.claim(limit)
        await self.settle_all()

    async def drain(self, at_once: int, messages: int) -> None:
        done = 0

        async def settle(lease: Lease) -> None:
            outcomes = {recipient.recipient_id: Sent("250 2.0.0 OK") for recipient in lease.recipients}
            await self.store.outbox.settle(lease, Settlement(dict(outcomes), server="AM0"))

        began, cpu = time.perf_counter(), time.process_time()
        while done < messages and (leases := await self.store.outbox.lease_due(at_once)):
            await asyncio.gather(*(settle(lease) for lease in leases))
            done += len(leases)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"claim and settle, {at_once:3d} at once: {done / seconds:8.0f}/s   CPU {cpu / done * 1e6:5.0f} µs")

    async def fill(self, messages: int) -> None:
        for start in range(0, messages, 500):
            await asyncio.gather(*(self.store.outbox.keep(self.message(b"x" * 500, start + n)) for n in range(500)))

    async def look(self) -> None:
        for words in ("", "status:queued", "somebody99999", "to:nobody@", "subject:floor", "status:failed from:x"):
            await self.take(f"search “{words}”", partial(self.store.messages.search, words))
        await self.take("overview", lambda: self.store.messages.overview(0))
        await self.take("next due", self.store.outbox.next_due_at_us)
        await self.take("nothing to claim", lambda: self.store.outbox.lease_due(0))

    async def take(self, name: str, ask: Callable[[], Awaitable[object]]) -> None:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - began)
        print(f"{name:28s} {statistics.median(times) * 1e3:8.2f} ms")


async def main(folder: Path) -> None:
    store = await Store.open(folder / "data", CLOCK, Vault(os.urandom(32)))
    await store.mail_servers.save(MailServerDraft(sender="s@contoso.com", username="s@contoso.com"), "bench")
    app, _ = await store.apps.create(AppSettings(name="Bench"), "bench")
    bench = Bench(store, app.app_id)
    await bench.set_limits(8_000, 64)
    await bench.keep(1, 300, 4096)
    await bench.keep(50, 100, 4096)
    await bench.keep(50, 20, 60_000)
    await bench.drain(2, 1000)
    await bench.drain(50, 5000)
    await store.close()


async def backlog(folder: Path) -> None:
    """The same with nothing and with 100,000 messages waiting (promise 12)."""
    vault = Vault(os.urandom(32))
    store = await Store.open(folder / "data", CLOCK, vault)
    await store.mail_servers.save(MailServerDraft(sender="s@contoso.com", username="s@contoso.com"), "bench")
    app, _ = await store.apps.create(AppSettings(name="Bench"), "bench")
    await work(Bench(store, app.app_id), "nothing waits")
    began = time.perf_counter()
    await Bench(store, app.app_id).fill(100_000)
    print(f"100,000 messages in {time.perf_counter() - began:.1f} s")
    await work(Bench(store, app.app_id), "100,000 wait")
    await Bench(store, app.app_id).look()
    await store.close()
    began = time.perf_counter()
    store = await Store.open(folder / "data", CLOCK, vault)
    await Bench(store, app.app_id).claim(2)
    print(f"start and first claim        {(time.perf_counter() - began) * 1e3:8.2f} ms")
    await store.close()


async def work(bench: Bench, name: str) -> None:
    """What a worker with two connections asks of the store, and what clients do."""
    print(f"-- {name}")
    await bench.keep(1, 200, 4096)
    await bench.keep(20, 25, 4096)
    await bench.set_limits(1_000, 2)
    for statement, label in ((bench.claim, "claim of 2"), (bench.claim_and_settle, "claim and settle 2")):
        times = []
        for _ in range(40):
            began = time.perf_counter()
            await statement(2)
            times.append(time.perf_counter() - began)
            await bench.settle_all()
        print(f"{label:28s} {statistics.median(times) * 1e3:8.2f} ms   p95 {sorted(times)[37] * 1e3:.2f} ms")
    await bench.take("next due", bench.store.outbox.next_due_at_us)
    await bench.take("overview with forecast", lambda: bench.store.messages.overview(0))


if __name__ == "__main__":
    for run in (main, backlog):
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
            asyncio.run(run(Path(name)))
