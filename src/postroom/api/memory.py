"""How much of all requests together is held in memory: JSON must be complete before it can be read."""

from postroom.api.problems import ApiError

LIMIT_BYTES = 64 * 1024 * 1024
"""Six of the largest JSON bodies at once; each costs a few times its size until it is on the disk."""


class BodyMemory:
    """What is left of it, for all requests."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._left_bytes = limit_bytes

    def hold(self) -> "HeldBytes":
        """One request's share, empty at first; use it as a context."""
        return HeldBytes(self)

    def take(self, size_bytes: int) -> bool:
        """Whether there was room."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        self._left_bytes += size_bytes


class HeldBytes:
    """What one request holds until it is answered."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._size_bytes = 0

    def __enter__(self) -> "HeldBytes":
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.give_back(self._size_bytes)

    def grow(self, size_bytes: int) -> None:
        """ApiError 503 when too much is held already."""
        if not self._memory.take(size_bytes):
            raise ApiError(
                "too_busy",
                "Too many large requests are being read at this moment.",
                "Send again in a few seconds; larger mail goes as multipart/form-data or message/rfc822, which stream.",
                retry_after_seconds=2,
            )
        self._size_bytes += size_bytes
