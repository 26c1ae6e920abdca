"""The writers: who calls the committer, and when.

`ThreadWriter` commits on a thread of its own: what arrives while a commit runs goes into the next one.
`InlineWriter` commits in the event loop, what arrived in one turn together: the same batches, without threads, for
tests on virtual time.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from postroom.errors import StoreFullError, StoreUnavailableError
from postroom.store.committer import SINGLE, SINGLE_WAKING, Answer, Committer, Request, Work
from postroom.store.database import Connection

QUEUE_LIMIT_BYTES = 64 * 1024 * 1024
BATCH_LIMIT_BYTES = 8 * 1024 * 1024  # keeps one commit short
BATCH_LIMIT_REQUESTS = 512
REQUEST_BYTES = 1024  # what a request weighs besides its body
IDLE_SECONDS = 0.25
IDLE_CHECKPOINT_BYTES = 2 * 1024 * 1024

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Writer(Protocol):
    """The seam between the rooms of the store and the commit."""

    async def perform(self, work: Work[Asked, Answered], asked: Asked, size_bytes: int = 0) -> Answered:
        """The answer, after the commit is on the disk. Errors: StoreFullError, StoreUnavailableError, or the work's."""
        ...

    def submit(self, work: Work[Asked, Answered], asked: Asked, size_bytes: int = 0) -> "asyncio.Future[Answered]":
        """Like `perform`, for who wants to know what came of it even after being cancelled."""
        ...

    async def run(self, step: Callable[[Connection], Answered], *, wakes: bool = False) -> Answered:
        """One step that needs no batch of its kind."""
        ...

    @property
    def has_room(self) -> bool: ...

    async def close(self) -> None: ...


