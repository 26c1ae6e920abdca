"""One suite for every engine of the store: what holds for one holds for all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.kept_store import ENGINES, Engine, KeptStore


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    chosen: Engine = request.param
    return chosen


@pytest.fixture
async def kept(tmp_path: Path, engine: Engine) -> AsyncIterator[KeptStore]:
    """A folder in which stores can be opened."""
    kept = KeptStore(tmp_path / "data", engine)
    yield kept
    await kept.close()


@pytest.fixture
async def ready(kept: KeptStore) -> KeptStore:
    """An open store with an app and a mailbox that is ready."""
    await kept.open_set_up()
    return kept
