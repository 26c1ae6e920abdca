"""Where blocking calls run: on a small pool of threads, or (for tests on virtual time) in place."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

from postroom.errors import StoreUnavailableError

P = ParamSpec("P")
T = TypeVar("T")


class Calls(Protocol):
    async def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """What `function` returns or raises, without keeping the event loop."""
        ...

    def close(self) -> None: ...


class ThreadCalls:
    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            running = loop.run_in_executor(self._pool, lambda: function(*arguments, **named))
        except RuntimeError:
            raise StoreUnavailableError("The store is closed: Postroom is stopping.") from None
        return await running

    def close(self) -> None:
        self._pool.shutdown()


class InlineCalls:
    async def call(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return function(*arguments, **named)

    def close(self) -> None:
        return None
