"""A request that is repeated is not carried out twice: while the first one runs, and for a day after it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from postroom.api.problems import ApiError

HEADER = "idempotency-key"
KEY_LIMIT = 256
REPLAYED = {"idempotency-replayed": "true"}
"""Said with an answer that was given before."""


def read_key(request: Request) -> str:
    """The request's key, empty when it has none. ApiError."""
    key = request.headers.get(HEADER)
    if key is None:
        return ""
    if not 1 <= len(key) <= KEY_LIMIT or not key.isascii() or not key.isprintable():
        raise ApiError(
            "invalid_idempotency_key",
            f"An Idempotency-Key has 1 to {KEY_LIMIT} printable characters.",
            "Make one for each message, such as a UUID.",
        )
    return key


class RunningRequests:
    """The keys whose first request has not been answered yet."""

    def __init__(self) -> None:
        self._running: set[tuple[int, str]] = set()

    @asynccontextmanager
    async def hold(self, app_id: int, key: str) -> AsyncIterator[None]:
        """Only one at a time. ApiError for the others: they come again and get the first one's answer."""
        if not key:
            yield
            return
        if (app_id, key) in self._running:
            raise ApiError(
                "idempotency_in_progress",
                "The first request with this key has not been answered yet.",
                "Repeat the request in a second.",
                retry_after_seconds=1,
            )
        self._running.add((app_id, key))
        try:
            yield
        finally:
            self._running.discard((app_id, key))