class _Queue:
    """What waits for a commit, bounded in bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._requests: deque[Request] = deque()
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def has_room(self) -> bool:
        return self.size_bytes < self._limit_bytes

    def put(self, request: Request) -> None:
        # A request that writes next to nothing (a settlement, a click) is always let in: it ends work.
        if request.size_bytes > REQUEST_BYTES and self.size_bytes + request.size_bytes > self._limit_bytes:
            raise StoreFullError("Too much mail is being stored at this moment. Try again in a few seconds.")
        self._requests.append(request)
        self.size_bytes += request.size_bytes

    def take(self) -> list[Request]:
        taken: list[Request] = []
        taken_bytes = 0
        while self._requests and len(taken) < BATCH_LIMIT_REQUESTS and taken_bytes < BATCH_LIMIT_BYTES:
            request = self._requests.popleft()
            self.size_bytes -= request.size_bytes
            if not request.future.cancelled():  # its caller gave up before its turn
                taken.append(request)
                taken_bytes += request.size_bytes
        return taken


class _WriterParts:
    """What both writers share: making a request and waiting for its answer."""

    def __init__(self, on_wake: Callable[[], None]) -> None:
        self._on_wake = on_wake
        self._loop = asyncio.get_running_loop()

    def submit(self, work: Work[Asked, Answered], asked: Asked, size_bytes: int = 0) -> "asyncio.Future[Answered]":
        future: asyncio.Future[Answered] = self._loop.create_future()
        self._enqueue(Request(work, asked, REQUEST_BYTES + size_bytes, future))
        return future

    async def perform(self, work: Work[Asked, Answered], asked: Asked, size_bytes: int = 0) -> Answered:
        return await self.submit(work, asked, size_bytes)

    async def run(self, step: Callable[[Connection], Answered], *, wakes: bool = False) -> Answered:
        answered: Answered = await self.perform(SINGLE_WAKING if wakes else SINGLE, step)
        return answered

    def _enqueue(self, request: Request) -> None:
        raise NotImplementedError

    def _tell(self, answers: Sequence[Answer]) -> None:
        """Wake every caller of a batch, in the event loop."""
        wakes = False
        for request, answered, error in answers:
            wakes = wakes or (error is None and request.work.wakes)
            if request.future.cancelled():
                continue
            if error is not None:
                request.future.set_exception(error)
            else:
                request.future.set_result(answered)
        if wakes:
            self._on_wake()


class ThreadWriter(_WriterParts):
    """Commits on its own thread; the only thread that touches the writing connection."""

    def __init__(self, on_wake: Callable[[], None], queue_limit_bytes: int = QUEUE_LIMIT_BYTES) -> None:
        super().__init__(on_wake)
        self._queue = _Queue(queue_limit_bytes)
        self._has_work = threading.Condition()
        self._is_closing = False
        self._death: BaseException | None = None
        self._ended = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def start(self, open_committer: Callable[[], Committer]) -> None:
        """Open the connection on the thread that will use it; raises what opening raises."""
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._live, args=(open_committer, opened), name="store-writer", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            self._thread.join()
            raise

    @property
    def has_room(self) -> bool:
        return self._queue.has_room

    def _enqueue(self, request: Request) -> None:
        with self._has_work:
            if self._death is not None:
                raise self._death
            if self._is_closing:
                raise StoreUnavailableError("The store is closed: Postroom is stopping.")
            self._queue.put(request)
            self._has_work.notify()

    def _live(self, open_committer: Callable[[], Committer], opened: "asyncio.Future[None]") -> None:
        try:
            committer = open_committer()
        except BaseException as trouble:
            self._call(_fail, opened, trouble)
            return
        self._call(_succeed, opened)
        try:
            self._work(committer)
        except BaseException as death:
            self._die(death)
        finally:
            committer.close()
            self._call(self._ended.set)

    def _work(self, committer: Committer) -> None:
        while True:
            with self._has_work:
                if not self._queue and not self._is_closing:
                    self._has_work.wait(IDLE_SECONDS)
                batch = self._queue.take()
                if not batch and self._is_closing:
                    return
            if not batch:
                committer.tidy(IDLE_CHECKPOINT_BYTES)
                self._wait_for_work()
                continue
            self._commit(committer, batch)
            committer.tidy()

    def _wait_for_work(self) -> None:
        with self._has_work:
            while not self._queue and not self._is_closing:
                self._has_work.wait()

    def _commit(self, committer: Committer, batch: list[Request]) -> None:
        try:
            answers = committer.commit(batch)
        except BaseException as death:
            self._call(self._tell, [Answer(request, None, death) for request in batch])
            raise
        self._call(self._tell, answers)

    def _die(self, death: BaseException) -> None:
        with self._has_work:
            self._death = death
            waiting = self._queue.take()
            while self._queue:
                waiting += self._queue.take()
        self._call(self._tell, [Answer(request, None, death) for request in waiting])

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return  # the event loop is closed: nobody waits any more

    async def close(self) -> None:
        """Commit what waits, checkpoint, close."""
        with self._has_work:
            self._is_closing = True
            self._has_work.notify()
        await self._ended.wait()
        if self._thread is not None:
            self._thread.join()


class InlineWriter(_WriterParts):
    """Commits in the event loop itself, at the end of the turn in which the first request came."""

    def __init__(
        self, on_wake: Callable[[], None], committer: Committer, queue_limit_bytes: int = QUEUE_LIMIT_BYTES
    ) -> None:
        super().__init__(on_wake)
        self._committer = committer
        self._queue = _Queue(queue_limit_bytes)
        self._is_called = False
        self._is_closed = False
        self._death: BaseException | None = None

    @property
    def has_room(self) -> bool:
        return self._queue.has_room

    def _enqueue(self, request: Request) -> None:
        if self._death is not None:
            raise self._death
        if self._is_closed:
            raise StoreUnavailableError("The store is closed: Postroom is stopping.")
        self._queue.put(request)
        if not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._commit_all)

    def _commit_all(self) -> None:
        self._is_called = False
        while self._queue and not self._is_closed:
            batch = self._queue.take()
            if self._death is None and batch:
                self._commit(batch)
            else:
                self._tell([Answer(request, None, self._death) for request in batch])

    def _commit(self, batch: list[Request]) -> None:
        try:
            answers = self._committer.commit(batch)
            self._tell(answers)
            self._committer.tidy()
        except BaseException as death:
            self._death = death
            self._tell([Answer(request, None, death) for request in batch if not request.future.done()])

    async def close(self) -> None:
        if not self._is_closed:
            self._commit_all()
            self._is_closed = True
            self._committer.close()


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.set_result(None)


def _fail(future: "asyncio.Future[None]", trouble: BaseException) -> None:
    if not future.cancelled():
        future.set_exception(trouble)
