"""Named points at which a test may make the store fail or the machine stop."""

from collections.abc import Callable

FaultHook = Callable[[str], None]


class Crash(BaseException):
    """The machine stops here. Like SIGKILL, no `except Exception` sees it."""


class FaultPoints:
    """Calls the hook at each point; without a hook nothing happens.

    A hook may raise OSError or sqlite3.OperationalError (the disk's trouble) or Crash, after which nothing is
    written any more. The points: `before_insert`, `before_claim`, `before_settle`, `before_commit`,
    `after_commit` (on the disk, nobody told; only Crash makes sense there), `before_checkpoint`,
    `before_body_write`, `before_body_sync`, `after_body_sync`.
    """

    def __init__(self, hook: FaultHook | None = None) -> None:
        self._hook = hook
        self.has_crashed = False

    def reach(self, point: str) -> None:
        if self.has_crashed:
            raise Crash
        if self._hook is None:
            return
        try:
            self._hook(point)
        except Crash:
            self.has_crashed = True
            raise
