"""The checks of a draft, run in the background and watched by any number of pages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from postroom.checks.finding import Finding, FindingState
from postroom.clock import Clock
from postroom.store.records import MailServerDraft

LONGEST_SECONDS = 60
STOPPED = "The checks were stopped."

Verify = Callable[[MailServerDraft], AsyncIterator[Finding]]
"""Runs the checks; when every one has passed it notes that in the kept draft, as `verified_at_us`."""


@dataclass
class Verification:
    """One run: its findings so far, and whether more will come."""

    draft: MailServerDraft
    started_at_us: int
    findings: list[Finding] = field(default_factory=list)
    is_running: bool = True
    trouble: str = ""
    """Why the run broke off, when it did."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_passed(self) -> bool:
        return not self.is_running and not self.trouble and bool(self.findings) and not self.has_failed

    @property
    def has_failed(self) -> bool:
        return any(finding.state is FindingState.FAIL for finding in self.findings)

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._tell()

    def end(self, trouble: str = "") -> None:
        self.is_running = False
        self.trouble = trouble
        self._tell()

    def next_change(self) -> asyncio.Event:
        """Set at the next change from now on: take it before looking, so that none is missed between."""
        return self._changed

    def _tell(self) -> None:
        """Every watcher waits on the event of its time; the next change has another."""
        told, self._changed = self._changed, asyncio.Event()
        told.set()


class Verifications:
    """The latest run, owned here: bounded in time, one at a time, cancelled when the console closes."""

    def __init__(self, clock: Clock, verify: Verify, shutdown: asyncio.Event) -> None:
        self._clock = clock
        self._verify = verify
        self._shutdown = shutdown
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self.latest: Verification | None = None

    def of(self, draft: MailServerDraft) -> Verification | None:
        """The latest run, if it checked these very settings."""
        latest = self.latest
        return latest if latest is not None and latest.draft.has_same_settings(draft) else None

    async def start(self, draft: MailServerDraft) -> Verification:
        """Check `draft`; a run that is still going for the same settings is joined, another one is ended first."""
        async with self._starting:
            running = self.of(draft)
            if running is not None and running.is_running:
                return running
            await self.close()
            self.latest = Verification(draft, self._clock.now_us())
            self._task = asyncio.create_task(self._run_until_shutdown(self.latest))
            return self.latest

    async def close(self) -> None:
        """End the run that is going, because the settings are about to change or the console closes."""
        task = self._task
        if task is not None:
            if not task.cancelling():  # a second time would end its tidying up too, which keeps a renewed token
                task.cancel()
            await asyncio.wait([task])
        if self.latest is not None and self.latest.is_running:
            self.latest.end(STOPPED)  # the task was cancelled before its first step

    async def _run_until_shutdown(self, verification: Verification) -> None:
        parts = [asyncio.create_task(self._run(verification)), asyncio.create_task(self._shutdown.wait())]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _run(self, verification: Verification) -> None:
        trouble = STOPPED
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                async for finding in self._verify(verification.draft):
                    verification.add(finding)
            trouble = ""
        except TimeoutError:
            trouble = f"The checks took longer than {LONGEST_SECONDS} seconds and were stopped."
        except Exception as error:  # a page must say so; the log has the rest
            trouble = f"The checks broke off: {error or type(error).__name__}"
        finally:
            verification.end(trouble)
