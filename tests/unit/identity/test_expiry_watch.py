"""What ends soon is told to the log once for each step."""

from datetime import date, timedelta

import pytest
from structlog.testing import capture_logs

from postroom.errors import StoreUnavailableError
from postroom.identity.expiry_watch import ExpiryWatch
from postroom.store.expiries import Expiry, ExpiryKind, warning_step

pytestmark = pytest.mark.anyio

END = date(2027, 3, 1)


@pytest.mark.parametrize(
    ("days", "step"),
    [(61, None), (60, 60), (31, 60), (30, 30), (14, 14), (8, 14), (7, 7), (2, 7), (1, 1), (0, 1), (-1, 0)],
)
def test_which_step_is_due(days: int, step: int | None) -> None:
    assert warning_step(days) == step


async def test_each_step_is_told_once_and_a_renewal_begins_anew() -> None:
    end, today = END, END - timedelta(days=90)

    async def read() -> list[Expiry]:
        return [Expiry(ExpiryKind.CLIENT_SECRET, 1, "scanner@contoso.com", end, (end - today).days)]

    watch, told = ExpiryWatch(read), []
    for _ in range(95):
        with capture_logs() as logs:
            await watch.look()
        told += [(entry["event"], entry["days"]) for entry in logs]
        today += timedelta(days=1)
    assert told == [
        *(("credential_expires", days) for days in (60, 30, 14, 7, 1)),
        ("credential_expired", -1),
    ]
    end = today + timedelta(days=10)
    with capture_logs() as logs:
        await watch.look()
    assert [(entry["days"], entry["mailbox"]) for entry in logs] == [(10, "scanner@contoso.com")]


async def test_a_store_that_is_away_is_asked_again() -> None:
    async def read() -> list[Expiry]:
        raise StoreUnavailableError("The disk is full.")

    await ExpiryWatch(read).look()
