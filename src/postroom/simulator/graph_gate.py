"""The limits of the Outlook service for one application and mailbox (microsoft365.md 3.3)."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from postroom.simulator.graph_errors import refusal
from postroom.simulator.tenant import Tenant

# Who sends, and as which mailbox: the application's client id and the mailbox's object id.
Key = tuple[str, str]


class Gate:
    """Counts what is under way and what came; a request that is turned away counts like any other."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._under_way: dict[Key, int] = {}
        self._requests: dict[Key, deque[float]] = {}
        self._uploads: dict[Key, deque[tuple[float, int]]] = {}

    def meet_fault(self) -> None:
        """GraphError by the switch: throttled, away, or an answer that never came."""
        switches = self.tenant.graph
        fault = switches.take_fault()
        if fault == "429":
            raise refusal("throttled", retry_after_seconds=switches.retry_after_seconds)
        if fault == "503":
            raise refusal("unavailable", retry_after_seconds=switches.retry_after_seconds)
        if fault == "504":
            raise refusal("gateway timeout")

    @contextmanager
    def admit(self, key: Key) -> Iterator[None]:
        """Hold one of the four places for as long as the request lasts. GraphError 429 if there is none."""
        self._count_request(key)
        if self._under_way.get(key, 0) >= self.tenant.graph.requests_at_once:
            raise refusal("concurrency", retry_after_seconds=1)
        self._under_way[key] = self._under_way.get(key, 0) + 1
        try:
            yield
        finally:
            self._under_way[key] -= 1

    def under_way(self, key: Key) -> int:
        return self._under_way.get(key, 0)

    def _count_request(self, key: Key) -> None:
        switches, now = self.tenant.graph, self.tenant.clock.now()
        times = self._requests.setdefault(key, deque())
        while times and times[0] <= now - switches.window_seconds:
            times.popleft()
        is_over = len(times) >= switches.requests_per_window
        # Beyond the limit only the newest are kept: the window then holds no more than is counted.
        if is_over:
            wait_seconds = math.ceil(times[0] + switches.window_seconds - now)
            times.popleft()
        times.append(now)
        if is_over:
            raise refusal("too many requests", retry_after_seconds=max(1, wait_seconds))

    def count_upload(self, key: Key, size_bytes: int) -> None:
        """GraphError 429 if the bytes of the last five minutes pass the limit."""
        switches, now = self.tenant.graph, self.tenant.clock.now()
        uploads = self._uploads.setdefault(key, deque())
        while uploads and uploads[0][0] <= now - switches.upload_window_seconds:
            uploads.popleft()
        if sum(size for _, size in uploads) + size_bytes > switches.upload_bytes_per_window:
            wait_seconds = uploads[0][0] + switches.upload_window_seconds - now if uploads else 1.0
            raise refusal("upload limit", retry_after_seconds=max(1, math.ceil(wait_seconds)))
        uploads.append((now, size_bytes))
